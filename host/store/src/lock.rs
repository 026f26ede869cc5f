//! Liveness by advisory locks: a file that a living process holds locked is in use, one that nobody does is left over.
//!
//! flock(2) locks belong to the open file and end with the last process that has it open, however that dies. They work
//! between containers that share a volume, where process ids mean nothing.

use cap_std::fs::{Dir, File, MetadataExt, OpenOptions};
use rustix::fs::{FlockOperation, flock};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Makes a new file in `dir` with a name nobody else uses, ending in `suffix`, and locks it.
pub(crate) fn create_locked(dir: &Dir, suffix: &str) -> io::Result<(String, File)> {
    loop {
        let name = format!("{}{suffix}", unique());
        let file = match dir.open_with(&name, OpenOptions::new().read(true).write(true).create_new(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        };
        // A sweep that saw the file before it was locked takes it for a leftover: then it is gone, or about to go.
        if try_lock(&file)? && file.metadata()?.nlink() > 0 {
            return Ok((name, file));
        }
    }
}

/// Locks the file if nobody else has: `true` means that nobody living uses it.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Locks a directory against others who do the same; waits. The lock ends when the returned file is dropped.
pub(crate) fn lock_dir(dir: &Dir) -> io::Result<File> {
    let file = dir.open(".")?;
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A name no other process has: in two containers the process ids may be the same, the nanosecond hardly is, and
/// whoever makes a file by this name insists on making it.
pub(crate) fn unique() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{nanos:x}-{:x}-{count:x}", std::process::id())
}
