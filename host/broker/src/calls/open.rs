//! open, creat, openat, openat2: man 2 open, man 2 openat2.
//!
//! Invariant: a descriptor of anything but a file or directory of the tree is closed here before the guest goes on, and
//! an open that may block is no receiver's.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use wbuild_monitor::{Fault, GuestPath, OpenRequest, Opened, Outcome, ViewKind, ViewPath};

use super::frame::{AT_FDCWD, Frame};
use super::object;
use crate::call::{Call, FdFlags, Reply};

/// `S_IALLUGO`.
const MODE_BITS: u32 = 0o7777;
/// `__O_TMPFILE` without the `O_DIRECTORY` that `O_TMPFILE` holds too.
const TMPFILE: OFlags = OFlags::from_bits_retain(0o20_000_000);
/// `O_PATH_FLAGS` of fs/open.c.
const WITH_PATH: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// `VALID_OPEN_FLAGS` of linux/fcntl.h.
const VALID: OFlags = OFlags::RWMODE
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOCTTY)
    .union(OFlags::TRUNC)
    .union(OFlags::APPEND)
    .union(OFlags::NONBLOCK)
    .union(OFlags::SYNC)
    .union(OFlags::DSYNC)
    .union(OFlags::from_bits_retain(0o20_000)) // FASYNC
    .union(OFlags::DIRECT)
    .union(OFlags::from_bits_retain(LARGEFILE))
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NOATIME)
    .union(OFlags::CLOEXEC)
    .union(OFlags::PATH)
    .union(TMPFILE);
/// `VALID_RESOLVE_FLAGS` of linux/fcntl.h.
const RESOLVE: u64 = 0x3f;
/// `O_LARGEFILE` as the kernel has it (C libraries of 64-bit machines define it as 0).
#[cfg(target_arch = "x86_64")]
const LARGEFILE: u32 = 0o100_000;
/// `O_LARGEFILE` of arm64.
#[cfg(target_arch = "aarch64")]
const LARGEFILE: u32 = 0o400_000;

/// open(path, flags, mode).
///
/// # Errors
/// What the guest gets.
pub fn open(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let request = plain(call.uint(1), call.uint(2))?;
    family(call, AT_FDCWD, call.path(0)?, request)
}

/// creat(path, mode).
///
/// # Errors
/// What the guest gets.
pub fn creat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
    let request = plain(flags.bits(), call.uint(1))?;
    family(call, AT_FDCWD, call.path(0)?, request)
}

/// openat(dirfd, path, flags, mode).
///
/// # Errors
/// What the guest gets.
pub fn openat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let request = plain(call.uint(2), call.uint(3))?;
    family(call, call.int(0), call.path(1)?, request)
}

/// openat2(dirfd, path, how, size).
///
/// # Errors
/// What the guest gets.
pub fn openat2(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let [flags, mode, resolve] = super::extensible(call, call.arg(2), call.arg(3))?;
    let request = strict(flags, mode, resolve)?;
    family(call, call.int(0), call.path(1)?, request)
}

/// The request of an open whose unknown flags the kernel ignores (`build_open_how`).
fn plain(flags: u32, mode: u32) -> Result<OpenRequest, Errno> {
    let mut flags = OFlags::from_bits_retain(flags) & VALID;
    if flags.contains(OFlags::PATH) {
        flags &= WITH_PATH;
    }
    let mode = if flags.intersects(OFlags::CREATE | TMPFILE) { mode & MODE_BITS } else { 0 };
    checked(OpenRequest { flags, mode, resolve: ResolveFlags::empty() })
}

