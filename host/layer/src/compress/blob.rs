//! The writer of a layer's blob: tar bytes in, compressed bytes out, both hashed on the way.
//!
//! The bytes written are the same for any number of threads. Memory is bounded by the number of blocks in flight
//! (two a worker and a few more, a block and its compressed form each), whatever the size of the layer. A layer of one
//! block is compressed where it is written: it starts no thread. Files are not opened here.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use wbuild_oci::{Compression, Descriptor, Digest, Hasher};

use super::{BLOCK, Codec, Packing};

/// How many threads compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads(usize);

impl Threads {
    /// Enough for any disk or network, and what bounds memory (see the module's header).
    const MOST: usize = 8;

    /// One thread a processor, as far as it helps.
    #[must_use]
    pub fn available() -> Self {
        Self::exactly(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    /// This many, at least one and at most eight. One means: in the calling thread, with no other.
    #[must_use]
    pub fn exactly(threads: usize) -> Self {
        Self(threads.clamp(1, Self::MOST))
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// How it is compressed.
    pub compression: Compression,
    /// Digest of the uncompressed tar (image-spec config.md, "Layer DiffID").
    pub diff_id: Digest,
    /// Length of the uncompressed tar in bytes.
    pub tar_size: u64,
    /// Digest of the blob.
    pub digest: Digest,
    /// Length of the blob in bytes.
    pub size: u64,
}

impl Blob {
    /// The layer's descriptor in an OCI manifest.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.compression.media_type(), self.digest, self.size)
    }
}

/// Where compressed bytes go: written, hashed and counted.
struct Output<W> {
    out: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

/// A block of the tar, hashed and compressed by two threads at once; its buffer goes back when both are done.
struct Block {
    bytes: Vec<u8>,
    len: usize,
    home: Sender<Vec<u8>>,
}

impl Drop for Block {
    fn drop(&mut self) {
        // A full or closed pool only means that the buffer is not needed any more.
        let _ = self.home.try_send(std::mem::take(&mut self.bytes));
    }
}

/// A block and where its compressed form is waited for.
type Job = (Arc<Block>, Sender<io::Result<Vec<u8>>>);

/// The threads of a layer of more than one block.
struct Pool<'scope, W> {
    jobs: Sender<Job>,
    hashes: Sender<Arc<Block>>,
    results: Sender<Receiver<io::Result<Vec<u8>>>>,
    free: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
    hasher: ScopedJoinHandle<'scope, Hasher>,
    writer: ScopedJoinHandle<'scope, io::Result<Output<W>>>,
}

enum Stage<'scope, W> {
    /// In the calling thread.
    Inline {
        codec: Option<Codec>,
        out: Output<W>,
        diff: Hasher,
        scratch: Vec<u8>,
    },
    Parallel(Pool<'scope, W>),
    /// A thread has failed and its error was returned.
    Failed,
}

/// Takes a tar stream and writes the blob of it; [`BlobWriter::finish`] gives the digests.
pub struct BlobWriter<'scope, 'env, W> {
    scope: &'scope Scope<'scope, 'env>,
    packing: Packing,
    threads: Threads,
    buffer: Vec<u8>,
    filled: usize,
    tar_size: u64,
    stage: Stage<'scope, W>,
}

impl<'scope, 'env, W: Write + Send + 'scope> BlobWriter<'scope, 'env, W> {
    /// A writer to `out`; threads, if it needs any, are started in `scope`.
    pub fn new(
        scope: &'scope Scope<'scope, 'env>,
        packing: impl Into<Packing>,
        threads: Threads,
        out: W,
    ) -> Self {
        let out = Output { out, hasher: Hasher::new(), size: 0 };
        Self {
            scope,
            packing: packing.into(),
            threads,
            buffer: vec![0; BLOCK],
            filled: 0,
            tar_size: 0,
            stage: Stage::Inline { codec: None, out, diff: Hasher::new(), scratch: Vec::new() },
        }
    }

    /// The room that is left in the current block, never empty; [`BlobWriter::advance`] says how much was filled.
    ///
    /// # Errors
    /// A full block could not be handed on.
    pub(crate) fn room(&mut self) -> io::Result<&mut [u8]> {
        if self.filled == BLOCK {
            self.hand_on()?;
        }
        Ok(&mut self.buffer[self.filled..])
    }

    /// Counts the first `len` bytes of [`BlobWriter::room`] as written.
    pub(crate) fn advance(&mut self, len: usize) {
        self.filled = (self.filled + len).min(BLOCK);
        self.tar_size += len as u64;
    }

    /// Compresses what is left and ends the blob.
    ///
    /// # Errors
    /// The output could not be written.
    pub fn finish(mut self) -> io::Result<(W, Blob)> {
        if self.filled > 0 || self.tar_size == 0 {
            self.hand_on_last()?;
        }
        let (out, diff) = match std::mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Inline { out, diff, .. } => (out, diff),
            Stage::Parallel(pool) => pool.join()?,
            Stage::Failed => return Err(io::Error::other("the layer's writer has failed before")),
        };
        let blob = Blob {
            compression: self.packing.compression(),
            diff_id: diff.finish(),
            tar_size: self.tar_size,
            digest: out.hasher.finish(),
            size: out.size,
        };
        Ok((out.out, blob))
    }

