//! Who asks, from where, and by which name: the inputs of every resolution.
//!
//! All of it is borrowed plain data; nothing here looks at the tree.

use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::{Credentials, Errno, Fault};

/// A path as a guest wrote it, at most `PATH_MAX - 1` bytes; it may be empty, relative, and full of `..` and links.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GuestPath(CString);

impl GuestPath {
    /// Linux's `PATH_MAX`, which counts the ending NUL.
    pub const MAX: usize = 4096;

    /// Takes the bytes a guest gave, without the ending NUL.
    ///
    /// # Errors
    /// ENAMETOOLONG from `PATH_MAX` bytes on; EINVAL for a NUL inside.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, Fault> {
        let bytes = bytes.into();
        if bytes.len() >= Self::MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        CString::new(bytes).map(Self).map_err(|_| Errno::INVAL.into())
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// With its ending NUL.
    #[must_use]
    pub fn as_c_str(&self) -> &CStr {
        &self.0
    }

    /// True for the empty path, which names the base itself where a call allows it (`AT_EMPTY_PATH`).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.as_bytes().is_empty()
    }

    /// True if it starts at the root whatever the base is.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.0.as_bytes().first() == Some(&b'/')
    }
}

/// A guest process as the monitor needs to see it, for the length of one call.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Its virtual credentials.
    pub credentials: &'a Credentials,
    /// Its virtual umask, permission bits only.
    pub umask: u32,
    /// Where relative paths start.
    pub cwd: Cwd<'a>,
    /// What /proc, /dev and /sys look like to it.
    pub views: &'a dyn Views,
}

/// A virtual working directory.
#[derive(Clone, Copy, Debug)]
pub enum Cwd<'a> {
    /// A directory of the tree or of a graft, as [`crate::Monitor::chdir`] gave it.
    Dir(BorrowedFd<'a>),
    /// A directory in a view.
    View(&'a ViewPath),
}

/// Where a path starts.
#[derive(Clone, Copy, Debug)]
pub enum Base<'a> {
    /// The subject's working directory (`AT_FDCWD`).
    Cwd,
    /// A descriptor of the guest's: our own copy of it, `O_PATH` or real.
    Dir(BorrowedFd<'a>),
    /// A directory descriptor that the guest holds on a view.
    View(&'a ViewPath),
    /// The root of the tree.
    Root,
}

/// Where a name is: a path and where it starts.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// Where a relative path starts.
    pub base: Base<'a>,
    /// The path.
    pub path: &'a GuestPath,
}

/// What an operation on an existing object is aimed at.
#[derive(Clone, Copy, Debug)]
pub enum Where<'a> {
    /// What a path leads to.
    Path(At<'a>, LastLink),
    /// What a descriptor of the guest's is open on: our own copy of it, `O_PATH` or real (f* calls, `AT_EMPTY_PATH`).
    Fd(BorrowedFd<'a>),
}

/// Whether a symbolic link in the last place is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLink {
    /// It is.
    Follow,
    /// The link itself is meant.
    NoFollow,
}

/// One of the directories that the broker makes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ViewKind {
    /// `/proc`
    Proc,
    /// `/dev`
    Dev,
    /// `/sys`
    Sys,
}

impl ViewKind {
    /// Its name in the root directory.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proc => "proc",
            Self::Dev => "dev",
            Self::Sys => "sys",
        }
    }

    /// The view that stands at this name in the root directory.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"proc" => Some(Self::Proc),
            b"dev" => Some(Self::Dev),
            b"sys" => Some(Self::Sys),
            _ => None,
        }
    }
}

/// A place in a view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ViewPath {
    /// Which view.
    pub kind: ViewKind,
    /// The place in it: components joined by single slashes, no `.`, `..` or links that were to be followed; empty for the
    /// view's own root.
    pub rest: Vec<u8>,
}

impl ViewPath {
    /// The absolute guest path.
    #[must_use]
    pub fn to_guest_path(&self) -> Vec<u8> {
        let mut path = format!("/{}", self.kind.name()).into_bytes();
        if !self.rest.is_empty() {
            path.push(b'/');
            path.extend_from_slice(&self.rest);
        }
        path
    }
}

/// What stands at a place in a view.
#[derive(Debug)]
pub enum ViewNode {
    /// A directory of the view.
    Directory,
    /// Anything that is no directory and no link.
    Leaf,
    /// A symbolic link with this text (`/proc/self`, `/dev/fd`).
    Link(Vec<u8>),
    /// A link that leads straight to an object (`/proc/self/fd/3`, `/proc/self/cwd`), given as an `O_PATH` copy of it.
    Object(OwnedFd),
    /// A link that leads to another place in a view, or to its own (`/proc/self/cwd` while the cwd is in a view).
    Elsewhere(ViewPath),
}

/// The broker's side of `/proc`, `/dev` and `/sys`, as one subject sees them.
pub trait Views {
    /// What stands at `place`; its parent was answered [`ViewNode::Directory`].
    ///
    /// # Errors
    /// ENOENT where nothing stands there, or what the guest is to get instead.
    fn node(&self, place: &ViewPath) -> Result<ViewNode, Fault>;

    /// The id of the subject's process on the host, for what is recorded of it; `None` where there is none.
    fn caller(&self) -> Option<u32> {
        None
    }
}

/// Views with nothing in them, for subjects without a process (the builder).
#[derive(Clone, Copy, Debug, Default)]
pub struct NoViews;

impl Views for NoViews {
    fn node(&self, _place: &ViewPath) -> Result<ViewNode, Fault> {
        Err(Errno::NOENT.into())
    }
}
