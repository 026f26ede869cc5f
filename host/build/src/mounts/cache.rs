//! Cache mounts: captured trees beside the store that outlive builds, one directory for each id and beginning.
//!
//! ```text
//! cache-mounts/<scope>/<key>/<n>         the n-th tree of this cache: fs/, records
//! cache-mounts/<scope>/<key>/<n>.lock    shared by those that use it at once, exclusive for those that want it alone
//! cache-mounts/<scope>/<key>/about       id and beginning, for people
//! ```
//!
//! Lock order: a step takes the locks of its caches in the order of their keys, so two steps never wait for each other. A tree appears by
//! rename when it is complete. A cache that a killed step used keeps its files; owners of what that step made are root's.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cap_std::fs::{Dir, File};
use rustix::fs::{FlockOperation, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;
use wbuild_monitor::Cancel;
use wbuild_oci::Digest;
use wbuild_plan::Sharing;

use crate::error::BuildError;

/// Builds of one store share their caches; there is one scope so far.
const SCOPE: &str = "default";
pub(super) const ROOM: &str = "cache-mounts";
/// How often a lock that somebody holds is tried.
const EVERY: Duration = Duration::from_millis(50);

/// What tells caches apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CacheKey {
    pub(crate) id: String,
    /// What a new one begins as.
    pub(crate) start: Vec<String>,
}

impl CacheKey {
    /// A directory's name: length-framed fields, so that no two keys run together.
    fn name(&self) -> String {
        let mut framed = Vec::new();
        for field in std::iter::once(&self.id).chain(&self.start) {
            framed.extend_from_slice(&(field.len() as u64).to_le_bytes());
            framed.extend_from_slice(field.as_bytes());
        }
        Digest::of(&framed).hex()
    }
}

/// A cache in use; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct InUse {
    /// The tree's directory.
    pub(crate) tree: PathBuf,
    _lock: File,
}

/// Finds the cache of `key`, or makes it with `fill`, which gets the directory that is to be the tree; waits where `sharing` says so.
pub(crate) fn acquire(
    store: &Path,
    key: &CacheKey,
    sharing: Sharing,
    cancel: &Cancel,
    note: &mut dyn FnMut(&str),
    fill: &mut dyn FnMut(&Path) -> Result<(), BuildError>,
) -> Result<InUse, BuildError> {
    let room = Path::new(ROOM).join(SCOPE).join(key.name());
    let path = store.join(&room);
    let host = |action| {
        let path = path.clone();
        move |source| BuildError::Host { action, path, source }
    };
    let open = |name: &Path| -> std::io::Result<Dir> {
        let store = Dir::open_ambient_dir(store, cap_std::ambient_authority())?;
        store.create_dir_all(name)?;
        store.open_dir(name)
    };
    let dir = open(&room).map_err(host("make"))?;
    let (number, lock) = lock(&dir, key, sharing, cancel, note).map_err(|waiting| match waiting {
        Waiting::Cancelled => BuildError::Cancelled,
        Waiting::Failed(error) => host("lock")(error),
    })?;
    make(&dir, &path, number, key, fill, &host)?;
    // `upkeep` reads from it when the cache was used last.
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    rustix::fs::futimens(&lock, &times).map_err(|errno| host("mark")(errno.into()))?;
    Ok(InUse { tree: path.join(number.to_string()), _lock: lock })
}

