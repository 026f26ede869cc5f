//! The spawner of native steps: supervisor, reaper, filter, exec.

#![forbid(unsafe_code)]

pub mod stub;
