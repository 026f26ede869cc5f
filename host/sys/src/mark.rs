//! A number on an open file description, which every process that holds a copy of it shows.
//!
//! Descriptors of anonymous inodes (inotify, ..) all have the same inode, so nothing tells one from another from outside. A read lock
//! that belongs to the open file description (fcntl(2), "Open file description locks") at a chosen offset does: each
//! /proc/PID/fdinfo/FD of a copy lists it. It locks nothing anybody looks at.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::outcome::outcome;

/// Marks the description behind `fd`, which is open for reading, with `mark`.
///
/// # Errors
/// EBADF if it is not open for reading; ENOLCK; EINVAL where the kernel has no such locks, or from 2^62 on.
pub fn set(fd: BorrowedFd<'_>, mark: u64) -> Result<(), Errno> {
    let start = i64::try_from(mark).ok().filter(|start| *start < 1 << 62).ok_or(Errno::INVAL)?;
    let kind = |value: i32| i16::try_from(value).map_err(|_| Errno::INVAL);
    let lock = libc::flock64 {
        l_type: kind(libc::F_RDLCK)?,
        l_whence: kind(libc::SEEK_SET)?,
        l_start: start,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the command reads one `flock64`, to which the pointer leads, and keeps nothing of it.
    let done = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    outcome(done.into()).map(drop)
}

/// The mark in the text of a /proc/PID/fdinfo/FD: the offset of its one-byte read lock of the description.
#[must_use]
pub fn find(fdinfo: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(fdinfo);
    text.lines().filter_map(|line| line.strip_prefix("lock:")).find_map(|lock| {
        let mut fields = lock.split_ascii_whitespace();
        fields.by_ref().find(|field| *field == "OFDLCK")?;
        // ADVISORY READ -1 DEVICE:INODE START END
        let start: u64 = fields.nth(4)?.parse().ok()?;
        (fields.next()?.parse() == Ok(start)).then_some(start)
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn mark_of(fd: BorrowedFd<'_>) -> Option<u64> {
        let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
        let file = rustix::fs::open(path, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
        let mut text = vec![0; 4096];
        let length = rustix::io::read(&file, &mut text).unwrap();
        find(&text[..length])
    }

    #[test]
    fn every_copy_of_a_description_shows_its_mark_and_no_other() {
        let make = || rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC).unwrap();
        let (first, second, third) = (make(), make(), make());
        set(first.as_fd(), 7).unwrap();
        set(second.as_fd(), (1 << 62) - 1).unwrap();
        let copy = rustix::io::dup(&first).unwrap();
        drop(first);
        assert_eq!(mark_of(copy.as_fd()), Some(7));
        assert_eq!(mark_of(second.as_fd()), Some((1 << 62) - 1));
        assert_eq!(mark_of(third.as_fd()), None);
        assert_eq!(set(third.as_fd(), 1 << 62), Err(Errno::INVAL));
    }
}
