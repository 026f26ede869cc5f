//! `wbuild version`.

use std::io::Write;

use crate::failure::Failure;
use crate::out::stdout_failure;

/// Show the version of wbuild
#[derive(Debug, clap::Args)]
pub(crate) struct VersionArgs {}

/// Prints the version and the platform the binary is for.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn run(_args: &VersionArgs) -> Result<(), Failure> {
    let line = format!(
        "wbuild {} {}/{}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        crate::build::host_architecture()
    );
    std::io::stdout().lock().write_all(line.as_bytes()).map_err(stdout_failure)
}
