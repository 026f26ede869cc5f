//! The store itself: opening it, and blobs by digest.
//!
//! A blob under its name is complete and was verified when it came in. Opening a store removes what killed processes
//! left in it and touches nothing that a living one uses.

use crate::lease::{Kept, Lease};
use crate::moment::Moment;
use crate::{Expected, Ingest, LayoutSource, StoreError, Tree, ingest, kept, record, tree};
use cap_std::fs::{Dir, File};
use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use wbuild_oci::{Descriptor, Digest, Hasher, Index, Layout};

/// A content-addressed store. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    rooms: Arc<Rooms>,
}

#[derive(Debug)]
struct Rooms {
    blobs: Dir,
    ingest: Dir,
    trees: Dir,
    kept: Dir,
    records: Dir,
    leases: Dir,
    lease: Arc<Lease>,
    lent: Mutex<Vec<Arc<LayoutSource>>>,
}

impl Store {
    /// Opens the store in `dir`, which may be empty, and removes what killed processes left there.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the directory cannot be written.
    pub fn open(dir: &Dir) -> Result<Self, StoreError> {
        let room = |path: &str| -> Result<Dir, StoreError> {
            dir.create_dir_all(path).map_err(failed("create", path))?;
            dir.open_dir(path).map_err(failed("open", path))
        };
        let leases = room("leases")?;
        ingest::sweep(&leases).map_err(failed("sweep", "leases"))?;
        // Before anything is looked up.
        let lease = Arc::new(Lease::new(&leases).map_err(failed("create", "leases"))?);
        let rooms = Rooms {
            leases,
            lease,
            lent: Mutex::default(),
            blobs: room("blobs/sha256")?,
            ingest: room("ingest")?,
            trees: room("trees")?,
            kept: room("kept")?,
            records: room("records")?,
        };
        ingest::sweep(&rooms.ingest).map_err(failed("sweep", "ingest"))?;
        // A wish that speeds trees up where the filesystem knows it; nothing depends on it.
        let _granted = tree::spread(&rooms.trees);
        tree::sweep(&rooms.trees).map_err(failed("sweep", "trees"))?;
        kept::sweep(&rooms.kept).map_err(failed("sweep", "kept"))?;
        for (name, content) in
            [(Layout::FILE, Layout::to_bytes()), ("index.json", Index::new(Vec::new()).to_compact_bytes())]
        {
            if !dir.try_exists(name).map_err(failed("look up", name))? {
                ingest::place(&rooms.ingest, dir, name, &content).map_err(failed("write", name))?;
            }
        }
        Ok(Self { rooms: Arc::new(rooms) })
    }

