//! A changeset and the contents of its files to the blob of a layer.
//!
//! The bytes depend on the changeset, the contents and the compression alone. In each directory whiteouts come first
//! (image-spec layer.md: they apply to lower layers only, and readers that work in one pass want them before the
//! siblings), then the other names in byte order, each directory followed by what is beneath it. A file that is not of
//! the length its entry says is an error: nothing is padded or cut. Files are opened by the caller.

use std::cmp::Ordering;
use std::io::{self, Read, Write};

use crate::archive::encode::{self, Unwritable};
use crate::archive::{OPAQUE, RECORD, WHITEOUT};
use crate::compress::{Blob, BlobWriter, Packing, Threads};
use crate::{Attributes, Change, ChangeSet, Entry, EntryKind, RootPath};

/// Why a layer was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A file's content could not be opened or read.
    #[error("cannot read the content of {path}: {source}")]
    Content {
        /// The file.
        path: RootPath,
        /// Why.
        source: io::Error,
    },
    /// A file was shorter than its entry says.
    #[error("{path} changed while it was read: it has {found} bytes, expected {expected}")]
    Shrank {
        /// The file.
        path: RootPath,
        /// The length its entry says, in bytes.
        expected: u64,
        /// How much there was.
        found: u64,
    },
    /// A file was longer than its entry says.
    #[error("{path} changed while it was read: it has more than the expected {expected} bytes")]
    Grew {
        /// The file.
        path: RootPath,
        /// The length its entry says, in bytes.
        expected: u64,
    },
    /// The format cannot hold an entry.
    #[error("{path} cannot be put into a layer: {source}")]
    Unwritable {
        /// The entry.
        path: RootPath,
        /// Why.
        source: Unwritable,
    },
    /// The blob could not be written.
    #[error("cannot write the layer: {0}")]
    Output(#[source] io::Error),
}

/// Writes the layer of `changes` to `out` and gives `out` back with what was written. `open` gives the content of each
/// regular file, in the order of the archive; hard links are not asked for.
///
/// # Errors
/// See [`WriteError`]; what was written to `out` is then of no use.
pub fn write_layer<R, W>(
    changes: &ChangeSet,
    mut open: impl FnMut(&RootPath) -> io::Result<R>,
    packing: impl Into<Packing>,
    threads: Threads,
    out: W,
) -> Result<(W, Blob), WriteError>
where
    R: Read,
    W: Write + Send,
{
    std::thread::scope(|scope| {
        let mut blob = BlobWriter::new(scope, packing, threads, out);
        let mut headers = Vec::new();
        for (path, change) in archive_order(changes) {
            headers.clear();
            check(changes, path, change)
                .and_then(|()| encode_change(&mut headers, path, change))
                .map_err(|source| WriteError::Unwritable { path: path.clone(), source })?;
            blob.write_all(&headers).map_err(WriteError::Output)?;
            if let Change::Upsert(Entry { kind: EntryKind::File { size }, .. }) = change {
                let content =
                    open(path).map_err(|source| WriteError::Content { path: path.clone(), source })?;
                copy_content(&mut blob, path, content, *size)?;
            }
        }
        blob.write_all(&[0; 2 * RECORD]).map_err(WriteError::Output)?;
        blob.finish().map_err(WriteError::Output)
    })
}

/// The changes in the order of the archive: path order, but whiteouts before their siblings.
fn archive_order(changes: &ChangeSet) -> Vec<(&RootPath, &Change)> {
    let mut order: Vec<_> = changes.iter().collect();
    if order.iter().any(|(_, change)| matches!(change, Change::Remove)) {
        order.sort_by(|(a, a_change), (b, b_change)| {
            let (mut left, mut right) = (a.components().peekable(), b.components().peekable());
            loop {
                return match (left.next(), right.next()) {
                    (None, None) => Ordering::Equal,
                    (None, Some(_)) => Ordering::Less,
                    (Some(_), None) => Ordering::Greater,
                    (Some(l), Some(r)) if l == r => continue,
                    (Some(l), Some(r)) => {
                        let removed = |last: bool, change: &Change| last && matches!(change, Change::Remove);
                        let l_first = removed(left.peek().is_none(), a_change);
                        let r_first = removed(right.peek().is_none(), b_change);
                        r_first.cmp(&l_first).then_with(|| l.cmp(r))
                    }
                };
            }
        });
    }
    order
}

