//! Preview 1's calls on names.

use rustix::fs::{AtFlags, Mode, OFlags};

use super::files::times;
use super::guest::{Answer, Guest, slice_mut};
use super::stat;
use super::table::{Entry, rights};
use crate::names::{Directory, Purpose};
use crate::p1::errno::Errno;

/// `lookupflags`: follow a link at the end.
const FOLLOW: u32 = 1;
const CREATE: u32 = 1;
const DIRECTORY: u32 = 2;
const EXCLUSIVE: u32 = 4;
const TRUNCATE: u32 = 8;

fn at_flags(lookup: u32) -> AtFlags {
    if lookup & FOLLOW == 0 { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() }
}

#[expect(clippy::too_many_arguments, reason = "as preview 1 has it")]
pub(super) fn path_open(
    guest: &mut Guest<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    length: u32,
    how: u32,
    base: u64,
    _inheriting: u64,
    flags: u32,
    opened: u32,
) -> Answer {
    if how & !0b1111 != 0 {
        return Err(Errno::INVAL);
    }
    let path = guest.path(path, length)?;
    let mut open = stat::open_flags(flags)? | OFlags::CLOEXEC | OFlags::NOCTTY;
    for (asked, flag) in [
        (CREATE, OFlags::CREATE),
        (DIRECTORY, OFlags::DIRECTORY),
        (EXCLUSIVE, OFlags::EXCL),
        (TRUNCATE, OFlags::TRUNC),
    ] {
        if how & asked != 0 {
            open |= flag;
        }
    }
    if lookup & FOLLOW == 0 {
        open |= OFlags::NOFOLLOW;
    }
    let writes = base & rights::WRITE != 0 && how & DIRECTORY == 0 || how & TRUNCATE != 0;
    open |= match (base & rights::READ != 0, writes) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    let purpose = if how & CREATE == 0 { Purpose::Find } else { Purpose::Make };
    let (at, path) = guest.host.table.directory(fd)?.place(&path, purpose)?;
    let file = rustix::io::retry_on_intr(|| {
        rustix::fs::openat(at, path.as_ref(), open, Mode::from_raw_mode(0o666))
    })?;
    let is_directory = open.contains(OFlags::DIRECTORY)
        || !writes && rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_dir();
    let entry = if is_directory {
        Entry::Directory { directory: Directory::Opened(file), entries: None }
    } else {
        Entry::File { fd: file, rights: base }
    };
    let number = guest.host.table.insert(entry)?;
    guest.put_u32(opened, number)
}

pub(super) fn path_create_directory(guest: &mut Guest<'_>, fd: u32, path: u32, length: u32) -> Answer {
    let path = guest.path(path, length)?;
    let (at, path) = guest.host.table.directory(fd)?.place(&path, Purpose::Make)?;
    Ok(rustix::fs::mkdirat(at, path.as_ref(), Mode::from_raw_mode(0o777))?)
}

pub(super) fn path_remove_directory(guest: &mut Guest<'_>, fd: u32, path: u32, length: u32) -> Answer {
    unlink(guest, fd, path, length, AtFlags::REMOVEDIR)
}

pub(super) fn path_unlink_file(guest: &mut Guest<'_>, fd: u32, path: u32, length: u32) -> Answer {
    unlink(guest, fd, path, length, AtFlags::empty())
}

fn unlink(guest: &Guest<'_>, fd: u32, path: u32, length: u32, flags: AtFlags) -> Answer {
    let path = guest.path(path, length)?;
    let (at, path) = guest.host.table.directory(fd)?.place(&path, Purpose::Find)?;
    Ok(rustix::fs::unlinkat(at, path.as_ref(), flags)?)
}

pub(super) fn path_filestat_get(
    guest: &mut Guest<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    length: u32,
    out: u32,
) -> Answer {
    let path = guest.path(path, length)?;
    let (at, path) = guest.host.table.directory(fd)?.place(&path, Purpose::Find)?;
    let found = rustix::fs::statat(at, path.as_ref(), at_flags(lookup))?;
    guest.put(out, &stat::encode(&found))
}

#[expect(clippy::too_many_arguments, reason = "as preview 1 has it")]
pub(super) fn path_filestat_set_times(
    guest: &mut Guest<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    length: u32,
    accessed: u64,
    modified: u64,
    flags: u32,
) -> Answer {
    let times = times(guest, accessed, modified, flags)?;
    let path = guest.path(path, length)?;
    let (at, path) = guest.host.table.directory(fd)?.place(&path, Purpose::Find)?;
    Ok(rustix::fs::utimensat(at, path.as_ref(), &times, at_flags(lookup))?)
}

#[expect(clippy::too_many_arguments, reason = "as preview 1 has it")]
pub(super) fn path_link(
    guest: &mut Guest<'_>,
    old_fd: u32,
    lookup: u32,
    old: u32,
    old_length: u32,
    new_fd: u32,
    new: u32,
    new_length: u32,
) -> Answer {
    let (old, new) = (guest.path(old, old_length)?, guest.path(new, new_length)?);
    let table = &guest.host.table;
    let (old_at, old) = table.directory(old_fd)?.place(&old, Purpose::Find)?;
    let (new_at, new) = table.directory(new_fd)?.place(&new, Purpose::Make)?;
    let flags = if lookup & FOLLOW == 0 { AtFlags::empty() } else { AtFlags::SYMLINK_FOLLOW };
    Ok(rustix::fs::linkat(old_at, old.as_ref(), new_at, new.as_ref(), flags)?)
}

pub(super) fn path_rename(
    guest: &mut Guest<'_>,
    old_fd: u32,
    old: u32,
    old_length: u32,
    new_fd: u32,
    new: u32,
    new_length: u32,
) -> Answer {
    let (old, new) = (guest.path(old, old_length)?, guest.path(new, new_length)?);
    let table = &guest.host.table;
    let (old_at, old) = table.directory(old_fd)?.place(&old, Purpose::Find)?;
    let (new_at, new) = table.directory(new_fd)?.place(&new, Purpose::Make)?;
    Ok(rustix::fs::renameat(old_at, old.as_ref(), new_at, new.as_ref())?)
}

pub(super) fn path_symlink(
    guest: &mut Guest<'_>,
    target: u32,
    target_length: u32,
    fd: u32,
    path: u32,
    length: u32,
) -> Answer {
    let (target, path) = (guest.path(target, target_length)?, guest.path(path, length)?);
    let (at, path) = guest.host.table.directory(fd)?.place(&path, Purpose::Make)?;
    Ok(rustix::fs::symlinkat(target.as_slice(), at, path.as_ref())?)
}

pub(super) fn path_readlink(
    guest: &mut Guest<'_>,
    fd: u32,
    path: u32,
    length: u32,
    buffer: u32,
    room: u32,
    used: u32,
) -> Answer {
    let path = guest.path(path, length)?;
    let (at, path) = guest.host.table.directory(fd)?.place(&path, Purpose::Find)?;
    let target = rustix::fs::readlinkat(at, path.as_ref(), Vec::new())?;
    let target = target.as_bytes();
    let fits = target.len().min(room as usize);
    slice_mut(guest.memory, buffer, room)?[..fits].copy_from_slice(&target[..fits]);
    guest.put_size(used, fits)
}
