//! The log: `--debug`, or `WBUILD_LOG` with a filter (`info`, `wbuild_native=trace`). Off unless asked for.
//!
//! It is for whoever works on wbuild: what a user must know is an error, a note or a warning instead.

use tracing_subscriber::EnvFilter;

use crate::environment::Environment;
use crate::failure::Failure;

/// Starts logging to standard error if it is asked for.
///
/// # Errors
/// A filter that is none.
pub(crate) fn start(debug: bool, environment: &Environment) -> Result<(), Failure> {
    let filter = match (environment.text("WBUILD_LOG"), debug) {
        (Some(filter), _) if !filter.is_empty() => EnvFilter::try_new(filter)
            .map_err(|error| Failure::usage(format!("WBUILD_LOG={filter}: {error}")))?,
        (_, true) => EnvFilter::new("debug"),
        _ => return Ok(()),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    Ok(())
}
