//! A directory of the host as a source of COPY: the build context or a named one.
//!
//! Everything is owned by root, as Docker and BuildKit send a context; what `.dockerignore` excludes is not there. Nothing
//! outside the directory can be reached: the capability it was opened as does not lead there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::rc::Rc;

use cap_std::fs::{Dir, FileTypeExt, Metadata, MetadataExt};
use rustix::io::Errno;
use wbuild_dockerfile::IgnoreFile;
use wbuild_layer::{Device, RootPath, Timestamp, Xattrs};

use crate::files::{Files, Kind, Node};

/// A directory with what hides files in it.
pub(crate) struct ContextFiles<'a> {
    dir: &'a Dir,
    ignore: &'a IgnoreFile,
    place: String,
    /// Excluded directories, and whether something beneath is not.
    pierced: RefCell<BTreeMap<RootPath, bool>>,
    /// Open directories, each beneath the one before.
    way: RefCell<Vec<(RootPath, Rc<Dir>)>>,
}

impl<'a> ContextFiles<'a> {
    pub(crate) fn new(dir: &'a Dir, ignore: &'a IgnoreFile, place: String) -> Self {
        Self { dir, ignore, place, pierced: RefCell::default(), way: RefCell::default() }
    }

    /// The directory a path stands in, and its name there. The directories on the way to the last one stay open, so that a
    /// walk over many files looks up one name for each.
    fn at<'p>(&self, path: &'p RootPath) -> io::Result<(Rc<Dir>, &'p Path)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok((Rc::new(self.dir.try_clone()?), Path::new(".")));
        };
        let mut way = self.way.borrow_mut();
        while way.last().is_some_and(|(open, _)| !parent.starts_with(open)) {
            way.pop();
        }
        let dir = match way.last() {
            Some((open, dir)) if *open == parent => Rc::clone(dir),
            _ => {
                let dir = Rc::new(self.dir.open_dir(parent.as_path())?);
                way.push((parent, Rc::clone(&dir)));
                dir
            }
        };
        Ok((dir, Path::new(OsStr::from_bytes(name))))
    }

    fn excluded(&self, path: &RootPath, is_dir: bool) -> io::Result<bool> {
        if path.is_root() || !self.ignore.excludes(path.as_bytes()) {
            return Ok(false);
        }
        if !is_dir || !self.ignore.has_exceptions() {
            return Ok(true);
        }
        if let Some(pierced) = self.pierced.borrow().get(path) {
            return Ok(!pierced);
        }
        let pierced = self.any_included_below(path)?;
        self.pierced.borrow_mut().insert(path.clone(), pierced);
        Ok(!pierced)
    }

    /// Whether an exception (`!dir/file`) lies in an excluded directory, which then is there for its sake.
    fn any_included_below(&self, path: &RootPath) -> io::Result<bool> {
        for entry in self.dir.read_dir(path.as_path())? {
            let entry = entry?;
            let child = path.join(entry.file_name().as_bytes()).map_err(io::Error::other)?;
            if !self.excluded(&child, entry.file_type()?.is_dir())? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Files for ContextFiles<'_> {
    fn place(&self) -> &str {
        &self.place
    }

    fn node(&self, path: &RootPath) -> io::Result<Option<Node>> {
        let (dir, name) = self.at(path)?;
        let metadata = match dir.symlink_metadata(name) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if self.excluded(path, metadata.is_dir())? {
            return Ok(None);
        }
        Ok(Some(node_of(&metadata)))
    }

    fn read_link(&self, path: &RootPath) -> io::Result<Vec<u8>> {
        let (dir, name) = self.at(path)?;
        Ok(dir.read_link_contents(name)?.into_os_string().into_vec())
    }

    fn list(&self, path: &RootPath) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in self.dir.read_dir(path.as_path())? {
            names.push(entry?.file_name().into_vec());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &RootPath) -> io::Result<File> {
        let (dir, name) = self.at(path)?;
        Ok(dir.open(name)?.into_std())
    }

    fn xattrs(&self, path: &RootPath, file: Option<&File>) -> io::Result<Xattrs> {
        match file {
            Some(file) => user_xattrs(file),
            None => user_xattrs(&self.open(path)?),
        }
    }

    fn hides(&self, path: &RootPath) -> bool {
        self.dir.symlink_metadata(path.as_path()).is_ok() && self.ignore.excludes(path.as_bytes())
    }
}

fn node_of(metadata: &Metadata) -> Node {
    let file_type = metadata.file_type();
    let device = || {
        let rdev = metadata.rdev();
        Device { major: rustix::fs::major(rdev), minor: rustix::fs::minor(rdev) }
    };
    let kind = if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_symlink() {
        Kind::Symlink
    } else if file_type.is_file() {
        Kind::File
    } else if file_type.is_fifo() {
        Kind::Fifo
    } else if file_type.is_socket() {
        Kind::Socket
    } else if file_type.is_char_device() {
        Kind::CharDevice(device())
    } else {
        Kind::BlockDevice(device())
    };
    let shared = (metadata.nlink() > 1 && !file_type.is_dir()).then(|| (metadata.dev(), metadata.ino()));
    let mtime = Timestamp {
        seconds: metadata.mtime(),
        nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or_default(),
    };
    Node { kind, mode: metadata.mode() & 0o7777, uid: 0, gid: 0, mtime, shared }
}

/// Only `user.`: the other namespaces say something about this host (a label, a policy), not about the file.
fn user_xattrs(file: &File) -> io::Result<Xattrs> {
    // Linux's limits for a list and for a value are 64 KiB; nearly every file has none.
    const MOST: usize = 64 << 10;
    let mut short = [0_u8; 256];
    let names = match rustix::fs::flistxattr(file, &mut short[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Xattrs::new()),
        Ok(length) => short[..length].to_vec(),
        Err(Errno::RANGE) => {
            let mut names = vec![0_u8; MOST];
            let length = rustix::fs::flistxattr(file, &mut names[..])?;
            names.truncate(length);
            names
        }
        Err(error) => return Err(error.into()),
    };
    let mut xattrs = Xattrs::new();
    for name in names.split(|b| *b == 0).filter(|name| name.starts_with(b"user.")) {
        let mut value = vec![0_u8; MOST];
        let length = rustix::fs::fgetxattr(file, name, &mut value[..])?;
        value.truncate(length);
        xattrs.insert(name.to_vec(), value);
    }
    Ok(xattrs)
}
