//! Objects that are no file of the tree: pipes, sockets, memfds, terminals, reached by a descriptor of the guest's.
//!
//! They belong to whoever holds them, so their owner shows as the caller. Nothing that happens here reaches a layer.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use wbuild_monitor::Fault;

use super::frame::Frame;

/// The path that leads to our own descriptor `fd`.
pub(super) fn path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Its stat as the guest sees it: what belongs to the host's user belongs to the caller.
pub(super) fn stat(frame: &Frame<'_>, fd: BorrowedFd<'_>) -> Result<Statx, Fault> {
    let mut stat =
        rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?;
    let credentials = &frame.state.identity.credentials;
    if stat.stx_uid == rustix::process::getuid().as_raw() {
        stat.stx_uid = credentials.uid.fs;
    }
    if stat.stx_gid == rustix::process::getgid().as_raw() {
        stat.stx_gid = credentials.gid.fs;
    }
    Ok(stat)
}

/// Opens it anew, as open of /proc/self/fd/N does: with other rights than the guest's descriptor has, or as its own
/// description. A regular file that is no memfd is not the guest's to write, however it came by it.
pub(super) fn reopen(fd: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Fault> {
    if flags.contains(OFlags::CREATE | OFlags::EXCL) {
        return Err(Errno::EXIST.into());
    }
    let writes =
        flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC) && !flags.contains(OFlags::PATH);
    if writes && is_regular(fd)? && !is_memfd(fd) {
        return Err(Errno::ACCESS.into());
    }
    let unwanted = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::TMPFILE;
    let kept = flags.difference(unwanted) | (flags & OFlags::DIRECTORY) | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(rustix::fs::openat(CWD, path(fd.as_fd()), kept, Mode::empty())?)
}

/// Whether its attributes are the guest's to change: a pipe, a socket or a memfd is; a device or file of the host is not.
pub(super) fn may_change(fd: &OwnedFd) -> Result<bool, Errno> {
    Ok(match FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) {
        FileType::Fifo | FileType::Socket => true,
        FileType::RegularFile => is_memfd(fd),
        _ => false,
    })
}

fn is_regular(fd: &OwnedFd) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::RegularFile)
}

/// Memfds have no place in any mount: their link reads `/memfd:NAME (deleted)`.
fn is_memfd(fd: &OwnedFd) -> bool {
    rustix::fs::readlinkat(CWD, path(fd.as_fd()), Vec::new()).is_ok_and(|link| {
        let link = link.as_bytes();
        link.starts_with(b"/memfd:") && link.ends_with(b" (deleted)")
    })
}
