//! Holds the tmpfs mounts of a step to their sizes.
//!
//! They are directories of the store's volume, and writing is native: what they hold is looked at a few times a second, and a step
//! that holds more is ended. It deliberately does not answer ENOSPC at the right byte.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often a step is looked at.
const EVERY: Duration = Duration::from_millis(100);

/// A directory with the most it may hold.
pub(crate) struct Held {
    pub(crate) dir: OwnedFd,
    /// For messages.
    pub(crate) target: String,
    /// In bytes.
    pub(crate) most: u64,
}

/// A watch that is going on.
#[derive(Default)]
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    found: Arc<Mutex<Option<String>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    /// Watches `held` until [`Watch::stop`]; `end` ends the step.
    ///
    /// # Errors
    /// No thread can be made.
    pub(crate) fn start(held: Vec<Held>, end: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        let mut watch = Self::default();
        if held.is_empty() {
            return Ok(watch);
        }
        let (over, found) = (Arc::clone(&watch.over), Arc::clone(&watch.found));
        let run = move || {
            while !over.load(Ordering::SeqCst) {
                if let Some(text) = held.iter().find_map(exceeds) {
                    *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
                    return end();
                }
                std::thread::park_timeout(EVERY);
            }
        };
        watch.thread = Some(std::thread::Builder::new().name("watch".into()).spawn(run)?);
        Ok(watch)
    }

    /// Ends the watch; what it found.
    pub(crate) fn stop(self) -> Option<String> {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread {
            thread.thread().unpark();
            // A panic of the thread is a defect that its own message tells of.
            let _ended = thread.join();
        }
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What to say if a directory holds too much.
fn exceeds(held: &Held) -> Option<String> {
    let size = usage(&held.dir, held.most).ok()?;
    (size > held.most)
        .then(|| format!("the tmpfs at {} holds more than its {} bytes", held.target, held.most))
}

/// What lies in a directory, in bytes; not counted further once it is more than `enough`.
fn usage(dir: &OwnedFd, enough: u64) -> Result<u64, Errno> {
    let mut sum = 0;
    let mut left = VecDeque::from([b".".to_vec()]);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    while let Some(path) = left.pop_front() {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        // The guest goes on meanwhile: what is gone holds nothing.
        let Ok(opened) = rustix::fs::openat2(dir, path.as_slice(), flags, Mode::empty(), how) else {
            continue;
        };
        for entry in rustix::fs::Dir::read_from(&opened)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            sum += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            if sum > enough {
                return Ok(sum);
            }
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                left.push_back([&path, b"/".as_slice(), name.to_bytes()].concat());
            }
        }
    }
    Ok(sum)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes files with std")]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_is_counted_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/file"), vec![1; 1 << 20]).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("link")).unwrap();
        let fd = crate::confine::open_path(dir.path()).unwrap();
        let size = usage(&fd, u64::MAX).unwrap();
        assert!((1 << 20..2 << 20).contains(&size), "{size}");
        assert!(usage(&fd, 4096).unwrap() > 4096);
    }

    #[test]
    fn a_step_is_ended_once_and_the_reason_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), vec![1; 1 << 16]).unwrap();
        let held =
            |most| Held { dir: crate::confine::open_path(dir.path()).unwrap(), target: "/t".into(), most };
        let (sender, receiver) = std::sync::mpsc::channel();
        let watch = Watch::start(vec![held(1 << 30), held(4096)], move || sender.send(()).unwrap()).unwrap();
        receiver.recv().unwrap();
        assert_eq!(watch.stop().as_deref(), Some("the tmpfs at /t holds more than its 4096 bytes"));
        assert_eq!(Watch::start(vec![held(1 << 30)], || unreachable!()).unwrap().stop(), None);
    }
}
