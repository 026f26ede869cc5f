//! Preview 1's descriptors: small numbers for files and directories of this process.
//!
//! Numbers 0 to 2 are the standard streams, 3 is the directory that a module is given.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags};

use crate::names::Directory;
use crate::p1::errno::Errno;

/// The descriptor of the directory that a module is given.
pub(crate) const GIVEN: u32 = 3;
/// What the directory that a module is given is called.
pub(crate) const GIVEN_NAME: &[u8] = b"/";
/// A module has at most this many; the kernel's own limit is met first, as a rule.
const MOST: usize = 1 << 16;

/// Preview 1's rights, of which only these decide something; they are told as they were asked for.
pub(super) mod rights {
    pub(in crate::p1) const READ: u64 = 1 << 1;
    pub(in crate::p1) const SEEK: u64 = 1 << 2;
    pub(in crate::p1) const TELL: u64 = 1 << 5;
    pub(in crate::p1) const WRITE: u64 = 1 << 6;
    pub(in crate::p1) const ALL: u64 = (1 << 30) - 1;
}

/// What a number stands for.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A file, or a stream.
    File {
        /// The process's own descriptor.
        fd: OwnedFd,
        /// What was asked for.
        rights: u64,
    },
    /// A directory, and its entries as they were when it was last read from the start.
    Directory {
        /// The directory.
        directory: Directory,
        /// Name, inode, type; in the order of the names.
        entries: Option<Vec<Listed>>,
    },
}

/// One entry of a directory.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) name: Vec<u8>,
    pub(crate) inode: u64,
    pub(crate) kind: FileType,
}

/// The descriptors of one module.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: Vec<Option<Entry>>,
}

impl Table {
    /// Gives the lowest free number.
    pub(crate) fn insert(&mut self, entry: Entry) -> Result<u32, Errno> {
        let free = self.entries.iter().position(Option::is_none).unwrap_or(self.entries.len());
        if free >= MOST {
            return Err(Errno::MFILE);
        }
        if free == self.entries.len() {
            self.entries.push(None);
        }
        self.entries[free] = Some(entry);
        u32::try_from(free).map_err(|_| Errno::MFILE)
    }

    pub(super) fn get(&self, fd: u32) -> Result<&Entry, Errno> {
        self.entries.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::BADF)
    }

    pub(super) fn get_mut(&mut self, fd: u32) -> Result<&mut Entry, Errno> {
        self.entries.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::BADF)
    }

    pub(super) fn remove(&mut self, fd: u32) -> Result<Entry, Errno> {
        self.entries.get_mut(fd as usize).and_then(Option::take).ok_or(Errno::BADF)
    }

    /// Puts what stands under `from` under `to`, which must be in use.
    pub(super) fn renumber(&mut self, from: u32, to: u32) -> Result<(), Errno> {
        self.get(to)?;
        if from != to {
            let entry = self.remove(from)?;
            self.entries[to as usize] = Some(entry);
        }
        self.get(to).map(drop)
    }

    /// A file's descriptor.
    pub(super) fn file(&self, fd: u32) -> Result<BorrowedFd<'_>, Errno> {
        match self.get(fd)? {
            Entry::File { fd, .. } => Ok(fd.as_fd()),
            Entry::Directory { .. } => Err(Errno::from(rustix::io::Errno::ISDIR)),
        }
    }

    /// A directory.
    pub(super) fn directory(&self, fd: u32) -> Result<&Directory, Errno> {
        match self.get(fd)? {
            Entry::Directory { directory, .. } => Ok(directory),
            Entry::File { .. } => Err(Errno::NOTDIR),
        }
    }
}

impl Entry {
    /// A descriptor to ask about either; the given directory is opened for it.
    pub(super) fn with_fd<T>(
        &self,
        ask: impl FnOnce(BorrowedFd<'_>) -> Result<T, rustix::io::Errno>,
    ) -> Result<T, Errno> {
        Ok(match self {
            Self::File { fd, .. } | Self::Directory { directory: Directory::Opened(fd), .. } => {
                ask(fd.as_fd())?
            }
            Self::Directory { directory: Directory::Given(_), .. } => ask(open_given()?.as_fd())?,
        })
    }
}

/// The working directory, to be read or asked about.
pub(crate) fn open_given() -> Result<OwnedFd, rustix::io::Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(".", flags, rustix::fs::Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Cwd;

    fn entry() -> Entry {
        Entry::Directory { directory: Directory::Given(Cwd::Root), entries: None }
    }

    #[test]
    fn the_lowest_free_number_is_given() {
        let mut table = Table::default();
        assert_eq!((0..4).map(|_| table.insert(entry()).unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
        table.remove(1).unwrap();
        assert_eq!(table.remove(1).unwrap_err(), Errno::BADF);
        assert_eq!(table.insert(entry()), Ok(1));
    }

    #[test]
    fn renumbering_needs_two_open_descriptors() {
        let mut table = Table::default();
        table.insert(entry()).unwrap();
        assert_eq!(table.renumber(0, 5), Err(Errno::BADF));
        assert_eq!(table.renumber(5, 0), Err(Errno::BADF));
        assert_eq!(table.renumber(0, 0), Ok(()));
        table.insert(entry()).unwrap();
        assert_eq!(table.renumber(1, 0), Ok(()));
        assert_eq!(table.get(1).unwrap_err(), Errno::BADF);
    }
}