/// What no header can say of the whole: the root's type, the link's target, reserved names.
fn check(changes: &ChangeSet, path: &RootPath, change: &Change) -> Result<(), Unwritable> {
    if path.components().any(|name| name.starts_with(WHITEOUT)) {
        return Err(Unwritable::ReservedName);
    }
    let directory = |entry: &Entry| matches!(entry.kind, EntryKind::Directory);
    match change {
        Change::Remove if path.is_root() => Err(Unwritable::NotDirectory),
        Change::Upsert(entry) if path.is_root() && !directory(entry) => Err(Unwritable::NotDirectory),
        Change::Opaque(entry) if !directory(entry) => Err(Unwritable::NotDirectory),
        Change::Upsert(Entry { kind: EntryKind::HardLink { target }, .. }) => match changes.get(target) {
            Some(Change::Upsert(Entry { kind, .. }))
                if target < path && !matches!(kind, EntryKind::Directory | EntryKind::HardLink { .. }) =>
            {
                Ok(())
            }
            _ => Err(Unwritable::DanglingLink(target.clone())),
        },
        _ => Ok(()),
    }
}

fn encode_change(out: &mut Vec<u8>, path: &RootPath, change: &Change) -> Result<(), Unwritable> {
    match change {
        Change::Upsert(Entry { kind: EntryKind::Directory, attributes }) => {
            encode::entry(out, &directory_name(path), &EntryKind::Directory, attributes)
        }
        Change::Upsert(Entry { kind, attributes }) => encode::entry(out, path.as_bytes(), kind, attributes),
        Change::Opaque(Entry { kind, attributes }) => {
            encode::entry(out, &directory_name(path), kind, attributes)?;
            let mark =
                if path.is_root() { OPAQUE.to_vec() } else { [path.as_bytes(), b"/", OPAQUE].concat() };
            encode_mark(out, &mark)
        }
        Change::Remove => {
            let name = path.file_name().unwrap_or_default();
            let directory = &path.as_bytes()[..path.as_bytes().len() - name.len()];
            encode_mark(out, &[directory, WHITEOUT, name].concat())
        }
    }
}

/// An empty file whose name is what it says.
fn encode_mark(out: &mut Vec<u8>, name: &[u8]) -> Result<(), Unwritable> {
    encode::entry(out, name, &EntryKind::File { size: 0 }, &Attributes::default())
}

fn directory_name(path: &RootPath) -> Vec<u8> {
    if path.is_root() { b"./".to_vec() } else { [path.as_bytes(), b"/"].concat() }
}

fn copy_content<'scope, W: Write + Send + 'scope>(
    blob: &mut BlobWriter<'scope, '_, W>,
    path: &RootPath,
    mut content: impl Read,
    size: u64,
) -> Result<(), WriteError> {
    let mut read = |buffer: &mut [u8]| loop {
        match content.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(WriteError::Content { path: path.clone(), source }),
            Ok(len) => return Ok(len),
        }
    };
    let mut left = size;
    while left > 0 {
        let room = blob.room().map_err(WriteError::Output)?;
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(room.len());
        match read(&mut room[..most])? {
            0 => return Err(WriteError::Shrank { path: path.clone(), expected: size, found: size - left }),
            len => {
                blob.advance(len);
                left -= len as u64;
            }
        }
    }
    if read(&mut [0])? != 0 {
        return Err(WriteError::Grew { path: path.clone(), expected: size });
    }
    blob.write_all(&[0; RECORD][..encode::padding(size)]).map_err(WriteError::Output)
}

#[cfg(test)]
mod tests;
