//! WASI 0.2 for components.

use std::os::fd::OwnedFd;

use crate::host::Started;
use crate::run::Ended;

/// Runs a component.
pub(crate) fn run(_started: &Started, _code: OwnedFd, _streams: [OwnedFd; 3]) -> Ended {
    Ended::early(wasmtime::Error::msg("components are not supported yet"))
}
