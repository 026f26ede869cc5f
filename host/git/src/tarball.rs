//! The files of a checkout as an archive in the store: owned by root, all of one time, in the order they are found.
//!
//! The archive depends on the commit and on what was asked for alone; wbuild's own reader unpacks it beneath a directory, as any
//! archive that it did not make.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::{Builder, EntryType, Header};
use wbuild_oci::Digest;
use wbuild_store::{Expected, Ingest, Store};

use crate::error::{GitError, host};

/// Gives the store what is written.
struct Into(Ingest);

impl Write for Into {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An archive that is being written.
pub(crate) struct Tarball {
    builder: Builder<io::BufWriter<Into>>,
    time: u64,
}

impl Tarball {
    /// Every file gets `time`, in seconds since 1970.
    pub(crate) fn new(store: &Store, time: i64) -> Result<Self, GitError> {
        let ingest = store.ingest(Expected::anything())?;
        let builder = Builder::new(io::BufWriter::with_capacity(128 << 10, Into(ingest)));
        // Up to the year 9999, which every file system can hold that can hold it at all.
        let time = u64::try_from(time.clamp(0, 253_402_300_799)).unwrap_or_default();
        Ok(Self { builder, time })
    }

    fn header(&self, kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.time);
        header.set_size(size);
        header
    }

    pub(crate) fn directory(&mut self, path: &[u8]) -> Result<(), GitError> {
        let mut header = self.header(EntryType::Directory, 0o755, 0);
        self.builder.append_data(&mut header, name(path), io::empty()).map_err(host("keep a directory"))
    }

    pub(crate) fn file(
        &mut self,
        path: &[u8],
        mode: u32,
        size: u64,
        content: impl Read,
    ) -> Result<(), GitError> {
        let mut header = self.header(EntryType::Regular, mode, size);
        self.builder.append_data(&mut header, name(path), content).map_err(host("keep a file"))
    }

    /// A link with this very text.
    pub(crate) fn link(&mut self, path: &[u8], text: &[u8]) -> Result<(), GitError> {
        const LONGEST: usize = 100;
        let failed = host("keep a link");
        let mut header = self.header(EntryType::Symlink, 0o777, 0);
        if text.len() > LONGEST {
            // GNU's form of a long text: an entry before, with the text and a NUL.
            let mut long = self.header(EntryType::GNULongLink, 0o644, text.len() as u64 + 1);
            let content = [text, b"\0"].concat();
            self.builder.append_data(&mut long, "././@LongLink", content.as_slice()).map_err(&failed)?;
        } else {
            header.set_link_name_literal(text).map_err(&failed)?;
        }
        self.builder.append_data(&mut header, name(path), io::empty()).map_err(failed)
    }

    /// The archive's digest in the store.
    pub(crate) fn finish(self) -> Result<Digest, GitError> {
        let failed = host("keep a checkout");
        let writer = self.builder.into_inner().map_err(&failed)?;
        let ingest = writer.into_inner().map_err(|error| failed(error.into_error()))?.0;
        Ok(ingest.commit()?.0)
    }
}

fn name(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}
