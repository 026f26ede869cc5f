//! readlink, link and symlink, with their *at spellings: man 2 readlink, man 2 link, man 2 symlink.

use rustix::io::Errno;
use wbuild_monitor::{Fault, GuestPath, LastLink, Outcome};

use super::frame::{AT_FDCWD, Aim, EmptyPath, Frame, at_flag};
use super::{done, view};
use crate::call::{Call, Reply};

/// readlink(path, buffer, size).
///
/// # Errors
/// What the guest gets.
pub fn readlink(call: &mut Call<'_>) -> Result<Reply, Fault> {
    read(call, AT_FDCWD, 0)
}

/// readlinkat(dirfd, path, buffer, size).
///
/// # Errors
/// What the guest gets.
pub fn readlinkat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    read(call, call.int(0), 1)
}

/// The buffer and its size follow the path.
fn read(call: &Call<'_>, dirfd: i32, path: usize) -> Result<Reply, Fault> {
    let size = usize::try_from(call.int(path + 2)).ok().filter(|size| *size > 0).ok_or(Errno::INVAL)?;
    let path_bytes = call.path(path)?;
    let frame = Frame::of(call)?;
    let text = text(&frame, dirfd, path_bytes)?;
    // A long text is cut without an error or a NUL.
    let text = &text[..text.len().min(size)];
    call.write(call.arg(path + 1), text)?;
    Ok(Reply::Value(text.len() as i64))
}

fn text(frame: &Frame<'_>, dirfd: i32, path: GuestPath) -> Result<Vec<u8>, Fault> {
    let found = if path.is_empty() && dirfd != AT_FDCWD {
        match frame.descriptor_name(dirfd)? {
            Ok(name) => frame.ask(|monitor, subject| monitor.read_link(subject, name.at()))?,
            Err(place) => Outcome::View(place),
        }
    } else {
        let name = frame.name(dirfd, path)?;
        frame.ask(|monitor, subject| monitor.read_link(subject, name.at()))?
    };
    match found {
        Outcome::Done(text) => Ok(text),
        Outcome::View(place) => frame.views().read_link(&place),
        Outcome::Object(_) => Err(Errno::INVAL.into()),
    }
}

/// symlink(text, path).
///
/// # Errors
/// What the guest gets.
pub fn symlink(call: &mut Call<'_>) -> Result<Reply, Fault> {
    make_symlink(call, AT_FDCWD, 1)
}

/// symlinkat(text, dirfd, path).
///
/// # Errors
/// What the guest gets.
pub fn symlinkat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    make_symlink(call, call.int(1), 2)
}

fn make_symlink(call: &Call<'_>, dirfd: i32, path: usize) -> Result<Reply, Fault> {
    let text = call.path(0)?;
    if text.is_empty() {
        return Err(Errno::NOENT.into());
    }
    let path = call.path(path)?;
    let frame = Frame::of(call)?;
    let name = frame.name(dirfd, path)?;
    match frame.ask(|monitor, subject| monitor.symlink(subject, text.as_bytes(), name.at()))? {
        Outcome::Done(()) => Ok(done(())),
        Outcome::View(place) => Err(view::refuse_new(&frame, &place)),
        Outcome::Object(_) => Err(Errno::EXIST.into()),
    }
}

/// link(old, new).
///
/// # Errors
/// What the guest gets.
pub fn link(call: &mut Call<'_>) -> Result<Reply, Fault> {
    make_link(call, (AT_FDCWD, 0), (AT_FDCWD, 1), 0)
}

/// linkat(olddirfd, old, newdirfd, new, flags).
///
/// # Errors
/// What the guest gets.
pub fn linkat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    make_link(call, (call.int(0), 1), (call.int(2), 3), call.uint(4))
}

fn make_link(call: &Call<'_>, old: (i32, usize), new: (i32, usize), flags: u32) -> Result<Reply, Fault> {
    if flags & !(at_flag::SYMLINK_FOLLOW | at_flag::EMPTY_PATH) != 0 {
        return Err(Errno::INVAL.into());
    }
    let last = if flags & at_flag::SYMLINK_FOLLOW == 0 { LastLink::NoFollow } else { LastLink::Follow };
    let (old_path, new_path) = (call.path(old.1)?, call.path(new.1)?);
    let frame = Frame::of(call)?;
    let from = frame.aim(old.0, old_path, last, EmptyPath::from_flags(flags))?;
    let to = frame.name(new.0, new_path)?;
    if let Aim::View(_) = from {
        return Err(Errno::XDEV.into());
    }
    match frame.ask_about(&from, |monitor, subject, target| monitor.link(subject, target, to.at()))? {
        Outcome::Done(()) => Ok(done(())),
        Outcome::View(_) | Outcome::Object(_) => Err(Errno::XDEV.into()),
    }
}
