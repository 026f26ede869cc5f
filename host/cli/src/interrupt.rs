//! Ctrl-C and SIGTERM: the first cancels the build, which kills the running step and cleans up; the second ends at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use wbuild_build::Cancel;

use crate::exit::Exit;
use crate::failure::Failure;

/// Watches for signals from now on, in a thread of its own.
///
/// # Errors
/// The thread cannot be started.
pub(crate) fn watch(cancel: Cancel) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Exit::Host, format!("cannot watch for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let (interrupt, terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
    };
    let thread = std::thread::Builder::new().name("wbuild-signals".to_owned());
    thread.spawn(move || runtime.block_on(until_second(interrupt, terminate, &cancel))).map_err(failed)?;
    Ok(())
}

async fn until_second(mut interrupt: Signal, mut terminate: Signal, cancel: &Cancel) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if cancel.is_cancelled() {
            #[expect(
                clippy::exit,
                reason = "the user asked twice; what is left is removed at the next start"
            )]
            std::process::exit(Exit::Interrupted.code().into());
        }
        cancel.cancel();
    }
}
