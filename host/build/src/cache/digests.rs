//! Digests of files of a build context, remembered by inode: a warm build asks for each file's state and reads none.
//!
//! A digest counts as long as device, inode, size, modification and change time are what they were. A file that changed within
//! the last two seconds before it was read is not remembered, because a change right after could leave the same times (the
//! coarsest clock of a filesystem in use ticks once in two seconds). The cache is one record of the store for each context; where it
//! is missing or damaged, files are read again.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::fs::Dir;
use rustix::fs::fstat;
use wbuild_oci::Digest;
use wbuild_store::{Store, StoreError};

use super::content::of_file;

/// The kind of record in the store.
pub(super) const KIND: &str = "digests";
const MAGIC: &[u8; 16] = b"wbuild-digests-1";
/// Bytes of one entry: seven numbers and a digest.
const ENTRY: usize = 7 * 8 + 32;
/// The coarsest tick of a filesystem's clock, in seconds.
const TICK: i64 = 2;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let stat = fstat(file)?;
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            mtime: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            ctime: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
        })
    }

    fn numbers(self) -> [u64; 7] {
        let Self { device, inode, size, mtime, ctime } = self;
        let [ms, mn, cs, cn] = [mtime.0, mtime.1, ctime.0, ctime.1].map(i64::cast_unsigned);
        [device, inode, size, ms, mn, cs, cn]
    }

    fn from_numbers([device, inode, size, ms, mn, cs, cn]: [u64; 7]) -> Self {
        let [ms, mn, cs, cn] = [ms, mn, cs, cn].map(u64::cast_signed);
        Self { device, inode, size, mtime: (ms, mn), ctime: (cs, cn) }
    }
}

fn nanoseconds(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or_default()
}

/// The remembered digests of one context.
pub(crate) struct DigestCache {
    key: Digest,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// From builds before.
    known: HashMap<Stamp, Digest>,
    /// Looked up by this build.
    seen: HashMap<Stamp, Digest>,
    /// Files that this build read.
    read: usize,
}

impl DigestCache {
    /// What the store remembers of the context in `root`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn load(store: &Store, root: &Dir) -> Result<Self, StoreError> {
        // A directory that cannot be asked for its inode has no cache, only a name nobody else uses.
        let (device, inode) = fstat(root).map_or((0, 0), |stat| (stat.st_dev, stat.st_ino));
        let key = Digest::of(format!("context {device} {inode}").as_bytes());
        let known = store.record(KIND, &key)?.and_then(|document| parse(&document)).unwrap_or_default();
        Ok(Self { key, state: Mutex::new(State { known, ..State::default() }) })
    }

    /// The digest of a file that is open at its beginning.
    pub(crate) fn digest(&self, file: &mut File) -> io::Result<Digest> {
        self.digest_at(file, now())
    }

    fn digest_at(&self, file: &mut File, now: i64) -> io::Result<Digest> {
        let stamp = Stamp::of(file)?;
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let known = state.known.get(&stamp).or_else(|| state.seen.get(&stamp)).copied();
            if let Some(digest) = known {
                state.seen.insert(stamp, digest);
                return Ok(digest);
            }
        }
        let digest = of_file(file)?;
        let settled = stamp.ctime.0 + TICK < now && stamp.mtime.0 + TICK < now;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.read += 1;
        if settled && Stamp::of(file)? == stamp {
            state.seen.insert(stamp, digest);
        }
        Ok(digest)
    }

    /// Writes down what this build learnt, and forgets what it has not seen once that is the larger part.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn save(&self, store: &Store) -> Result<(), StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { known, seen, .. } = &*state;
        if seen.keys().all(|stamp| known.contains_key(stamp)) {
            return Ok(());
        }
        let mut kept = seen.clone();
        if known.len() <= 2 * seen.len() + 10_000 {
            kept.extend(known.iter().map(|(stamp, digest)| (*stamp, *digest)));
        }
        store.put_record(KIND, &self.key, &document(&kept))
    }

    /// How many files were read, not remembered.
    #[cfg(test)]
    fn files_read(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).read
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn document(entries: &HashMap<Stamp, Digest>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + entries.len() * ENTRY + 32);
    bytes.extend_from_slice(MAGIC);
    for (stamp, digest) in entries {
        bytes.extend(stamp.numbers().into_iter().flat_map(u64::to_le_bytes));
        bytes.extend_from_slice(digest.as_bytes());
    }
    let check = Digest::of(&bytes);
    bytes.extend_from_slice(check.as_bytes());
    bytes
}

