//! The blob is the same for any number of threads, and what it costs is bounded.

use super::*;
use std::io::{Read, Write};
use wbuild_oci::Digest;

/// Bytes without a pattern, the same every time.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes.extend_from_slice(&x.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Text-like bytes.
pub(crate) fn prose(len: usize) -> Vec<u8> {
    let words = noise(len, 5);
    words
        .iter()
        .flat_map(|b| [b"stone ", b"river ", b"lamp  ", b"a be c"][usize::from(b & 3)])
        .copied()
        .take(len)
        .collect()
}

fn blob(tar: &[u8], compression: Compression, threads: usize) -> (Vec<u8>, Blob) {
    std::thread::scope(|scope| {
        let mut writer = BlobWriter::new(scope, compression, Threads::exactly(threads), Vec::new());
        // Pieces that do not divide a block.
        for piece in tar.chunks(70_001) {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap()
    })
}

fn mixed() -> Vec<u8> {
    [prose(BLOCK + 77_777), noise(2 * BLOCK, 1), prose(3 * BLOCK / 2), vec![0; BLOCK], noise(1234, 2)]
        .concat()
}

fn inflate(blob: &[u8], compression: Compression) -> Vec<u8> {
    let mut out = Vec::new();
    match compression {
        Compression::None => out.extend_from_slice(blob),
        Compression::Gzip => {
            flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut out).unwrap();
        }
        Compression::Zstd => {
            zstd::stream::read::Decoder::new(blob).unwrap().read_to_end(&mut out).unwrap();
        }
    }
    out
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let tar = mixed();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let (first, said) = blob(&tar, compression, 1);
        assert_eq!((said.diff_id, said.tar_size), (Digest::of(&tar), tar.len() as u64));
        assert_eq!((said.digest, said.size), (Digest::of(&first), first.len() as u64));
        assert!(inflate(&first, compression) == tar);
        for threads in [2, 3, 8] {
            let (bytes, again) = blob(&tar, compression, threads);
            assert!(bytes == first, "{compression:?} with {threads} threads");
            assert_eq!(again, said);
        }
    }
}

#[test]
fn sizes_around_a_block() {
    for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK] {
        let tar = prose(len);
        for threads in [1, 2] {
            let (bytes, said) = blob(&tar, Compression::Gzip, threads);
            assert_eq!(said.tar_size, len as u64);
            assert!(inflate(&bytes, Compression::Gzip) == tar, "{len} bytes with {threads} threads");
        }
    }
}

/// These digests may change only with a decision: every layer ever written gets another name with them.
#[test]
fn golden() {
    let tar = mixed();
    let digest = |compression| blob(&tar, compression, 2).1.digest.hex();
    assert_eq!(digest(Compression::None), "f4f03a80bddc84abee1de818b6dff8ce6db798885ad74cb1d8d46fef5476d620");
    assert_eq!(digest(Compression::Gzip), "59e85b8297a355907ea6f75a40df32783a6984e4cbcd7f7824aeb1c6c6ee2f52");
    assert_eq!(digest(Compression::Zstd), "dcf736ae37a7fa2246a1912cbcf1ba80a40386838e25c01479196de8ad321233");
}

#[test]
fn noise_is_stored_and_text_is_not() {
    let mut probe = None;
    assert!(incompressible(&noise(BLOCK, 3), &mut probe).unwrap());
    assert!(!incompressible(&prose(BLOCK), &mut probe).unwrap());
    assert!(!incompressible(&vec![0; BLOCK], &mut probe).unwrap());
    // Half of it would compress: then it is searched.
    let half = [noise(BLOCK / 2, 3), prose(BLOCK / 2)].concat();
    assert!(!incompressible(&half, &mut probe).unwrap());
    // Evenly spread bytes that repeat are not noise.
    let even: Vec<u8> = (0..BLOCK).map(|i| i.to_le_bytes()[0]).collect();
    assert!(noisy(&even[..PROBE_LEN]) && !incompressible(&even, &mut probe).unwrap());
    let (stored, _) = blob(&noise(4 * BLOCK, 9), Compression::Gzip, 2);
    assert!(stored.len() < 4 * BLOCK + 4 * 128);
}

#[test]
fn a_failing_output_is_an_error_and_ends_the_threads() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for threads in [1, 2] {
        let failed = std::thread::scope(|scope| {
            let mut writer = BlobWriter::new(scope, Compression::Gzip, Threads::exactly(threads), Full(2));
            for piece in noise(BLOCK, 4).chunks(1 << 16).cycle().take(40 * 16) {
                if let Err(error) = writer.write_all(piece) {
                    return error;
                }
            }
            writer.finish().map(drop).unwrap_err()
        });
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull, "with {threads} threads");
    }
}
