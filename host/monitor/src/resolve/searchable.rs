//! Which directories a subject may search, remembered by path.
//!
//! It lets the kernel walk for subjects that may not search everything: where it met no link, the directories it passed are those the path
//! spells, and each is asked about here. What is remembered is the guest's view of a directory (owner, group, mode), for all subjects; it holds
//! while [`wbuild_rootfs::Root::shape`] stays the same. Lock order: a leaf, never held over a system call.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::{PoisonError, RwLock};

use rustix::fs::{Mode, OFlags, ResolveFlags, Statx};
use wbuild_rootfs::InodeKey;

use super::Node;
use crate::dac::{Want, may};
use crate::{Monitor, Subject};

/// More is forgotten at once: a cache, not a store.
const MOST: usize = 1 << 16;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SearchCache {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    shape: u64,
    /// Views by the inode a path starts at and the path.
    bases: HashMap<InodeKey, HashMap<Vec<u8>, Statx>>,
    count: usize,
}

impl SearchCache {
    fn get(&self, shape: u64, base: &InodeKey, path: &[u8]) -> Option<Statx> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.shape != shape {
            return None;
        }
        known.bases.get(base)?.get(path).copied()
    }

    fn put(&self, shape: u64, base: InodeKey, path: &[u8], view: Statx) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.shape != shape || known.count >= MOST {
            *known = Known { shape, ..Known::default() };
        }
        known.count += 1;
        known.bases.entry(base).or_default().insert(path.to_vec(), view);
    }
}

impl Monitor {
    /// True if the subject may search `base` and every directory on the way to the last component of `path`, a path without `..` on which
    /// there is no link, and if that held throughout. `shape` was read before the kernel walked. False is no answer.
    pub(super) fn may_search_to(
        &self,
        subject: &Subject<'_>,
        shape: u64,
        base: (BorrowedFd<'_>, &Statx),
        path: &[u8],
    ) -> bool {
        let (fd, stat) = base;
        let mut seen = *stat;
        self.root().show(&mut seen);
        if may(subject.credentials, &seen, Want::SEARCH).is_err() {
            return false;
        }
        let key = InodeKey::of(stat);
        let trimmed = path.len() - path.iter().rev().take_while(|b| **b == b'/').count();
        for (at, _) in path[..trimmed].iter().enumerate().filter(|(_, b)| **b == b'/') {
            let prefix = &path[..at];
            // A leading or doubled slash.
            if prefix.is_empty() || prefix.ends_with(b"/") {
                continue;
            }
            let Some(view) = self.view_of(shape, (fd, &key), prefix) else { return false };
            if may(subject.credentials, &view, Want::SEARCH).is_err() {
                return false;
            }
        }
        self.root().shape() == shape
    }

    fn view_of(&self, shape: u64, base: (BorrowedFd<'_>, &InodeKey), prefix: &[u8]) -> Option<Statx> {
        if let Some(view) = self.searchable().get(shape, base.1, prefix) {
            return Some(view);
        }
        let relative = &prefix[prefix.iter().take_while(|b| **b == b'/').count()..];
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd = rustix::fs::openat2(base.0, relative, flags, Mode::empty(), how).ok()?;
        let node = Node::new(fd).ok()?;
        if self.is_placeholder(&node.key()) {
            return None;
        }
        let view = self.seen(&node);
        self.searchable().put(shape, *base.1, prefix, view);
        Some(view)
    }
}
