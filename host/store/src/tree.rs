//! Directories for captured trees.
//!
//! A tree is in use as long as its lock file is locked, that is, as long as a process that has it open lives. The lock
//! file is made before the tree and removed after it, so a tree without one is a leftover, too. What is inside a
//! tree is `rootfs`'s affair.

use crate::{StoreError, blobs::failed, lock, removal};
use cap_std::fs::{Dir, File};
use std::io;

const LOCK: &str = ".lock";

/// A directory for a captured tree. Dropping it removes the directory and everything in it.
#[derive(Debug)]
pub struct Tree {
    trees: Dir,
    name: String,
    dir: Option<Dir>,
    lock: File,
}

impl Tree {
    pub(crate) fn new(trees: &Dir) -> Result<Self, StoreError> {
        let trees = trees.try_clone().map_err(failed("open", "trees"))?;
        let (lock_name, lock) =
            lock::create_locked(&trees, LOCK).map_err(failed("create a lock in", "trees"))?;
        let name = lock_name.trim_end_matches(LOCK).to_owned();
        let path = format!("trees/{name}");
        trees.create_dir(&name).map_err(failed("create", &path))?;
        let dir = trees.open_dir(&name).map_err(failed("open", &path))?;
        Ok(Self { trees, name, dir: Some(dir), lock })
    }

    /// The directory. It is empty at first, and its mode is the process's default.
    pub fn dir(&self) -> &Dir {
        self.dir.as_ref().expect("only remove takes the directory, and it takes the tree with it")
    }

    /// The directory's path below the store's directory.
    pub fn path(&self) -> String {
        format!("trees/{}", self.name)
    }

    /// Removes the tree with everything in it.
    ///
    /// # Errors
    /// [`StoreError::Io`]; what is left is removed when the store is next opened.
    pub fn remove(mut self) -> Result<(), StoreError> {
        self.dir = None;
        self.clear().map_err(failed("remove", self.path()))
    }

    /// Moves the directory to `to`, where nothing of this name stands, and lets go of it.
    pub(crate) fn move_to(mut self, to: &Dir, name: &str) -> io::Result<()> {
        self.trees.rename(&self.name, to, name)?;
        self.dir = None;
        self.trees.remove_file(format!("{}{LOCK}", self.name))
    }

    fn clear(&self) -> io::Result<()> {
        removal::remove_tree(&self.trees, &self.name)?;
        self.trees.remove_file(format!("{}{LOCK}", self.name))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.dir.take().is_some() {
            // Nobody can be told here; the sweep at the next start removes what could not be.
            drop(self.clear());
        }
        // Named so that it is plain that the lock outlives the tree.
        let _ = &self.lock;
    }
}

/// Asks ext4 to begin each tree in a block group of its own (what `chattr +T` asks). Else a tree starts where others were removed
/// just now, and as ext4 reuses no inode for minutes after its removal, every file made there searches past all of those: 20,000
/// files took 13 s instead of 0.2 s.
///
/// # Errors
/// The filesystem has no such wish or the directory is another user's: then trees are made as everywhere else.
pub(crate) fn spread(trees: &Dir) -> rustix::io::Result<()> {
    use rustix::fs::{IFlags, Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let trees = rustix::fs::openat(trees, c".", flags, Mode::empty())?;
    let attributes = rustix::fs::ioctl_getflags(&trees)?;
    if attributes.contains(IFlags::TOPDIR) {
        return Ok(());
    }
    rustix::fs::ioctl_setflags(&trees, attributes | IFlags::TOPDIR)
}

/// Removes the trees that no living process uses. One process at a time: two would move each other's files about.
pub(crate) fn sweep(trees: &Dir) -> io::Result<()> {
    let _alone = lock::lock_dir(trees)?;
    let mut names = Vec::new();
    for entry in trees.entries()? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    for name in names {
        let tree = name.strip_suffix(LOCK).unwrap_or(&name);
        let lock_name = format!("{tree}{LOCK}");
        let lock = match trees.open(&lock_name) {
            Ok(lock) => lock,
            // Its owner removed it since, or a killed one got no further than that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                removal::remove_tree(trees, tree)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        if lock::try_lock(&lock)? {
            removal::remove_tree(trees, tree)?;
            match trees.remove_file(&lock_name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
