//! What a tree looks like, seen in passing while another is made of it.
//!
//! It tells whether a tree that lay unused is still the one that was left: an edit, a file that a cleaner of temporary files removed, a
//! half copied backup. It is no defence against whoever may write the store.

use rustix::fs::Statx;
use wbuild_layer::{Digest, Hasher, RootPath};

use crate::record::{S_IFDIR, S_IFMT};

/// What [`crate::Root::take_over`] saw of the tree that it took from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Likeness {
    /// Over every name, in the order of the walk, with type, permission bits, inode number, size and modification time; the size
    /// and time of directories, which views and sockets move, left out.
    pub digest: Digest,
    /// The bytes that its files occupy on disk; a file with several names counts once for each.
    pub bytes: u64,
}

#[derive(Default)]
pub(super) struct Onlooker {
    hasher: Hasher,
    blocks: u64,
}

impl Onlooker {
    pub(super) fn saw(&mut self, path: &RootPath, stat: &Statx) {
        let name = path.as_bytes();
        self.hasher.update(&(name.len() as u64).to_le_bytes());
        self.hasher.update(name);
        self.hasher.update(&stat.stx_mode.to_le_bytes());
        self.hasher.update(&stat.stx_ino.to_le_bytes());
        if u32::from(stat.stx_mode) & S_IFMT != S_IFDIR {
            self.hasher.update(&stat.stx_size.to_le_bytes());
            self.hasher.update(&stat.stx_mtime.tv_sec.to_le_bytes());
            self.hasher.update(&stat.stx_mtime.tv_nsec.to_le_bytes());
        }
        self.blocks += stat.stx_blocks;
    }

    pub(super) fn finish(self) -> Likeness {
        Likeness { digest: self.hasher.finish(), bytes: self.blocks * 512 }
    }
}
