//! Removing what lower layers left: whiteouts, opaque directories, and what another file replaces.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use wbuild_layer::RootPath;

use crate::raw::{self, Dir};
use crate::record::{S_IFDIR, S_IFMT, Scope};
use crate::root::{Root, stat_at};
use crate::walk::names;

/// What of a subtree stays.
pub(super) enum Keep<'a> {
    /// Nothing.
    Nothing,
    /// These places in the tree, which the current layer has made, and the directories above them.
    Of(&'a BTreeSet<RootPath>),
}

impl Keep<'_> {
    /// True if something at or beneath `path` stays.
    pub(super) fn keeps(&self, path: &RootPath) -> bool {
        match self {
            Self::Nothing => false,
            Self::Of(made) => made.range(path..).next().is_some_and(|first| first.starts_with(path)),
        }
    }
}

/// Removes `name` in `dir` with all that is beneath it, but for what is kept. Nothing there is no error.
pub(super) fn remove(root: &Root, dir: &Dir<'_>, name: &CString, keep: &Keep<'_>) -> Result<(), Errno> {
    let stat = match stat_at(dir.fd, name.as_c_str()) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let path = child(dir, name)?;
    let kept = keep.keeps(&path);
    if u32::from(stat.stx_mode) & S_IFMT != S_IFDIR {
        return if kept { Ok(()) } else { raw::unlink(root, dir, name) };
    }
    let inner = open(dir.fd, name)?;
    remove_within(root, &Dir { fd: inner.as_fd(), path: Some(&path), scope: Scope::Tree }, keep)?;
    drop(inner);
    if kept { Ok(()) } else { raw::remove_dir(root, dir, name) }
}

/// Removes all that is beneath `dir`, but for what is kept.
pub(super) fn remove_within(root: &Root, dir: &Dir<'_>, keep: &Keep<'_>) -> Result<(), Errno> {
    for name in names(dir.fd)? {
        remove(root, dir, &name, keep)?;
    }
    Ok(())
}

fn child(dir: &Dir<'_>, name: &CString) -> Result<RootPath, Errno> {
    dir.path
        .map_or_else(|| RootPath::new(name.as_bytes()), |dir| dir.join(name.as_bytes()))
        .map_err(|_| Errno::INVAL)
}

fn open(dir: BorrowedFd<'_>, name: &CString) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name.as_c_str(), flags, Mode::empty())
}
