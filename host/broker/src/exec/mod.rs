//! execve and execveat: resolve, check, choose a way in, and redirect the guest into it (sandbox.md section 4).

pub mod plan;

use rustix::io::Errno;
use wbuild_monitor::Fault;

use crate::call::{Call, Reply};

/// execve(path, argv, envp).
///
/// # Errors
/// What the guest gets.
pub fn execve(_call: &mut Call<'_>) -> Result<Reply, Fault> {
    Err(Fault::Errno(Errno::NOSYS))
}

/// execveat(dirfd, path, argv, envp, flags).
///
/// # Errors
/// What the guest gets.
pub fn execveat(_call: &mut Call<'_>) -> Result<Reply, Fault> {
    Err(Fault::Errno(Errno::NOSYS))
}
