//! truncate, statfs, fstatfs: man 2 truncate, man 2 statfs.

use rustix::fs::{OFlags, StatFs};
use rustix::io::Errno;
use wbuild_monitor::{Fault, LastLink, Outcome, ViewKind};

use super::frame::{AT_FDCWD, Aim, EmptyPath, Frame};
use super::{done, layout, object};
use crate::call::{Call, Reply};

/// truncate(path, length).
///
/// # Errors
/// What the guest gets.
pub fn truncate(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let length = u64::try_from(call.arg(1).cast_signed()).map_err(|_| Errno::INVAL)?;
    let path = call.path(0)?;
    let frame = Frame::of(call)?;
    let aim = frame.aim(AT_FDCWD, path, LastLink::Follow, EmptyPath::Refused)?;
    match frame.ask_about(&aim, |monitor, subject, target| monitor.truncate(subject, target, length))? {
        Outcome::Done(()) => {}
        // Devices and the files of procfs have no length to set.
        Outcome::View(_) => return Err(Errno::INVAL.into()),
        Outcome::Object(fd) => {
            let file = object::reopen(&fd, OFlags::WRONLY | OFlags::NONBLOCK)?;
            rustix::fs::ftruncate(&file, length)?;
        }
    }
    Ok(done(()))
}

/// statfs(path, buffer).
///
/// # Errors
/// What the guest gets.
pub fn statfs(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let path = call.path(0)?;
    let frame = Frame::of(call)?;
    let aim = frame.aim(AT_FDCWD, path, LastLink::Follow, EmptyPath::Refused)?;
    write(call, &find(&frame, &aim)?)
}

/// fstatfs(fd, buffer).
///
/// # Errors
/// What the guest gets.
pub fn fstatfs(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let frame = Frame::of(call)?;
    let aim = frame.aim_fd(call.int(0))?;
    write(call, &find(&frame, &aim)?)
}

fn find(frame: &Frame<'_>, aim: &Aim) -> Result<StatFs, Fault> {
    match frame.ask_about(aim, |monitor, subject, target| monitor.stat_fs(subject, target))? {
        Outcome::Done(found) => Ok(found),
        Outcome::View(place) => {
            frame.views().stat(&place)?;
            // The kinds of the host's own are those a guest looks for (PROC_SUPER_MAGIC, ..).
            let host = match place.kind {
                ViewKind::Proc => "/proc",
                ViewKind::Dev => "/dev",
                ViewKind::Sys => "/sys",
            };
            Ok(rustix::fs::statfs(host)?)
        }
        Outcome::Object(fd) => Ok(rustix::fs::fstatfs(&fd)?),
    }
}

fn write(call: &Call<'_>, found: &StatFs) -> Result<Reply, Fault> {
    call.write(call.arg(1), &layout::statfs(found))?;
    Ok(done(()))
}
