//! Materialising from another tree: directories, links and special files anew, regular files by hard link or by reflink.
//!
//! The other tree is open nowhere for writing and is not changed afterwards. What no layer can hold (AF_UNIX sockets) is left out, so the
//! result is what unpacking the other tree's layers would make.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use wbuild_layer::RootPath;

use super::MaterialiseError;
use super::likeness::{Likeness, Onlooker};
use crate::collect::set_mtime;
use crate::journal::mtime;
use crate::raw::copy_content;
use crate::record::{InodeKey, Record, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK};
use crate::root::{Root, stat_at};
use crate::walk::{Found, names};

/// How a regular file gets into the new tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// By a hard link; it is copied when one of the trees changes it.
    Inodes,
    /// By a reflink.
    Blocks,
}

/// Fills `to`, a new tree, from `from`.
pub(super) fn copy(to: &Root, from: &Root, sharing: Sharing) -> Result<Likeness, MaterialiseError> {
    let onlooker = Onlooker::default();
    let mut copier = Copier { to, from, sharing, shared: Vec::new(), first_names: HashMap::new(), onlooker };
    let mut directories = Vec::new();
    let mut pending = vec![RootPath::root()];
    while let Some(path) = pending.pop() {
        let failed = |source| MaterialiseError::Copy { path: path.clone(), source };
        let (above, here) = copier.directory(&path).map_err(failed)?;
        for name in names(above.fd.as_fd()).map_err(failed)? {
            let child = path.join(name.to_bytes()).map_err(|_| failed(Errno::NAMETOOLONG))?;
            let failed = |source| MaterialiseError::Copy { path: child.clone(), source };
            if copier.entry(&above, &here, &name, &child).map_err(failed)? == Entered::Directory {
                pending.push(child);
            }
        }
        directories.push((path, here, mtime(&above.stat)));
    }
    // What was made in a directory moved its time.
    for (path, here, time) in directories.into_iter().rev() {
        set_mtime(here.as_fd(), time).map_err(|source| MaterialiseError::Copy { path, source })?;
    }
    if from.may_hold_fifos() {
        to.set_holds_fifos();
    }
    to.sharing().set(to.key().device, copier.shared);
    Ok(copier.onlooker.finish())
}

#[derive(PartialEq, Eq)]
enum Entered {
    Directory,
    Other,
}

struct Copier<'a> {
    to: &'a Root,
    from: &'a Root,
    sharing: Sharing,
    /// Inode numbers.
    shared: Vec<u64>,
    /// Of inodes with several names: the first in the new tree.
    first_names: HashMap<InodeKey, RootPath>,
    onlooker: Onlooker,
}

