//! Compression of a layer's tar, block by block.
//!
//! The tar is cut into blocks of [`BLOCK`] bytes; each is compressed by itself to one gzip member or one zstd frame,
//! and the members follow each other (RFC 1952 section 2.2, RFC 8878 section 3.1). A block's bytes depend on its
//! content alone, so any number of threads gives the same blob; `tests::golden` pins them.
//!
//! Why members of libdeflate and not one member of sync-flushed blocks: over 250 MB of /usr on this project's
//! machine, with the same 1 MiB blocks, libdeflate 3 took 1.8 CPU seconds for a ratio of 0.381, level 5 2.6 s for
//! 0.372; zlib-rs 6 with flushes 5.0 s for 0.384; `gzip -6` 8.2 s for 0.374, `pigz -6` 11.6 s for 0.373, and pgzip as
//! skopeo and buildah run it 4.8 s for 0.397. Level 3 is smaller than what those push and costs a third.
//! A dictionary of the block before would gain 0.5 % and tie the members together. Readers take many members: they
//! are what pigz-less estargz layers and `cat a.gz b.gz` are, and Go's, Python's and zlib's readers go on by default.
//! Blocks of 4 MiB gained 0.1 % and left the cache.
//!
//! Data that does not compress is found by a look at its bytes ([`incompressible`]) and stored, which costs a
//! checksum instead of a search.

mod blob;
mod packing;

pub use blob::{Blob, BlobWriter, Threads};
use libdeflater::{CompressionLvl, Compressor};
pub use packing::{LevelError, Packing};
use std::io;
use wbuild_oci::Compression;

/// How much of the tar goes into one member or frame.
pub(crate) const BLOCK: usize = 1 << 20;
/// See the module's header.
pub(crate) const GZIP_LEVEL: i32 = 3;
/// What BuildKit and buildah use for zstd.
pub(crate) const ZSTD_LEVEL: i32 = 3;
/// How many pieces of a block are looked at, and how long each is.
const PROBES: usize = 4;
const PROBE_LEN: usize = 16 << 10;

/// Compresses one block after another; each worker thread has its own.
pub(crate) enum Codec {
    /// The block as it is.
    None,
    /// A gzip member a block.
    Gzip(Box<GzipCodec>),
    /// A zstd frame a block.
    Zstd(zstd::bulk::Compressor<'static>),
}

/// libdeflate's compressors and the room for a probe's output.
pub(crate) struct GzipCodec {
    search: Compressor,
    store: Compressor,
    probe: Option<(Compressor, Vec<u8>)>,
}

impl Codec {
    /// A codec of this packing.
    pub(crate) fn new(packing: Packing) -> io::Result<Self> {
        Ok(match packing.compression {
            Compression::None => Self::None,
            Compression::Gzip => Self::Gzip(Box::new(GzipCodec {
                search: Compressor::new(level(packing.level)),
                store: Compressor::new(level(0)),
                probe: None,
            })),
            Compression::Zstd => {
                let mut codec = zstd::bulk::Compressor::new(packing.level)?;
                codec.include_checksum(true)?;
                Self::Zstd(codec)
            }
        })
    }

    /// Compresses `block` into `out`, whose old content is lost.
    pub(crate) fn compress(&mut self, block: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::None => {
                out.clear();
                out.extend_from_slice(block);
                Ok(())
            }
            Self::Gzip(codec) => codec.compress(block, out),
            Self::Zstd(codec) => {
                out.clear();
                out.reserve(zstd::zstd_safe::compress_bound(block.len()));
                codec.compress_to_buffer(block, out)?;
                Ok(())
            }
        }
    }
}

impl GzipCodec {
    fn compress(&mut self, block: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let codec = if incompressible(block, &mut self.probe)? { &mut self.store } else { &mut self.search };
        out.resize(codec.gzip_compress_bound(block.len()), 0);
        let len = codec.gzip_compress(block, out).map_err(io::Error::other)?;
        out.truncate(len);
        Ok(())
    }
}

/// True if a search would find next to nothing in `block`: samples of it have the entropy of noise, and the fastest
/// level saves less than 1 % of them. Depends on nothing but the block's bytes.
fn incompressible(block: &[u8], probe: &mut Option<(Compressor, Vec<u8>)>) -> io::Result<bool> {
    if block.len() < PROBES * PROBE_LEN {
        return Ok(false);
    }
    let stride = (block.len() - PROBE_LEN) / (PROBES - 1);
    let samples = (0..PROBES).map(|i| &block[i * stride..i * stride + PROBE_LEN]);
    if !samples.clone().all(noisy) {
        return Ok(false);
    }
    let (compressor, room) = probe.get_or_insert_with(|| {
        let mut compressor = Compressor::new(level(1));
        let bound = compressor.deflate_compress_bound(PROBE_LEN);
        (compressor, vec![0; bound])
    });
    for sample in samples {
        if compressor.deflate_compress(sample, room).map_err(io::Error::other)? < PROBE_LEN / 100 * 99 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// True if the bytes of `sample` are spread almost evenly: the chance that two picked bytes are equal is within 12 %
/// of 1/256. Text has about 16/256, machine code 8/256, and most of what looks like noise to this is noise.
fn noisy(sample: &[u8]) -> bool {
    let mut counts = [0_u64; 256];
    for byte in sample {
        counts[usize::from(*byte)] += 1;
    }
    let n = sample.len() as u64;
    let pairs: u64 = counts.iter().map(|count| count * count.saturating_sub(1)).sum();
    pairs * 256 * 100 < n * n * 112
}

/// A level of libdeflate; 0 stores.
fn level(level: i32) -> CompressionLvl {
    CompressionLvl::new(level).unwrap_or_default()
}

#[cfg(test)]
mod tests;
