//! The blob of a layer to its entries, verified.
//!
//! The input is hostile: it is read once, from front to end, with bounded memory; names are normalised so that none
//! leaves the root; every limit of [`Limits`] is held before the memory or disk is used; and only
//! [`LayerReader::finish`] says that digest, size and DiffID are what they should be, so nothing that was unpacked may
//! be used before. How the stream is compressed is seen from its first bytes, as every engine does: the DiffID binds the
//! result. What entries do to a tree is not decided here.

mod feed;
mod header;

use std::io::{self, Read};

use wbuild_oci::Digest;

use crate::archive::{OPAQUE, RECORD, WHITEOUT};
use crate::{Entry, EntryKind, RootPath};
use feed::Feed;
pub use header::Malformed;
use header::{Block, Extra};

/// What a layer may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes in a path and in a link's text.
    pub name: usize,
    /// Bytes in the extended header of one entry.
    pub extended: u64,
    /// Bytes of the uncompressed tar.
    pub total: u64,
    /// The uncompressed tar may be this many times the blob's length, once it is longer than `ratio_from` bytes.
    pub ratio: u64,
    /// See `ratio`.
    pub ratio_from: u64,
}

impl Default for Limits {
    /// What no image of real life comes near: 4 million entries, paths of 4096 bytes, 1 TiB, and 200 times the blob
    /// once that is more than 2 GiB (deflate can do 1030).
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            name: 4096,
            extended: 1 << 20,
            total: 1 << 40,
            ratio: 200,
            ratio_from: 2 << 30,
        }
    }
}

/// What a blob has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Digest of the blob, as the manifest has it.
    pub digest: Digest,
    /// Length of the blob in bytes, as the manifest has it.
    pub size: u64,
    /// Digest of the uncompressed tar, as the image's config has it; `None` where nobody has said it.
    pub diff_id: Option<Digest>,
}

/// What a verified blob was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Length of the uncompressed tar in bytes.
    pub tar_size: u64,
}

/// Why a layer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The blob could not be read.
    #[error("cannot read the layer: {0}")]
    Input(#[source] io::Error),
    /// The compressed stream is not well formed, or ends early.
    #[error("the layer's compressed data is damaged: {0}")]
    Damaged(#[source] io::Error),
    /// The blob is not as long as its descriptor says.
    #[error("the layer has {found} bytes, its descriptor says {expected}")]
    Size {
        /// Length by the descriptor, in bytes.
        expected: u64,
        /// What was read; where it was too long, reading stopped there.
        found: u64,
    },
    /// The blob is not what its descriptor names.
    #[error("the layer has digest {found}, its descriptor says {expected}")]
    Digest {
        /// Digest by the descriptor.
        expected: Digest,
        /// What was computed.
        found: Digest,
    },
    /// The tar is not what the image's config names.
    #[error("the layer's content has DiffID {found}, the image's config says {expected}")]
    DiffId {
        /// DiffID by the config.
        expected: Digest,
        /// What was computed.
        found: Digest,
    },
    /// More than the limits allow.
    #[error("the layer is refused: {what} exceeds the limit of {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// An entry is not well formed.
    #[error("entry {entry} of the layer: {source}")]
    Entry {
        /// Its name as far as it is known, else its number.
        entry: String,
        /// What is wrong with it.
        source: Malformed,
    },
}

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerEntry {
    /// Something is there; a regular file's content follows ([`LayerReader::content`]).
    Present {
        /// Where.
        path: RootPath,
        /// What.
        entry: Entry,
    },
    /// What the lower layers have at the path is gone.
    Whiteout {
        /// Where.
        path: RootPath,
    },
    /// What the lower layers have beneath the directory is gone.
    Opaque {
        /// The directory.
        path: RootPath,
    },
}

/// Reads one layer.
pub struct LayerReader {
    feed: Feed,
    limits: Limits,
    expected: Expected,
    chunk: Vec<u8>,
    at: usize,
    /// Bytes of the current content that were not handed out yet, and the padding after it.
    content: u64,
    padding: u64,
    entries: u64,
    name: String,
    ended: bool,
}

impl std::fmt::Debug for LayerReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerReader").field("digest", &self.expected.digest).finish_non_exhaustive()
    }
}

