//! Metadata records: what an inode pretends to be where that differs from what it is.
//!
//! Keyed by (device, inode) with the birth time as a guard, so that a record never speaks for a later inode with the same
//! number. An inode without a record is 0:0, has its real permission bits and no extended attributes. Lock order: one shard at
//! a time, never held over a system call.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::fs::Statx;
use wbuild_layer::{Device, Timestamp, Xattrs};

/// The identity of an inode on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeKey {
    /// Device, as major and minor.
    pub device: (u32, u32),
    /// Inode number on it.
    pub inode: u64,
}

impl InodeKey {
    /// The inode a real stat speaks of.
    #[must_use]
    pub fn of(stat: &Statx) -> Self {
        Self { device: (stat.stx_dev_major, stat.stx_dev_minor), inode: stat.stx_ino }
    }
}

/// The birth time of the inode a real stat speaks of; zero where the filesystem has none.
#[must_use]
pub fn birth(stat: &Statx) -> Timestamp {
    Timestamp { seconds: stat.stx_btime.tv_sec, nanoseconds: stat.stx_btime.tv_nsec }
}

/// A special file that is an empty regular file in reality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    /// A character device.
    Char(Device),
    /// A block device.
    Block(Device),
}

impl Special {
    /// `S_IFCHR` or `S_IFBLK`.
    #[must_use]
    pub fn type_bits(self) -> u32 {
        match self {
            Self::Char(_) => S_IFCHR,
            Self::Block(_) => S_IFBLK,
        }
    }

    /// The device number.
    #[must_use]
    pub fn device(self) -> Device {
        match self {
            Self::Char(device) | Self::Block(device) => device,
        }
    }
}

/// Bits of `st_mode` (man 7 inode).
pub const S_IFMT: u32 = 0o170_000;
/// A character device.
pub const S_IFCHR: u32 = 0o020_000;
/// A block device.
pub const S_IFBLK: u32 = 0o060_000;
/// A directory.
pub const S_IFDIR: u32 = 0o040_000;
/// A regular file.
pub const S_IFREG: u32 = 0o100_000;
/// A symbolic link.
pub const S_IFLNK: u32 = 0o120_000;
/// A FIFO.
pub const S_IFIFO: u32 = 0o010_000;
/// An AF_UNIX socket.
pub const S_IFSOCK: u32 = 0o140_000;

/// Whether a record outlives the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Scope {
    /// The inode is the tree's: persisted.
    #[default]
    Tree,
    /// The inode is a graft's: forgotten with the step, or persisted where the graft's source is.
    Graft(GraftId),
}

/// Which of a step's grafts: its place in mount order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GraftId(pub u32);

/// What an inode pretends to be.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Record {
    /// Virtual owner.
    pub uid: u32,
    /// Virtual group.
    pub gid: u32,
    /// Virtual permission bits with setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// The device it pretends to be.
    pub special: Option<Special>,
    /// Extended attributes; all of them, the host's own are never shown.
    pub xattrs: Xattrs,
    /// Whether it is persisted.
    pub scope: Scope,
}

impl Record {
    /// What an inode with this real stat is without a record.
    #[must_use]
    pub fn implied(stat: &Statx) -> Self {
        Self { mode: u32::from(stat.stx_mode) & 0o777, ..Self::default() }
    }

    /// True if an inode with the real permission bits `real` needs no record to be this.
    fn is_implied(&self, real: u32) -> bool {
        self.uid == 0
            && self.gid == 0
            && self.mode == real & 0o777
            && self.special.is_none()
            && self.xattrs.is_empty()
    }

    /// Writes what this inode pretends to be over its real stat.
    pub fn apply(&self, stat: &mut Statx) {
        let kind = self.special.map_or(u32::from(stat.stx_mode) & S_IFMT, Special::type_bits);
        stat.stx_mode = mode_bits(kind | (self.mode & 0o7777));
        stat.stx_uid = self.uid;
        stat.stx_gid = self.gid;
        let device = self.special.map_or(Device { major: 0, minor: 0 }, Special::device);
        stat.stx_rdev_major = device.major;
        stat.stx_rdev_minor = device.minor;
    }
}

/// `st_mode` as the kernel's statx has it.
fn mode_bits(mode: u32) -> u16 {
    u16::try_from(mode & 0xffff).unwrap_or(u16::MAX)
}

/// The real permission bits of a directory that is to look like `mode`.
#[must_use]
pub fn real_directory_mode(mode: u32) -> u32 {
    (mode & 0o777) | 0o700
}

/// The real permission bits of any other file that is to look like `mode`: the owner can read and write it, and execute
/// what anybody may execute (Linux asks the owner's bit only).
#[must_use]
pub fn real_file_mode(mode: u32) -> u32 {
    let executable = if mode & 0o111 == 0 { 0 } else { 0o100 };
    (mode & 0o777) | 0o600 | executable
}

#[derive(Clone, Debug)]
struct Guarded {
    birth: Timestamp,
    record: Record,
    life: Life,
}

/// Whether an inode still has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Named,
    /// Open descriptors may still ask for the record; it is not persisted.
    Nameless,
}

const SHARDS: usize = 32;

type Shard = HashMap<InodeKey, Guarded>;

/// The records of a tree, shared between threads.
#[derive(Debug, Default)]
pub struct Records {
    shards: [RwLock<Shard>; SHARDS],
}

