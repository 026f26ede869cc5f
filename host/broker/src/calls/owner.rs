//! chmod and chown in all spellings: man 2 chmod, man 2 chown.

use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use wbuild_monitor::{Capability, Fault, LastLink, Outcome, ViewPath};

use super::frame::{AT_FDCWD, Aim, EmptyPath, Frame, at_flag, no_follow};
use super::{done, object, view};
use crate::call::{Call, Reply};

/// chmod(path, mode).
///
/// # Errors
/// What the guest gets.
pub fn chmod(call: &mut Call<'_>) -> Result<Reply, Fault> {
    chmod_at(call, AT_FDCWD, 0, 0)
}

/// fchmodat(dirfd, path, mode); the raw call has no flags.
///
/// # Errors
/// What the guest gets.
pub fn fchmodat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    chmod_at(call, call.int(0), 1, 0)
}

/// fchmodat2(dirfd, path, mode, flags).
///
/// # Errors
/// What the guest gets.
pub fn fchmodat2(call: &mut Call<'_>) -> Result<Reply, Fault> {
    chmod_at(call, call.int(0), 1, call.uint(3))
}

/// fchmod(fd, mode).
///
/// # Errors
/// What the guest gets.
pub fn fchmod(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let frame = Frame::of(call)?;
    let aim = frame.aim_open_fd(call.int(0))?;
    set_mode(&frame, &aim, call.uint(1))
}

/// The mode follows the path.
fn chmod_at(call: &Call<'_>, dirfd: i32, path: usize, flags: u32) -> Result<Reply, Fault> {
    if flags & !(at_flag::SYMLINK_NOFOLLOW | at_flag::EMPTY_PATH) != 0 {
        return Err(Errno::INVAL.into());
    }
    let mode = call.uint(path + 1);
    let path = call.path(path)?;
    let frame = Frame::of(call)?;
    let aim = frame.aim(dirfd, path, no_follow(flags), EmptyPath::from_flags(flags))?;
    set_mode(&frame, &aim, mode)
}

fn set_mode(frame: &Frame<'_>, aim: &Aim, mode: u32) -> Result<Reply, Fault> {
    let mode = mode & 0o7777;
    match frame.ask_about(aim, |monitor, subject, target| monitor.chmod(subject, target, mode))? {
        Outcome::Done(()) => {}
        Outcome::View(place) => {
            let now = u32::from(frame.views().stat(&place)?.stx_mode) & 0o7777;
            if now != mode {
                return Err(view::refuse_attributes(&place));
            }
        }
        Outcome::Object(fd) if !object::may_change(&fd)? => {
            if u32::from(object::stat(frame, fd.as_fd())?.stx_mode) & 0o7777 != mode {
                return Err(Errno::PERM.into());
            }
        }
        Outcome::Object(fd) => {
            rustix::fs::chmodat(
                CWD,
                object::path(fd.as_fd()),
                Mode::from_raw_mode(mode),
                rustix::fs::AtFlags::empty(),
            )?;
        }
    }
    Ok(done(()))
}

/// chown(path, owner, group).
///
/// # Errors
/// What the guest gets.
pub fn chown(call: &mut Call<'_>) -> Result<Reply, Fault> {
    chown_at(call, AT_FDCWD, 0, LastLink::Follow, EmptyPath::Refused)
}

/// lchown(path, owner, group).
///
/// # Errors
/// What the guest gets.
pub fn lchown(call: &mut Call<'_>) -> Result<Reply, Fault> {
    chown_at(call, AT_FDCWD, 0, LastLink::NoFollow, EmptyPath::Refused)
}

/// fchownat(dirfd, path, owner, group, flags).
///
/// # Errors
/// What the guest gets.
pub fn fchownat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let flags = call.uint(4);
    if flags & !(at_flag::SYMLINK_NOFOLLOW | at_flag::EMPTY_PATH) != 0 {
        return Err(Errno::INVAL.into());
    }
    chown_at(call, call.int(0), 1, no_follow(flags), EmptyPath::from_flags(flags))
}

/// fchown(fd, owner, group).
///
/// # Errors
/// What the guest gets.
pub fn fchown(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let frame = Frame::of(call)?;
    let aim = frame.aim_open_fd(call.int(0))?;
    set_owner(&frame, &aim, owner(call, 1))
}

/// Owner and group at argument `first` and after; -1 leaves one alone.
fn owner(call: &Call<'_>, first: usize) -> [Option<u32>; 2] {
    [call.uint(first), call.uint(first + 1)].map(|id| (id != u32::MAX).then_some(id))
}

/// Owner and group follow the path.
fn chown_at(
    call: &Call<'_>,
    dirfd: i32,
    path: usize,
    last: LastLink,
    empty: EmptyPath,
) -> Result<Reply, Fault> {
    let ids = owner(call, path + 1);
    let path = call.path(path)?;
    let frame = Frame::of(call)?;
    let aim = frame.aim(dirfd, path, last, empty)?;
    set_owner(&frame, &aim, ids)
}

fn set_owner(frame: &Frame<'_>, aim: &Aim, [uid, gid]: [Option<u32>; 2]) -> Result<Reply, Fault> {
    match frame.ask_about(aim, |monitor, subject, target| monitor.chown(subject, target, uid, gid))? {
        Outcome::Done(()) => {}
        Outcome::View(place) => keep_owner(frame, &place, [uid, gid])?,
        // Its owner is shown as whoever looks: root may give it away, anybody may keep it.
        Outcome::Object(fd) => {
            let stat = object::stat(frame, fd.as_fd())?;
            let kept = uid.is_none_or(|id| id == stat.stx_uid) && gid.is_none_or(|id| id == stat.stx_gid);
            if !kept && !frame.state.identity.credentials.can(Capability::CHOWN) {
                return Err(Errno::PERM.into());
            }
        }
    }
    Ok(done(()))
}

fn keep_owner(frame: &Frame<'_>, place: &ViewPath, [uid, gid]: [Option<u32>; 2]) -> Result<(), Fault> {
    let stat = frame.views().stat(place)?;
    let kept = uid.is_none_or(|id| id == stat.stx_uid) && gid.is_none_or(|id| id == stat.stx_gid);
    if kept { Ok(()) } else { Err(view::refuse_attributes(place)) }
}
