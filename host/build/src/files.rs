//! Files that COPY can read, wherever they are: the build context, a directory, the tree of a stage or an image.
//!
//! Paths are looked up one component at a time, so that a symbolic link never leads out of the root: an absolute link or a
//! `..` starts again or stops there. Reading follows nothing by itself.

use std::collections::VecDeque;
use std::fs::File;
use std::io;

use wbuild_layer::{Device, RootPath, Timestamp, Xattrs};

use crate::error::FilesError;

/// What stands at a path, itself and not what a link leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    /// Device and inode of a file that has several names.
    pub(crate) shared: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice(Device),
    BlockDevice(Device),
}

impl Node {
    pub(crate) fn is_dir(&self) -> bool {
        self.kind == Kind::Directory
    }
}

/// A root with files beneath it.
pub(crate) trait Files {
    /// What it is, for messages: `the build context`.
    fn place(&self) -> &str;
    /// What stands at `path`; its parent is a directory and no link.
    fn node(&self, path: &RootPath) -> io::Result<Option<Node>>;
    /// The text of a symbolic link.
    fn read_link(&self, path: &RootPath) -> io::Result<Vec<u8>>;
    /// The names in a directory, in byte order.
    fn list(&self, path: &RootPath) -> io::Result<Vec<Vec<u8>>>;
    /// A regular file, for reading.
    fn open(&self, path: &RootPath) -> io::Result<File>;
    /// The extended attributes that a copy keeps; `file` is what [`Files::open`] gave, if the path was opened.
    fn xattrs(&self, path: &RootPath, file: Option<&File>) -> io::Result<Xattrs>;
    /// Whether a path that [`Files::node`] does not show is there, but hidden.
    fn hides(&self, path: &RootPath) -> bool;
}

/// Whether the last component is followed where it is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Follow,
    Keep,
}

/// Linux's limit (man 7 path_resolution).
const LINKS: usize = 40;

/// `path` without symbolic links. What does not exist stays as it is written, as a chroot's root would hold it.
pub(crate) fn resolve(
    files: &(impl Files + ?Sized),
    path: &RootPath,
    last: Last,
) -> Result<RootPath, FilesError> {
    resolve_beneath(files, &RootPath::root(), path, last)
}

/// As [`resolve`], with the directory `base` in the place of the root: absolute links and `..` end there.
pub(crate) fn resolve_beneath(
    files: &(impl Files + ?Sized),
    base: &RootPath,
    path: &RootPath,
    last: Last,
) -> Result<RootPath, FilesError> {
    let mut left: VecDeque<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
    let mut done = base.clone();
    let mut links = 0;
    while let Some(component) = left.pop_front() {
        match component.as_slice() {
            b"" | b"." => continue,
            b".." => {
                done = done.parent().filter(|_| done != *base).unwrap_or_else(|| base.clone());
                continue;
            }
            _ => {}
        }
        let next = done.join(&component).map_err(|error| unreadable(files, path, io::Error::other(error)))?;
        if left.is_empty() && last == Last::Keep {
            return Ok(next);
        }
        let is_link = node(files, &next)?.is_some_and(|node| node.kind == Kind::Symlink);
        if !is_link {
            done = next;
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(FilesError::Loop { path: path.clone() });
        }
        let text = files.read_link(&next).map_err(|error| unreadable(files, &next, error))?;
        if text.starts_with(b"/") {
            done = base.clone();
        }
        for part in text.split(|b| *b == b'/').rev() {
            left.push_front(part.to_vec());
        }
    }
    Ok(done)
}

/// What stands at `path`, with an error that names it. A path through something that is no directory is nothing.
pub(crate) fn node(files: &(impl Files + ?Sized), path: &RootPath) -> Result<Option<Node>, FilesError> {
    match files.node(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
        other => other.map_err(|error| unreadable(files, path, error)),
    }
}

pub(crate) fn unreadable(files: &(impl Files + ?Sized), path: &RootPath, source: io::Error) -> FilesError {
    FilesError::Read { path: path.clone(), place: files.place().to_owned(), source }
}
