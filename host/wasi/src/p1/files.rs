//! Preview 1's calls on descriptors.

use std::io::{IoSlice, SeekFrom};

use rustix::fs::{FileType, OFlags, Timespec, Timestamps};

use super::guest::{Answer, Guest, slice, slice_mut};
use super::stat::{self, FILE_STAT};
use super::table::{Entry, GIVEN, GIVEN_NAME, open_given, rights};
use crate::directory;
use crate::names::Directory;
use crate::p1::errno::Errno;

pub(super) fn fd_close(guest: &mut Guest<'_>, fd: u32) -> Answer {
    guest.host.table.remove(fd).map(drop)
}

pub(super) fn fd_renumber(guest: &mut Guest<'_>, from: u32, to: u32) -> Answer {
    guest.host.table.renumber(from, to)
}

pub(super) fn fd_write(guest: &mut Guest<'_>, fd: u32, buffers: u32, count: u32, written: u32) -> Answer {
    let length = gather(guest, fd, buffers, count, |fd, slices| rustix::io::writev(fd, slices))?;
    guest.put_size(written, length)
}

pub(super) fn fd_pwrite(
    guest: &mut Guest<'_>,
    fd: u32,
    buffers: u32,
    count: u32,
    offset: u64,
    written: u32,
) -> Answer {
    let length = gather(guest, fd, buffers, count, |fd, slices| rustix::io::pwritev(fd, slices, offset))?;
    guest.put_size(written, length)
}

/// Writes what the buffers hold with one call.
fn gather(
    guest: &Guest<'_>,
    fd: u32,
    buffers: u32,
    count: u32,
    write: impl Fn(rustix::fd::BorrowedFd<'_>, &[IoSlice<'_>]) -> Result<usize, rustix::io::Errno>,
) -> Result<usize, Errno> {
    let slices = guest
        .buffers(buffers, count)?
        .into_iter()
        .map(|(at, length)| slice(guest.memory, at, length).map(IoSlice::new))
        .collect::<Result<Vec<_>, _>>()?;
    let fd = guest.host.table.file(fd)?;
    Ok(rustix::io::retry_on_intr(|| write(fd, &slices))?)
}

pub(super) fn fd_read(guest: &mut Guest<'_>, fd: u32, buffers: u32, count: u32, read: u32) -> Answer {
    let length = scatter(guest, fd, buffers, count, None)?;
    guest.put_size(read, length)
}

pub(super) fn fd_pread(
    guest: &mut Guest<'_>,
    fd: u32,
    buffers: u32,
    count: u32,
    offset: u64,
    read: u32,
) -> Answer {
    let length = scatter(guest, fd, buffers, count, Some(offset))?;
    guest.put_size(read, length)
}

/// Fills the buffers in order. One that is not filled is the last: what follows may not be there yet.
fn scatter(
    guest: &mut Guest<'_>,
    fd: u32,
    buffers: u32,
    count: u32,
    offset: Option<u64>,
) -> Result<usize, Errno> {
    let buffers = guest.buffers(buffers, count)?;
    let fd = guest.host.table.file(fd)?;
    let mut done = 0;
    for (at, length) in buffers {
        let target = slice_mut(guest.memory, at, length)?;
        if target.is_empty() {
            continue;
        }
        let read = rustix::io::retry_on_intr(|| match offset {
            Some(offset) => rustix::io::pread(fd, &mut *target, offset.saturating_add(done as u64)),
            None => rustix::io::read(fd, &mut *target),
        });
        match read {
            Ok(read) => done += read,
            // What was read before is the answer; the error comes again.
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno.into()),
        }
        // Only a regular file is sure not to wait for the next buffer.
        if done == 0 || !is_regular(fd) || slice_is_short(read, length) {
            break;
        }
    }
    Ok(done)
}

fn slice_is_short(read: Result<usize, rustix::io::Errno>, length: u32) -> bool {
    read.is_ok_and(|read| read < length as usize)
}

fn is_regular(fd: rustix::fd::BorrowedFd<'_>) -> bool {
    // lseek asks the kernel alone; a stat would ask the broker.
    rustix::fs::seek(fd, rustix::fs::SeekFrom::Current(0)).is_ok()
}

