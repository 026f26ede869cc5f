//! Content on its way into the store.
//!
//! Content is hashed as it is written (here, or by the part of wbuild that makes it) and gets its name only after its size and digest were checked and it was
//! synced: a blob appears whole or not at all, whenever the process is killed. The file it is written to stays locked as
//! long as its writer lives; the sweep at the next start removes those that nobody holds.

use crate::lease::{Kept, Lease};
use crate::moment::Moment;
use crate::{StoreError, blobs::failed, lock};
use cap_std::fs::{Dir, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use wbuild_oci::{Descriptor, Digest, Hasher};

/// The size of copies through memory, in bytes.
pub(crate) const BUFFER: usize = 256 << 10;

/// What is known about content before it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    digest: Option<Digest>,
    size: Option<u64>,
    limit: u64,
    hashing: Hashing,
}

/// Who hashes content on its way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hashing {
    Store,
    Writer,
}

impl Expected {
    /// Exactly this blob.
    pub fn of(blob: &Descriptor) -> Self {
        Self { digest: Some(blob.digest), size: Some(blob.size), limit: blob.size, hashing: Hashing::Store }
    }

    /// This digest, and at most so many bytes.
    pub fn digest(digest: Digest, limit: u64) -> Self {
        Self { digest: Some(digest), size: None, limit, hashing: Hashing::Store }
    }

    /// Anything of any size: the content comes from wbuild itself.
    pub fn anything() -> Self {
        Self { digest: None, size: None, limit: u64::MAX, hashing: Hashing::Store }
    }

    /// Anything of any size, from a part of wbuild that hashes the very bytes it writes and ends with
    /// [`Ingest::commit_as`]: hashing a layer twice costs as much as writing it.
    pub fn hashed_by_writer() -> Self {
        Self { hashing: Hashing::Writer, ..Self::anything() }
    }
}

/// Content that is being written. Dropping it gives it up.
#[derive(Debug)]
pub struct Ingest {
    room: Dir,
    blobs: Dir,
    lease: Arc<Lease>,
    name: String,
    file: File,
    /// `None` where the writer hashes.
    hasher: Option<Hasher>,
    written: u64,
    expected: Expected,
}

impl Ingest {
    pub(crate) fn new(
        room: &Dir,
        blobs: &Dir,
        lease: &Arc<Lease>,
        expected: Expected,
    ) -> Result<Self, StoreError> {
        let clone = |dir: &Dir| dir.try_clone().map_err(failed("open", "ingest"));
        let (room, blobs) = (clone(room)?, clone(blobs)?);
        let (name, file) = lock::create_locked(&room, "").map_err(failed("create", "ingest"))?;
        let hasher = (expected.hashing == Hashing::Store).then(Hasher::new);
        Ok(Self { room, blobs, lease: Arc::clone(lease), name, file, hasher, written: 0, expected })
    }

    /// How many bytes have been written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Adds the next piece of the content.
    ///
    /// # Errors
    /// [`StoreError::Size`] or [`StoreError::TooLarge`] as soon as there is too much; [`StoreError::Io`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let total = self.written + bytes.len() as u64;
        match self.expected.size {
            Some(expected) if total > expected => return Err(StoreError::Size { expected, actual: total }),
            None if total > self.expected.limit => {
                return Err(StoreError::TooLarge { limit: self.expected.limit });
            }
            _ => {}
        }
        self.file.write_all(bytes).map_err(failed("write", self.path()))?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.written = total;
        Ok(())
    }

    /// Forgets everything written, to begin again.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(failed("truncate", self.path()))?;
        self.file.seek(SeekFrom::Start(0)).map_err(failed("rewind", self.path()))?;
        self.hasher = self.hasher.is_some().then(Hasher::new);
        self.written = 0;
        Ok(())
    }

    /// Checks size and digest, syncs, and gives the content its name. Returns its digest and its size in bytes.
    ///
    /// # Errors
    /// [`StoreError::Size`], [`StoreError::Digest`], [`StoreError::Io`]; nothing is left behind then.
    pub fn commit(mut self) -> Result<(Digest, u64), StoreError> {
        let digest = match self.hasher.take() {
            Some(hasher) => hasher.finish(),
            None => self.hash_again()?,
        };
        self.place(digest)
    }

    /// As [`Ingest::commit`], for content that its writer hashed to `digest`. Content that the store hashed itself is
    /// checked against it.
    ///
    /// # Errors
    /// As [`Ingest::commit`].
    pub fn commit_as(mut self, digest: Digest) -> Result<(Digest, u64), StoreError> {
        if let Some(hasher) = self.hasher.take() {
            digest.expect(hasher.finish())?;
        }
        self.place(digest)
    }

    fn hash_again(&mut self) -> Result<Digest, StoreError> {
        self.file.seek(SeekFrom::Start(0)).map_err(failed("rewind", self.path()))?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            match self.file.read(&mut buffer).map_err(failed("read", self.path()))? {
                0 => return Ok(hasher.finish()),
                count => hasher.update(&buffer[..count]),
            }
        }
    }

    fn place(mut self, digest: Digest) -> Result<(Digest, u64), StoreError> {
        if let Some(expected) = self.expected.size.filter(|size| *size != self.written) {
            return Err(StoreError::Size { expected, actual: self.written });
        }
        if let Some(expected) = self.expected.digest {
            expected.expect(digest)?;
        }
        let target = digest.hex();
        // What is there under this name has this content; only a size that differs shows a damaged disk.
        let there = self.blobs.metadata(&target).ok().filter(|there| there.len() == self.written);
        let kept = match there {
            Some(there) => self
                .lease
                .keep(&self.blobs, &target, Moment::of(&there))
                .map_err(failed("look up", format!("blobs/sha256/{target}")))?,
            None => Kept::Gone,
        };
        if kept == Kept::Gone {
            self.file.sync_data().map_err(failed("sync", self.path()))?;
            self.room.rename(&self.name, &self.blobs, &target).map_err(failed("rename", self.path()))?;
            self.name.clear();
        }
        Ok((digest, self.written))
    }

    fn path(&self) -> String {
        format!("ingest/{}", self.name)
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // Nobody can be told here; the sweep at the next start removes what could not be.
            drop(self.room.remove_file(&self.name));
        }
    }
}

/// Writes a small file `name` in `target`, whole or not at all, in place of what is there.
pub(crate) fn place(room: &Dir, target: &Dir, name: &str, content: &[u8]) -> io::Result<()> {
    let (temporary, mut file) = lock::create_locked(room, "")?;
    let result = file
        .write_all(content)
        .and_then(|()| file.sync_data())
        .and_then(|()| room.rename(&temporary, target, name));
    if result.is_err() {
        drop(room.remove_file(&temporary));
    }
    result
}

/// Removes what no living process writes.
pub(crate) fn sweep(room: &Dir) -> io::Result<()> {
    for entry in room.entries()? {
        let name = entry?.file_name();
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let file = match room.open(&name) {
            Ok(file) => file,
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(error),
        };
        if lock::try_lock(&file)? {
            match room.remove_file(&name) {
                Err(error) if !gone(&error) => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}
