//! What a running process uses is not removed: leases.
//!
//! Every process that has the store open holds a lease, a locked file in `leases/` whose modification time says since when. Whatever a
//! process finds in the store it marks as used, by setting its modification time where that is older than the lease. A removal
//! spares what was used since the oldest living lease began. Marking shares the lock of `leases/`, removing has it alone: so
//! a blob is either gone when it is looked up, or it stays. All times are the filesystem's own.

use crate::{lock, moment::Moment};
use cap_std::fs::{Dir, File};
use rustix::fs::{AtFlags, FlockOperation, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, flock, utimensat};
use std::io;

/// One process's hold on the store; it ends when this is dropped, or with the process.
#[derive(Debug)]
pub(crate) struct Lease {
    leases: Dir,
    name: String,
    since: Moment,
    _file: File,
}

/// Whether something that was looked up is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is, and stays as long as the lease does.
    Stays,
    /// It was removed meanwhile.
    Gone,
}

impl Lease {
    pub(crate) fn new(leases: &Dir) -> io::Result<Self> {
        let leases = leases.try_clone()?;
        let (name, file) = lock::create_locked(&leases, "")?;
        let since = Moment::of(&file.metadata()?);
        Ok(Self { leases, name, since, _file: file })
    }

    /// Marks `name` in `dir`, last used at `used`, as used by this process.
    pub(crate) fn keep(&self, dir: &Dir, name: &str, used: Moment) -> io::Result<Kept> {
        if used >= self.since {
            return Ok(Kept::Stays);
        }
        // Released when it is closed.
        let lock = self.leases.open(".")?;
        retry(|| flock(&lock, FlockOperation::LockShared))?;
        let now = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        };
        match utimensat(dir, name, &now, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => Ok(Kept::Stays),
            Err(rustix::io::Errno::NOENT) => Ok(Kept::Gone),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // What cannot be removed is swept away at the next start.
        drop(self.leases.remove_file(&self.name));
    }
}

/// Keeps others from marking, as long as it lives.
#[derive(Debug)]
pub(crate) struct Alone {
    _lock: File,
    oldest: Option<Moment>,
}

impl Alone {
    /// Waits until nobody marks, and finds the oldest lease of a living process.
    pub(crate) fn new(leases: &Dir) -> io::Result<Self> {
        let alone = lock::lock_dir(leases)?;
        let mut oldest = None;
        for entry in leases.entries()? {
            let file = match leases.open(entry?.file_name()) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if !lock::try_lock(&file)? {
                let since = Moment::of(&file.metadata()?);
                oldest = Some(oldest.map_or(since, |oldest: Moment| oldest.min(since)));
            }
        }
        Ok(Self { _lock: alone, oldest })
    }

    /// Whether something last used at `used` may be in use now.
    pub(crate) fn in_use(&self, used: Moment) -> bool {
        self.oldest.is_some_and(|oldest| used >= oldest)
    }
}

fn retry(mut call: impl FnMut() -> rustix::io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}