impl Copier<'_> {
    /// A directory of the old tree, and the one at its place in the new tree.
    fn directory(&self, path: &RootPath) -> Result<(Found, OwnedFd), Errno> {
        let above = self.from.find(path)?.ok_or(Errno::NOENT)?;
        let here = self.to.open_path(path)?.ok_or(Errno::NOENT)?;
        if path.as_bytes().is_empty() {
            self.take_record(&above, here.as_fd(), c"", AtFlags::EMPTY_PATH)?;
        }
        Ok((above, here))
    }

    fn entry(
        &mut self,
        above: &Found,
        here: &OwnedFd,
        name: &CString,
        path: &RootPath,
    ) -> Result<Entered, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&above.fd, name.as_c_str(), flags, Mode::empty())?;
        let stat = crate::root::stat_fd(fd.as_fd())?;
        let found = Found { fd, stat };
        self.onlooker.saw(path, &stat);
        let kind = u32::from(stat.stx_mode) & S_IFMT;
        if kind == S_IFSOCK {
            return Ok(Entered::Other);
        }
        if kind != S_IFDIR && self.from.own_links(&stat) > 1 {
            let key = InodeKey::of(&stat);
            if let Some(first) = self.first_names.get(&key) {
                return self.another_name(first, here, name, path);
            }
            self.first_names.insert(key, path.clone());
        }
        match kind {
            S_IFDIR => {
                match rustix::fs::mkdirat(here, name.as_c_str(), permissions(&found)) {
                    // The placeholders of the views stand already.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
                self.finish(&found, here, name)?;
                return Ok(Entered::Directory);
            }
            S_IFLNK => {
                let text = rustix::fs::readlinkat(&found.fd, c"", Vec::new())?;
                rustix::fs::symlinkat(text.as_c_str(), here, name.as_c_str())?;
            }
            S_IFIFO => {
                self.to.set_holds_fifos();
                rustix::fs::mknodat(here, name.as_c_str(), FileType::Fifo, permissions(&found), 0)?;
            }
            S_IFREG => return self.regular(&found, here, name),
            _ => return Err(Errno::OPNOTSUPP),
        }
        self.finish(&found, here, name)?;
        Ok(Entered::Other)
    }

    fn regular(&mut self, found: &Found, here: &OwnedFd, name: &CString) -> Result<Entered, Errno> {
        let record = self.from.records().get(&found.stat);
        if self.sharing == Sharing::Inodes && record.special.is_none() {
            let own = rustix::path::DecInt::from_fd(&found.fd);
            let to = (here, name.as_c_str());
            match rustix::fs::linkat(self.from.own_fds(), own, to.0, to.1, AtFlags::SYMLINK_FOLLOW) {
                Ok(()) => {
                    self.shared.push(found.stat.stx_ino);
                    self.to.records().set(&found.stat, record);
                    return Ok(Entered::Other);
                }
                // As many names as the filesystem gives an inode: this file is copied.
                Err(Errno::MLINK) => {}
                Err(errno) => return Err(errno),
            }
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = rustix::fs::openat(here, name.as_c_str(), flags, permissions(found))?;
        if found.stat.stx_size > 0 {
            let own = rustix::path::DecInt::from_fd(&found.fd);
            let read = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let source = rustix::fs::openat(self.from.own_fds(), own, read, Mode::empty())?;
            if self.sharing == Sharing::Blocks {
                rustix::fs::ioctl_ficlone(&copy, &source)?;
            } else {
                copy_content(&source, &copy, found.stat.stx_size)?;
            }
        }
        self.finish(found, here, name)?;
        Ok(Entered::Other)
    }

    /// One more name of an inode that has one in the new tree.
    fn another_name(
        &self,
        first: &RootPath,
        here: &OwnedFd,
        name: &CString,
        path: &RootPath,
    ) -> Result<Entered, Errno> {
        let found = self.to.find(first)?.ok_or(Errno::NOENT)?;
        let (Some(parent), Some(last)) = (first.parent(), first.file_name()) else {
            return Err(Errno::INVAL);
        };
        let dir = self.to.open_path(&parent)?.ok_or(Errno::NOENT)?;
        let last = CString::new(last).map_err(|_| Errno::INVAL)?;
        rustix::fs::linkat(&dir, last.as_c_str(), here, name.as_c_str(), AtFlags::empty())?;
        self.to.links().add(InodeKey::of(&found.stat), Some(first.clone()), path.clone());
        Ok(Entered::Other)
    }

    /// Owner, permission bits, record and time of what was made at `name`.
    fn finish(&self, found: &Found, here: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        self.take_record(found, here.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn take_record(
        &self,
        found: &Found,
        dir: std::os::fd::BorrowedFd<'_>,
        name: &CStr,
        flags: AtFlags,
    ) -> Result<(), Errno> {
        let record: Record = self.from.records().get(&found.stat);
        let itself = name.is_empty();
        let mut stat = if itself { crate::root::stat_fd(dir)? } else { stat_at(dir, name)? };
        let link = u32::from(found.stat.stx_mode) & S_IFMT == S_IFLNK;
        if !link && stat.stx_mode & 0o777 != found.stat.stx_mode & 0o777 {
            let mode = permissions(found);
            if itself {
                let own = rustix::path::DecInt::from_fd(dir);
                rustix::fs::chmodat(self.to.own_fds(), own, mode, AtFlags::empty())?;
            } else {
                rustix::fs::chmodat(dir, name, mode, AtFlags::empty())?;
            }
            stat.stx_mode = found.stat.stx_mode;
        }
        self.to.records().set(&stat, record);
        if !itself {
            self.to.give_at(dir, name)?;
        }
        let omit = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let time = mtime(&found.stat);
        let modified = rustix::fs::Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
        let times = rustix::fs::Timestamps { last_access: omit, last_modification: modified };
        rustix::fs::utimensat(dir, name, &times, flags)
    }
}

fn permissions(found: &Found) -> Mode {
    Mode::from_raw_mode(u32::from(found.stat.stx_mode) & 0o777)
}
