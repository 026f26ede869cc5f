//! The directories that entries stand in: opened within the root, kept for the next entry, their times put right at the end.
//!
//! A directory's place in the archive and its place in the tree differ where a parent is a symbolic link (`lib/x` in an image whose
//! /lib leads to usr/lib): links are followed within the root only, as Docker and containerd do. Whatever is made or removed in a
//! directory moves its modification time, so that is noted before and set again when all layers are applied.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use wbuild_layer::{RootPath, Timestamp};

use super::remove::Keep;
use super::{MaterialiseError, Refusal};
use crate::journal::mtime;
use crate::raw::{self, Dir, Fresh};
use crate::record::Scope;
use crate::root::{Located, Root, VIEWS, stat_fd};
use crate::walk::names;

/// A directory, open.
pub(super) struct Directory {
    pub(super) fd: OwnedFd,
    /// Where it really is, no component being a link.
    pub(super) path: RootPath,
}

impl Directory {
    pub(super) fn as_dir(&self) -> Dir<'_> {
        Dir { fd: self.fd.as_fd(), path: Some(&self.path), scope: Scope::Tree }
    }
}

/// What went wrong with a directory, before it is known which entry needed it.
pub(super) enum Failure {
    Errno(&'static str, Errno),
    Refused(Refusal),
}

impl Failure {
    pub(super) fn at(self, layer: usize, path: &RootPath) -> MaterialiseError {
        let path = path.clone();
        match self {
            Self::Errno(action, source) => MaterialiseError::Entry { layer, action, path, source },
            Self::Refused(reason) => MaterialiseError::Refused { layer, path, reason },
        }
    }
}

/// Opened directories and the times they will get.
pub(super) struct Directories<'a> {
    root: &'a Root,
    /// The last one, by its name in the archive: archives come directory by directory.
    last: Option<(RootPath, Directory)>,
    /// Modification times to set in the end, by place in the tree.
    times: BTreeMap<RootPath, Timestamp>,
}

