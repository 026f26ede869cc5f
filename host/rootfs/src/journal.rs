//! The journal: for each path a step touched, what stood there before the first touch.
//!
//! Order makes it right without a lock over system calls: every operation reads what stands at a path, inserts that if the path has no
//! entry yet, and only then acts; so whoever inserted first read the state before any operation on that path. What is wrong because an
//! ancestor was something else meanwhile is hidden by that ancestor's own entry. Lock order: every lock here is a leaf.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use rustix::fs::Statx;
use wbuild_layer::{RootPath, Timestamp};

use crate::record::{InodeKey, Record, S_IFDIR, S_IFMT, birth};

/// What stood at a path.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    /// Which inode.
    pub(crate) key: InodeKey,
    /// Its birth time.
    pub(crate) birth: Timestamp,
    /// Its real file type (`S_IFMT` bits).
    pub(crate) kind: u32,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Modification time.
    pub(crate) mtime: Timestamp,
    /// Status change time.
    pub(crate) ctime: Timestamp,
    /// What it pretended to be.
    pub(crate) record: Record,
}

impl Before {
    pub(crate) fn new(stat: &Statx, record: Record) -> Self {
        Self {
            key: InodeKey::of(stat),
            birth: birth(stat),
            kind: u32::from(stat.stx_mode) & S_IFMT,
            size: stat.stx_size,
            mtime: mtime(stat),
            ctime: Timestamp { seconds: stat.stx_ctime.tv_sec, nanoseconds: stat.stx_ctime.tv_nsec },
            record,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind == S_IFDIR
    }
}

/// The modification time of a stat.
pub(crate) fn mtime(stat: &Statx) -> Timestamp {
    Timestamp { seconds: stat.stx_mtime.tv_sec, nanoseconds: stat.stx_mtime.tv_nsec }
}

/// Why a path is in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    /// An operation concerned the path itself.
    Itself,
    /// A name was made or removed in this directory: only its times moved.
    NamesWithin,
}

/// One path's entry.
#[derive(Clone, Debug)]
pub(crate) struct Touched {
    /// What stood there when it was first touched.
    pub(crate) before: Option<Before>,
    /// The strongest reason so far.
    pub(crate) why: Touch,
}

const SHARDS: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub struct Journal {
    recording: AtomicBool,
    shards: [RwLock<HashMap<RootPath, Touched>>; SHARDS],
    /// Directories that were renamed.
    moved: Mutex<HashSet<InodeKey>>,
    /// Inodes that lost their last name: a later inode of the same number is another one, whatever its birth time says.
    gone: Mutex<HashSet<InodeKey>>,
    /// Inodes whose times were set explicitly: an unchanged mtime proves nothing there.
    timed: Mutex<HashSet<InodeKey>>,
    /// Shared inodes and what the copies in their places are.
    replaced: Mutex<HashMap<InodeKey, Copied>>,
}

/// What stands for an inode of before: another one, that is the same file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    key: InodeKey,
    birth: Timestamp,
    ctime: Timestamp,
}

impl Copied {
    /// Makes `before` speak of the copy.
    pub(crate) fn apply(&self, before: &mut Before) {
        before.key = self.key;
        before.birth = self.birth;
        before.ctime = self.ctime;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// True between [`crate::Root::begin`] and [`crate::Root::finish`].
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.recording.load(Ordering::Acquire)
    }

    /// The paths that were touched so far, with the size of what stood there.
    pub(crate) fn touched(&self) -> Vec<(RootPath, u64)> {
        let mut touched = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let size = |entry: &Touched| entry.before.as_ref().map_or(0, |before| before.size);
            touched.extend(shard.iter().map(|(path, entry)| (path.clone(), size(entry))));
        }
        touched
    }

    pub(crate) fn start(&self) {
        self.recording.store(true, Ordering::Release);
    }

    fn shard(&self, path: &RootPath) -> &RwLock<HashMap<RootPath, Touched>> {
        // FNV-1a; only spread matters.
        let hash = path
            .as_bytes()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    /// True if another touch for this reason would change nothing.
    pub(crate) fn has(&self, path: &RootPath, why: Touch) -> bool {
        let shard = self.shard(path).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(path).is_some_and(|entry| entry.why == why || entry.why == Touch::Itself)
    }

    /// Records that `path` is about to be touched and what stands there; the first such call for a path decides.
    pub(crate) fn touch(&self, path: &RootPath, before: Option<Before>, why: Touch) {
        let mut shard = self.shard(path).write().unwrap_or_else(PoisonError::into_inner);
        match shard.get_mut(path) {
            Some(entry) if why == Touch::Itself => entry.why = Touch::Itself,
            Some(_) => {}
            None => {
                shard.insert(path.clone(), Touched { before, why });
            }
        }
    }

    /// Records that nothing stood at `path` when the step began, whatever was recorded: a placeholder that became a step's own.
    pub(crate) fn was_absent(&self, path: &RootPath) {
        let mut shard = self.shard(path).write().unwrap_or_else(PoisonError::into_inner);
        shard.insert(path.clone(), Touched { before: None, why: Touch::Itself });
    }

    /// Records that a directory was renamed.
    pub(crate) fn moved(&self, key: InodeKey) {
        lock(&self.moved).insert(key);
    }

    /// Records that an inode lost its last name.
    pub(crate) fn gone(&self, key: InodeKey) {
        lock(&self.gone).insert(key);
    }

    /// Records that an inode's times are about to be set explicitly.
    pub(crate) fn timed(&self, key: InodeKey) {
        lock(&self.timed).insert(key);
    }

    /// Records that the file of this inode is now in a copy, whose stat of now this is.
    pub(crate) fn replaced(&self, key: InodeKey, copy: &Statx) {
        let ctime = Timestamp { seconds: copy.stx_ctime.tv_sec, nanoseconds: copy.stx_ctime.tv_nsec };
        lock(&self.replaced).insert(key, Copied { key: InodeKey::of(copy), birth: birth(copy), ctime });
    }

    /// Stops recording and hands out everything, leaving an empty journal.
    pub(crate) fn take(&self) -> Recorded {
        self.recording.store(false, Ordering::Release);
        let mut touched: BTreeMap<RootPath, Touched> = BTreeMap::new();
        for shard in &self.shards {
            touched.extend(std::mem::take(&mut *shard.write().unwrap_or_else(PoisonError::into_inner)));
        }
        let replaced = std::mem::take(&mut *lock(&self.replaced));
        for entry in touched.values_mut() {
            if let Some(before) = &mut entry.before
                && let Some(copied) = replaced.get(&before.key)
            {
                copied.apply(before);
            }
        }
        Recorded {
            replaced,
            touched,
            moved: std::mem::take(&mut lock(&self.moved)),
            gone: std::mem::take(&mut lock(&self.gone)),
            timed: std::mem::take(&mut lock(&self.timed)),
        }
    }
}

/// A whole journal, in path order.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Already applied to `touched`.
    pub(crate) replaced: HashMap<InodeKey, Copied>,
    pub(crate) touched: BTreeMap<RootPath, Touched>,
    pub(crate) moved: HashSet<InodeKey>,
    pub(crate) gone: HashSet<InodeKey>,
    pub(crate) timed: HashSet<InodeKey>,
}
