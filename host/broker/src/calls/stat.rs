//! stat, lstat, fstat, newfstatat, statx: man 2 stat, man 2 statx.

use std::os::fd::AsFd;

use rustix::fs::Statx;
use rustix::io::Errno;
use wbuild_monitor::{Fault, GuestPath, LastLink, Outcome};

use super::frame::{AT_FDCWD, Aim, EmptyPath, Frame, at_flag, no_follow};
use super::{layout, object};
use crate::call::{Call, Reply};

/// `STATX__RESERVED` of linux/stat.h.
const RESERVED: u32 = 0x8000_0000;
/// The flags that newfstatat and statx know.
const FLAGS: u32 =
    at_flag::SYMLINK_NOFOLLOW | at_flag::NO_AUTOMOUNT | at_flag::EMPTY_PATH | at_flag::STATX_SYNC_TYPE;

/// stat(path, buffer).
///
/// # Errors
/// What the guest gets.
pub fn stat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    by_path(call, LastLink::Follow)
}

/// lstat(path, buffer).
///
/// # Errors
/// What the guest gets.
pub fn lstat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    by_path(call, LastLink::NoFollow)
}

fn by_path(call: &Call<'_>, last: LastLink) -> Result<Reply, Fault> {
    let path = call.path(0)?;
    let frame = Frame::of(call)?;
    let aim = frame.aim(AT_FDCWD, path, last, EmptyPath::Refused)?;
    write_stat(call, call.arg(1), &find(&frame, &aim)?)
}

/// fstat(fd, buffer).
///
/// # Errors
/// What the guest gets.
pub fn fstat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    write_stat(call, call.arg(1), &find_open(&Frame::of(call)?, call.int(0))?)
}

/// newfstatat(dirfd, path, buffer, flags).
///
/// # Errors
/// What the guest gets.
pub fn newfstatat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let flags = call.uint(3);
    if flags & !FLAGS != 0 {
        return Err(Errno::INVAL.into());
    }
    let frame = Frame::of(call)?;
    write_stat(call, call.arg(2), &find_at(call, &frame, flags)?)
}

/// statx(dirfd, path, flags, mask, buffer).
///
/// # Errors
/// What the guest gets.
pub fn statx(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let (flags, mask) = (call.uint(2), call.uint(3));
    let contradictory = flags & at_flag::STATX_SYNC_TYPE == at_flag::STATX_SYNC_TYPE;
    if mask & RESERVED != 0 || contradictory || flags & !FLAGS != 0 {
        return Err(Errno::INVAL.into());
    }
    let frame = Frame::of(call)?;
    let stat = find_at(call, &frame, flags)?;
    call.write(call.arg(4), &layout::statx(&stat))?;
    Ok(Reply::Value(0))
}

/// What the two calls that take a directory descriptor and flags are about. Since Linux 6.11 a null path is an empty one
/// where an empty one is allowed.
fn find_at(call: &Call<'_>, frame: &Frame<'_>, flags: u32) -> Result<Statx, Fault> {
    let empty = EmptyPath::from_flags(flags);
    let path = if call.arg(1) == 0 && empty == EmptyPath::Allowed {
        GuestPath::new(Vec::new())?
    } else {
        call.path(1)?
    };
    // The C library's fstat.
    if path.is_empty() && empty == EmptyPath::Allowed && call.int(0) != AT_FDCWD {
        return find_open(frame, call.int(0));
    }
    find(frame, &frame.aim(call.int(0), path, no_follow(flags), empty)?)
}

/// fstat: most descriptors are open on files of the tree, of which one look tells everything.
fn find_open(frame: &Frame<'_>, fd: i32) -> Result<Statx, Fault> {
    let real = frame.task.descriptor_stat(fd)?;
    if !frame.step.views.may_hold(&real)
        && let Some(seen) = frame.step.monitor.stat_of_open(real)
    {
        return Ok(seen);
    }
    find(frame, &frame.aim_fd(fd)?)
}

fn find(frame: &Frame<'_>, aim: &Aim) -> Result<Statx, Fault> {
    let found = frame.ask_about(aim, |monitor, subject, target| monitor.stat(subject, target))?;
    match found {
        Outcome::Done(stat) => Ok(stat),
        Outcome::View(place) => frame.views().stat(&place),
        Outcome::Object(fd) => object::stat(frame, fd.as_fd()),
    }
}

fn write_stat(call: &Call<'_>, address: u64, stat: &Statx) -> Result<Reply, Fault> {
    call.write(address, &layout::stat(stat))?;
    Ok(Reply::Value(0))
}
