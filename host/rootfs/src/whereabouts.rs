//! Where directories of the tree lie, as far as the kernel was asked before.
//!
//! A directory's path changes only when a directory is renamed or removed, and every such change passes this crate and makes another
//! [`Root::shape`]; what was learnt under another shape is forgotten. A change that is under way on another thread may or may not be
//! seen, as with the kernel's own answer a moment earlier: the journal holds a renamed directory as a whole. Decisions of a policy
//! do not come here. Lock order: a leaf, never held over a system call.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::{PoisonError, RwLock};

use rustix::fs::Statx;
use rustix::io::Errno;
use wbuild_layer::{RootPath, Timestamp};

use crate::record::{InodeKey, S_IFDIR, S_IFMT, birth};
use crate::root::{Located, Root};

/// So many directories are remembered; more are forgotten together.
const MOST: usize = 8192;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Whereabouts {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    shape: u64,
    paths: HashMap<(InodeKey, Timestamp), RootPath>,
}

impl Whereabouts {
    fn get(&self, shape: u64, stat: &Statx) -> Option<RootPath> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.shape != shape {
            return None;
        }
        known.paths.get(&(InodeKey::of(stat), birth(stat))).cloned()
    }

    /// Remembers what was learnt while `shape` held.
    fn put(&self, shape: u64, stat: &Statx, path: &RootPath) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.shape != shape || known.paths.len() >= MOST {
            known.paths.clear();
            known.shape = shape;
        }
        known.paths.insert((InodeKey::of(stat), birth(stat)), path.clone());
    }
}

impl Root {
    /// As [`Root::locate`], for a descriptor with its real stat; directories of the tree are asked about once while no directory moves.
    ///
    /// # Errors
    /// procfs's.
    pub fn locate_known(&self, fd: BorrowedFd<'_>, stat: &Statx) -> Result<Located, Errno> {
        let is_directory = u32::from(stat.stx_mode) & S_IFMT == S_IFDIR;
        if !is_directory || stat.stx_nlink == 0 || InodeKey::of(stat).device != self.key().device {
            return self.locate(fd);
        }
        // Before the kernel is asked: what changes meanwhile makes this shape a former one.
        let shape = self.shape();
        if let Some(path) = self.whereabouts().get(shape, stat) {
            return Ok(Located::Tree(path));
        }
        let located = self.locate(fd)?;
        if let Located::Tree(path) = &located {
            self.whereabouts().put(shape, stat, path);
        }
        Ok(located)
    }
}
