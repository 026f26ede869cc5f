//! ADD of a local archive: recognised by content, unpacked as a directory.
//!
//! A file is an archive if what it decompresses to begins with a valid tar header; anything else is copied as it is.
//! Modes and extended attributes are the archive's, and so are owners without --chown, as BuildKit has it. Its paths are looked up in the tree one
//! component at a time, so that no link leads out of it, and what it hard-links is what it holds.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use wbuild_layer::{
    Attributes as Virtual, Entry, EntryKind, Expected, LayerEntry, LayerReader, Limits, RootPath,
};
use wbuild_oci::Digest;

use super::write;
use crate::error::FilesError;
use crate::files::{self, Kind, Last, node};
use crate::tree::{Attributes, Tree};

/// A recognised archive.
pub(crate) struct Archive {
    file: File,
    compression: Compression,
    written: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

/// Looks whether `file` is an archive.
pub(crate) fn detect(mut file: File, written: &str) -> Result<Option<Archive>, FilesError> {
    let failed =
        |error: io::Error| FilesError::Archive { written: written.to_owned(), reason: error.to_string() };
    let mut start = Vec::new();
    Read::by_ref(&mut file).take(6).read_to_end(&mut start).map_err(failed)?;
    let compression = Compression::of(&start);
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut block = Vec::new();
    let probe = file.try_clone().map_err(failed)?;
    // What cannot be decompressed is no archive: it is copied.
    let decoded = compression.decode(probe).and_then(|decoder| decoder.take(512).read_to_end(&mut block));
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let archive = Archive { file, compression, written: written.to_owned() };
    Ok((decoded.is_ok() && is_header(&block)).then_some(archive))
}

impl Compression {
    fn of(start: &[u8]) -> Self {
        const MAGIC: [(&[u8], Compression); 4] = [
            (&[0x1f, 0x8b], Compression::Gzip),
            (b"BZh", Compression::Bzip2),
            (&[0xfd, b'7', b'z', b'X', b'Z', 0], Compression::Xz),
            (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
        ];
        MAGIC.into_iter().find(|(magic, _)| start.starts_with(magic)).map_or(Self::None, |(_, found)| found)
    }

    fn decode(self, file: File) -> io::Result<Box<dyn Read + Send>> {
        let buffered = io::BufReader::with_capacity(128 << 10, file);
        Ok(match self {
            Self::None => Box::new(buffered),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new(buffered, true)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(buffered)?),
        })
    }
}

/// A tar header has the sum of its own bytes in it, its eight bytes counted as spaces (POSIX pax, "ustar").
fn is_header(block: &[u8]) -> bool {
    const SUM: std::ops::Range<usize> = 148..156;
    if block.len() < 512 || block.iter().all(|b| *b == 0) {
        return false;
    }
    let text: String = block[SUM].iter().map(|b| char::from(*b)).collect();
    let Ok(stated) = u32::from_str_radix(text.trim_matches([' ', '\0']), 8) else { return false };
    let counted = |index: usize, byte: u8| if SUM.contains(&index) { b' ' } else { byte };
    let unsigned: u32 = block.iter().enumerate().map(|(i, b)| u32::from(counted(i, *b))).sum();
    unsigned == stated
}

impl Archive {
    /// Reads its entries.
    pub(crate) fn reader(self) -> Result<LayerReader, FilesError> {
        let Self { file, compression, written } = self;
        let input = compression
            .decode(file)
            .map_err(|error| FilesError::Archive { written, reason: error.to_string() })?;
        // Nobody has said what this archive should be: it is never finished, only read to its end.
        let expected = Expected { digest: Digest::of(b""), size: u64::MAX, diff_id: None };
        Ok(LayerReader::new(input, expected, Limits::default()))
    }

    /// Unpacks into the directory `target`, which is there.
    pub(super) fn unpack(
        self,
        tree: &Tree,
        target: &RootPath,
        owner: Option<(u32, u32)>,
    ) -> Result<(), FilesError> {
        let written = self.written.clone();
        let failed = |reason: String| FilesError::Archive { written: written.clone(), reason };
        let mut reader = self.reader()?;
        let mut directories = Vec::new();
        while let Some(entry) = reader.next_entry().map_err(|error| failed(error.to_string()))? {
            let (path, mut entry) = match entry {
                LayerEntry::Present { path, entry } => (path, entry),
                LayerEntry::Whiteout { path } | LayerEntry::Opaque { path } => {
                    return Err(failed(format!("it has a whiteout of {path}, which only a layer can have")));
                }
            };
            if let Some((uid, gid)) = owner {
                (entry.attributes.uid, entry.attributes.gid) = (uid, gid);
            }
            let place = place(tree, target, &path)?;
            if path.is_root() {
                // The destination was there before, or has just been made: it keeps what it has.
                continue;
            }
            if entry.kind == EntryKind::Directory {
                self::directory(tree, &place)?;
                directories.push((place, entry.attributes));
                continue;
            }
            make_room(tree, &place)?;
            match content(tree, target, &place, &entry, &mut reader) {
                Err(Failed::Reader(reason)) => return Err(failed(reason)),
                Err(Failed::Tree(error)) => return Err(error),
                Ok(()) => {}
            }
        }
        // Deepest first and after everything in them: an entry made in a directory moves its time.
        directories.sort_by(|(a, _), (b, _)| b.cmp(a));
        for (place, attributes) in directories {
            apply(tree, &place, &attributes, Some(attributes.mode))?;
        }
        Ok(())
    }
}

enum Failed {
    Reader(String),
    Tree(FilesError),
}

impl From<FilesError> for Failed {
    fn from(error: FilesError) -> Self {
        Self::Tree(error)
    }
}

/// Where an entry goes: links in its directories followed with the target as their root, directories that are missing made.
fn place(tree: &Tree, target: &RootPath, path: &RootPath) -> Result<RootPath, FilesError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(target.clone()) };
    let parent = files::resolve_beneath(tree, target, &parent, Last::Follow)?;
    super::make_dirs(tree, &parent, (0, 0))?;
    parent.join(name).map_err(|error| write("unpack to", &parent)(io::Error::other(error)))
}