    /// The size in bytes of a blob, or `None` where the store does not have it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn size_of(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let look_up = || -> io::Result<Option<u64>> {
            let metadata = match self.rooms.blobs.metadata(digest.hex()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                other => other?,
            };
            let kept = self.rooms.lease.keep(&self.rooms.blobs, &digest.hex(), Moment::of(&metadata))?;
            Ok((kept == Kept::Stays).then_some(metadata.len()))
        };
        look_up().map_err(blob_failed("look up", digest))
    }

    /// Whether the store has this blob.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn has(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.size_of(digest)?.is_some())
    }

    /// Opens a blob for reading. It was verified when it came in and is not verified again.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where the store does not have it.
    pub fn blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let open = || -> io::Result<File> {
            let file = self.rooms.blobs.open(digest.hex())?;
            // A file that is open can be read to its end, even where its name goes now.
            let used = Moment::of(&file.metadata()?);
            let _kept = self.rooms.lease.keep(&self.rooms.blobs, &digest.hex(), used)?;
            Ok(file)
        };
        open().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Missing(*digest),
            _ => blob_failed("open", digest)(error),
        })
    }

    /// Reads a small blob, such as a manifest, and verifies it.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::TooLarge`] above `limit` bytes, [`StoreError::Digest`] where the disk lies.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let mut file = self.blob(digest)?.take(limit.saturating_add(1));
        file.read_to_end(&mut bytes).map_err(blob_failed("read", digest))?;
        if bytes.len() as u64 > limit {
            return Err(StoreError::TooLarge { limit });
        }
        digest.verify(&bytes)?;
        Ok(bytes)
    }

    /// Copies a blob to `out` and verifies its digest and size on the way.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Size`], [`StoreError::Digest`], or the reader's or writer's failure.
    pub fn copy(&self, blob: &Descriptor, out: &mut dyn io::Write) -> Result<(), StoreError> {
        let mut file = self.blob(&blob.digest)?;
        let mut buffer = vec![0; ingest::BUFFER];
        let mut hasher = Hasher::new();
        let mut size = 0;
        loop {
            let count = file.read(&mut buffer).map_err(blob_failed("read", &blob.digest))?;
            if count == 0 {
                break;
            }
            size += count as u64;
            if size > blob.size {
                return Err(StoreError::Size { expected: blob.size, actual: size });
            }
            hasher.update(&buffer[..count]);
            out.write_all(&buffer[..count]).map_err(blob_failed("copy", &blob.digest))?;
        }
        if size != blob.size {
            return Err(StoreError::Size { expected: blob.size, actual: size });
        }
        Ok(blob.digest.expect(hasher.finish())?)
    }

    /// Begins to take in content. Nothing is visible until [`Ingest::commit`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn ingest(&self, expected: Expected) -> Result<Ingest, StoreError> {
        Ingest::new(&self.rooms.ingest, &self.rooms.blobs, &self.rooms.lease, expected)
    }

    /// Takes in `bytes`, such as a manifest or a config, as content of `media_type`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn ingest_bytes(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, StoreError> {
        let descriptor = Descriptor::of(media_type, bytes);
        if self.size_of(&descriptor.digest)? != Some(descriptor.size) {
            let mut ingest = self.ingest(Expected::of(&descriptor))?;
            ingest.append(bytes)?;
            ingest.commit()?;
        }
        Ok(descriptor)
    }

    /// Takes in everything `content` gives, as `expected`.
    ///
    /// # Errors
    /// As [`Ingest::append`] and [`Ingest::commit`], and what reading gives.
    pub fn ingest_from(
        &self,
        content: &mut dyn Read,
        expected: Expected,
    ) -> Result<(Digest, u64), StoreError> {
        let mut ingest = self.ingest(expected)?;
        let mut buffer = vec![0; ingest::BUFFER];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return ingest.commit(),
                Ok(count) => ingest.append(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read what goes into", "ingest")(error)),
            }
        }
    }

    pub(crate) fn lent(&self) -> &Mutex<Vec<Arc<LayoutSource>>> {
        &self.rooms.lent
    }

    pub(crate) fn blob_room(&self) -> &Dir {
        &self.rooms.blobs
    }

    pub(crate) fn kept_room(&self) -> &Dir {
        &self.rooms.kept
    }

    pub(crate) fn record_room(&self) -> &Dir {
        &self.rooms.records
    }

    pub(crate) fn lease_room(&self) -> &Dir {
        &self.rooms.leases
    }

    /// A new empty directory for a captured tree, which lives until it is dropped or this process ends.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn tree(&self) -> Result<Tree, StoreError> {
        Tree::new(&self.rooms.trees)
    }

    /// The document of this `kind` under `key`, or `None`. `kind` is a plain name, such as `steps`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn record(&self, kind: &str, key: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        record::read(&self.rooms.records, kind, key)
    }

    /// Every document of this `kind`, in the order of their keys.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn records(&self, kind: &str) -> Result<Vec<Vec<u8>>, StoreError> {
        record::all(&self.rooms.records, kind)
    }

    /// Puts a document of this `kind` under `key`, in place of what is there. It appears whole or not at all.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn put_record(&self, kind: &str, key: &Digest, document: &[u8]) -> Result<(), StoreError> {
        record::write(&self.rooms.ingest, &self.rooms.records, kind, key, document)
    }
}

pub(crate) fn failed(action: &'static str, path: impl Into<String>) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.into();
    move |source| StoreError::Io { action, path, source }
}

pub(crate) fn blob_failed(action: &'static str, digest: &Digest) -> impl FnOnce(io::Error) -> StoreError {
    failed(action, format!("blobs/sha256/{}", digest.hex()))
}

#[cfg(test)]
mod tests;
