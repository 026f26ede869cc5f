//! One entry after another into the tree.
//!
//! The rules are Docker's: a later entry replaces an earlier one of the same name, with all beneath it, unless both are directories;
//! then they are one directory with the later attributes. A whiteout concerns lower layers only: what the same layer has made
//! stays (image-spec layer.md, "Whiteouts"). Links are followed nowhere but in the directories above an entry, and there within the
//! root. However often an archive repeats itself, the work is in proportion to its entries.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, Statx};
use rustix::io::Errno;
use wbuild_layer::{Attributes, Entry, EntryKind, LayerReader, ReadError, RootPath};

use super::directories::{Directories, Failure, Missing, cstring, set_mtime, timestamps};
use super::remove::{Keep, remove, remove_within};
use super::{MaterialiseError, Refusal};
use crate::raw::{self, Dir, Fresh, Inode};
use crate::record::{InodeKey, Record, S_IFDIR, S_IFLNK, S_IFMT, Scope, Special};
use crate::root::{Root, stat_at, stat_fd};

/// Linux's limit for the extended attributes of a file (xattr(7)).
const XATTRS: usize = 1 << 16;

/// Applies layers to a tree.
pub(super) struct Unpacker<'a> {
    root: &'a Root,
    directories: Directories<'a>,
    /// Places in the tree that the current layer has made.
    made: BTreeSet<RootPath>,
    /// Directories of the tree in which nothing of lower layers is left.
    cleared: BTreeSet<RootPath>,
    layer: usize,
}

