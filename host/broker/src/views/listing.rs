//! Directories of a view that exist nowhere: real directories in the step's scratch, filled with the right names.
//!
//! getdents runs natively, so a directory a guest lists must be a real one. Only names and coarse types are looked at
//! there: what a name leads to is asked of the view. A descriptor on one is recognised by its inode.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use wbuild_monitor::{Broken, Fault, ViewKind, ViewPath};

/// What `d_type` shows of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Directory,
    File,
    Link,
}

/// The listings of a step, made when first opened.
#[derive(Debug)]
pub(super) struct Listings {
    parent: OwnedFd,
    made: Mutex<Vec<Listing>>,
}

#[derive(Debug)]
struct Listing {
    place: ViewPath,
    directory: OwnedFd,
    key: (u32, u32, u64),
    names: BTreeMap<Vec<u8>, Shown>,
}

impl Listings {
    /// Uses `views/` beneath `scratch`.
    pub(super) fn new(scratch: &Path) -> Result<Self, Broken> {
        let path = scratch.join("views");
        let make = || -> Result<OwnedFd, Errno> {
            match rustix::fs::mkdirat(CWD, &path, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, &path, flags, Mode::empty())
        };
        let parent = make().map_err(|errno| Broken::new(format!("cannot make {}", path.display()), errno))?;
        Ok(Self { parent, made: Mutex::default() })
    }

    /// The place whose listing this inode is.
    pub(super) fn place_of(&self, stat: &Statx) -> Option<ViewPath> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.iter().find(|listing| listing.key == key_of(stat)).map(|listing| listing.place.clone())
    }

    /// Opens the listing of `place` with these names in it.
    pub(super) fn open(
        &self,
        kind: ViewKind,
        rest: &[u8],
        names: BTreeMap<Vec<u8>, Shown>,
        flags: OFlags,
    ) -> Result<OwnedFd, Fault> {
        if super::writes(flags) {
            return Err(Errno::ISDIR.into());
        }
        let place = ViewPath { kind, rest: rest.to_vec() };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match made.iter().position(|listing| listing.place == place) {
            Some(index) => index,
            None => {
                let fresh = self.make(place, made.len())?;
                made.push(fresh);
                made.len() - 1
            }
        };
        made[index].show(names)?;
        Ok(rustix::fs::openat(&made[index].directory, ".", flags | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn make(&self, place: ViewPath, number: usize) -> Result<Listing, Errno> {
        let name = number.to_string();
        rustix::fs::mkdirat(&self.parent, &name, Mode::from_raw_mode(0o755))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&self.parent, &name, flags, Mode::empty())?;
        let stat = rustix::fs::statx(&directory, c"", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
        Ok(Listing { place, directory, key: key_of(&stat), names: BTreeMap::new() })
    }
}

impl Listing {
    /// Makes the directory hold exactly these names.
    fn show(&mut self, names: BTreeMap<Vec<u8>, Shown>) -> Result<(), Errno> {
        let directory = self.directory.as_fd();
        for (gone, shown) in self.names.iter().filter(|(name, shown)| names.get(*name) != Some(*shown)) {
            let flags = if *shown == Shown::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            rustix::fs::unlinkat(directory, gone.as_slice(), flags)?;
        }
        for (name, shown) in names.iter().filter(|(name, shown)| self.names.get(*name) != Some(*shown)) {
            let name = name.as_slice();
            match shown {
                Shown::Directory => rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o755))?,
                Shown::Link => rustix::fs::symlinkat("/", directory, name)?,
                Shown::File => {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                    drop(rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644))?);
                }
            }
        }
        self.names = names;
        Ok(())
    }
}

fn key_of(stat: &Statx) -> (u32, u32, u64) {
    (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_exactly_the_names_asked_for_and_is_recognised() {
        let scratch = tempfile::tempdir().unwrap();
        let listings = Listings::new(scratch.path()).unwrap();
        let names = |names: &[(&str, Shown)]| {
            names.iter().map(|(name, shown)| (name.as_bytes().to_vec(), *shown)).collect::<BTreeMap<_, _>>()
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let first = names(&[("12", Shown::Directory), ("self", Shown::Link), ("stat", Shown::File)]);
        drop(listings.open(ViewKind::Proc, b"", first, flags).unwrap());
        let second = names(&[("13", Shown::Directory), ("stat", Shown::Directory)]);
        let opened = listings.open(ViewKind::Proc, b"", second, flags).unwrap();

        let stat = rustix::fs::statx(&opened, c"", AtFlags::EMPTY_PATH, StatxFlags::INO).unwrap();
        assert_eq!(listings.place_of(&stat), Some(ViewPath { kind: ViewKind::Proc, rest: Vec::new() }));
        let mut seen: Vec<_> = rustix::fs::Dir::new(opened)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
            .filter(|name| !name.starts_with('.'))
            .collect();
        seen.sort();
        assert_eq!(seen, ["13", "stat"]);
        assert!(listings.open(ViewKind::Proc, b"", BTreeMap::new(), OFlags::RDWR).is_err());
    }
}