/// `None` where the document is not one, or not whole.
fn parse(document: &[u8]) -> Option<HashMap<Stamp, Digest>> {
    let (body, check) = document.split_last_chunk::<32>()?;
    let entries = body.strip_prefix(MAGIC)?;
    if Digest::of(body).as_bytes() != check || entries.len() % ENTRY != 0 {
        return None;
    }
    let entry = |bytes: &[u8]| {
        let (numbers, digest) = bytes.split_last_chunk::<32>()?;
        let mut found = [0; 7];
        for (number, bytes) in found.iter_mut().zip(numbers.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        Some((Stamp::from_numbers(found), Digest::from_bytes(*digest)))
    };
    entries.chunks_exact(ENTRY).map(entry).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes its files with std")]
mod tests {
    use cap_std::ambient_authority;

    use super::*;

    struct Room {
        _dir: tempfile::TempDir,
        path: std::path::PathBuf,
        store: Store,
        root: Dir,
    }

    fn room() -> Room {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            Dir::open_ambient_dir(dir.path().join(name), ambient_authority()).unwrap()
        };
        let (store, root) = (Store::open(&open("store")).unwrap(), open("context"));
        Room { path: dir.path().join("context/file"), _dir: dir, store, root }
    }

    /// Long after everything here was written.
    fn later() -> i64 {
        now() + 100
    }

    fn digest(cache: &DigestCache, room: &Room, now: i64) -> Digest {
        cache.digest_at(&mut File::open(&room.path).unwrap(), now).unwrap()
    }

    #[test]
    fn a_file_that_stays_is_read_once() {
        let room = room();
        std::fs::write(&room.path, "one").unwrap();
        let first = DigestCache::load(&room.store, &room.root).unwrap();
        assert_eq!(digest(&first, &room, later()), Digest::of(b"one"));
        assert_eq!(first.files_read(), 1);
        first.save(&room.store).unwrap();
        let second = DigestCache::load(&room.store, &room.root).unwrap();
        assert_eq!(digest(&second, &room, later()), Digest::of(b"one"));
        assert_eq!(second.files_read(), 0);
    }

    #[test]
    fn a_file_of_the_same_size_and_mtime_is_read_again() {
        let room = room();
        std::fs::write(&room.path, "one").unwrap();
        let mtime = std::fs::metadata(&room.path).unwrap().modified().unwrap();
        let first = DigestCache::load(&room.store, &room.root).unwrap();
        digest(&first, &room, later());
        first.save(&room.store).unwrap();
        // The kernel's coarse clock has to move on.
        std::thread::sleep(std::time::Duration::from_millis(30));
        std::fs::write(&room.path, "two").unwrap();
        File::options().write(true).open(&room.path).unwrap().set_modified(mtime).unwrap();
        let second = DigestCache::load(&room.store, &room.root).unwrap();
        assert_eq!(digest(&second, &room, later()), Digest::of(b"two"));
    }

    #[test]
    fn a_file_that_changed_just_now_is_not_remembered() {
        let room = room();
        std::fs::write(&room.path, "one").unwrap();
        let cache = DigestCache::load(&room.store, &room.root).unwrap();
        for _ in 0..2 {
            digest(&cache, &room, now());
        }
        assert_eq!(cache.files_read(), 2);
    }

    #[test]
    fn a_damaged_cache_is_no_cache() {
        let stamp = Stamp { device: 1, inode: 2, size: 3, mtime: (-4, 5), ctime: (6, 7) };
        let whole = document(&HashMap::from([(stamp, Digest::of(b"x"))]));
        assert_eq!(parse(&whole).unwrap(), HashMap::from([(stamp, Digest::of(b"x"))]));
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(parse(&damaged).is_none(), "byte {at}");
            assert!(parse(&whole[..at]).is_none(), "cut at {at}");
        }
    }
}
