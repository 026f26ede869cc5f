//! Streams of wasi:io over open files. Calls block: a component has a thread of its own.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// The most that is read or written at once.
const MOST: usize = 1 << 20;

/// Where in a file a stream is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Position {
    /// At this offset.
    At(u64),
    /// At its end, wherever that is.
    End,
}

/// A stream from or to a file.
pub(super) struct FileStream {
    pub(super) file: Arc<OwnedFd>,
    pub(super) position: Position,
}

fn failed(errno: Errno) -> StreamError {
    StreamError::LastOperationFailed(std::io::Error::from(errno).into())
}

#[async_trait::async_trait]
impl Pollable for FileStream {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl InputStream for FileStream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut bytes = vec![0; size.min(MOST)];
        if bytes.is_empty() {
            return Ok(Bytes::new());
        }
        let offset = if let Position::At(offset) = self.position { offset } else { 0 };
        match read_at(&self.file, &mut bytes, offset).map_err(failed)? {
            0 => Err(StreamError::Closed),
            read => {
                bytes.truncate(read);
                self.position = Position::At(offset.saturating_add(read as u64));
                Ok(bytes.into())
            }
        }
    }
}

#[async_trait::async_trait]
impl OutputStream for FileStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut rest = bytes.as_ref();
        while !rest.is_empty() {
            let written = match self.position {
                Position::At(offset) => write_at(&self.file, rest, offset),
                // The file was opened anew with O_APPEND, so the kernel finds its end.
                Position::End => rustix::io::retry_on_intr(|| rustix::io::write(&*self.file, rest)),
            };
            let written = written.map_err(failed)?;
            if let Position::At(offset) = &mut self.position {
                *offset = offset.saturating_add(written as u64);
            }
            rest = &rest[written..];
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MOST)
    }
}

/// Reads at an offset, or where the file is if it cannot be sought in.
pub(super) fn read_at(file: &OwnedFd, bytes: &mut [u8], offset: u64) -> Result<usize, Errno> {
    match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *bytes, offset)) {
        Err(Errno::SPIPE) => rustix::io::retry_on_intr(|| rustix::io::read(file, &mut *bytes)),
        read => read,
    }
}

/// Writes at an offset, or where the file is if it cannot be sought in.
pub(super) fn write_at(file: &OwnedFd, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
    match rustix::io::retry_on_intr(|| rustix::io::pwrite(file, bytes, offset)) {
        Err(Errno::SPIPE) => rustix::io::retry_on_intr(|| rustix::io::write(file, bytes)),
        written => written,
    }
}