fn directory(tree: &Tree, place: &RootPath) -> Result<(), FilesError> {
    match node(tree, place)? {
        Some(there) if there.is_dir() => return Ok(()),
        Some(_) => tree.remove_file(place).map_err(write("replace", place))?,
        None => {}
    }
    tree.make_dir(place).map_err(write("make the directory", place))
}

fn make_room(tree: &Tree, place: &RootPath) -> Result<(), FilesError> {
    tree.remove_all(place).map_err(write("replace", place))
}

fn content(
    tree: &Tree,
    target: &RootPath,
    place: &RootPath,
    entry: &Entry,
    reader: &mut LayerReader,
) -> Result<(), Failed> {
    let attributes = &entry.attributes;
    match &entry.kind {
        EntryKind::Directory => return Ok(()),
        EntryKind::File { .. } => {
            let mut file = tree.create_file(place, 0o600).map_err(write("create", place))?;
            loop {
                let piece = reader.content().map_err(|error| Failed::Reader(error.to_string()))?;
                if piece.is_empty() {
                    break;
                }
                file.write_all(piece).map_err(write("write", place))?;
            }
        }
        EntryKind::Symlink { target } => {
            tree.symlink(target, place).map_err(write("make the link", place))?;
            return Ok(apply(tree, place, attributes, None)?);
        }
        EntryKind::HardLink { target: name } => {
            let first = self::place(tree, target, name)?;
            return Ok(tree.hard_link(&first, place).map_err(write("link", place))?);
        }
        EntryKind::CharDevice(device) => node_at(tree, place, Kind::CharDevice(*device))?,
        EntryKind::BlockDevice(device) => node_at(tree, place, Kind::BlockDevice(*device))?,
        EntryKind::Fifo => node_at(tree, place, Kind::Fifo)?,
    }
    Ok(apply(tree, place, attributes, Some(attributes.mode))?)
}

fn node_at(tree: &Tree, place: &RootPath, kind: Kind) -> Result<(), FilesError> {
    tree.make_node(place, kind).map_err(write("make the special file", place))
}

fn apply(tree: &Tree, place: &RootPath, attributes: &Virtual, mode: Option<u32>) -> Result<(), FilesError> {
    let attributes = Attributes {
        uid: attributes.uid,
        gid: attributes.gid,
        mode,
        mtime: Some(attributes.mtime),
        xattrs: attributes.xattrs.clone(),
    };
    tree.set_attributes(place, &attributes).map_err(write("set the attributes of", place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(bytes: &[u8]) -> Option<Compression> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        detect(file, "x").unwrap().map(|archive| archive.compression)
    }

    fn tar() -> Vec<u8> {
        let mut block = vec![0_u8; 512];
        block[..4].copy_from_slice(b"file");
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block.resize(2048, 0);
        block
    }

    #[test]
    fn archives_are_known_by_content() {
        let gzip = |bytes: &[u8]| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        };
        assert_eq!(detected(&tar()), Some(Compression::None));
        assert_eq!(detected(&gzip(&tar())), Some(Compression::Gzip));
        assert_eq!(detected(&zstd::encode_all(&tar()[..], 1).unwrap()), Some(Compression::Zstd));
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&tar()).unwrap();
        assert_eq!(detected(&bzip2.finish().unwrap()), Some(Compression::Bzip2));
    }

    #[test]
    fn what_is_no_archive_is_a_file() {
        let gzipped = {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(b"plain text").unwrap();
            out.finish().unwrap()
        };
        for bytes in [
            &b""[..],
            b"text",
            &[0; 1024],
            &gzipped,
            &[0x1f, 0x8b, 0, 0],
            b"BZh9 no",
            &[0xfd, b'7', b'z', b'X', b'Z', 0],
        ] {
            assert_eq!(detected(bytes), None, "{bytes:?}");
        }
    }
}
