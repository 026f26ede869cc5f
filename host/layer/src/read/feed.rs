//! The uncompressed stream of a blob in chunks, both ends hashed.
//!
//! Memory is bounded by the chunks in flight. The stream ends early where it breaks a limit. A chunk is not yet
//! verified: only [`Feed::totals`] is known to belong to the whole.

use std::io::{self, BufRead, BufReader, Read};

use crossbeam_channel::{Receiver, Sender, bounded};
use wbuild_oci::{Digest, Hasher};

use super::{Limits, ReadError};

const CHUNK: usize = 256 << 10;
/// How many chunks are decompressed ahead of the reader.
const AHEAD: usize = 8;
/// A blob up to this many bytes is decompressed in the reader's thread: starting one costs more.
const SMALL: u64 = 32 << 10;

/// What the whole blob was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) diff_id: Digest,
    pub(super) tar_size: u64,
}

type Blob = Box<dyn Read + Send>;

/// A chunk, or the end.
type Message = Result<Vec<u8>, Result<Totals, ReadError>>;

/// Where the chunks come from.
enum Source {
    /// Decompressed when asked for; `None` once it has ended or failed.
    Inline(Box<Option<Stream>>),
    Thread {
        messages: Receiver<Message>,
        used: Sender<Vec<u8>>,
    },
}

/// The uncompressed stream.
pub(super) struct Feed {
    source: Source,
    totals: Option<Totals>,
}

impl Feed {
    pub(super) fn new(blob: Blob, size: u64, limits: Limits) -> Self {
        let source = if size <= SMALL {
            Source::Inline(Box::new(Some(Stream::new(blob, size, limits))))
        } else {
            Self::thread(blob, size, limits)
        };
        Self { source, totals: None }
    }

    fn thread(blob: Blob, size: u64, limits: Limits) -> Source {
        let (out, messages) = bounded(AHEAD);
        let (used, reuse) = bounded::<Vec<u8>>(AHEAD);
        let work = move || {
            let mut stream = Stream::new(blob, size, limits);
            loop {
                let mut chunk = reuse.try_recv().unwrap_or_default();
                let message = match stream.fill(&mut chunk) {
                    Ok(true) => Ok(chunk),
                    Ok(false) => Err(Ok(stream.totals())),
                    Err(error) => Err(Err(error)),
                };
                let last = message.is_err();
                // A closed channel: the reader was dropped, nobody wants the rest.
                if out.send(message).is_err() || last {
                    return;
                }
            }
        };
        match std::thread::Builder::new().name("layer-read".into()).spawn(work) {
            Ok(_) => Source::Thread { messages, used },
            Err(error) => {
                let (out, messages) = bounded(1);
                let _ = out.send(Err(Err(ReadError::Input(error))));
                Source::Thread { messages, used }
            }
        }
    }

    /// Replaces `chunk` by the next one; false at the end.
    pub(super) fn next(&mut self, chunk: &mut Vec<u8>) -> Result<bool, ReadError> {
        if self.totals.is_some() {
            return Ok(false);
        }
        match &mut self.source {
            Source::Inline(stream) => {
                let Some(mut running) = stream.take() else { return Err(ended()) };
                if running.fill(chunk)? {
                    **stream = Some(running);
                    Ok(true)
                } else {
                    self.totals = Some(running.totals());
                    Ok(false)
                }
            }
            Source::Thread { messages, used } => {
                let _ = used.try_send(std::mem::take(chunk));
                match messages.recv() {
                    Ok(Ok(next)) => {
                        *chunk = next;
                        Ok(true)
                    }
                    Ok(Err(end)) => {
                        self.totals = Some(end?);
                        Ok(false)
                    }
                    Err(_) => Err(ended()),
                }
            }
        }
    }

    /// What the whole was, once it has been read to its end.
    pub(super) fn totals(&self) -> Option<Totals> {
        self.totals
    }
}

fn ended() -> ReadError {
    ReadError::Input(io::Error::other("the layer was read on after it had failed"))
}

