//! What is in the store, how much of it, since when it was not used; and removing it.
//!
//! Nothing that a running process uses is removed (`lease`). What is removed is a miss to whoever looks for it later: no name in the
//! store promises that a blob is there.

use crate::lease::Alone;
use crate::moment::Moment;
use crate::{Store, StoreError, blobs::failed};
use cap_std::fs::Dir;
use std::io;
use wbuild_oci::Digest;

/// A blob or a record, as it lies on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its digest, or the key of the record.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When it was used last, in seconds since 1970.
    pub used: i64,
}

/// What became of something that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Removed,
    /// It was not there.
    Absent,
    /// A running process may use it.
    InUse,
}

/// Whether a blob is what its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Soundness {
    /// It is.
    Sound,
    /// Its content has another digest: the disk changed it.
    Damaged,
    /// It is not there.
    Absent,
}

impl Store {
    /// Every blob, the one not used for longest first.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn blobs(&self) -> Result<Vec<Held>, StoreError> {
        held(self.blob_room(), "blobs/sha256")
    }

    /// Every record of a kind, the one written earliest first.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn record_list(&self, kind: &str) -> Result<Vec<Held>, StoreError> {
        let path = format!("records/{kind}");
        match self.record_room().open_dir(kind) {
            Ok(dir) => held(&dir, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed("open", path)(error)),
        }
    }

    /// Removes those of `blobs` that no running process may use, and tells of each.
    ///
    /// # Errors
    /// [`StoreError::Io`]; what was removed until then is gone.
    pub fn remove_blobs(&self, blobs: &[Digest]) -> Result<Vec<Removal>, StoreError> {
        const AT_ONCE: usize = 64;
        let mut all = Vec::new();
        // Others wait meanwhile, so the lock is given back now and then.
        for some in blobs.chunks(AT_ONCE) {
            let alone = Alone::new(self.lease_room()).map_err(failed("lock", "leases"))?;
            for digest in some {
                let path = format!("blobs/sha256/{}", digest.hex());
                all.push(remove(self.blob_room(), &digest.hex(), &alone).map_err(failed("remove", path))?);
            }
        }
        Ok(all)
    }

    /// Removes a record. Who has read it already goes on; its blobs are what counts.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_record(&self, kind: &str, key: &Digest) -> Result<Removal, StoreError> {
        let path = format!("{kind}/{}", key.hex());
        match self.record_room().remove_file(&path) {
            Ok(()) => Ok(Removal::Removed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Removal::Absent),
            Err(error) => Err(failed("remove", format!("records/{path}"))(error)),
        }
    }

    /// Reads a blob and compares it with its name.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn check(&self, digest: &Digest) -> Result<Soundness, StoreError> {
        let path = || format!("blobs/sha256/{}", digest.hex());
        let mut file = match self.blob_room().open(digest.hex()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Soundness::Absent),
            Err(error) => return Err(failed("open", path())(error)),
        };
        let mut hasher = wbuild_oci::Hasher::new();
        let mut buffer = vec![0; crate::ingest::BUFFER];
        loop {
            match io::Read::read(&mut file, &mut buffer) {
                Ok(0) => break,
                Ok(length) => hasher.update(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", path())(error)),
            }
        }
        Ok(if hasher.finish() == *digest { Soundness::Sound } else { Soundness::Damaged })
    }

    /// Removes a blob whose content is not what its name says, whoever uses it: nobody can do so with success.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_damaged(&self, digest: &Digest) -> Result<(), StoreError> {
        match self.blob_room().remove_file(digest.hex()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", format!("blobs/sha256/{}", digest.hex()))(error))
            }
            _ => Ok(()),
        }
    }
}

