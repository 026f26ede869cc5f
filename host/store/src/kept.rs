//! Trees that outlive the build that made them, so that the next one need not unpack the same layers.
//!
//! ```text
//! kept/<key>/       the tree as its build left it; only read and linked from then on
//! kept/<key>.json   written when it was whole: the boot, what it looked like, its size on disk
//! kept/<key>.lock   its time is that of the last use; shared by who reads the tree, held alone by who makes or removes it
//! ```
//!
//! Nothing of a tree is synced to the disk, so one of another boot counts as broken. Whoever uses a tree compares it with what it
//! looked like; that, and what is inside, is `build`'s affair. All of it may be removed at any moment: it is only time saved.

use crate::moment::Moment;
use crate::{Removal, Store, StoreError, Tree, blobs::failed, lock, removal};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, MetadataExt, OpenOptions};
use rustix::fs::{AtFlags, FlockOperation, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, flock, utimensat};
use std::io;
use wbuild_oci::Digest;

/// A tree that was kept. As long as this lives, nobody removes it.
#[derive(Debug)]
pub struct KeptTree {
    room: Dir,
    key: Digest,
    lock: File,
    /// What [`Tree::keep`] was given.
    pub likeness: Digest,
}

/// What is known of a kept tree without looking into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptInfo {
    /// Its key.
    pub key: Digest,
    /// The bytes its files occupied when it was kept; those that it shares with nothing else any more may be fewer.
    pub bytes: u64,
    /// When it was used last, in seconds since 1970.
    pub used: i64,
}

/// What `<key>.json` says.
struct Mark {
    boot: String,
    likeness: Digest,
    bytes: u64,
}

impl Mark {
    fn parse(document: &[u8]) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(document).ok()?;
        Some(Self {
            boot: value["boot"].as_str()?.to_owned(),
            likeness: value["likeness"].as_str()?.parse().ok()?,
            bytes: value["bytes"].as_u64()?,
        })
    }

    fn to_json(&self) -> String {
        let Self { boot, likeness, bytes } = self;
        serde_json::json!({ "boot": boot, "likeness": likeness, "bytes": bytes }).to_string()
    }
}

impl KeptTree {
    /// The tree's path below the store's directory.
    #[must_use]
    pub fn path(&self) -> String {
        format!("kept/{}", self.key.hex())
    }

    /// Removes it, unless another process reads it, too: what has changed in the store's directory is of no use to anyone.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn discard(self) -> Result<Removal, StoreError> {
        // Alone, the lock that this one shares could never be had.
        let Self { room, key, lock, .. } = self;
        drop(lock);
        remove(&room, &key.hex()).map_err(failed("remove", format!("kept/{}", key.hex())))
    }
}

impl Tree {
    /// Keeps the tree under `key` for later builds, if nobody else did so just now; else, and where the kernel does not say which
    /// boot this is, it is removed. Nobody may change anything in it from here on. Without the tree's path, which is gone.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn keep(self, store: &Store, key: &Digest, likeness: Digest, bytes: u64) -> Result<(), StoreError> {
        let name = key.hex();
        let path = format!("kept/{name}");
        let Some(boot) = boot() else { return self.remove() };
        let room = store.kept_room();
        let Some(_lock) = lock_alone(room, &name).map_err(failed("lock", &path))? else {
            return self.remove();
        };
        if room.try_exists(&name).map_err(failed("look up", &path))? {
            return self.remove();
        }
        self.move_to(room, &name).map_err(failed("move", &path))?;
        let mark = Mark { boot, likeness, bytes };
        room.write(format!("{name}.json"), mark.to_json()).map_err(failed("write", &path))
    }
}

impl Store {
    /// The tree that was kept under `key`, if it is there and whole.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn kept_tree(&self, key: &Digest) -> Result<Option<KeptTree>, StoreError> {
        let name = key.hex();
        let find = || -> io::Result<Option<KeptTree>> {
            let room = self.kept_room();
            let lock_name = format!("{name}.lock");
            let Some(lock) = absent(room.open(&lock_name))? else { return Ok(None) };
            match flock(&lock, FlockOperation::NonBlockingLockShared) {
                Ok(()) if lock.metadata()?.nlink() > 0 => {}
                // It is being made or removed.
                Ok(()) | Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            let Some(document) = absent(room.read(format!("{name}.json")))? else { return Ok(None) };
            let Some(mark) = Mark::parse(&document).filter(|mark| Some(&mark.boot) == boot().as_ref()) else {
                return Ok(None);
            };
            let now = Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
                last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            };
            utimensat(room, &lock_name, &now, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(Some(KeptTree { room: room.try_clone()?, key: *key, lock, likeness: mark.likeness }))
        };
        find().map_err(failed("open", format!("kept/{name}")))
    }