pub(super) fn fd_seek(guest: &mut Guest<'_>, fd: u32, offset: i64, whence: u32, position: u32) -> Answer {
    let to = match whence {
        0 => SeekFrom::Start(u64::try_from(offset).map_err(|_| Errno::INVAL)?),
        1 => SeekFrom::Current(offset),
        2 => SeekFrom::End(offset),
        _ => return Err(Errno::INVAL),
    };
    let to = match to {
        SeekFrom::Start(at) => rustix::fs::SeekFrom::Start(at),
        SeekFrom::Current(by) => rustix::fs::SeekFrom::Current(by),
        SeekFrom::End(by) => rustix::fs::SeekFrom::End(by),
    };
    let at = rustix::fs::seek(guest.host.table.file(fd)?, to)?;
    guest.put_u64(position, at)
}

pub(super) fn fd_tell(guest: &mut Guest<'_>, fd: u32, position: u32) -> Answer {
    let at = rustix::fs::seek(guest.host.table.file(fd)?, rustix::fs::SeekFrom::Current(0))?;
    guest.put_u64(position, at)
}

pub(super) fn fd_sync(guest: &mut Guest<'_>, fd: u32) -> Answer {
    guest.host.table.get(fd)?.with_fd(|fd| rustix::fs::fsync(fd))
}

pub(super) fn fd_datasync(guest: &mut Guest<'_>, fd: u32) -> Answer {
    guest.host.table.get(fd)?.with_fd(|fd| rustix::fs::fdatasync(fd))
}

pub(super) fn fd_advise(guest: &mut Guest<'_>, fd: u32, _offset: u64, _length: u64, advice: u32) -> Answer {
    // Advice changes nothing that a module could see.
    guest.host.table.file(fd)?;
    if advice <= 5 { Ok(()) } else { Err(Errno::INVAL) }
}

pub(super) fn fd_allocate(guest: &mut Guest<'_>, fd: u32, offset: u64, length: u64) -> Answer {
    let fd = guest.host.table.file(fd)?;
    if length == 0 {
        return Err(Errno::INVAL);
    }
    Ok(rustix::fs::fallocate(fd, rustix::fs::FallocateFlags::empty(), offset, length)?)
}

pub(super) fn fd_fdstat_get(guest: &mut Guest<'_>, fd: u32, out: u32) -> Answer {
    let entry = guest.host.table.get(fd)?;
    let (kind, flags) = entry.with_fd(|fd| {
        let stat = rustix::fs::fstat(fd)?;
        Ok((FileType::from_raw_mode(stat.st_mode), rustix::fs::fcntl_getfl(fd)?))
    })?;
    let (base, inheriting) = match entry {
        // A terminal is known by a stream that cannot be sought in.
        Entry::File { rights, .. } if kind == FileType::CharacterDevice => {
            (rights & !(rights::SEEK | rights::TELL), 0)
        }
        Entry::File { rights, .. } => (*rights, 0),
        Entry::Directory { .. } => (rights::ALL, rights::ALL),
    };
    let mut bytes = [0; 24];
    bytes[0] = stat::kind(kind);
    bytes[2..4].copy_from_slice(&stat::flags(flags).to_le_bytes());
    bytes[8..16].copy_from_slice(&base.to_le_bytes());
    bytes[16..24].copy_from_slice(&inheriting.to_le_bytes());
    guest.put(out, &bytes)
}

pub(super) fn fd_fdstat_set_flags(guest: &mut Guest<'_>, fd: u32, flags: u32) -> Answer {
    let wanted = stat::open_flags(flags)?;
    let fd = guest.host.table.file(fd)?;
    let settable = OFlags::APPEND | OFlags::NONBLOCK;
    let now = rustix::fs::fcntl_getfl(fd)?;
    if (wanted & !settable) != (now & (OFlags::DSYNC | OFlags::SYNC | OFlags::RSYNC))
        && !(wanted & !settable).is_empty()
    {
        return Err(Errno::INVAL);
    }
    Ok(rustix::fs::fcntl_setfl(fd, (now & !settable) | (wanted & settable))?)
}

pub(super) fn fd_fdstat_set_rights(guest: &mut Guest<'_>, fd: u32, base: u64, _inheriting: u64) -> Answer {
    match guest.host.table.get_mut(fd)? {
        // Rights only shrink.
        Entry::File { rights, .. } if base & !*rights == 0 => *rights = base,
        Entry::File { .. } => return Err(Errno(76)),
        Entry::Directory { .. } => {}
    }
    Ok(())
}