/// The request of openat2, which ignores nothing.
fn strict(flags: u64, mode: u64, resolve: u64) -> Result<OpenRequest, Errno> {
    let flags = u32::try_from(flags).map(OFlags::from_bits_retain).map_err(|_| Errno::INVAL)?;
    let mode = u32::try_from(mode).map_err(|_| Errno::INVAL)?;
    if resolve & !RESOLVE != 0 {
        return Err(Errno::INVAL);
    }
    let resolve = ResolveFlags::from_bits_retain(resolve);
    let both = ResolveFlags::BENEATH | ResolveFlags::IN_ROOT;
    let makes = flags.intersects(OFlags::CREATE | TMPFILE);
    let invalid = !VALID.contains(flags)
        || (makes && mode & !MODE_BITS != 0)
        || (!makes && mode != 0)
        || resolve.contains(both)
        || (flags.contains(OFlags::PATH) && !WITH_PATH.contains(flags));
    if invalid {
        return Err(Errno::INVAL);
    }
    if resolve.contains(ResolveFlags::CACHED) {
        // Whether a name is in the kernel's cache is not ours to know; callers open again without the flag.
        return Err(Errno::AGAIN);
    }
    checked(OpenRequest { flags, mode, resolve })
}

/// The rest of `build_open_flags` of fs/open.c.
fn checked(request: OpenRequest) -> Result<OpenRequest, Errno> {
    let flags = request.flags;
    if flags.contains(OFlags::CREATE | OFlags::DIRECTORY) && !flags.contains(TMPFILE) {
        return Err(Errno::INVAL);
    }
    if flags.contains(TMPFILE) {
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        if !flags.contains(OFlags::DIRECTORY) || flags.contains(OFlags::CREATE) || !writes {
            return Err(Errno::INVAL);
        }
    }
    Ok(request)
}

fn family(call: &Call<'_>, dirfd: i32, path: GuestPath, request: OpenRequest) -> Result<Reply, Fault> {
    let frame = Frame::of(call)?;
    // Only RESOLVE_IN_ROOT makes an absolute path start at the descriptor.
    let name = if request.resolve.contains(ResolveFlags::IN_ROOT) {
        frame.name_beneath(dirfd, path)?
    } else {
        frame.name(dirfd, path)?
    };
    match frame.ask(|monitor, subject| monitor.open(subject, name.at(), &request))? {
        Outcome::Done(Opened::File(file)) => Ok(Reply::Fd(file.fd, closes(request.flags))),
        Outcome::Done(Opened::Path(fd)) => handle(&frame, fd, request.flags),
        Outcome::Done(Opened::Fifo(fd)) => fifo(fd, request.flags),
        Outcome::Done(Opened::Device(stat)) => {
            let device = (stat.stx_mode, stat.stx_rdev_major, stat.stx_rdev_minor);
            view(&frame, &known_device(device)?, request.flags)
        }
        Outcome::View(place) => view(&frame, &place, request.flags),
        Outcome::Object(fd) if request.flags.contains(OFlags::PATH) => handle(&frame, fd, request.flags),
        Outcome::Object(fd) => Ok(descriptor(object::reopen(&fd, request.flags)?, request.flags)),
    }
}

fn closes(flags: OFlags) -> FdFlags {
    FdFlags::from_open_flags(flags.bits().into())
}

fn descriptor(fd: OwnedFd, flags: OFlags) -> Reply {
    Reply::FdClosedFirst(fd, closes(flags))
}

fn handle(frame: &Frame<'_>, real: OwnedFd, flags: OFlags) -> Result<Reply, Fault> {
    Ok(Reply::Fd(frame.step.handles.make(real)?, closes(flags)))
}

fn view(frame: &Frame<'_>, place: &ViewPath, flags: OFlags) -> Result<Reply, Fault> {
    let fd = frame.views().open(place, flags)?;
    if flags.contains(OFlags::PATH) { handle(frame, fd, flags) } else { Ok(descriptor(fd, flags)) }
}

