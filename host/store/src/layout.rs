//! Image layouts to read from: a directory or a plain tar (image-spec image-layout.md).
//!
//! Names inside a layout are compared, never followed: only `oci-layout`, `index.json` and `blobs/sha256/<hex>` are
//! read, and from a tar only regular files. What is read is not verified here: `import` does that.

use crate::LayoutError;
use cap_std::fs::{Dir, File, FileExt};
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use wbuild_oci::{Digest, Index, Layout, MANIFEST_LIMIT};

/// Which image of a layout.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Pick {
    /// The only one.
    #[default]
    Only,
    /// By name: a tag or a whole reference.
    Name(String),
    /// By its manifest's or index's digest.
    Digest(Digest),
}

impl Pick {
    /// What stands behind the path of `oci-layout://path[:tag][@digest]`; a digest binds whatever the tag says.
    ///
    /// # Errors
    /// A malformed digest.
    pub fn new(tag: Option<&str>, digest: Option<&str>) -> Result<Self, wbuild_oci::DigestError> {
        match (digest, tag) {
            (Some(digest), _) => Ok(Self::Digest(digest.parse()?)),
            (None, Some(tag)) => Ok(Self::Name(tag.to_owned())),
            (None, None) => Ok(Self::Only),
        }
    }
}

/// An image layout that is open for reading.
#[derive(Debug)]
pub struct LayoutSource(Form);

#[derive(Debug)]
enum Form {
    Directory(Dir),
    Tar { file: File, members: HashMap<String, Span> },
}

/// Where a member's content lies in the tar, in bytes.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u64,
    size: u64,
}

impl LayoutSource {
    /// The layout in a directory.
    ///
    /// # Errors
    /// [`LayoutError::NotALayout`] where its marker is missing or of another version.
    pub fn directory(dir: Dir) -> Result<Self, LayoutError> {
        Self(Form::Directory(dir)).checked()
    }

    /// The layout in a plain tar, which must be a file that can seek.
    ///
    /// # Errors
    /// As for a directory; [`LayoutError::Compressed`] for a compressed one.
    pub fn tar(mut file: File) -> Result<Self, LayoutError> {
        refuse_compressed(&mut file)?;
        let mut members = HashMap::new();
        let mut archive = tar::Archive::new(&mut file);
        for entry in archive.entries_with_seek().map_err(failed("read", "the archive"))? {
            let entry = entry.map_err(failed("read", "the archive"))?;
            let path = entry.path_bytes();
            let Ok(name) = std::str::from_utf8(&path) else { continue };
            let name = name.strip_prefix("./").unwrap_or(name);
            if entry.header().entry_type().is_file() && is_layout_member(name) {
                // As tar -x does it: of two members with one name the later one counts.
                members
                    .insert(name.to_owned(), Span { start: entry.raw_file_position(), size: entry.size() });
            }
        }
        Self(Form::Tar { file, members }).checked()
    }

    fn checked(self) -> Result<Self, LayoutError> {
        let marker = self.read(Layout::FILE)?.ok_or(LayoutError::NotALayout { missing: Layout::FILE })?;
        Layout::parse(&marker)
            .map_err(|source| LayoutError::Document { name: Layout::FILE.to_owned(), source })?;
        Ok(self)
    }

    /// The layout's index.
    pub(crate) fn index(&self) -> Result<Index, LayoutError> {
        let bytes = self.read("index.json")?.ok_or(LayoutError::NotALayout { missing: "index.json" })?;
        Index::parse(&bytes).map_err(|source| LayoutError::Document { name: "index.json".to_owned(), source })
    }

    /// Opens a blob.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<Box<dyn Read + '_>, LayoutError> {
        self.open(&format!("blobs/sha256/{}", digest.hex()))?.ok_or(LayoutError::MissingBlob(*digest))
    }

    /// A blob's file, and where in it the blob begins and how long it is, in bytes.
    pub(crate) fn span(&self, digest: &Digest) -> io::Result<Option<(File, u64, u64)>> {
        let name = format!("blobs/sha256/{}", digest.hex());
        match &self.0 {
            Form::Directory(dir) => match dir.open(name) {
                Ok(file) => file.metadata().map(|metadata| Some((file, 0, metadata.len()))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            Form::Tar { file, members } => match members.get(&name) {
                Some(span) => Ok(Some((file.try_clone()?, span.start, span.size))),
                None => Ok(None),
            },
        }
    }

    /// Reads one of the layout's own small files.
    fn read(&self, name: &'static str) -> Result<Option<Vec<u8>>, LayoutError> {
        let Some(file) = self.open(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(MANIFEST_LIMIT + 1).read_to_end(&mut bytes).map_err(failed("read", name))?;
        if bytes.len() as u64 > MANIFEST_LIMIT {
            let source = io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4 MiB");
            return Err(failed("read", name)(source));
        }
        Ok(Some(bytes))
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, LayoutError> {
        match &self.0 {
            Form::Directory(dir) => match dir.open(name) {
                Ok(file) => Ok(Some(Box::new(file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed("open", name)(error)),
            },
            Form::Tar { file, members } => Ok(members.get(name).map(|span| {
                let reader: Box<dyn Read> = Box::new(Slice { file, at: span.start, left: span.size });
                reader
            })),
        }
    }
}

fn is_layout_member(name: &str) -> bool {
    name == Layout::FILE
        || name == "index.json"
        || name.strip_prefix("blobs/sha256/").is_some_and(|hex| Digest::from_hex(hex).is_ok())
}

fn refuse_compressed(file: &mut File) -> Result<(), LayoutError> {
    let mut magic = Vec::new();
    file.take(6).read_to_end(&mut magic).map_err(failed("read", "the archive"))?;
    file.seek(SeekFrom::Start(0)).map_err(failed("rewind", "the archive"))?;
    let forms: [(&[u8], &str); 4] =
        [(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2")];
    match forms.iter().find(|(start, _)| magic.starts_with(start)) {
        Some((_, form)) => Err(LayoutError::Compressed { form }),
        None => Ok(()),
    }
}

/// A part of a file, read at its own position.
struct Slice<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        if count == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

pub(crate) fn failed(action: &'static str, path: impl Into<String>) -> impl FnOnce(io::Error) -> LayoutError {
    let path = path.into();
    move |source| LayoutError::Io { action, path, source }
}
