//! Writing to standard output and standard error: a reader that went away is no failure.

use std::io;

use crate::exit::Exit;
use crate::failure::Failure;

/// Exit 0 for a closed pipe (`wbuild .. | head`), an internal failure for the rest.
#[must_use]
pub(crate) fn stdout_failure(error: io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::BrokenPipe { Exit::Ok } else { Exit::Internal };
    Failure::new(exit, format!("cannot write to standard output: {error}"))
}