const OPEN: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl<'a> Directories<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        let mut times = BTreeMap::new();
        // What no layer names, the root itself and the views' placeholders, is as old as the epoch, not as the build.
        let new = names(root.fd()).is_ok_and(|found| found.len() == VIEWS.len());
        for name in VIEWS.iter().map(|(name, _)| *name).chain([""]).filter(|_| new) {
            if let Ok(path) = RootPath::new(name) {
                times.insert(path, Timestamp::default());
            }
        }
        Self { root, last: None, times }
    }

    /// The directory in which the entry `path` stands (its parent), made with all that is missing above it if `missing` says so.
    /// `None` if it is not there and was not to be made.
    pub(super) fn of(&mut self, path: &RootPath, missing: Missing) -> Result<Option<&Directory>, Failure> {
        let parent = path.parent().unwrap_or_default();
        if self.last.as_ref().is_none_or(|(named, _)| *named != parent) {
            self.last = None;
            let Some(directory) = self.open(&parent, missing)? else { return Ok(None) };
            self.note(&directory)?;
            self.last = Some((parent, directory));
        }
        Ok(self.last.as_ref().map(|(_, directory)| directory))
    }

    /// Opens the directory `path`, following links within the root.
    pub(super) fn open(&mut self, path: &RootPath, missing: Missing) -> Result<Option<Directory>, Failure> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(self.root.fd(), path, beneath) {
            Ok(fd) => return Ok(Some(Directory { fd, path: path.clone() })),
            Err(Errno::LOOP | Errno::NOENT | Errno::NOTDIR | Errno::XDEV) => {}
            Err(errno) => return Err(Failure::Errno("open the directory of", errno)),
        }
        match openat2(self.root.fd(), path, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS) {
            Ok(fd) => self.located(fd).map(Some),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => match missing {
                Missing::Made(time) => self.make(path, time).map(Some),
                Missing::Tolerated => Ok(None),
            },
            Err(errno) => Err(Failure::Errno("open the directory of", errno)),
        }
    }

    /// Finds out where a directory that was reached through links really is.
    fn located(&self, fd: OwnedFd) -> Result<Directory, Failure> {
        match self.root.locate(fd.as_fd()) {
            Ok(Located::Tree(path)) => Ok(Directory { fd, path }),
            // Cannot be: IN_ROOT does not leave the root.
            Ok(Located::Outside(_)) => Err(Failure::Errno("locate the directory of", Errno::XDEV)),
            Err(errno) => Err(Failure::Errno("locate the directory of", errno)),
        }
    }

    /// Makes what is missing of the directory `path`; the part that exists is followed through links.
    fn make(&mut self, path: &RootPath, time: Timestamp) -> Result<Directory, Failure> {
        let Some(parent) = path.parent() else {
            return Err(Failure::Errno("open the directory of", Errno::NOENT));
        };
        let missing = Missing::Made(time);
        let Some(above) = self.open(&parent, missing)? else {
            return Err(Failure::Errno("open the directory of", Errno::NOENT));
        };
        self.note(&above)?;
        let name = cstring(path)?;
        match raw::make_dir(self.root, &above.as_dir(), &name, &Fresh { uid: 0, gid: 0, mode: 0o755 }) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(Failure::Refused(Refusal::ParentNotDirectory(path.clone()))),
            Err(errno) => return Err(Failure::Errno("make the directory of", errno)),
        }
        let fd = rustix::fs::openat(&above.fd, name.as_c_str(), OPEN | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|errno| Failure::Errno("open the directory of", errno))?;
        let path = above.path.join(name.as_bytes()).map_err(|_| Failure::Errno("name", Errno::INVAL))?;
        self.times.insert(path.clone(), time);
        Ok(Directory { fd, path })
    }

    /// Notes the directory's modification time before something is made or removed in it.
    fn note(&mut self, directory: &Directory) -> Result<(), Failure> {
        if !self.times.contains_key(&directory.path) {
            let stat = stat_fd(directory.fd.as_fd())
                .map_err(|errno| Failure::Errno("look at the directory of", errno))?;
            self.times.insert(directory.path.clone(), mtime(&stat));
        }
        Ok(())
    }

    /// The time that a directory will get, if it is known.
    pub(super) fn time(&self, path: &RootPath) -> Option<Timestamp> {
        self.times.get(path).copied()
    }

    /// The time an entry gives to a directory at its place in the tree.
    pub(super) fn set_time(&mut self, path: RootPath, time: Timestamp) {
        self.times.insert(path, time);
    }

    /// Forgets what is at or beneath a place in the tree, which was removed but for what is kept.
    pub(super) fn forget(&mut self, path: &RootPath, keep: &Keep<'_>) {
        let beneath = self.times.range(path..).map(|(p, _)| p).take_while(|p| p.starts_with(path));
        let gone: Vec<RootPath> = beneath.filter(|p| !keep.keeps(p)).cloned().collect();
        for path in gone {
            self.times.remove(&path);
        }
        // A directory that was open may be the one that is gone, or have been reached through a link that is.
        self.last = None;
    }

    /// Sets the times of all directories that were touched, the deepest first.
    pub(super) fn finish(self) -> Result<(), (RootPath, Failure)> {
        for (path, time) in self.times.into_iter().rev() {
            let found = self.root.open_path(&path);
            let set = match found {
                Ok(Some(fd)) => {
                    let times = timestamps(time);
                    rustix::fs::utimensat(&fd, c"", &times, AtFlags::EMPTY_PATH)
                }
                // Replaced by something else since.
                Ok(None) => Ok(()),
                Err(errno) => Err(errno),
            };
            set.map_err(|errno| (path, Failure::Errno("set the time of", errno)))?;
        }
        Ok(())
    }
}

/// What to do about a directory that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is made, 0:0 0755 as engines do, with this modification time.
    Made(Timestamp),
    /// Nothing: there is nothing to remove in it either.
    Tolerated,
}

fn openat2(root: BorrowedFd<'_>, path: &RootPath, how: ResolveFlags) -> Result<OwnedFd, Errno> {
    loop {
        match rustix::fs::openat2(root, path.as_path(), OPEN, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// The last component of a path, for a system call.
pub(super) fn cstring(path: &RootPath) -> Result<CString, Failure> {
    CString::new(path.file_name().unwrap_or(b".")).map_err(|_| Failure::Errno("name", Errno::INVAL))
}

/// Sets both times of a name, of a link itself.
pub(super) fn set_mtime(dir: BorrowedFd<'_>, name: &std::ffi::CStr, time: Timestamp) -> Result<(), Errno> {
    rustix::fs::utimensat(dir, name, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW)
}

pub(super) fn timestamps(time: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
