//! Where a union is written to, and the tar form of it.
//!
//! The archive has what a layer's would have, without whiteouts: numeric owners, pax records only where needed, no other times.

use std::io::{self, Read, Write};

use crate::archive::{RECORD, encode};
use crate::{Attributes, Entry, EntryKind, RootPath};

/// Takes the parts of a union in their order.
pub trait UnionSink {
    /// A directory; those above it came before.
    ///
    /// # Errors
    /// It cannot be written.
    fn directory(&mut self, path: &RootPath, attributes: &Attributes) -> io::Result<()>;

    /// A regular file of `size` bytes, which `content` gives.
    ///
    /// # Errors
    /// It cannot be written, or reading failed.
    fn file(
        &mut self,
        path: &RootPath,
        size: u64,
        attributes: &Attributes,
        content: &mut dyn Read,
    ) -> io::Result<()>;

    /// A symbolic link, a hard link to something that came before, a device or a FIFO.
    ///
    /// # Errors
    /// It cannot be written.
    fn special(&mut self, path: &RootPath, entry: &Entry) -> io::Result<()>;

    /// Everything was written.
    ///
    /// # Errors
    /// The end cannot be written.
    fn finish(&mut self) -> io::Result<()>;
}

/// Writes a union as a tar.
#[derive(Debug)]
pub struct TarSink<W> {
    out: W,
    headers: Vec<u8>,
}

impl<W: Write> TarSink<W> {
    /// To `out`, which should be buffered.
    pub fn new(out: W) -> Self {
        Self { out, headers: Vec::new() }
    }

    fn header(&mut self, name: &[u8], kind: &EntryKind, attributes: &Attributes) -> io::Result<()> {
        self.headers.clear();
        encode::entry(&mut self.headers, name, kind, attributes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.out.write_all(&self.headers)
    }
}

impl<W: Write> UnionSink for TarSink<W> {
    fn directory(&mut self, path: &RootPath, attributes: &Attributes) -> io::Result<()> {
        self.header(&[path.as_bytes(), b"/"].concat(), &EntryKind::Directory, attributes)
    }

    fn file(
        &mut self,
        path: &RootPath,
        size: u64,
        attributes: &Attributes,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        self.header(path.as_bytes(), &EntryKind::File { size }, attributes)?;
        let copied = io::copy(content, &mut self.out)?;
        if copied != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.out.write_all(&[0; RECORD][..encode::padding(size)])
    }

    fn special(&mut self, path: &RootPath, entry: &Entry) -> io::Result<()> {
        self.header(path.as_bytes(), &entry.kind, &entry.attributes)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.write_all(&[0; 2 * RECORD])?;
        self.out.flush()
    }
}