    /// Every kept tree, the one not used for longest first.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn kept_trees(&self) -> Result<Vec<KeptInfo>, StoreError> {
        let list = || -> io::Result<Vec<(Moment, KeptInfo)>> {
            let room = self.kept_room();
            let mut all = Vec::new();
            for (name, key) in keys(room)? {
                let Some(document) = absent(room.read(format!("{name}.json")))? else { continue };
                let Some(mark) = Mark::parse(&document) else { continue };
                let Some(metadata) = absent(room.metadata(format!("{name}.lock")))? else { continue };
                let used = Moment::of(&metadata);
                all.push((used, KeptInfo { key, bytes: mark.bytes, used: used.seconds() }));
            }
            Ok(all)
        };
        let mut all = list().map_err(failed("list", "kept"))?;
        all.sort_by_key(|(used, info)| (*used, info.key));
        Ok(all.into_iter().map(|(_, info)| info).collect())
    }

    /// Removes a kept tree unless someone reads it just now. Trees that were made from it stay whole.
    ///
    /// # Errors
    /// [`StoreError::Io`]; what is left is removed when the store is next opened.
    pub fn remove_kept(&self, key: &Digest) -> Result<Removal, StoreError> {
        remove(self.kept_room(), &key.hex()).map_err(failed("remove", format!("kept/{}", key.hex())))
    }
}

/// Removes what is of no use: half made, half removed, of another boot.
pub(crate) fn sweep(room: &Dir) -> io::Result<()> {
    let boot = boot();
    for (name, _) in keys(room)? {
        let mark = absent(room.read(format!("{name}.json")))?.and_then(|document| Mark::parse(&document));
        let whole = mark.is_some_and(|mark| Some(mark.boot) == boot) && room.try_exists(&name)?;
        if !whole {
            remove(room, &name)?;
        }
    }
    Ok(())
}

fn remove(room: &Dir, name: &str) -> io::Result<Removal> {
    let Some(_lock) = lock_alone(room, name)? else { return Ok(Removal::InUse) };
    let there = room.try_exists(name)?;
    // First, so that a tree of which a part is gone is never taken for whole.
    absent(room.remove_file(format!("{name}.json")))?;
    removal::remove_tree(room, name)?;
    absent(room.remove_file(format!("{name}.lock")))?;
    Ok(if there { Removal::Removed } else { Removal::Absent })
}

/// The lock of a tree, which need not be there; `None` while another process has it.
fn lock_alone(room: &Dir, name: &str) -> io::Result<Option<File>> {
    let options = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        options
    };
    let lock = room.open_with(format!("{name}.lock"), &options())?;
    // One that was removed meanwhile is nobody's.
    Ok((lock::try_lock(&lock)? && lock.metadata()?.nlink() > 0).then_some(lock))
}

/// The keys that any file belongs to.
fn keys(room: &Dir) -> io::Result<std::collections::BTreeMap<String, Digest>> {
    let mut all = std::collections::BTreeMap::new();
    for entry in room.entries()? {
        let name = entry?.file_name();
        let key = name.to_str().map(|name| name.split('.').next().unwrap_or(name));
        if let Some((key, digest)) = key.and_then(|key| Some((key, Digest::from_hex(key).ok()?))) {
            all.insert(key.to_owned(), digest);
        }
    }
    Ok(all)
}

fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The kernel's name for this boot; `None` where it is not shown.
fn boot() -> Option<String> {
    let dir = Dir::open_ambient_dir("/proc/sys/kernel/random", ambient_authority()).ok()?;
    dir.read_to_string("boot_id").ok().map(|boot| boot.trim().to_owned())
}

#[cfg(test)]
mod tests;