/// Why an entry was not made.
enum Stop {
    Failed(Failure),
    /// The content could not be read.
    Content(ReadError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn failed(action: &'static str) -> impl FnOnce(Errno) -> Failure {
    move |errno| Failure::Errno(action, errno)
}

/// True if nothing of lower layers is left at or above a place.
fn is_cleared(cleared: &BTreeSet<RootPath>, place: &RootPath) -> bool {
    let mut above = Some(place.clone());
    while let Some(path) = above.filter(|_| !cleared.is_empty()) {
        if cleared.contains(&path) {
            return true;
        }
        above = path.parent();
    }
    false
}

fn is_directory(stat: &Statx) -> bool {
    u32::from(stat.stx_mode) & S_IFMT == S_IFDIR
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        let directories = Directories::new(root);
        Self { root, directories, made: BTreeSet::new(), cleared: BTreeSet::new(), layer: 0 }
    }

    /// The entries that follow are of another layer.
    pub(super) fn begin(&mut self, layer: usize) {
        self.layer = layer;
        self.made.clear();
        self.cleared.clear();
    }

    /// Sets the times of directories, which everything that was made in them has moved.
    pub(super) fn finish(self) -> Result<(), MaterialiseError> {
        let layer = self.layer;
        self.directories.finish().map_err(|(path, failure)| failure.at(layer, &path))
    }

    /// Removes what lower layers have at `path`.
    pub(super) fn whiteout(&mut self, path: &RootPath) -> Result<(), MaterialiseError> {
        self.remove_lower(path).map_err(|failure| failure.at(self.layer, path))
    }

    fn remove_lower(&mut self, path: &RootPath) -> Result<(), Failure> {
        let Some(directory) = self.directories.of(path, Missing::Tolerated)? else { return Ok(()) };
        let name = cstring(path)?;
        let place = directory.path.join(name.as_bytes()).map_err(|_| Failure::Errno("name", Errno::INVAL))?;
        if is_cleared(&self.cleared, &place) {
            return Ok(());
        }
        let keep = Keep::Of(&self.made);
        remove(self.root, &directory.as_dir(), &name, &keep).map_err(failed("remove"))?;
        self.directories.forget(&place, &keep);
        self.cleared.insert(place);
        Ok(())
    }

    /// Removes what lower layers have beneath the directory `path`.
    pub(super) fn opaque(&mut self, path: &RootPath) -> Result<(), MaterialiseError> {
        self.clear(path).map_err(|failure| failure.at(self.layer, path))
    }

    fn clear(&mut self, path: &RootPath) -> Result<(), Failure> {
        let marker = path.join("-").map_err(|_| Failure::Errno("name", Errno::INVAL))?;
        let Some(directory) = self.directories.of(&marker, Missing::Tolerated)? else { return Ok(()) };
        let place = directory.path.clone();
        if is_cleared(&self.cleared, &place) {
            return Ok(());
        }
        let keep = Keep::Of(&self.made);
        remove_within(self.root, &directory.as_dir(), &keep).map_err(failed("empty"))?;
        let time = self.directories.time(&place);
        self.directories.forget(&place, &keep);
        if let Some(time) = time {
            self.directories.set_time(place.clone(), time);
        }
        self.cleared.insert(place);
        Ok(())
    }

    /// Makes what an entry says; the content of a regular file is read from `content`.
    pub(super) fn present(
        &mut self,
        path: &RootPath,
        entry: Entry,
        content: &mut LayerReader,
    ) -> Result<(), MaterialiseError> {
        let layer = self.layer;
        self.put(path, &entry, content).map_err(|stop| match stop {
            Stop::Failed(failure) => failure.at(layer, path),
            Stop::Content(source) => MaterialiseError::Layer { layer, source },
        })
    }

    fn put(&mut self, path: &RootPath, entry: &Entry, content: &mut LayerReader) -> Result<(), Stop> {
        let xattrs = &entry.attributes.xattrs;
        let length: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if length > XATTRS || xattrs.keys().any(Vec::is_empty) {
            return Err(Failure::Refused(Refusal::Xattrs).into());
        }
        if path.is_root() {
            let stat = stat_fd(self.root.fd()).map_err(failed("look at"))?;
            replace_attributes(self.root, self.root.fd(), &stat, &entry.attributes)?;
            self.directories.set_time(RootPath::root(), entry.attributes.mtime);
            return Ok(());
        }
        let name = cstring(path)?;
        let target = match &entry.kind {
            EntryKind::HardLink { target } => Some(self.link_target(target)?),
            _ => None,
        };
        let missing = Missing::Made(entry.attributes.mtime);
        let gone = || Failure::Errno("open the directory of", Errno::NOENT);
        let directory = self.directories.of(path, missing)?.ok_or_else(gone)?;
        let place = directory.path.join(name.as_bytes()).map_err(|_| Failure::Errno("name", Errno::INVAL))?;
        let dir = directory.as_dir();
        let done = match make(self.root, &dir, &name, entry, target.as_ref(), content)? {
            Made::New => true,
            Made::Exists => {
                let stat = stat_at(dir.fd, name.as_c_str()).map_err(failed("look at"))?;
                merge(self.root, &dir, &name, &stat, entry, target.as_ref())?
            }
        };
        if !done {
            remove(self.root, &dir, &name, &Keep::Nothing).map_err(failed("replace"))?;
            self.directories.forget(&place, &Keep::Nothing);
            let beneath = self.made.range(&place..).take_while(|made| made.starts_with(&place));
            for gone in beneath.cloned().collect::<Vec<_>>() {
                self.made.remove(&gone);
            }
            let directory = self.directories.of(path, missing)?.ok_or_else(gone)?;
            if let Made::Exists =
                make(self.root, &directory.as_dir(), &name, entry, target.as_ref(), content)?
            {
                return Err(Failure::Errno("replace", Errno::EXIST).into());
            }
        }
        if entry.kind == EntryKind::Directory {
            self.directories.set_time(place.clone(), entry.attributes.mtime);
        }
        self.made.insert(place);
        Ok(())
    }

    /// Opens what a hard link is to name; the link that may be its last component is not followed.
    fn link_target(&mut self, target: &RootPath) -> Result<(OwnedFd, Statx), Failure> {
        let action = "open the hard link target of";
        let missing = || Failure::Refused(Refusal::MissingTarget(target.clone()));
        let fd = match self.root.open_path(target).map_err(failed(action))? {
            Some(fd) => fd,
            None => {
                let parent = target.parent().ok_or_else(missing)?;
                let directory = self.directories.open(&parent, Missing::Tolerated)?.ok_or_else(missing)?;
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::openat(&directory.fd, cstring(target)?.as_c_str(), flags, Mode::empty()) {
                    Err(Errno::NOENT) => return Err(missing()),
                    other => other.map_err(failed(action))?,
                }
            }
        };
        let stat = stat_fd(fd.as_fd()).map_err(failed(action))?;
        if is_directory(&stat) {
            return Err(Failure::Refused(Refusal::DirectoryTarget(target.clone())));
        }
        Ok((fd, stat))
    }
}

/// What came of making an entry.
enum Made {
    New,
    /// Something stands there already: nothing was done.
    Exists,
}

/// Makes a new name.
fn make(
    root: &Root,
    dir: &Dir<'_>,
    name: &CStr,
    entry: &Entry,
    target: Option<&(OwnedFd, Statx)>,
    content: &mut LayerReader,
) -> Result<Made, Stop> {
    let attributes = &entry.attributes;
    let fresh = Fresh { uid: attributes.uid, gid: attributes.gid, mode: attributes.mode };
    let node = |special| raw::make_node(root, dir, name, special, &fresh);
    let made = match &entry.kind {
        EntryKind::File { .. } => match raw::create(root, dir, name, OFlags::WRONLY, &fresh) {
            Ok(fd) => return write_content(root, &fd, attributes, content).map(|()| Made::New),
            Err(errno) => Err(errno),
        },
        EntryKind::Directory => raw::make_dir(root, dir, name, &fresh),
        EntryKind::Symlink { target } => {
            let text = CString::new(target.as_slice()).map_err(|_| failed("name")(Errno::INVAL))?;
            raw::symlink(root, dir, name, &text, &fresh)
        }
        EntryKind::HardLink { .. } => {
            let (fd, stat) = target.ok_or_else(|| failed("link")(Errno::NOENT))?;
            let inode = Inode { fd: fd.as_fd(), stat, scope: Scope::Tree };
            match raw::link(root, &inode, dir, name) {
                Ok(()) => return linked(root, fd.as_fd(), stat, attributes).map(|()| Made::New),
                Err(errno) => Err(errno),
            }
        }
        EntryKind::CharDevice(device) => node(Special::Char(*device)),
        EntryKind::BlockDevice(device) => node(Special::Block(*device)),
        EntryKind::Fifo => raw::make_fifo(root, dir, name, &fresh),
    };
    match made {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(Made::Exists),
        Err(errno) => return Err(failed("make")(errno).into()),
    }
    if !attributes.xattrs.is_empty() {
        let stat = stat_at(dir.fd, name).map_err(failed("look at"))?;
        record_xattrs(root, &stat, attributes);
    }
    if entry.kind != EntryKind::Directory {
        set_mtime(dir.fd, name, attributes.mtime).map_err(failed("set the time of"))?;
    }
    Ok(Made::New)
}

/// Lets an entry and what stands at its name be one, where that is how it is meant. False if one has to replace the other.
fn merge(
    root: &Root,
    dir: &Dir<'_>,
    name: &CStr,
    stat: &Statx,
    entry: &Entry,
    target: Option<&(OwnedFd, Statx)>,
) -> Result<bool, Failure> {
    match (&entry.kind, target) {
        (EntryKind::Directory, _) if is_directory(stat) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(dir.fd, name, flags, Mode::empty()).map_err(failed("open"))?;
            replace_attributes(root, fd.as_fd(), stat, &entry.attributes)?;
            Ok(true)
        }
        (EntryKind::HardLink { .. }, Some((_, target))) => Ok(InodeKey::of(target) == InodeKey::of(stat)),
        _ => Ok(false),
    }
}