fn held(dir: &Dir, path: &str) -> Result<Vec<Held>, StoreError> {
    let list = || -> io::Result<Vec<(Moment, Held)>> {
        let mut all = Vec::new();
        for entry in dir.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(digest) = name.to_str().and_then(|name| Digest::from_hex(name).ok()) else { continue };
            match entry.metadata() {
                Ok(metadata) => {
                    let used = Moment::of(&metadata);
                    all.push((used, Held { digest, size: metadata.len(), used: used.seconds() }));
                }
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    };
    let mut all = list().map_err(failed("list", path))?;
    all.sort_by_key(|(used, held)| (*used, held.digest));
    Ok(all.into_iter().map(|(_, held)| held).collect())
}

fn remove(dir: &Dir, name: &str, alone: &Alone) -> io::Result<Removal> {
    let absent = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(Removal::Absent),
        _ => Err(error),
    };
    match dir.symlink_metadata(name) {
        Ok(metadata) if alone.in_use(Moment::of(&metadata)) => Ok(Removal::InUse),
        Ok(_) => dir.remove_file(name).map(|()| Removal::Removed).or_else(absent),
        Err(error) => absent(error),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test looks at the store with std")]
mod tests {
    use super::*;
    use crate::test_rooms::Rooms;
    use cap_std::ambient_authority;
    use wbuild_oci::media;

    /// Another process, as far as leases can tell.
    fn reopen(rooms: &Rooms) -> Store {
        Store::open(&Dir::open_ambient_dir(rooms.files.path(), ambient_authority()).unwrap()).unwrap()
    }

    fn blob(rooms: &Rooms, content: &str) -> Digest {
        rooms.store.ingest_bytes(media::LAYER_TAR, content.as_bytes()).unwrap().digest
    }

    /// As if it had been used long ago.
    fn age(rooms: &Rooms, digest: Digest) {
        let path = rooms.files.path().join("blobs/sha256").join(digest.hex());
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000)).unwrap();
    }

    #[test]
    fn what_a_living_process_used_stays() {
        let rooms = Rooms::new();
        let (used, read, kept, old) =
            (blob(&rooms, "used"), blob(&rooms, "read"), blob(&rooms, "kept"), blob(&rooms, "old"));
        for digest in [used, read, kept, old] {
            age(&rooms, digest);
        }
        let builder = reopen(&rooms);
        assert!(builder.has(&used).unwrap());
        drop(builder.blob(&read).unwrap());
        builder.ingest_from(&mut &b"kept"[..], crate::Expected::anything()).unwrap();
        let new = builder.ingest_bytes(media::LAYER_TAR, b"new").unwrap().digest;
        let removed = rooms.store.remove_blobs(&[used, read, kept, new, old]).unwrap();
        use Removal::{Absent, InUse, Removed};
        assert_eq!(removed, [InUse, InUse, InUse, InUse, Removed]);
        assert_eq!(rooms.store.remove_blobs(&[old]).unwrap(), [Absent]);
        assert!(!builder.has(&old).unwrap());
    }

    #[test]
    fn a_lease_ends_with_its_process() {
        let rooms = Rooms::new();
        let digest = blob(&rooms, "x");
        let builder = reopen(&rooms);
        assert!(builder.has(&digest).unwrap());
        drop(builder);
        // The store of this test has it, since its lease is older.
        assert_eq!(rooms.store.remove_blobs(&[digest]).unwrap(), [Removal::InUse]);
        let path = rooms.files.path().to_owned();
        let Rooms { store, files, .. } = rooms;
        drop(store);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let other = Store::open(&Dir::open_ambient_dir(&path, ambient_authority()).unwrap()).unwrap();
        assert_eq!(other.remove_blobs(&[digest]).unwrap(), [Removal::Removed]);
        drop(other);
        assert_eq!(std::fs::read_dir(path.join("leases")).unwrap().count(), 0);
        drop(files);
    }

    #[test]
    fn the_lease_of_a_killed_process_is_swept() {
        let rooms = Rooms::new();
        std::fs::write(rooms.files.path().join("leases/dead"), "").unwrap();
        drop(reopen(&rooms));
        assert!(!rooms.files.path().join("leases/dead").exists());
    }

    #[test]
    fn blobs_are_listed_by_their_use() {
        let rooms = Rooms::new();
        let (one, two) = (blob(&rooms, "one"), blob(&rooms, "number two"));
        age(&rooms, two);
        let listed: Vec<_> =
            rooms.store.blobs().unwrap().into_iter().map(|held| (held.digest, held.size)).collect();
        assert_eq!(listed, [(two, 10), (one, 3)]);
        assert_eq!(rooms.store.blobs().unwrap()[0].used, 1_000);
    }

    #[test]
    fn records_are_listed_and_removed() {
        let rooms = Rooms::new();
        let key = Digest::of(b"key");
        assert!(rooms.store.record_list("steps").unwrap().is_empty());
        rooms.store.put_record("steps", &key, b"12345").unwrap();
        let listed = rooms.store.record_list("steps").unwrap();
        assert_eq!((listed[0].digest, listed[0].size), (key, 5));
        assert_eq!(rooms.store.remove_record("steps", &key).unwrap(), Removal::Removed);
        assert_eq!(rooms.store.remove_record("steps", &key).unwrap(), Removal::Absent);
    }

    #[test]
    fn a_damaged_blob_is_found() {
        let rooms = Rooms::new();
        let digest = blob(&rooms, "good");
        assert_eq!(rooms.store.check(&digest).unwrap(), Soundness::Sound);
        std::fs::write(rooms.files.path().join("blobs/sha256").join(digest.hex()), "evil").unwrap();
        assert_eq!(rooms.store.check(&digest).unwrap(), Soundness::Damaged);
        rooms.store.remove_damaged(&digest).unwrap();
        assert_eq!(rooms.store.check(&digest).unwrap(), Soundness::Absent);
    }
}
