//! A layer's blob, from its bytes to entries.

use std::io::Cursor;

use wbuild_layer::{Expected, LayerEntry, LayerReader, Limits};
use wbuild_oci::Digest;

use super::Target;

pub(super) const TARGET: Target = Target { name: "layer", seeds, words: WORDS, repair, read };

const WORDS: &[&[u8]] = &[
    b"ustar\0",
    b"ustar  \0",
    b".wh.",
    b".wh..wh..opq",
    b"../",
    b"/",
    b"30 mtime=1350244992.023960108\n",
    b"19 path=a/../../b\n",
    b"17 linkpath=/etc\n",
    b"12 size=99\n",
    b"28 SCHILY.xattr.user.a=value\n",
    b"22 GNU.sparse.major=1\n",
    b"././@LongLink\0",
    b"0000644\0",
    b"\x80\0\0\0\0\0\0\xff",
    b"0",
    b"1",
    b"2",
    b"5",
    b"g",
    b"x",
    b"L",
    b"K",
    b"S",
    b"7",
    b"\x1f\x8b\x08\0",
    b"\x28\xb5\x2f\xfd",
];

/// A header and its content, padded.
fn member(name: &str, kind: u8, link: &str, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, &[&b"0000644\0"[..], b"0000000\0", b"0000000\0"].concat());
    put(124, format!("{:011o}\0{:011o}\0", content.len(), 1_700_000_000).as_bytes());
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    block.extend_from_slice(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

fn seeds() -> Vec<Vec<u8>> {
    let end = vec![0; 1024];
    let plain = [
        member("d/", b'5', "", b""),
        member("d/f", b'0', "", b"content"),
        member("d/h", b'1', "d/f", b""),
        member("l", b'2', "/d", b""),
        member("d/.wh.gone", b'0', "", b""),
        member("d/.wh..wh..opq", b'0', "", b""),
        member("p", b'6', "", b""),
        end.clone(),
    ];
    let long = [
        member("././@LongLink", b'L', "", &[b'n'; 300]),
        member("n", b'0', "", b"x"),
        member("h", b'x', "", b"19 path=a/long/one\n28 SCHILY.xattr.user.a=value\n"),
        member("p", b'0', "", &[7; 1500]),
        member("g", b'g', "", b"30 mtime=1350244992.023960108\n"),
        member("c", b'3', "", b""),
        end,
    ];
    // "x" as one stored block of gzip.
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x01\x01\0\xfe\xffx\x83\x16\xdc\x8c\x01\0\0\0".to_vec();
    let mut seeds = vec![plain.concat(), long.concat(), gzip];
    for seed in &mut seeds[..2] {
        repair(seed);
    }
    seeds
}

/// Right checksums, wherever a header may be.
#[expect(clippy::ptr_arg, reason = "a target may make its inputs longer")]
fn repair(input: &mut Vec<u8>) {
    for block in input.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fn read(input: &[u8]) -> String {
    let expected = Expected { digest: Digest::of(input), size: input.len() as u64, diff_id: None };
    let limits =
        Limits { entries: 1000, name: 1024, extended: 4096, total: 4 << 20, ratio: 200, ratio_from: 1 << 20 };
    let mut reader = LayerReader::new(Cursor::new(input.to_vec()), expected, limits);
    let mut shape = String::new();
    loop {
        let entry = match reader.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) => return shape + &error.to_string(),
        };
        let (letter, path) = match &entry {
            LayerEntry::Present { path, .. } => ('p', path),
            LayerEntry::Whiteout { path } => ('w', path),
            LayerEntry::Opaque { path } => ('o', path),
        };
        if shape.len() < 20 {
            shape.push(letter);
        }
        let name = path.to_string();
        let inside = name.trim_start_matches('/').split('/').all(|part| !matches!(part, "." | ".."));
        assert!(inside && !name.contains('\0'), "a path leaves the tree: {name:?}");
        let mut length = 0;
        loop {
            match reader.content() {
                Ok([]) => break,
                Ok(piece) => length += piece.len(),
                Err(error) => return shape + &error.to_string(),
            }
        }
        assert!(length as u64 <= limits.total, "more content than the limit");
    }
    match reader.finish() {
        Ok(verified) => {
            assert!(verified.tar_size <= limits.total, "more than the limit");
            shape + " whole"
        }
        Err(error) => shape + &error.to_string(),
    }
}
