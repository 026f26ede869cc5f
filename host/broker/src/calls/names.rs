//! Names that come and go: mkdir, rmdir, unlink, rename, mknod, with their *at spellings.

use rustix::fs::RenameFlags;
use rustix::io::Errno;
use wbuild_monitor::{Fault, Outcome};

use super::frame::{AT_FDCWD, Frame, at_flag};
use super::{done, layout, view};
use crate::call::{Call, Reply};

/// mkdir(path, mode).
///
/// # Errors
/// What the guest gets.
pub fn mkdir(call: &mut Call<'_>) -> Result<Reply, Fault> {
    make_dir(call, AT_FDCWD, 0, call.uint(1))
}

/// mkdirat(dirfd, path, mode).
///
/// # Errors
/// What the guest gets.
pub fn mkdirat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    make_dir(call, call.int(0), 1, call.uint(2))
}

fn make_dir(call: &Call<'_>, dirfd: i32, path: usize, mode: u32) -> Result<Reply, Fault> {
    let path = call.path(path)?;
    let frame = Frame::of(call)?;
    let name = frame.name(dirfd, path)?;
    created(&frame, frame.ask(|monitor, subject| monitor.make_dir(subject, name.at(), mode & 0o7777))?)
}

/// mknod(path, mode, dev).
///
/// # Errors
/// What the guest gets.
pub fn mknod(call: &mut Call<'_>) -> Result<Reply, Fault> {
    make_node(call, AT_FDCWD, 0)
}

/// mknodat(dirfd, path, mode, dev).
///
/// # Errors
/// What the guest gets.
pub fn mknodat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    make_node(call, call.int(0), 1)
}

fn make_node(call: &Call<'_>, dirfd: i32, path: usize) -> Result<Reply, Fault> {
    const TYPE: u32 = 0o170_000;
    const REGULAR: u32 = 0o100_000;
    const DIRECTORY: u32 = 0o040_000;
    // umode_t has 16 bits; no type means a regular file.
    let mode = call.uint(path + 1) & 0xffff;
    let mode = match mode & TYPE {
        0 => mode | REGULAR,
        DIRECTORY => return Err(Errno::PERM.into()),
        0o010_000 | 0o020_000 | 0o060_000 | REGULAR | 0o140_000 => mode,
        _ => return Err(Errno::INVAL.into()),
    };
    let device = layout::decode_device(call.uint(path + 2));
    let path = call.path(path)?;
    let frame = Frame::of(call)?;
    let name = frame.name(dirfd, path)?;
    created(&frame, frame.ask(|monitor, subject| monitor.make_node(subject, name.at(), mode, device))?)
}

fn created(frame: &Frame<'_>, outcome: Outcome<()>) -> Result<Reply, Fault> {
    match outcome {
        Outcome::Done(()) => Ok(done(())),
        Outcome::View(place) => Err(view::refuse_new(frame, &place)),
        Outcome::Object(_) => Err(Errno::EXIST.into()),
    }
}

/// What is to be removed.
#[derive(Clone, Copy)]
enum Removal {
    Directory,
    Other,
}

/// rmdir(path).
///
/// # Errors
/// What the guest gets.
pub fn rmdir(call: &mut Call<'_>) -> Result<Reply, Fault> {
    remove(call, AT_FDCWD, 0, Removal::Directory)
}

/// unlink(path).
///
/// # Errors
/// What the guest gets.
pub fn unlink(call: &mut Call<'_>) -> Result<Reply, Fault> {
    remove(call, AT_FDCWD, 0, Removal::Other)
}

/// unlinkat(dirfd, path, flags).
///
/// # Errors
/// What the guest gets.
pub fn unlinkat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let removal = match call.uint(2) {
        0 => Removal::Other,
        at_flag::REMOVEDIR => Removal::Directory,
        _ => return Err(Errno::INVAL.into()),
    };
    remove(call, call.int(0), 1, removal)
}

fn remove(call: &Call<'_>, dirfd: i32, path: usize, removal: Removal) -> Result<Reply, Fault> {
    let path = call.path(path)?;
    let frame = Frame::of(call)?;
    let name = frame.name(dirfd, path)?;
    let outcome = frame.ask(|monitor, subject| match removal {
        Removal::Directory => monitor.remove_dir(subject, name.at()),
        Removal::Other => monitor.unlink(subject, name.at()),
    })?;
    match outcome {
        Outcome::Done(()) => Ok(done(())),
        Outcome::View(place) => Err(view::refuse_removal(&frame, &place)),
        Outcome::Object(_) => Err(Errno::PERM.into()),
    }
}

/// rename(old, new).
///
/// # Errors
/// What the guest gets.
pub fn rename(call: &mut Call<'_>) -> Result<Reply, Fault> {
    move_name(call, (AT_FDCWD, 0), (AT_FDCWD, 1), 0)
}

/// renameat(olddirfd, old, newdirfd, new).
///
/// # Errors
/// What the guest gets.
pub fn renameat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    move_name(call, (call.int(0), 1), (call.int(2), 3), 0)
}

/// renameat2(olddirfd, old, newdirfd, new, flags).
///
/// # Errors
/// What the guest gets.
pub fn renameat2(call: &mut Call<'_>) -> Result<Reply, Fault> {
    move_name(call, (call.int(0), 1), (call.int(2), 3), call.uint(4))
}

fn move_name(call: &Call<'_>, old: (i32, usize), new: (i32, usize), flags: u32) -> Result<Reply, Fault> {
    let flags = RenameFlags::from_bits(flags).ok_or(Errno::INVAL)?;
    let known = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE | RenameFlags::WHITEOUT;
    let exclusive = flags.intersects(RenameFlags::NOREPLACE | RenameFlags::WHITEOUT);
    if !known.contains(flags) || (exclusive && flags.contains(RenameFlags::EXCHANGE)) {
        return Err(Errno::INVAL.into());
    }
    let (old_path, new_path) = (call.path(old.1)?, call.path(new.1)?);
    let frame = Frame::of(call)?;
    let (from, to) = (frame.name(old.0, old_path)?, frame.name(new.0, new_path)?);
    match frame.ask(|monitor, subject| monitor.rename(subject, from.at(), to.at(), flags))? {
        Outcome::Done(()) => Ok(done(())),
        Outcome::View(place) if place.rest.is_empty() => Err(Errno::BUSY.into()),
        Outcome::View(_) | Outcome::Object(_) => Err(Errno::XDEV.into()),
    }
}