impl Records {
    fn shard(&self, key: &InodeKey) -> &RwLock<Shard> {
        // Inode numbers of files made together differ in their low bits.
        &self.shards[usize::try_from(key.inode % SHARDS as u64).unwrap_or(0)]
    }

    fn read(&self, key: &InodeKey) -> RwLockReadGuard<'_, Shard> {
        self.shard(key).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, key: &InodeKey) -> RwLockWriteGuard<'_, Shard> {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the inode of this real stat pretends to be.
    #[must_use]
    pub fn get(&self, stat: &Statx) -> Record {
        self.with(stat, |record| record.cloned()).unwrap_or_else(|| Record::implied(stat))
    }

    /// Lets `look` see the record, if the inode has one, without copying it.
    pub fn with<T>(&self, stat: &Statx, look: impl FnOnce(Option<&Record>) -> T) -> T {
        let key = InodeKey::of(stat);
        let shard = self.read(&key);
        look(shard.get(&key).filter(|found| found.birth == birth(stat)).map(|found| &found.record))
    }

    /// Writes the guest's view over a real stat: owner, mode, type and device number.
    pub fn show(&self, stat: &mut Statx) {
        let key = InodeKey::of(stat);
        let shard = self.read(&key);
        match shard.get(&key).filter(|found| found.birth == birth(stat)) {
            Some(found) => found.record.apply(stat),
            None => {
                stat.stx_uid = 0;
                stat.stx_gid = 0;
                stat.stx_mode &= 0o170_777;
                stat.stx_rdev_major = 0;
                stat.stx_rdev_minor = 0;
            }
        }
    }

    /// Replaces what is recorded of the inode of this real stat, whose permission bits are right already; an inode that needs
    /// no record loses it.
    pub fn set(&self, stat: &Statx, record: Record) {
        let key = InodeKey::of(stat);
        let mut shard = self.write(&key);
        if record.is_implied(u32::from(stat.stx_mode)) {
            shard.remove(&key);
        } else {
            shard.insert(key, Guarded { birth: birth(stat), record, life: Life::Named });
        }
    }

    /// Changes the record in one step (no other change comes between); `change` gets the implied one where there is none.
    /// The caller has set the real permission bits to `real` and `stat` may be older than that.
    ///
    /// # Errors
    /// Whatever `change` answers; then nothing is different.
    pub fn update<E>(
        &self,
        stat: &Statx,
        scope: Scope,
        real: u32,
        change: impl FnOnce(&mut Record) -> Result<(), E>,
    ) -> Result<(), E> {
        let key = InodeKey::of(stat);
        let mut shard = self.write(&key);
        let (mut record, life) = match shard.get(&key) {
            Some(found) if found.birth == birth(stat) => (found.record.clone(), found.life),
            _ => {
                let life = if stat.stx_nlink == 0 { Life::Nameless } else { Life::Named };
                (Record { scope, ..Record::implied(stat) }, life)
            }
        };
        change(&mut record)?;
        if record.is_implied(real) {
            shard.remove(&key);
        } else {
            shard.insert(key, Guarded { birth: birth(stat), record, life });
        }
        Ok(())
    }

    /// Records that the inode lost its last name, or has none yet: open descriptors still see its record, later trees do not.
    pub fn set_nameless(&self, stat: &Statx) {
        self.set_life(stat, Life::Nameless);
    }

    /// Records that a nameless inode (`O_TMPFILE`) has got a name.
    pub fn set_named(&self, stat: &Statx) {
        self.set_life(stat, Life::Named);
    }

    fn set_life(&self, stat: &Statx, life: Life) {
        let key = InodeKey::of(stat);
        if let Some(found) = self.write(&key).get_mut(&key)
            && found.birth == birth(stat)
        {
            found.life = life;
        }
    }

    /// Forgets what is recorded of an inode.
    pub(crate) fn forget(&self, key: InodeKey, birth: Timestamp) {
        let mut shard = self.write(&key);
        if shard.get(&key).is_some_and(|found| found.birth == birth) {
            shard.remove(&key);
        }
    }

    /// True if something is recorded of an inode.
    pub(crate) fn has(&self, key: InodeKey, birth: Timestamp) -> bool {
        self.read(&key).get(&key).is_some_and(|found| found.birth == birth)
    }

    /// Puts back a record that was read from disk.
    pub(crate) fn restore(&self, key: InodeKey, birth: Timestamp, record: Record) {
        self.write(&key).insert(key, Guarded { birth, record, life: Life::Named });
    }

    /// A copy of every record that outlives the step, sorted.
    pub(crate) fn persistent(&self) -> Vec<(InodeKey, Timestamp, Record)> {
        self.named(Scope::Tree)
    }

    /// A copy of every record of this scope whose inode still has a name, sorted.
    pub(crate) fn named(&self, scope: Scope) -> Vec<(InodeKey, Timestamp, Record)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            all.extend(
                shard
                    .iter()
                    .filter(|(_, found)| found.record.scope == scope && found.life == Life::Named)
                    .map(|(key, found)| (*key, found.birth, found.record.clone())),
            );
        }
        all.sort_by_key(|(key, ..)| *key);
        all
    }

    /// How many inodes have a record.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// True if no inode has a record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
