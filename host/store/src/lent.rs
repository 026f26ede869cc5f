//! Blobs of a layout that are read where they lie: what is only sent on need not enter the store first.
//!
//! A layout is trusted no more than a registry: content is hashed as it is read, and the read that would give its last byte fails
//! in place of that where size or digest are wrong. So whoever reads to the end has read the blob.

use crate::blobs::blob_failed;
use crate::{LayoutSource, Store, StoreError, ingest};
use cap_std::fs::{File, FileExt};
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, PoisonError};
use wbuild_oci::{Descriptor, Digest, Hasher};

/// The content of a blob from some byte on.
#[derive(Debug)]
pub struct Content(From);

#[derive(Debug)]
enum From {
    /// It was verified when it came in.
    Store(File),
    Lent(Lent),
}

/// A part of a file, verified against a digest as it is read.
#[derive(Debug)]
struct Lent {
    file: File,
    /// Where reading goes on, in the file.
    at: u64,
    /// Where the blob ends, in the file.
    end: u64,
    /// Bytes that are hashed and not given.
    skip: u64,
    hasher: Option<Hasher>,
    digest: Digest,
}

impl Store {
    /// From now on blobs that the store lacks are also looked for in `layout` by [`Store::content`], and by nothing else.
    pub fn lend(&self, layout: LayoutSource) {
        self.lent().lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(layout));
    }

    /// Opens a blob for reading from byte `offset` on: the store's own, or a lent one.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where neither has it; [`StoreError::Size`] for a lent one of another size.
    pub fn content(&self, blob: &Descriptor, offset: u64) -> Result<Content, StoreError> {
        let missing = match self.blob(&blob.digest) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(offset)).map_err(blob_failed("read", &blob.digest))?;
                return Ok(Content(From::Store(file)));
            }
            Err(error @ StoreError::Missing(_)) => error,
            Err(error) => return Err(error),
        };
        let lent: Vec<_> = self.lent().lock().unwrap_or_else(PoisonError::into_inner).clone();
        for layout in lent {
            let there = layout.span(&blob.digest).map_err(blob_failed("open the lent", &blob.digest))?;
            if let Some((file, at, size)) = there {
                if size != blob.size {
                    return Err(StoreError::Size { expected: blob.size, actual: size });
                }
                let hasher = Some(Hasher::new());
                let lent = Lent { file, at, end: at + size, skip: offset, hasher, digest: blob.digest };
                return Ok(Content(From::Lent(lent)));
            }
        }
        Err(missing)
    }
}

impl Lent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.skip > 0 {
            let mut passed = vec![0; ingest::BUFFER];
            while self.skip > 0 {
                let wanted = usize::try_from(self.skip).unwrap_or(usize::MAX).min(passed.len());
                let count = self.next(&mut passed[..wanted])?;
                self.skip = self.skip.saturating_sub(count as u64);
                if count == 0 {
                    return Ok(0);
                }
            }
        }
        self.next(buffer)
    }

    fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        if count == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += count as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        if self.at == self.end
            && let Some(hasher) = self.hasher.take()
        {
            self.digest.expect(hasher.finish()).map_err(|error| {
                // Nothing more comes of it.
                self.end = self.at;
                io::Error::new(io::ErrorKind::InvalidData, StoreError::Digest(error))
            })?;
        }
        Ok(count)
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            From::Store(file) => file.read(buffer),
            From::Lent(lent) => lent.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rooms::{Rooms, empty};
    use wbuild_oci::{Layout, media};

    /// A store, and a layout that has `content` under the name of `named`.
    fn lent(content: &[u8], named: &[u8]) -> ((Rooms, tempfile::TempDir), Store, Descriptor) {
        let rooms = Rooms::new();
        let store = rooms.store.clone();
        let (files, layout) = empty();
        layout.create_dir_all("blobs/sha256").unwrap();
        layout.write(Layout::FILE, Layout::to_bytes()).unwrap();
        let blob = Descriptor::of(media::LAYER_TAR, named);
        layout.write(format!("blobs/sha256/{}", blob.digest.hex()), content).unwrap();
        store.lend(LayoutSource::directory(layout).unwrap());
        ((rooms, files), store, blob)
    }

    fn read(store: &Store, blob: &Descriptor, offset: u64) -> io::Result<Vec<u8>> {
        let mut found = Vec::new();
        let mut content = store.content(blob, offset).map_err(io::Error::other)?;
        content.read_to_end(&mut found).map(|_| found)
    }

    #[test]
    fn a_lent_blob_is_read_from_anywhere_and_does_not_enter_the_store() {
        let whole: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
        let (_rooms, store, blob) = lent(&whole, &whole);
        for offset in [0, 1, 300_000, whole.len() - 1, whole.len()] {
            assert_eq!(read(&store, &blob, offset as u64).unwrap(), whole[offset..], "{offset}");
        }
        assert!(!store.has(&blob.digest).unwrap());
        store.ingest_bytes(media::LAYER_TAR, &whole).unwrap();
        assert_eq!(read(&store, &blob, 5).unwrap(), whole[5..]);
    }

    #[test]
    fn a_lent_blob_that_is_wrong_is_never_read_to_its_end() {
        let (_rooms, store, blob) = lent(b"other bytes", b"right bytes");
        for offset in [0, 4] {
            assert_eq!(read(&store, &blob, offset).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        let (_rooms, store, blob) = lent(b"short", b"right bytes");
        assert!(matches!(store.content(&blob, 0), Err(StoreError::Size { expected: 11, actual: 5 })));
        let unknown = Descriptor::of(media::LAYER_TAR, b"unknown");
        assert!(matches!(store.content(&unknown, 0), Err(StoreError::Missing(_))));
    }
}
