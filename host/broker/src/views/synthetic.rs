//! Files whose content the broker makes up: sealed memfds, opened anew with the guest's flags.
//!
//! Sealed, so that what one process reads no other has changed.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use wbuild_monitor::Fault;

/// A read-only file with this content.
pub(super) fn file(name: &str, content: &[u8], flags: OFlags) -> Result<OwnedFd, Fault> {
    if super::writes(flags) {
        return Err(Errno::ACCESS.into());
    }
    let made = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::fchmod(&made, Mode::from_raw_mode(0o444))?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = rustix::io::write(&made, rest)?;
        rest = &rest[written..];
    }
    rustix::fs::fcntl_add_seals(
        &made,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    let path = format!("/proc/self/fd/{}", made.as_raw_fd());
    let kept = flags.difference(OFlags::DIRECTORY | OFlags::NOFOLLOW);
    if flags.contains(OFlags::DIRECTORY) {
        return Err(Errno::NOTDIR.into());
    }
    Ok(rustix::fs::openat(rustix::fs::CWD, path, kept | OFlags::CLOEXEC, Mode::empty())?)
}
