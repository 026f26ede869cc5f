//! The code of wasm modules, from wbuild to the supervisor of a step that executes one.
//!
//! Invariant: what a step's module is compiled from is what wbuild itself read of it; the supervisor only hands descriptors on. Each
//! request has a socket of its own, whose end tells the other side that nobody waits or nobody answers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};
use wbuild_broker::exec::CodeSource;
use wbuild_monitor::{Cancel, Metered, ModuleCompiler, ModuleKind, ModuleRequest, OutputSink, Stream};

use crate::channel::Changes;
use crate::wire;

/// A request.
#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    /// Code; descriptors: the module, the socket for the answer.
    Code(Wanted),
    /// A component begins; descriptor: wbuild's end of its channel (channel.rs).
    Channel,
}

/// A module whose code is wanted.
#[derive(Debug, Serialize, Deserialize)]
struct Wanted {
    kind: ModuleKind,
    metered: Metered,
    name: String,
}

/// The answer; with `Ok` comes the descriptor of the code.
type Answer = Result<(), String>;

/// The supervisor's half.
pub(crate) struct Requests(Mutex<UnixStream>);

impl Requests {
    /// Asks over this socket.
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self(Mutex::new(socket.into()))
    }

    fn ask(&self, ask: &Ask, descriptors: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        wire::send(&self.0.lock().unwrap_or_else(PoisonError::into_inner), ask, descriptors)
    }
}

impl CodeSource for Requests {
    fn code(
        &self,
        module: BorrowedFd<'_>,
        kind: ModuleKind,
        metered: Metered,
        name: &str,
    ) -> std::io::Result<Result<OwnedFd, String>> {
        let (answer, theirs) = UnixStream::pair()?;
        let ask = Ask::Code(Wanted { kind, metered, name: name.to_owned() });
        self.ask(&ask, &[module, theirs.as_fd()])?;
        drop(theirs);
        match wire::receive::<Answer>(&answer)? {
            Some((Ok(()), mut code)) => match code.pop() {
                Some(code) => Ok(Ok(code)),
                None => Err(std::io::Error::other("an answer without its descriptor")),
            },
            Some((Err(reason), _)) => Ok(Err(reason)),
            None => Err(std::io::Error::other("wbuild went away")),
        }
    }

    fn channel(&self) -> std::io::Result<OwnedFd> {
        let (ours, theirs) = UnixStream::pair()?;
        self.ask(&Ask::Channel, &[theirs.as_fd()])?;
        Ok(ours.into())
    }
}

/// wbuild's half: answers until the supervisor is gone. Requests wait for each other no more than the compiler makes them.
pub(crate) fn serve(
    socket: &UnixStream,
    compiler: &dyn ModuleCompiler,
    output: &dyn OutputSink,
    cancel: &Cancel,
    changes: &Changes,
) {
    std::thread::scope(|scope| {
        while let Ok(Some((ask, mut descriptors))) = wire::receive::<Ask>(socket) {
            let Some(last) = descriptors.pop().map(UnixStream::from) else { return };
            match ask {
                Ask::Channel => drop(scope.spawn(move || changes.take(&last))),
                Ask::Code(wanted) => {
                    let Some(module) = descriptors.pop() else { return };
                    scope.spawn(move || respond(&wanted, &module, &last, compiler, output, cancel));
                }
            }
        }
    });
}

fn respond(
    ask: &Wanted,
    module: &OwnedFd,
    answer: &UnixStream,
    compiler: &dyn ModuleCompiler,
    output: &dyn OutputSink,
    cancel: &Cancel,
) {
    let request = ModuleRequest {
        module: module.as_fd(),
        kind: ask.kind,
        name: &ask.name,
        metered: ask.metered,
        tell: &|line| output.write(Stream::Stderr, format!("{line}\n").as_bytes()),
        abandoned: &|| cancel.is_cancelled() || is_hung_up(answer),
    };
    let sent = match compiler.code(&request) {
        Ok(code) => wire::send(answer, &Answer::Ok(()), &[code.as_fd()]),
        Err(reason) => wire::send(answer, &Answer::Err(reason), &[]),
    };
    // A process that was killed meanwhile needs no answer.
    drop(sent);
}

fn is_hung_up(socket: &UnixStream) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&at_once)).is_ok() && polled[0].revents().contains(PollFlags::HUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Echo;

    impl ModuleCompiler for Echo {
        fn code(&self, request: &ModuleRequest<'_>) -> Result<OwnedFd, String> {
            (request.tell)("compiling");
            match request.name {
                "good" => request.module.try_clone_to_owned().map_err(|error| error.to_string()),
                name => Err(format!("{name} is no module")),
            }
        }
    }

    struct Silent;

    impl OutputSink for Silent {
        fn write(&self, _stream: Stream, _bytes: &[u8]) {}
    }

    #[test]
    fn requests_are_answered_with_a_descriptor_or_a_reason_until_the_end() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            let served =
                scope.spawn(|| serve(&ours, &Echo, &Silent, &Cancel::default(), &Changes::default()));
            let requests = Requests::over(theirs.into());
            let file = rustix::fs::memfd_create("module", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            rustix::io::write(&file, b"code").unwrap();
            let ask = |name| requests.code(file.as_fd(), ModuleKind::Core, Metered::No, name).unwrap();
            let code = ask("good").unwrap();
            let mut bytes = [0; 8];
            assert_eq!(rustix::io::pread(&code, &mut bytes, 0), Ok(4));
            assert_eq!(ask("bad").unwrap_err(), "bad is no module");
            drop(requests);
            served.join().unwrap();
        });
    }
}