/// Opens a FIFO: at once where that cannot block, else as a job.
fn fifo(fifo: OwnedFd, flags: OFlags) -> Result<Reply, Fault> {
    let once = OFlags::CREATE | OFlags::EXCL | OFlags::TRUNC | OFlags::NOFOLLOW;
    let reopen = flags.difference(once) | OFlags::CLOEXEC;
    let path = object::path(fifo.as_fd());
    let open = move |flags: OFlags| rustix::fs::openat(CWD, path.as_str(), flags, Mode::empty());
    if flags.contains(OFlags::NONBLOCK) || flags.contains(OFlags::RDWR) {
        return Ok(descriptor(open(reopen)?, flags));
    }
    if flags.contains(OFlags::WRONLY) {
        match open(reopen | OFlags::NONBLOCK) {
            Ok(fd) => {
                rustix::fs::fcntl_setfl(&fd, reopen.difference(OFlags::CLOEXEC))?;
                return Ok(descriptor(fd, flags));
            }
            // No reader yet: wait for one.
            Err(Errno::NXIO) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(Reply::Blocking(Box::new(move |_call| {
        let opened = open(reopen);
        drop(fifo);
        Ok(descriptor(opened?, flags))
    })))
}

/// The place in /dev of a device node that stands somewhere in the tree.
fn known_device((mode, major, minor): (u16, u32, u32)) -> Result<ViewPath, Errno> {
    const CHARACTER: u16 = 0o020_000;
    const TYPE: u16 = 0o170_000;
    let name: &[u8] = match (mode & TYPE, major, minor) {
        (CHARACTER, 1, 3) => b"null",
        (CHARACTER, 1, 5) => b"zero",
        (CHARACTER, 1, 7) => b"full",
        (CHARACTER, 1, 8) => b"random",
        (CHARACTER, 1, 9) => b"urandom",
        (CHARACTER, 5, 0) => b"tty",
        (CHARACTER, 5, 2) => b"ptmx",
        _ => return Err(Errno::PERM),
    };
    Ok(ViewPath { kind: ViewKind::Dev, rest: name.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_opens_forget_what_they_do_not_know() {
        let request = plain(OFlags::RDONLY.bits() | 1 << 30, 0o777).unwrap();
        assert_eq!((request.flags, request.mode), (OFlags::RDONLY, 0));
        let path = plain((OFlags::PATH | OFlags::CREATE | OFlags::CLOEXEC).bits(), 0o777).unwrap();
        assert_eq!((path.flags, path.mode), (OFlags::PATH | OFlags::CLOEXEC, 0));
        assert_eq!(plain(OFlags::CREATE.bits(), 0o17_644).unwrap().mode, 0o7644);
    }

    #[test]
    fn impossible_combinations_are_invalid() {
        let invalid = |flags: OFlags| plain(flags.bits(), 0).err() == Some(Errno::INVAL);
        assert!(invalid(OFlags::CREATE | OFlags::DIRECTORY));
        assert!(invalid(OFlags::TMPFILE | OFlags::RDONLY));
        assert!(invalid(TMPFILE | OFlags::RDWR));
        assert!(!invalid(OFlags::TMPFILE | OFlags::RDWR));
        assert!(!invalid(OFlags::CREATE | OFlags::WRONLY));
    }

    #[test]
    fn openat2_ignores_nothing() {
        let create = u64::from(OFlags::CREATE.bits());
        assert_eq!(strict(1 << 30, 0, 0).err(), Some(Errno::INVAL));
        assert_eq!(strict(1 << 40, 0, 0).err(), Some(Errno::INVAL));
        assert_eq!(strict(0, 0o644, 0).err(), Some(Errno::INVAL));
        assert_eq!(strict(create, 0o10_000, 0).err(), Some(Errno::INVAL));
        assert_eq!(strict(0, 0, 0x18).err(), Some(Errno::INVAL), "BENEATH and IN_ROOT");
        assert_eq!(strict(0, 0, 0x80).err(), Some(Errno::INVAL), "an unknown resolve flag");
        assert_eq!(strict(0, 0, 0x20).err(), Some(Errno::AGAIN), "CACHED");
        assert_eq!(strict(create | 1, 0o644, 8).unwrap().mode, 0o644);
    }

    #[test]
    fn only_harmless_devices_are_known() {
        assert_eq!(known_device((0o020_666, 1, 3)).unwrap().rest, b"null");
        assert_eq!(known_device((0o020_666, 1, 1)).err(), Some(Errno::PERM), "/dev/mem");
        assert_eq!(known_device((0o060_666, 1, 3)).err(), Some(Errno::PERM), "a block device");
    }
}
