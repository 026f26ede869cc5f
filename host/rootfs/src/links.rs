//! The hard-link index: all names of every inode that ever had more than one in this tree.
//!
//! It lets a change made through one name be recorded for all of them without a walk. Names are added and removed after the system call
//! that makes them so; where a directory was renamed meanwhile a name can go stale, and [`crate::Root::finish`] verifies the index when
//! that happened. Lock order: this lock is a leaf and never held over a system call.

use std::collections::{BTreeSet, HashMap};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use wbuild_layer::RootPath;

use crate::record::InodeKey;

type Names = HashMap<InodeKey, BTreeSet<RootPath>>;

/// See the module.
#[derive(Debug, Default)]
pub struct Links {
    names: RwLock<Names>,
}

/// How a rename moved a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrefixMove {
    /// What was at `from` is at `to`.
    To,
    /// Both changed places.
    Exchanged,
}

impl Links {
    fn read(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// All names of an inode in path order; none if it never had more than one.
    #[must_use]
    pub fn names(&self, key: &InodeKey) -> Vec<RootPath> {
        self.read().get(key).map(|names| names.iter().cloned().collect()).unwrap_or_default()
    }

    /// Records that `new` names the inode that `first` already names.
    pub fn add(&self, key: InodeKey, first: Option<RootPath>, new: RootPath) {
        let mut all = self.write();
        let names = all.entry(key).or_default();
        if names.is_empty() {
            names.extend(first);
        }
        names.insert(new);
    }

    /// Records that `path` no longer names the inode.
    pub fn remove(&self, key: &InodeKey, path: &RootPath) {
        if !self.read().contains_key(key) {
            return;
        }
        let mut all = self.write();
        if let Some(names) = all.get_mut(key) {
            names.remove(path);
            if names.is_empty() {
                all.remove(key);
            }
        }
    }

    /// Forgets an inode whose last name is gone.
    pub(crate) fn forget(&self, key: &InodeKey) {
        if self.read().contains_key(key) {
            self.write().remove(key);
        }
    }

    /// Records that this inode's name `from` is now `to`.
    pub(crate) fn rename(&self, key: &InodeKey, from: &RootPath, to: &RootPath) {
        if !self.read().contains_key(key) {
            return;
        }
        if let Some(names) = self.write().get_mut(key) {
            names.remove(from);
            names.insert(to.clone());
        }
    }

    /// Rewrites every name at or beneath a directory that moved.
    pub(crate) fn move_prefix(&self, from: &RootPath, to: &RootPath, how: PrefixMove) {
        let concerned = |path: &RootPath| {
            path.starts_with(from) || (how == PrefixMove::Exchanged && path.starts_with(to))
        };
        if !self.read().values().flatten().any(concerned) {
            return;
        }
        for names in self.write().values_mut() {
            if names.iter().any(concerned) {
                *names = std::mem::take(names)
                    .into_iter()
                    .map(|path| {
                        if path.starts_with(from) {
                            rebased(&path, from, to)
                        } else if how == PrefixMove::Exchanged && path.starts_with(to) {
                            rebased(&path, to, from)
                        } else {
                            path
                        }
                    })
                    .collect();
            }
        }
    }

    /// Replaces the names of an inode by those that were found to be true.
    pub(crate) fn replace(&self, key: InodeKey, names: BTreeSet<RootPath>) {
        let mut all = self.write();
        if names.is_empty() {
            all.remove(&key);
        } else {
            all.insert(key, names);
        }
    }

    /// Forgets every name.
    pub(crate) fn clear(&self) {
        self.write().clear();
    }

    /// A copy of the index, sorted.
    pub(crate) fn snapshot(&self) -> Vec<(InodeKey, Vec<RootPath>)> {
        let mut all: Vec<_> =
            self.read().iter().map(|(key, names)| (*key, names.iter().cloned().collect())).collect();
        all.sort();
        all
    }
}

/// `path` with its ancestor (or itself) `from` replaced by `to`.
fn rebased(path: &RootPath, from: &RootPath, to: &RootPath) -> RootPath {
    let rest = path.as_bytes().get(from.as_bytes().len()..).unwrap_or_default();
    // A canonical path joined to a canonical rest is canonical: this cannot fail.
    to.join(rest).unwrap_or_else(|_| path.clone())
}