/// Makes the tree unless it is there. Whoever shares it waits for the one who makes it.
fn make<F: FnOnce(std::io::Error) -> BuildError>(
    dir: &Dir,
    path: &Path,
    number: u32,
    key: &CacheKey,
    fill: &mut dyn FnMut(&Path) -> Result<(), BuildError>,
    host: &dyn Fn(&'static str) -> F,
) -> Result<(), BuildError> {
    let name = number.to_string();
    let alone = lock_file(dir, "making.lock").map_err(host("lock"))?;
    rustix::fs::flock(&alone, FlockOperation::LockExclusive).map_err(|errno| host("lock")(errno.into()))?;
    if dir.try_exists(&name).map_err(host("look into"))? {
        return Ok(());
    }
    let new = format!("{name}.new");
    if dir.try_exists(&new).map_err(host("look into"))? {
        dir.remove_dir_all(&new).map_err(host("clean"))?;
    }
    fill(&path.join(&new))?;
    dir.rename(&new, dir, &name).map_err(host("make a cache in"))?;
    let mut about = dir.create("about").map_err(host("write to"))?;
    writeln!(about, "{}", key.id).map_err(host("write to"))?;
    key.start.iter().try_for_each(|field| writeln!(about, "{field}")).map_err(host("write to"))
}

enum Waiting {
    Cancelled,
    Failed(std::io::Error),
}

pub(super) fn lock_file(dir: &Dir, name: &str) -> std::io::Result<File> {
    let mut options = cap_std::fs::OpenOptions::new();
    options.write(true).create(true);
    dir.open_with(name, &options)
}

/// Which of the cache's trees is used, with its lock.
fn lock(
    dir: &Dir,
    key: &CacheKey,
    sharing: Sharing,
    cancel: &Cancel,
    note: &mut dyn FnMut(&str),
) -> Result<(u32, File), Waiting> {
    let how = match sharing {
        Sharing::Shared => FlockOperation::NonBlockingLockShared,
        Sharing::Private | Sharing::Locked => FlockOperation::NonBlockingLockExclusive,
    };
    let (mut number, mut told) = (0, false);
    loop {
        if cancel.is_cancelled() {
            return Err(Waiting::Cancelled);
        }
        let file = lock_file(dir, &format!("{number}.lock")).map_err(Waiting::Failed)?;
        match rustix::fs::flock(&file, how) {
            Ok(()) => return Ok((number, file)),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if sharing == Sharing::Locked => {
                if !std::mem::replace(&mut told, true) {
                    note(&format!("waiting for the cache mount {}, which another step uses", key.id));
                }
                std::thread::sleep(EVERY);
            }
            // Somebody wants that one alone, or this step does.
            Err(Errno::WOULDBLOCK) => number += 1,
            Err(errno) => return Err(Waiting::Failed(errno.into())),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes a cache with std")]
mod tests {
    use super::super::upkeep::{PrunedMounts, cache_mounts, prune_mounts};
    use super::*;

    fn key(id: &str, start: &[&str]) -> CacheKey {
        CacheKey { id: id.into(), start: start.iter().map(|field| (*field).to_owned()).collect() }
    }

    fn use_it(store: &Path, key: &CacheKey, sharing: Sharing) -> (InUse, bool) {
        let mut made = false;
        let mut fill = |path: &Path| {
            made = true;
            std::fs::create_dir(path).unwrap();
            Ok(())
        };
        let used = acquire(store, key, sharing, &Cancel::default(), &mut |_| {}, &mut fill).unwrap();
        (used, made)
    }

    #[test]
    fn a_cache_is_made_once_and_found_again() {
        let store = tempfile::tempdir().unwrap();
        let (first, made) = use_it(store.path(), &key("a", &[]), Sharing::Shared);
        assert!(made && first.tree.is_dir());
        let (again, made) = use_it(store.path(), &key("a", &[]), Sharing::Shared);
        assert!(!made);
        assert_eq!(again.tree, first.tree);
        for other in [key("b", &[]), key("a", &["x"]), key("ax", &[]), key("../../a", &[])] {
            let (other, made) = use_it(store.path(), &other, Sharing::Shared);
            assert!(made && other.tree != first.tree && other.tree.starts_with(store.path().join(ROOM)));
        }
    }

    #[test]
    fn a_private_cache_is_another_while_the_first_is_used() {
        let store = tempfile::tempdir().unwrap();
        let key = key("a", &[]);
        let (first, _) = use_it(store.path(), &key, Sharing::Private);
        let (second, made) = use_it(store.path(), &key, Sharing::Private);
        assert!(made);
        assert_ne!(first.tree, second.tree);
        let path = first.tree.clone();
        drop(first);
        let (third, made) = use_it(store.path(), &key, Sharing::Private);
        assert!(!made);
        assert_eq!(third.tree, path);
    }

    #[test]
    fn a_locked_cache_is_waited_for_until_the_build_is_cancelled() {
        let store = tempfile::tempdir().unwrap();
        let key = key("a", &[]);
        let (first, _) = use_it(store.path(), &key, Sharing::Locked);
        let cancel = Cancel::default();
        let mut heard = Vec::new();
        let mut note = |text: &str| {
            heard.push(text.to_owned());
            cancel.cancel();
        };
        let waited =
            acquire(store.path(), &key, Sharing::Locked, &cancel, &mut note, &mut |_| unreachable!());
        assert!(matches!(waited, Err(BuildError::Cancelled)));
        assert_eq!(heard, ["waiting for the cache mount a, which another step uses"]);
        drop(first);
        assert!(!use_it(store.path(), &key, Sharing::Locked).1);
    }

    #[test]
    fn what_no_step_uses_is_removed_and_made_anew() {
        let store = tempfile::tempdir().unwrap();
        assert_eq!(prune_mounts(store.path(), None).unwrap(), PrunedMounts::default());
        let (key, other) = (key("a", &[]), key("b", &[]));
        let (used, _) = use_it(store.path(), &key, Sharing::Shared);
        let (free, _) = use_it(store.path(), &other, Sharing::Shared);
        std::fs::write(free.tree.join("file"), [1; 5_000]).unwrap();
        let ids = || -> Vec<String> {
            let mut ids: Vec<_> = cache_mounts(store.path()).unwrap().into_iter().map(|one| one.id).collect();
            ids.sort();
            ids
        };
        drop(free);
        assert_eq!(ids(), ["a", "b"]);
        let long_ago = prune_mounts(store.path(), Some(1_000)).unwrap();
        assert_eq!(long_ago, PrunedMounts::default(), "both were used since");
        let pruned = prune_mounts(store.path(), None).unwrap();
        assert_eq!((pruned.mounts, pruned.in_use), (1, 1));
        assert!(pruned.bytes >= 5_000, "{pruned:?}");
        assert_eq!(ids(), ["a"]);
        assert!(used.tree.exists());
        let (again, made) = use_it(store.path(), &other, Sharing::Shared);
        assert!(made && !again.tree.join("file").exists());
    }

    #[test]
    fn what_an_interrupted_making_left_is_made_anew() {
        let store = tempfile::tempdir().unwrap();
        let key = key("a", &[]);
        let (first, _) = use_it(store.path(), &key, Sharing::Shared);
        let half = first.tree.with_file_name("0.new");
        std::fs::rename(&first.tree, &half).unwrap();
        std::fs::write(half.join("junk"), "").unwrap();
        drop(first);
        let (again, made) = use_it(store.path(), &key, Sharing::Shared);
        assert!(made && !again.tree.join("junk").exists());
    }
}