/// The blob as it is: hashed, counted, and never longer than it should be.
struct Counted {
    blob: Blob,
    hasher: Hasher,
    size: u64,
    expected: u64,
    /// The first error of the blob itself, so that it is not taken for damaged data.
    failed: Option<ReadError>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = match self.blob.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let kind = error.kind();
                self.failed = Some(ReadError::Input(error));
                return Err(kind.into());
            }
            other => other?,
        };
        self.hasher.update(&buffer[..len]);
        self.size += len as u64;
        if self.size > self.expected {
            self.failed = Some(ReadError::Size { expected: self.expected, found: self.size });
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(len)
    }
}

enum Decoder {
    Unknown(BufReader<Counted>),
    None(BufReader<Counted>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<BufReader<Counted>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<Counted>>),
    /// While it is replaced.
    Moved,
}

impl Decoder {
    fn counted(&mut self) -> Option<&mut Counted> {
        match self {
            Self::Unknown(input) | Self::None(input) => Some(input.get_mut()),
            Self::Gzip(decoder) => Some(decoder.get_mut().get_mut()),
            Self::Zstd(decoder) => Some(decoder.get_mut().get_mut()),
            Self::Moved => None,
        }
    }

    /// Looks at the first bytes, as they come.
    fn recognise(&mut self) -> io::Result<()> {
        if !matches!(self, Self::Unknown(_)) {
            return Ok(());
        }
        if let Self::Unknown(mut input) = std::mem::replace(self, Self::Moved) {
            let start = match input.fill_buf() {
                Ok(bytes) => [bytes.first().copied(), bytes.get(1).copied()],
                Err(error) => {
                    *self = Self::Unknown(input);
                    return Err(error);
                }
            };
            *self = match start {
                [Some(0x1f), Some(0x8b)] => Self::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(input))),
                [Some(0x28), Some(0xb5)] => Self::Zstd(zstd::stream::read::Decoder::with_buffer(input)?),
                _ => Self::None(input),
            };
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recognise()?;
        match self {
            Self::Unknown(_) | Self::Moved => Ok(0),
            Self::None(input) => input.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

struct Stream {
    decoder: Decoder,
    diff: Hasher,
    tar_size: u64,
    limits: Limits,
}

impl Stream {
    fn new(blob: Blob, expected: u64, limits: Limits) -> Self {
        let counted = Counted { blob, hasher: Hasher::new(), size: 0, expected, failed: None };
        let decoder = Decoder::Unknown(BufReader::with_capacity(128 << 10, counted));
        Self { decoder, diff: Hasher::new(), tar_size: 0, limits }
    }

    /// Replaces `chunk` by the next bytes; false at the end.
    fn fill(&mut self, chunk: &mut Vec<u8>) -> Result<bool, ReadError> {
        chunk.resize(CHUNK, 0);
        let mut filled = 0;
        while filled < CHUNK {
            match self.decoder.read(&mut chunk[filled..]) {
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let failed = self.decoder.counted().and_then(|counted| counted.failed.take());
                    return Err(failed.unwrap_or(ReadError::Damaged(error)));
                }
            }
        }
        chunk.truncate(filled);
        self.diff.update(chunk);
        self.tar_size += filled as u64;
        self.check_limits()?;
        Ok(filled > 0)
    }

    fn check_limits(&mut self) -> Result<(), ReadError> {
        let Limits { total, ratio, ratio_from, .. } = self.limits;
        if self.tar_size > total {
            return Err(ReadError::Limit { what: "the uncompressed size", limit: total });
        }
        let read = self.decoder.counted().map_or(0, |counted| counted.size);
        if self.tar_size > ratio_from && self.tar_size / ratio > read {
            return Err(ReadError::Limit {
                what: "the ratio of uncompressed to compressed size",
                limit: ratio,
            });
        }
        Ok(())
    }

    fn totals(&mut self) -> Totals {
        let (hasher, size) = match self.decoder.counted() {
            Some(counted) => (counted.hasher.clone(), counted.size),
            None => (Hasher::new(), 0),
        };
        Totals { digest: hasher.finish(), size, diff_id: self.diff.clone().finish(), tar_size: self.tar_size }
    }
}
