//! `O_PATH` descriptors of guests.
//!
//! The kernel installs no `O_PATH` descriptor in another process, so the guest holds a handle: an empty sealed memfd,
//! opened so that it can be neither read nor written (access mode 3), which stands for the real descriptor kept here.
//! Every call on it but dup, close and fcntl is trapped, and translated by the memfd's inode.
//!
//! Invariant: a handle's real descriptor is kept while any copy of the handle is open in any process: the kernel tells
//! by inotify when the last is closed. Where inotify cannot be had the descriptors are kept until the step ends.
//! At most half of the descriptors that this process may have stand behind handles, so that no guest takes them from the rest.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;

/// The kernel's access mode 3: a descriptor for neither reading nor writing (open(2), under "File access mode").
const NEITHER: OFlags = OFlags::from_bits_retain(3);

/// All handles of a step.
#[derive(Debug)]
pub struct Handles {
    closes: Option<OwnedFd>,
    /// The device that memfds are on.
    device: Option<u64>,
    most: usize,
    real: RwLock<HashMap<u64, Arc<OwnedFd>>>,
    /// The inode that each watch watches. Lock order: before `real`.
    watched: Mutex<HashMap<i32, u64>>,
}

impl Default for Handles {
    fn default() -> Self {
        Self::new()
    }
}

impl Handles {
    /// No handle yet.
    #[must_use]
    pub fn new() -> Self {
        let closes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .inspect_err(|error| tracing::warn!(%error, "O_PATH descriptors are kept until the step ends"))
            .ok();
        let device = memfd().and_then(|file| rustix::fs::fstat(&file)).map(|stat| stat.st_dev).ok();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let most = limit.and_then(|limit| usize::try_from(limit / 2).ok()).unwrap_or(usize::MAX);
        Self { closes, device, most, real: RwLock::default(), watched: Mutex::default() }
    }

    /// A handle that stands for `real`, to be installed in a guest and closed here.
    ///
    /// # Errors
    /// ENFILE where the guests have as many as they may; what memfd_create(2) and open(2) answer.
    pub fn make(&self, real: OwnedFd) -> Result<OwnedFd, Errno> {
        if self.open() >= self.most {
            return Err(Errno::NFILE);
        }
        let file = memfd()?;
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        let inode = rustix::fs::fstat(&file)?.st_ino;
        let handle = rustix::fs::openat(CWD, proc_path(&file), NEITHER | OFlags::CLOEXEC, Mode::empty())?;
        // Closed before it is watched: on older kernels the memfd's first descriptor tells of its close too.
        drop(file);
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(closes) = &self.closes {
            let closed = WatchFlags::CLOSE_NOWRITE | WatchFlags::CLOSE_WRITE;
            match inotify::add_watch(closes, proc_path(&handle), closed) {
                Ok(watch) => drop(watched.insert(watch, inode)),
                Err(error) => tracing::debug!(%error, "an O_PATH descriptor is kept until the step ends"),
            }
        }
        self.real.write().unwrap_or_else(PoisonError::into_inner).insert(inode, Arc::new(real));
        Ok(handle)
    }

    /// What `fd`, our copy of a guest's descriptor, stands for; `None` if it is no handle.
    ///
    /// # Errors
    /// What fstat(2) answers.
    pub fn real(&self, fd: BorrowedFd<'_>) -> Result<Option<Arc<OwnedFd>>, Errno> {
        let Some(device) = self.device else { return Ok(None) };
        let real = self.real.read().unwrap_or_else(PoisonError::into_inner);
        if real.is_empty() {
            return Ok(None);
        }
        let stat = rustix::fs::fstat(fd)?;
        if stat.st_dev != device {
            return Ok(None);
        }
        Ok(real.get(&stat.st_ino).cloned())
    }

    /// Drops what stood behind handles whose last copy was closed.
    fn forget_closed(&self) {
        let Some(closes) = &self.closes else { return };
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(closes.as_fd(), &mut buffer);
        // The loop ends with EAGAIN when nothing more is closed.
        while let Ok(event) = events.next() {
            if let Some(inode) = watched.remove(&event.wd()) {
                self.real.write().unwrap_or_else(PoisonError::into_inner).remove(&inode);
                // The watch itself holds the inode. It fails only where the kernel has removed it already.
                let _already_gone = inotify::remove_watch(closes, event.wd());
            }
        }
    }

    /// How many handles are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.forget_closed();
        self.real.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn memfd() -> Result<OwnedFd, Errno> {
    rustix::fs::memfd_create(c"path", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real() -> OwnedFd {
        rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn a_handle_leads_to_its_descriptor_until_its_last_copy_is_closed() {
        let handles = Handles::new();
        let (first, second) = (handles.make(real()).unwrap(), handles.make(real()).unwrap());
        let copy = rustix::io::dup(&first).unwrap();
        assert!(handles.real(first.as_fd()).unwrap().is_some());
        drop(first);
        assert_eq!(handles.open(), 2);
        assert!(handles.real(copy.as_fd()).unwrap().is_some());
        drop(copy);
        assert_eq!(handles.open(), 1);
        assert!(handles.real(second.as_fd()).unwrap().is_some());
    }

    #[test]
    fn guests_have_no_more_handles_than_they_may() {
        let handles = Handles { most: 2, ..Handles::new() };
        let (first, _second) = (handles.make(real()).unwrap(), handles.make(real()).unwrap());
        assert_eq!(handles.make(real()).unwrap_err(), Errno::NFILE);
        drop(first);
        assert!(handles.make(real()).is_ok());
    }

    #[test]
    fn a_handle_is_for_neither_reading_nor_writing() {
        let handle = Handles::new().make(real()).unwrap();
        assert_eq!(rustix::io::read(&handle, &mut [0; 1]), Err(Errno::BADF));
        assert_eq!(rustix::io::write(&handle, b"x"), Err(Errno::BADF));
    }

    #[test]
    fn other_memfds_are_no_handles() {
        let handles = Handles::new();
        let _one = handles.make(real()).unwrap();
        assert!(handles.real(memfd().unwrap().as_fd()).unwrap().is_none());
        assert!(handles.real(real().as_fd()).unwrap().is_none());
    }
}
