//! A root filesystem into a directory of the host, as its caller can have it.
//!
//! Everything belongs to the caller; modes are kept but for setuid, setgid and sticky, because the owner is another one; times are
//! kept. Devices are left out, and extended attributes that the host refuses: both are counted. Nothing is written outside
//! the directory, whatever links stand in it before: what is in the way of a directory is replaced by one.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::{Dir, OpenOptions};
use rustix::fs::{AtFlags, FileType, Mode, Timespec, Timestamps, XattrFlags};
use wbuild_layer::{Attributes, Entry, EntryKind, RootPath, Timestamp, UnionSink};

/// Writes a union into a directory.
pub(super) struct DirectorySink<'a> {
    dir: &'a Dir,
    /// Directories whose mode and time are set at the end.
    directories: Vec<(RootPath, u32, Timestamp)>,
    devices: usize,
    attributes: usize,
}

impl<'a> DirectorySink<'a> {
    pub(super) fn new(dir: &'a Dir) -> Self {
        Self { dir, directories: Vec::new(), devices: 0, attributes: 0 }
    }

    /// What could not be written, as a sentence for the user.
    pub(super) fn left_out(&self) -> Option<String> {
        let parts = [(self.devices, "device"), (self.attributes, "extended attribute")];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}{}", if *count == 1 { "" } else { "s" }))
            .collect();
        (!parts.is_empty()).then(|| format!("{} left out; type=tar has everything", parts.join(" and ")))
    }

    /// Removes what stands in the way of something that is no directory.
    fn make_way(&self, path: &Path) -> io::Result<()> {
        match self.dir.symlink_metadata(path) {
            Ok(there) if there.is_dir() => Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                "a directory stands there, and the image has something else",
            )),
            Ok(_) => self.dir.remove_file(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The directory above `path`, and the last name.
    fn parent<'p>(&self, path: &'p RootPath) -> io::Result<(Dir, &'p [u8])> {
        let parent = path.parent().filter(|parent| !parent.is_root());
        let dir = match parent {
            Some(parent) => self.dir.open_dir(host(&parent))?,
            None => self.dir.try_clone()?,
        };
        Ok((dir, path.file_name().unwrap_or_default()))
    }

    fn set_xattrs(&mut self, file: &cap_std::fs::File, attributes: &Attributes) {
        for (name, value) in &attributes.xattrs {
            let set = rustix::fs::fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty());
            self.attributes += usize::from(set.is_err());
        }
    }
}

fn host(path: &RootPath) -> &Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
}

fn mode(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o777)
}

fn times(mtime: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

impl UnionSink for DirectorySink<'_> {
    fn directory(&mut self, path: &RootPath, attributes: &Attributes) -> io::Result<()> {
        let name = host(path);
        match self.dir.symlink_metadata(name) {
            Ok(there) if there.is_dir() => {}
            Ok(_) => {
                self.dir.remove_file(name)?;
                self.dir.create_dir(name)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.dir.create_dir(name)?,
            Err(error) => return Err(error),
        }
        self.directories.push((path.clone(), attributes.mode, attributes.mtime));
        Ok(())
    }

    fn file(
        &mut self,
        path: &RootPath,
        size: u64,
        attributes: &Attributes,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        self.make_way(host(path))?;
        let mut file = self.dir.open_with(host(path), OpenOptions::new().write(true).create_new(true))?;
        if io::copy(content, &mut file)? != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.set_xattrs(&file, attributes);
        rustix::fs::fchmod(&file, mode(attributes.mode))?;
        Ok(rustix::fs::futimens(&file, &times(attributes.mtime))?)
    }

    fn special(&mut self, path: &RootPath, entry: &Entry) -> io::Result<()> {
        if matches!(entry.kind, EntryKind::CharDevice(_) | EntryKind::BlockDevice(_)) {
            self.devices += 1;
            return Ok(());
        }
        self.make_way(host(path))?;
        let (parent, name) = self.parent(path)?;
        match &entry.kind {
            EntryKind::Symlink { target } => rustix::fs::symlinkat(target.as_slice(), &parent, name)?,
            EntryKind::HardLink { target } => return self.dir.hard_link(host(target), self.dir, host(path)),
            EntryKind::Fifo => {
                let mode = mode(entry.attributes.mode);
                rustix::fs::mknodat(&parent, name, FileType::Fifo, mode, 0)?;
            }
            EntryKind::File { .. }
            | EntryKind::Directory
            | EntryKind::CharDevice(_)
            | EntryKind::BlockDevice(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
        let times = times(entry.attributes.mtime);
        Ok(rustix::fs::utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn finish(&mut self) -> io::Result<()> {
        // The deepest first: a directory that cannot be written or entered any more is not needed then.
        for (path, mode_bits, mtime) in self.directories.iter().rev() {
            // Not `open_dir`: what that gives is for looking up names only.
            let dir = self.dir.open(host(path))?;
            rustix::fs::fchmod(&dir, mode(*mode_bits))?;
            rustix::fs::futimens(&dir, &times(*mtime))?;
        }
        Ok(())
    }
}