pub(super) fn fd_filestat_get(guest: &mut Guest<'_>, fd: u32, out: u32) -> Answer {
    let stat = guest.host.table.get(fd)?.with_fd(|fd| rustix::fs::fstat(fd))?;
    let bytes: [u8; FILE_STAT] = stat::encode(&stat);
    guest.put(out, &bytes)
}

pub(super) fn fd_filestat_set_size(guest: &mut Guest<'_>, fd: u32, size: u64) -> Answer {
    Ok(rustix::fs::ftruncate(guest.host.table.file(fd)?, size)?)
}

pub(super) fn fd_filestat_set_times(
    guest: &mut Guest<'_>,
    fd: u32,
    accessed: u64,
    modified: u64,
    flags: u32,
) -> Answer {
    let times = times(guest, accessed, modified, flags)?;
    guest.host.table.get(fd)?.with_fd(|fd| rustix::fs::futimens(fd, &times))
}

/// `fstflags`: which of the times are given, and which are the present one.
pub(super) fn times(
    guest: &Guest<'_>,
    accessed: u64,
    modified: u64,
    flags: u32,
) -> Result<Timestamps, Errno> {
    let one = |given: u32, now: u32, time: u64| match (flags & given != 0, flags & now != 0) {
        (true, true) => Err(Errno::INVAL),
        (true, false) => Ok(stat::timespec(std::time::Duration::from_nanos(time))),
        (false, true) => Ok(stat::timespec(guest.host.clock.wall())),
        (false, false) => Ok(Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT }),
    };
    if flags & !0b1111 != 0 {
        return Err(Errno::INVAL);
    }
    Ok(Timestamps { last_access: one(1, 2, accessed)?, last_modification: one(4, 8, modified)? })
}

pub(super) fn fd_prestat_get(guest: &mut Guest<'_>, fd: u32, out: u32) -> Answer {
    given(guest, fd)?;
    guest.put_u32(out, 0)?;
    guest.put_size(out.checked_add(4).ok_or(Errno::FAULT)?, GIVEN_NAME.len())
}

pub(super) fn fd_prestat_dir_name(guest: &mut Guest<'_>, fd: u32, out: u32, length: u32) -> Answer {
    given(guest, fd)?;
    if (length as usize) < GIVEN_NAME.len() {
        return Err(Errno::NAMETOOLONG);
    }
    guest.put(out, GIVEN_NAME)
}

fn given(guest: &Guest<'_>, fd: u32) -> Answer {
    match guest.host.table.get(fd)? {
        Entry::Directory { directory: Directory::Given(_), .. } if fd == GIVEN => Ok(()),
        _ => Err(Errno::BADF),
    }
}

pub(super) fn fd_readdir(
    guest: &mut Guest<'_>,
    fd: u32,
    buffer: u32,
    length: u32,
    cookie: u64,
    used: u32,
) -> Answer {
    const HEADER: usize = 24;
    let Entry::Directory { directory, entries } = guest.host.table.get_mut(fd)? else {
        return Err(Errno::NOTDIR);
    };
    if cookie == 0 || entries.is_none() {
        *entries = Some(match directory {
            Directory::Opened(fd) => directory::list(fd)?,
            Directory::Given(_) => directory::list(&open_given()?)?,
        });
    }
    let target = slice_mut(guest.memory, buffer, length)?;
    let mut filled = 0;
    let first = usize::try_from(cookie).map_err(|_| Errno::INVAL)?;
    for (index, entry) in entries.iter().flatten().enumerate().skip(first) {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&(index as u64 + 1).to_le_bytes());
        bytes[8..16].copy_from_slice(&entry.inode.to_le_bytes());
        let name = u32::try_from(entry.name.len()).map_err(|_| Errno::OVERFLOW)?;
        bytes[16..20].copy_from_slice(&name.to_le_bytes());
        bytes[20] = stat::kind(entry.kind);
        for part in [bytes.as_slice(), &entry.name] {
            // A cut entry fills the buffer and says that there is more.
            let fits = part.len().min(target.len() - filled);
            target[filled..filled + fits].copy_from_slice(&part[..fits]);
            filled += fits;
        }
        if filled == target.len() {
            break;
        }
    }
    guest.put_size(used, filled)
}
