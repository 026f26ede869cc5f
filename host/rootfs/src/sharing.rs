//! Inodes that a tree shares with the tree it was linked from.
//!
//! What is shared is never changed: whoever is about to change content, times or real permission bits of such a regular file gets a copy
//! of its own first ([`crate::raw::own_copy`]), as overlayfs does. An inode counts as shared as long as it has more names than this tree
//! knows. The tree that was linked from is not changed any more, so only the tree that was made knows of it. Lock order: name
//! guards, then the lock of [`Sharing::alone`], then leaves.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::Statx;
use wbuild_layer::{RootPath, Timestamp};

use crate::record::{InodeKey, S_IFMT, S_IFREG, birth};

/// What became of an inode that no name of this tree leads to any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Its names were removed.
    Removed,
    /// Its names lead to a copy, first seen at this path.
    Copied(InodeKey, RootPath),
}

/// Inode numbers on a device, sorted.
#[derive(Debug)]
struct Shared {
    device: (u32, u32),
    inodes: Box<[u64]>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    /// Set once, before anything else uses the tree.
    inodes: OnceLock<Shared>,
    left: Mutex<HashMap<u64, (Timestamp, Left)>>,
    alone: Mutex<()>,
}

impl Sharing {
    /// Says which inodes may be shared; sorted here. The first call holds.
    pub(crate) fn set(&self, device: (u32, u32), mut inodes: Vec<u64>) {
        inodes.sort_unstable();
        inodes.dedup();
        // A tree is linked or loaded once, and never both.
        let _first = self.inodes.set(Shared { device, inodes: inodes.into_boxed_slice() });
    }

    /// The inode numbers that a tree still may share, in order.
    pub(crate) fn list(&self) -> Vec<u64> {
        let left = self.left();
        let all = self.inodes.get().map_or(&[][..], |shared| &shared.inodes);
        all.iter().copied().filter(|inode| !left.contains_key(inode)).collect()
    }

    fn left(&self) -> MutexGuard<'_, HashMap<u64, (Timestamp, Left)>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if this inode of the tree may be shared. Numbers are reused: whether it is shows in its link count.
    pub(crate) fn may_hold(&self, stat: &Statx) -> bool {
        let Some(Shared { device, inodes }) = self.inodes.get() else { return false };
        u32::from(stat.stx_mode) & S_IFMT == S_IFREG
            && InodeKey::of(stat).device == *device
            && inodes.binary_search(&stat.stx_ino).is_ok()
    }

    /// What became of it, if this tree has left it.
    pub(crate) fn left_as(&self, stat: &Statx) -> Option<Left> {
        let left = self.left();
        left.get(&stat.stx_ino).filter(|(born, _)| *born == birth(stat)).map(|(_, how)| how.clone())
    }

    /// Says that this tree has left an inode.
    pub(crate) fn leave(&self, stat: &Statx, how: Left) {
        self.left().insert(stat.stx_ino, (birth(stat), how));
    }

    /// Says that a name of this tree leads to it again.
    pub(crate) fn rejoin(&self, stat: &Statx) {
        self.left().remove(&stat.stx_ino);
    }

    /// Held while the index is brought up to date with names of such inodes that were added, removed or replaced.
    pub(crate) fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
