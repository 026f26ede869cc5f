//! Listing and opening beneath a directory of the tree, without following anything.
//!
//! For the end of a step, when no guest runs any more: order is by name, so results depend on no readdir order.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags, Statx};
use rustix::io::Errno;
use wbuild_layer::RootPath;

use crate::root::{Root, VIEWS, stat_fd};

/// What stands at a path.
#[derive(Debug)]
pub(crate) struct Found {
    /// `O_PATH`.
    pub(crate) fd: OwnedFd,
    /// The real stat.
    pub(crate) stat: Statx,
}

impl Root {
    /// What stands at a path of the tree now, no link followed.
    pub(crate) fn find(&self, path: &RootPath) -> Result<Option<Found>, Errno> {
        let Some(fd) = self.open_path(path)? else { return Ok(None) };
        let stat = stat_fd(fd.as_fd())?;
        Ok(Some(Found { fd, stat }))
    }
}

/// The names in a directory, sorted, without `.` and `..`; `dir` may be `O_PATH`.
pub(crate) fn names(dir: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir, c".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(opened)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// True for the placeholders of the views: what stands beneath them is no business of a step.
pub(crate) fn is_view(path: &RootPath) -> bool {
    VIEWS.iter().any(|(name, _)| path.as_bytes() == name.as_bytes())
}
