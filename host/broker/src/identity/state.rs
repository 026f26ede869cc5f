//! What the broker knows of a guest process: an immutable value, shared by all processes that have the same.

use std::hash::{Hash, Hasher};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;
use wbuild_monitor::ViewPath;

use super::credentials::Identity;

/// A soft and a hard value as the guest believes to have set them for the limit that carries its tag.
pub type FakeLimit = wbuild_sys::limit::Value;

/// The number of an exec, given out by the exec path; a process keeps it until its next exec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PlanId(pub u64);

/// The identity of a process. Equal states are one state: compare by value, share by `Arc`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Ids, groups, capabilities.
    pub identity: Arc<Identity>,
    /// The file mode creation mask, `0..=0o777`.
    pub umask: u32,
    /// The virtual working directory.
    pub cwd: Arc<Cwd>,
    /// The exec that made the process's current image.
    pub plan: PlanId,
    /// What getrlimit answers for the limit that carries the tag.
    pub locks: FakeLimit,
}

impl State {
    /// The first state of a step.
    #[must_use]
    pub fn first(identity: Identity, cwd: Arc<Cwd>) -> Self {
        let unlimited = FakeLimit { soft: wbuild_sys::limit::INFINITY, hard: wbuild_sys::limit::INFINITY };
        Self { identity: Arc::new(identity), umask: 0o022, cwd, plan: PlanId::default(), locks: unlimited }
    }

    /// The same with another identity.
    #[must_use]
    pub fn with_identity(&self, identity: Identity) -> Self {
        Self { identity: Arc::new(identity), ..self.clone() }
    }
}

/// A virtual working directory.
#[derive(Debug)]
pub enum Cwd {
    /// A directory of the tree or of a graft.
    Dir(CwdDir),
    /// A directory in a view.
    View(ViewPath),
}

/// An open directory with what tells it from others while it is open.
#[derive(Debug)]
pub struct CwdDir {
    fd: OwnedFd,
    key: (u32, u32, u64, u64),
}

impl CwdDir {
    /// Its `O_PATH` descriptor.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Cwd {
    /// Takes an `O_PATH` descriptor of a directory.
    ///
    /// # Errors
    /// What statx(2) answers.
    pub fn of(fd: OwnedFd) -> Result<Self, Errno> {
        let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
        let stat = rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, wanted)?;
        let key = (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino, stat.stx_mnt_id);
        Ok(Self::Dir(CwdDir { fd, key }))
    }

    /// As the monitor takes it.
    #[must_use]
    pub fn as_monitor(&self) -> wbuild_monitor::Cwd<'_> {
        match self {
            Self::Dir(dir) => wbuild_monitor::Cwd::Dir(dir.fd.as_fd()),
            Self::View(place) => wbuild_monitor::Cwd::View(place),
        }
    }
}

/// The same directory of the same mount: while both are open the kernel gives their inode number to no other.
impl PartialEq for Cwd {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dir(a), Self::Dir(b)) => a.key == b.key,
            (Self::View(a), Self::View(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Cwd {}

impl Hash for Cwd {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Dir(dir) => dir.key.hash(state),
            Self::View(place) => place.hash(state),
        }
    }
}
