//! Cache mounts as the store's owner sees them: which there are, how large, when a step used them last, and removing them.
//!
//! A tree that a running step holds is never removed: its lock is taken first, and nobody is waited for. It leaves its name before it is
//! emptied, so a removal that is killed leaves no half of a cache; what it leaves goes with the next one.

use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use cap_std::fs::{Dir, MetadataExt};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::cache::{ROOM, lock_file};
use crate::error::BuildError;

/// The name of a tree on its way out ends so.
const GOING: &str = ".gone";

/// One tree of a cache mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMount {
    /// Its id: that of the mount, or its target.
    pub id: String,
    /// Its size on the disk, in bytes, as far as it can be seen.
    pub size: u64,
    /// When a step took it last, in seconds since 1970.
    pub used: i64,
}

/// What a pruning of cache mounts did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrunedMounts {
    /// Trees that are gone.
    pub mounts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Trees that should have gone and that a step uses.
    pub in_use: u64,
}

/// The cache mounts of the store at `store`, the one that was used last first.
///
/// # Errors
/// [`BuildError::Host`].
pub fn cache_mounts(store: &Path) -> Result<Vec<StoredMount>, BuildError> {
    let mut all = Vec::new();
    each(store, |dir, _, number, about| {
        all.push(found(dir, number, about)?);
        Ok(())
    })
    .map_err(failed(store))?;
    all.sort_by(|one, other| (other.used, &one.id).cmp(&(one.used, &other.id)));
    Ok(all)
}

/// Removes the cache mounts that no step took since `unused_since`, in seconds since 1970; without it, all that no step uses.
///
/// # Errors
/// [`BuildError::Host`]; what was removed until then is gone.
pub fn prune_mounts(store: &Path, unused_since: Option<i64>) -> Result<PrunedMounts, BuildError> {
    let mut pruned = PrunedMounts::default();
    each(store, |dir, names, number, about| {
        let mount = found(dir, number, about)?;
        if unused_since.is_some_and(|since| mount.used >= since) {
            return Ok(());
        }
        match remove(dir, names, number)? {
            true => {
                pruned.mounts += 1;
                pruned.bytes += mount.size;
            }
            false => pruned.in_use += 1,
        }
        Ok(())
    })
    .map_err(failed(store))?;
    Ok(pruned)
}

fn failed(store: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = store.join(ROOM);
    move |source| BuildError::Host { action: "look after the cache mounts in", path, source }
}

/// Calls `act` with the directory of each cache, the names in it, the number of one tree and the cache's id.
fn each(store: &Path, mut act: impl FnMut(&Dir, &[String], u32, &str) -> io::Result<()>) -> io::Result<()> {
    let store = Dir::open_ambient_dir(store, cap_std::ambient_authority())?;
    let room = match store.open_dir(ROOM) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for scope in names(&room)? {
        let scope = room.open_dir(scope)?;
        for key in names(&scope)? {
            let dir = scope.open_dir(key)?;
            let all = names(&dir)?;
            let about = dir.read_to_string("about").unwrap_or_default();
            let id = about.lines().next().unwrap_or_default();
            for number in all.iter().filter_map(|name| name.parse().ok()) {
                act(&dir, &all, number, id)?;
            }
        }
    }
    Ok(())
}

fn names(dir: &Dir) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in dir.entries()? {
        all.extend(entry?.file_name().into_string());
    }
    all.sort();
    Ok(all)
}

fn found(dir: &Dir, number: u32, id: &str) -> io::Result<StoredMount> {
    let used = dir.metadata(format!("{number}.lock"))?.modified()?.into_std();
    let used = used.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(StoredMount {
        id: id.to_owned(),
        size: size(&dir.open_dir(number.to_string())?)?,
        used: i64::try_from(used).unwrap_or(i64::MAX),
    })
}

/// What the files of a tree take; what its owner cannot enter is not counted.
fn size(dir: &Dir) -> io::Result<u64> {
    let mut total = 0;
    let mut pending = vec![dir.try_clone()?];
    while let Some(dir) = pending.pop() {
        for entry in dir.entries()? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            total += metadata.blocks() * 512;
            if metadata.is_dir() {
                match entry.open_dir() {
                    Ok(below) => pending.push(below),
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(total)
}

/// Whether it could be removed: nobody uses it.
fn remove(dir: &Dir, names: &[String], number: u32) -> io::Result<bool> {
    // Who makes a tree holds this one.
    let making = lock_file(dir, "making.lock")?;
    rustix::fs::flock(&making, FlockOperation::LockExclusive)?;
    let lock = lock_file(dir, &format!("{number}.lock"))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(false),
        other => other?,
    }
    for left in names.iter().filter(|name| name.ends_with(GOING)) {
        wbuild_store::remove_tree(dir, left)?;
    }
    let going = format!("{number}{GOING}");
    wbuild_store::remove_tree(dir, &going)?;
    dir.rename(number.to_string(), dir, &going)?;
    wbuild_store::remove_tree(dir, &going)?;
    Ok(true)
}