    /// Hands a full block on; more will follow.
    fn hand_on(&mut self) -> io::Result<()> {
        if self.threads.0 > 1 && matches!(self.stage, Stage::Inline { .. }) {
            match std::mem::replace(&mut self.stage, Stage::Failed) {
                Stage::Inline { out, diff, .. } => {
                    self.stage =
                        Stage::Parallel(Pool::start(self.scope, self.packing, self.threads, out, diff)?);
                }
                other => self.stage = other,
            }
        }
        self.hand_on_last()
    }

    fn hand_on_last(&mut self) -> io::Result<()> {
        let filled = std::mem::take(&mut self.filled);
        match &mut self.stage {
            Stage::Inline { codec, out, diff, scratch } => {
                let codec = match codec {
                    Some(codec) => codec,
                    None => codec.insert(Codec::new(self.packing)?),
                };
                diff.update(&self.buffer[..filled]);
                codec.compress(&self.buffer[..filled], scratch)?;
                out.write(scratch)
            }
            Stage::Parallel(pool) => {
                let fresh = pool.free.1.try_recv().unwrap_or_else(|_| vec![0; BLOCK]);
                let bytes = std::mem::replace(&mut self.buffer, fresh);
                if pool.submit(bytes, filled) {
                    return Ok(());
                }
                match std::mem::replace(&mut self.stage, Stage::Failed) {
                    Stage::Parallel(pool) => pool.join().map(drop),
                    _ => Ok(()),
                }
                .and(Err(io::Error::other("a thread of the layer's writer ended early")))
            }
            Stage::Failed => Err(io::Error::other("the layer's writer has failed before")),
        }
    }
}

impl<'scope, W: Write + Send + 'scope> Pool<'scope, W> {
    fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        packing: Packing,
        threads: Threads,
        out: Output<W>,
        diff: Hasher,
    ) -> io::Result<Self> {
        let in_flight = threads.0 * 2;
        let (jobs, job_queue) = bounded::<Job>(in_flight);
        let (hashes, hash_queue) = bounded::<Arc<Block>>(in_flight);
        let (results, result_queue) = bounded(in_flight);
        let free = bounded(in_flight + 2);
        let spare = bounded::<Vec<u8>>(in_flight + 2);
        for _ in 0..threads.0 {
            let (queue, spare, mut codec) = (job_queue.clone(), spare.1.clone(), Codec::new(packing)?);
            std::thread::Builder::new().name("layer-compress".into()).spawn_scoped(scope, move || {
                for (block, done) in queue {
                    let mut compressed = spare.try_recv().unwrap_or_default();
                    let result = codec.compress(&block.bytes[..block.len], &mut compressed);
                    drop(block);
                    // The writer is gone only after an error of its own, which it returns.
                    let _ = done.send(result.map(|()| compressed));
                }
            })?;
        }
        let hasher =
            std::thread::Builder::new().name("layer-diffid".into()).spawn_scoped(scope, move || {
                let mut diff = diff;
                for block in hash_queue {
                    diff.update(&block.bytes[..block.len]);
                }
                diff
            })?;
        let writer = std::thread::Builder::new()
            .name("layer-output".into())
            .spawn_scoped(scope, move || write_in_order(out, &result_queue, &spare.0))?;
        Ok(Self { jobs, hashes, results, free, hasher, writer })
    }

    /// False if a thread has given up: [`Pool::join`] says why.
    fn submit(&self, bytes: Vec<u8>, len: usize) -> bool {
        let block = Arc::new(Block { bytes, len, home: self.free.0.clone() });
        let (done, result) = bounded(1);
        // The queue of results bounds what is in flight: it is entered first.
        self.results.send(result).is_ok()
            && self.hashes.send(Arc::clone(&block)).is_ok()
            && self.jobs.send((block, done)).is_ok()
    }

    fn join(self) -> io::Result<(Output<W>, Hasher)> {
        drop((self.jobs, self.hashes, self.results));
        let diff = self.hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let out = self.writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((out, diff))
    }
}

fn write_in_order<W: Write>(
    mut out: Output<W>,
    results: &Receiver<Receiver<io::Result<Vec<u8>>>>,
    spare: &Sender<Vec<u8>>,
) -> io::Result<Output<W>> {
    for result in results {
        let compressed =
            result.recv().map_err(|_| io::Error::other("a compressing thread ended early"))??;
        out.write(&compressed)?;
        let _ = spare.try_send(compressed);
    }
    Ok(out)
}

impl<'scope, W: Write + Send + 'scope> Write for BlobWriter<'scope, '_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room()?;
        let len = bytes.len().min(room.len());
        room[..len].copy_from_slice(&bytes[..len]);
        self.advance(len);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