fn write_content(
    root: &Root,
    fd: &OwnedFd,
    attributes: &Attributes,
    content: &mut LayerReader,
) -> Result<(), Stop> {
    loop {
        let mut piece = content.content().map_err(Stop::Content)?;
        if piece.is_empty() {
            break;
        }
        while !piece.is_empty() {
            match rustix::io::write(fd, piece) {
                Ok(written) => piece = &piece[written..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed("write")(errno).into()),
            }
        }
    }
    if !attributes.xattrs.is_empty() {
        let stat = stat_fd(fd.as_fd()).map_err(failed("look at"))?;
        record_xattrs(root, &stat, attributes);
    }
    rustix::fs::futimens(fd, &timestamps(attributes.mtime)).map_err(failed("set the time of"))?;
    Ok(())
}

/// Docker gives a hard link's owner, mode and time to the file. Its extended attributes count only where it has some: GNU tar writes
/// them with the file alone.
fn linked(root: &Root, fd: BorrowedFd<'_>, stat: &Statx, attributes: &Attributes) -> Result<(), Stop> {
    let record = root.records().get(stat);
    let mut wanted =
        Record { uid: attributes.uid, gid: attributes.gid, mode: attributes.mode, ..record.clone() };
    if u32::from(stat.stx_mode) & S_IFMT == S_IFLNK {
        wanted.mode = record.mode;
    }
    if !attributes.xattrs.is_empty() {
        wanted.xattrs = attributes.xattrs.clone();
    }
    if wanted != record {
        let attributes = Attributes {
            uid: wanted.uid,
            gid: wanted.gid,
            mode: wanted.mode,
            xattrs: wanted.xattrs,
            mtime: attributes.mtime,
        };
        replace_attributes(root, fd, stat, &attributes)?;
    }
    let times = timestamps(attributes.mtime);
    rustix::fs::utimensat(fd, c"", &times, rustix::fs::AtFlags::EMPTY_PATH)
        .map_err(failed("set the time of"))?;
    Ok(())
}

/// Gives an existing inode owner, mode and extended attributes; the old ones are gone.
fn replace_attributes(
    root: &Root,
    fd: BorrowedFd<'_>,
    stat: &Statx,
    attributes: &Attributes,
) -> Result<(), Failure> {
    let inode = Inode { fd, stat, scope: Scope::Tree };
    if u32::from(stat.stx_mode) & S_IFMT != S_IFLNK {
        raw::chmod(root, &inode, attributes.mode).map_err(failed("set the mode of"))?;
    }
    let stat = stat_fd(fd).map_err(failed("look at"))?;
    update(root, &stat, |record| {
        record.uid = attributes.uid;
        record.gid = attributes.gid;
        record.xattrs = attributes.xattrs.clone();
    });
    Ok(())
}

fn record_xattrs(root: &Root, stat: &Statx, attributes: &Attributes) {
    update(root, stat, |record| record.xattrs = attributes.xattrs.clone());
}

fn update(root: &Root, stat: &Statx, change: impl FnOnce(&mut Record)) {
    let real = u32::from(stat.stx_mode) & 0o777;
    let Ok(()) = root.records().update(stat, Scope::Tree, real, |record| {
        change(record);
        Ok::<(), std::convert::Infallible>(())
    });
}