impl LayerReader {
    /// A reader of `blob`. All but small blobs are decompressed in a thread of their own, some MiB ahead of the reader.
    pub fn new(blob: impl Read + Send + 'static, expected: Expected, limits: Limits) -> Self {
        Self {
            feed: Feed::new(Box::new(blob), expected.size, limits),
            limits,
            expected,
            chunk: Vec::new(),
            at: 0,
            content: 0,
            padding: 0,
            entries: 0,
            name: String::new(),
            ended: false,
        }
    }

    /// The next entry, in the order of the archive; what is left of the current content is skipped.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn next_entry(&mut self) -> Result<Option<LayerEntry>, ReadError> {
        loop {
            self.skip(self.content)?;
            let padding = std::mem::take(&mut self.padding);
            self.skip(padding)?;
            if self.ended {
                return Ok(None);
            }
            let mut extra = Extra::default();
            let Some(block) = self.header(&mut extra)? else {
                self.ended = true;
                return Ok(None);
            };
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(ReadError::Limit { what: "the number of entries", limit: self.limits.entries });
            }
            let parsed = block.entry(extra, &self.limits).map_err(|(name, source)| {
                let entry = name.map_or_else(|| self.position(), |name| shown(&name));
                ReadError::Entry { entry, source }
            })?;
            self.name = shown(parsed.path.as_bytes());
            if let EntryKind::File { size } = &parsed.entry.kind {
                self.content = *size;
                self.padding = (RECORD as u64 - size % RECORD as u64) % RECORD as u64;
            }
            if let Some(entry) = self.classify(parsed.path, parsed.entry)? {
                return Ok(Some(entry));
            }
        }
    }

    /// The next piece of the current regular file's content, empty at its end.
    ///
    /// # Errors
    /// The layer ends within the file; or see [`ReadError`].
    pub fn content(&mut self) -> Result<&[u8], ReadError> {
        self.content_at_most(usize::MAX)
    }

    /// As [`LayerReader::content`], at most so many bytes.
    pub(crate) fn content_at_most(&mut self, most: usize) -> Result<&[u8], ReadError> {
        if self.content == 0 || most == 0 {
            return Ok(&[]);
        }
        if !self.refill()? {
            return Err(self.malformed(Malformed::Truncated));
        }
        let left = usize::try_from(self.content).unwrap_or(usize::MAX);
        let start = self.at;
        self.at += left.min(most).min(self.chunk.len() - start);
        self.content -= (self.at - start) as u64;
        Ok(&self.chunk[start..self.at])
    }

    /// Reads what is left and verifies size, digest and DiffID.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn finish(mut self) -> Result<Verified, ReadError> {
        while self.next_entry()?.is_some() {}
        // Some writers pad the archive after its end; that is part of what the DiffID covers.
        self.at = self.chunk.len();
        while self.refill()? {
            self.at = self.chunk.len();
        }
        let totals = self.feed.totals().ok_or_else(|| self.malformed(Malformed::Truncated))?;
        let Expected { digest, size, diff_id } = self.expected;
        if totals.size != size {
            return Err(ReadError::Size { expected: size, found: totals.size });
        }
        if totals.digest != digest {
            return Err(ReadError::Digest { expected: digest, found: totals.digest });
        }
        match diff_id {
            Some(expected) if expected != totals.diff_id => {
                Err(ReadError::DiffId { expected, found: totals.diff_id })
            }
            _ => Ok(Verified { diff_id: totals.diff_id, tar_size: totals.tar_size }),
        }
    }

    /// Sees whiteouts in names. `None` for what AUFS keeps for itself (`.wh..wh.plnk`, ..), which Docker skips too.
    fn classify(&self, path: RootPath, entry: Entry) -> Result<Option<LayerEntry>, ReadError> {
        let parent = path.parent().unwrap_or_default();
        let Some(marked) = path.file_name().and_then(|name| name.strip_prefix(WHITEOUT)) else {
            if path.components().any(|name| name.starts_with(b".wh..wh.")) {
                return Ok(None);
            }
            if path.is_root() && !matches!(entry.kind, EntryKind::Directory) {
                return Err(self.malformed(Malformed::Root));
            }
            return Ok(Some(LayerEntry::Present { path, entry }));
        };
        if path.file_name() == Some(OPAQUE) {
            return Ok(Some(LayerEntry::Opaque { path: parent }));
        }
        match marked {
            b"" | b"." | b".." => Err(self.malformed(Malformed::Whiteout)),
            name if name.starts_with(WHITEOUT) => Ok(None),
            name => match parent.join(name) {
                Ok(path) => Ok(Some(LayerEntry::Whiteout { path })),
                Err(_) => Err(self.malformed(Malformed::Whiteout)),
            },
        }
    }

    /// The next header that stands for an entry; extended headers before it are gathered in `extra`.
    fn header(&mut self, extra: &mut Extra) -> Result<Option<Block>, ReadError> {
        loop {
            let Some(block) = self.block()? else { return Ok(None) };
            let extended = block.extended().map_err(|source| self.at_position(source))?;
            let Some(extended) = extended else { return Ok(Some(block)) };
            if extended.size > self.limits.extended {
                return Err(ReadError::Limit { what: "an extended header", limit: self.limits.extended });
            }
            let mut body = vec![0; usize::try_from(extended.size).unwrap_or(0)];
            self.read_exact(&mut body)?;
            self.skip((RECORD as u64 - extended.size % RECORD as u64) % RECORD as u64)?;
            extra.add(extended.kind, body).map_err(|source| self.at_position(source))?;
        }
    }

    /// The next block that is a header; `None` at the end of the archive.
    fn block(&mut self) -> Result<Option<Block>, ReadError> {
        if !self.refill()? {
            return Ok(None);
        }
        let mut bytes = [0; RECORD];
        self.read_exact(&mut bytes)?;
        if bytes == [0; RECORD] {
            return Ok(None);
        }
        Block::new(bytes).map(Some).map_err(|source| self.at_position(source))
    }

    /// Makes sure that there is something in the chunk; false at the end of the stream.
    fn refill(&mut self) -> Result<bool, ReadError> {
        while self.at == self.chunk.len() {
            self.at = 0;
            if !self.feed.next(&mut self.chunk)? {
                self.chunk.clear();
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn read_exact(&mut self, mut out: &mut [u8]) -> Result<(), ReadError> {
        while !out.is_empty() {
            if !self.refill()? {
                return Err(self.at_position(Malformed::Truncated));
            }
            let len = out.len().min(self.chunk.len() - self.at);
            out[..len].copy_from_slice(&self.chunk[self.at..self.at + len]);
            self.at += len;
            out = &mut out[len..];
        }
        Ok(())
    }

    fn skip(&mut self, mut len: u64) -> Result<(), ReadError> {
        self.content = 0;
        while len > 0 {
            if !self.refill()? {
                return Err(self.malformed(Malformed::Truncated));
            }
            let most = usize::try_from(len).unwrap_or(usize::MAX).min(self.chunk.len() - self.at);
            self.at += most;
            len -= most as u64;
        }
        Ok(())
    }

    /// An error of the current entry.
    fn malformed(&self, source: Malformed) -> ReadError {
        ReadError::Entry { entry: self.name.clone(), source }
    }

    /// An error of an entry whose name is not known yet.
    fn at_position(&self, source: Malformed) -> ReadError {
        ReadError::Entry { entry: self.position(), source }
    }

    fn position(&self) -> String {
        match self.name.as_str() {
            "" => "1".to_owned(),
            name => format!("{} (after {name})", self.entries + 1),
        }
    }
}

/// A name for a message: short, and nothing in it that moves a terminal's cursor.
fn shown(name: &[u8]) -> String {
    let text: String = name.escape_ascii().take(200).map(char::from).collect();
    if name.starts_with(b"/") { text } else { format!("/{text}") }
}

#[cfg(test)]
mod tests;
