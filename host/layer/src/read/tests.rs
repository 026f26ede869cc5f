//! Hostile and odd archives, each refused or read as Docker does.

use super::*;
use crate::archive::encode;
use crate::{Attributes, Change, ChangeSet, Device, Threads, Timestamp, write_layer};
use std::io::Write;
use wbuild_oci::Compression;

/// A header as the writer has it, with some bytes replaced and the checksum made right again.
fn raw(name: &[u8], kind: &EntryKind, patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::entry(&mut out, name, kind, &Attributes { mode: 0o644, ..Attributes::default() }).unwrap();
    let last = out.len() - RECORD;
    for (at, bytes) in patches {
        out[last + at..last + at + bytes.len()].copy_from_slice(bytes);
    }
    checksum(&mut out[last..]);
    out
}

fn checksum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A header with an extended one of type `kind` before it.
fn extended(kind: u8, body: &[u8], entry: &[u8]) -> Vec<u8> {
    let mut out = raw(b"ext", &EntryKind::File { size: body.len() as u64 }, &[(156, &[kind])]);
    out.extend_from_slice(body);
    out.resize(out.len().div_ceil(RECORD) * RECORD, 0);
    out.extend_from_slice(entry);
    out
}

fn pax(records: &[(&str, &str)], entry: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let len = (rest + 1..).find(|len| rest + len.to_string().len() == *len).unwrap();
        body.extend_from_slice(format!("{len} {key}={value}\n").as_bytes());
    }
    extended(b'x', &body, entry)
}

fn file(name: &str) -> Vec<u8> {
    raw(name.as_bytes(), &EntryKind::File { size: 0 }, &[])
}

fn ended(parts: &[&[u8]]) -> Vec<u8> {
    [parts.concat(), vec![0; 2 * RECORD]].concat()
}

fn expected(blob: &[u8]) -> Expected {
    Expected { digest: Digest::of(blob), size: blob.len() as u64, diff_id: None }
}

fn limited(tar: &[u8], limits: Limits) -> Result<Vec<LayerEntry>, ReadError> {
    let mut reader = LayerReader::new(io::Cursor::new(tar.to_vec()), expected(tar), limits);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        while !reader.content()?.is_empty() {}
        entries.push(entry);
    }
    reader.finish()?;
    Ok(entries)
}

fn entries(tar: &[u8]) -> Result<Vec<LayerEntry>, ReadError> {
    limited(tar, Limits::default())
}

/// The only entry's path and type.
fn only(tar: &[u8]) -> (String, EntryKind) {
    match entries(tar).unwrap().as_slice() {
        [LayerEntry::Present { path, entry }] => (path.to_string(), entry.kind.clone()),
        other => panic!("{other:?}"),
    }
}

fn refused(tar: &[u8]) -> (String, Malformed) {
    match entries(tar).unwrap_err() {
        ReadError::Entry { entry, source } => (entry, source),
        other => panic!("{other}"),
    }
}

#[test]
fn names_are_normalised_as_docker_does() {
    for (name, path) in [
        ("/etc/passwd", "/etc/passwd"),
        ("./a//b/./c", "/a/b/c"),
        ("a/../b", "/b"),
        ("/../../etc/shadow", "/etc/shadow"),
        ("..a/b..", "/..a/b.."),
    ] {
        assert_eq!(only(&ended(&[&file(name)])).0, path, "{name}");
    }
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../x", "a/../../x", "./../x", ".."] {
        assert_eq!(refused(&ended(&[&file(name)])), (format!("/{name}"), Malformed::Breakout));
        assert_eq!(refused(&ended(&[&pax(&[("path", name)], &file("harmless"))])).1, Malformed::Breakout);
        let link = raw(b"l", &EntryKind::Fifo, &[(156, b"1"), (157, name.as_bytes())]);
        assert_eq!(refused(&ended(&[&link])), ("/l".into(), Malformed::LinkBreakout(name.into())));
    }
    let link = raw(b"l", &EntryKind::Fifo, &[(156, b"1"), (157, b"/../etc/shadow")]);
    assert!(matches!(refused(&ended(&[&link])).1, Malformed::LinkBreakout(_)));
}

#[test]
fn whiteouts_are_seen_and_bad_ones_refused() {
    let tar = ended(&[
        &file("a/.wh.b"),
        &file(".wh.c"),
        &file("a/.wh..wh..opq"),
        &file(".wh..wh.plnk/1"),
        &file(".wh..wh.aufs"),
    ]);
    let at = |text: &str| RootPath::new(text).unwrap();
    let seen = entries(&tar).unwrap();
    let wanted = [
        LayerEntry::Whiteout { path: at("a/b") },
        LayerEntry::Whiteout { path: at("c") },
        LayerEntry::Opaque { path: at("a") },
    ];
    assert_eq!(seen, wanted);
    for name in ["a/.wh.", "a/.wh..", "a/.wh...", ".wh..."] {
        assert_eq!(refused(&ended(&[&file(name)])).1, Malformed::Whiteout, "{name}");
    }
}

#[test]
fn odd_types_are_read_or_refused() {
    let old_directory = raw(b"dir/", &EntryKind::File { size: 0 }, &[(156, b"\0")]);
    assert_eq!(only(&ended(&[&old_directory])), ("/dir".into(), EntryKind::Directory));
    let contiguous = raw(b"f", &EntryKind::File { size: 0 }, &[(156, b"7")]);
    assert_eq!(only(&ended(&[&contiguous])).1, EntryKind::File { size: 0 });
    let sparse = raw(b"f", &EntryKind::File { size: 0 }, &[(156, b"S")]);
    assert_eq!(refused(&ended(&[&sparse])), ("/f".into(), Malformed::Sparse));
    let pax_sparse = pax(&[("GNU.sparse.major", "1")], &file("f"));
    assert_eq!(refused(&ended(&[&pax_sparse])).1, Malformed::Sparse);
    let unknown = raw(b"f", &EntryKind::File { size: 0 }, &[(156, b"V")]);
    assert_eq!(refused(&ended(&[&unknown])), ("/f".into(), Malformed::Type('V')));
    assert_eq!(refused(&ended(&[&raw(b"./", &EntryKind::Fifo, &[])])).1, Malformed::Root);
    let global = extended(b'g', b"52 comment=0123456789012345678901234567890123456789\n", &file("f"));
    assert_eq!(only(&ended(&[&global])).0, "/f");
    assert_eq!(refused(&ended(&[&raw(b"l", &EntryKind::Fifo, &[(156, b"2")])])).1, Malformed::Empty);
}

#[test]
fn gnu_and_pax_long_names_and_numbers() {
    let long = "directory/".repeat(40) + "name";
    let gnu = extended(
        b'L',
        format!("{long}\0").as_bytes(),
        &extended(b'K', b"../target\0", &raw(b"cut", &EntryKind::Fifo, &[(156, b"2")])),
    );
    assert_eq!(
        only(&ended(&[&gnu])),
        (format!("/{long}"), EntryKind::Symlink { target: b"../target".to_vec() })
    );
    let uid = [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe];
    let before_1970 = [0xff; 12];
    let base256 = raw(b"f", &EntryKind::Fifo, &[(108, &uid), (136, &before_1970)]);
    match &entries(&ended(&[&base256])).unwrap()[0] {
        LayerEntry::Present { entry, .. } => {
            assert_eq!(entry.attributes.uid, 0xffff_fffe);
            assert_eq!(entry.attributes.mtime, Timestamp { seconds: -1, nanoseconds: 0 });
        }
        other => panic!("{other:?}"),
    }
    let records = [("uid", "70000"), ("mtime", "-1.5"), ("SCHILY.xattr.user.x", "a=b\nc"), ("comment", "no")];
    match &entries(&ended(&[&pax(&records, &file("f"))])).unwrap()[0] {
        LayerEntry::Present { entry: Entry { attributes, .. }, .. } => {
            assert_eq!(attributes.uid, 70000);
            assert_eq!(attributes.mtime, Timestamp { seconds: -2, nanoseconds: 500_000_000 });
            assert_eq!(attributes.xattrs.get(b"user.x".as_slice()).unwrap(), b"a=b\nc");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn bad_numbers_and_records_are_refused() {
    for (patch, field) in [
        ((100, b"0x644\0\0\0".as_slice()), "mode"),
        ((108, b"9999999\0"), "uid"),
        ((124, b"-0000000001\0"), "size"),
    ] {
        let header = raw(b"f", &EntryKind::File { size: 0 }, &[patch]);
        assert_eq!(refused(&ended(&[&header])), ("/f".into(), Malformed::Number(field)));
    }
    let huge = raw(b"f", &EntryKind::File { size: 0 }, &[(124, &[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0])]);
    assert_eq!(refused(&ended(&[&huge])).1, Malformed::Number("size"));
    for record in [
        ("size", "18446744073709551615"),
        ("size", "-1"),
        ("size", "1e3"),
        ("uid", "4294967296"),
        ("mtime", "now"),
        ("mtime", "1.x"),
    ] {
        let refusal = refused(&ended(&[&pax(&[record], &file("f"))])).1;
        assert!(matches!(refusal, Malformed::Number(_)), "{record:?}: {refusal}");
    }
    for body in [
        b"5 a=b\n".as_slice(),
        b"9999 a=b\n",
        b"6 a=b ",
        b"0 \n",
        b"6 ab!\n",
        b"x a=b\n",
        b"5 =b\n",
        b"99999999999999999999999 a=b\n",
    ] {
        let refusal = refused(&ended(&[&extended(b'x', body, &file("f"))])).1;
        assert!(matches!(refusal, Malformed::Pax(_)), "{body:?}: {refusal}");
    }
    assert_eq!(refused(&ended(&[&pax(&[("path", "a\0b")], &file("f"))])).1, Malformed::Nul);
    assert_eq!(refused(&ended(&[&pax(&[("path", &"n".repeat(256))], &file("f"))])).1, Malformed::TooLong);
    assert_eq!(refused(&ended(&[&pax(&[("path", &"n/".repeat(3000))], &file("f"))])).1, Malformed::TooLong);
    let mut wrong = file("f");
    wrong[0] ^= 1;
    assert_eq!(refused(&ended(&[&file("good"), &wrong])), ("2 (after /good)".into(), Malformed::Checksum));
}

#[test]
fn truncation_names_the_entry() {
    let whole = ended(&[&file("first"), &raw(b"second", &EntryKind::File { size: 3000 }, &[]), &[7; 3072]]);
    // The end of the archive may be missing: Go's reader takes that too.
    assert_eq!(entries(&whole[..whole.len() - 1024]).unwrap().len(), 2);
    assert_eq!(entries(&whole[..whole.len() - 512]).unwrap().len(), 2);
    assert_eq!(refused(&whole[..2000]), ("/second".into(), Malformed::Truncated));
    assert_eq!(refused(&whole[..4090]), ("/second".into(), Malformed::Truncated));
    assert_eq!(refused(&whole[..700]), ("2 (after /first)".into(), Malformed::Truncated));
}

#[test]
fn limits_are_held() {
    let two = ended(&[&file("a"), &file("b")]);
    let limits = Limits { entries: 1, ..Limits::default() };
    assert!(matches!(
        limited(&two, limits),
        Err(ReadError::Limit { what: "the number of entries", limit: 1 })
    ));
    let xattr = pax(&[("SCHILY.xattr.user.x", &"v".repeat(5000))], &file("f"));
    let limits = Limits { extended: 4096, ..Limits::default() };
    assert!(matches!(
        limited(&ended(&[&xattr]), limits),
        Err(ReadError::Limit { what: "an extended header", .. })
    ));
    // It says so before it reads or allocates: the body is not even there.
    let boast = raw(b"x", &EntryKind::File { size: 1 << 32 }, &[(156, b"x")]);
    assert!(matches!(entries(&boast), Err(ReadError::Limit { what: "an extended header", .. })));
    let limits = Limits { total: 1000, ..Limits::default() };
    assert!(matches!(limited(&two, limits), Err(ReadError::Limit { what: "the uncompressed size", .. })));
}

fn compressed(compression: Compression, size: u64) -> Vec<u8> {
    let entry = Entry { kind: EntryKind::File { size }, attributes: Attributes::default() };
    let changes: ChangeSet = [(RootPath::new("zeros").unwrap(), Change::Upsert(entry))].into_iter().collect();
    let open = |_: &RootPath| Ok(io::repeat(0).take(size));
    write_layer(&changes, open, compression, Threads::exactly(2), Vec::new()).unwrap().0
}

#[test]
fn a_bomb_is_stopped_at_the_ratio() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let bomb = compressed(compression, 64 << 20);
        let limits = Limits { ratio_from: 4 << 20, ..Limits::default() };
        let mut reader = LayerReader::new(io::Cursor::new(bomb.clone()), expected(&bomb), limits);
        reader.next_entry().unwrap();
        let mut read = 0;
        let stopped = loop {
            match reader.content() {
                Ok(piece) => read += piece.len(),
                Err(error) => break error,
            }
            assert!(read < 64 << 20);
        };
        assert!(matches!(stopped, ReadError::Limit { limit: 200, .. }), "{stopped}");
        assert!(limited(&bomb, Limits::default()).is_ok());
    }
}

#[test]
fn digest_size_and_diff_id_are_verified() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        for size in [10, 200_000] {
            let blob = compressed(compression, size);
            let tar = compressed(Compression::None, size);
            let good = Expected { diff_id: Some(Digest::of(&tar)), ..expected(&blob) };
            let read = |blob: &[u8], expected| {
                LayerReader::new(io::Cursor::new(blob.to_vec()), expected, Limits::default()).finish()
            };
            assert_eq!(
                read(&blob, good).unwrap(),
                Verified { diff_id: Digest::of(&tar), tar_size: tar.len() as u64 }
            );
            let other = Digest::of(b"other");
            assert!(matches!(read(&blob, Expected { digest: other, ..good }), Err(ReadError::Digest { .. })));
            assert!(matches!(
                read(&blob, Expected { diff_id: Some(other), ..good }),
                Err(ReadError::DiffId { .. })
            ));
            assert!(matches!(
                read(&blob, Expected { size: good.size + 1, ..good }),
                Err(ReadError::Size { .. })
            ));
            assert!(matches!(
                read(&blob, Expected { size: good.size - 1, ..good }),
                Err(ReadError::Size { .. })
            ));
            if compression != Compression::None {
                let cut = read(&blob[..blob.len() - 3], good).unwrap_err();
                assert!(matches!(cut, ReadError::Damaged(_)), "{cut}");
            }
        }
    }
}

#[test]
fn gzip_of_other_writers_and_many_members() {
    let tar = ended(&[&file("a"), &file("b")]);
    let mut members = Vec::new();
    for part in tar.chunks(700) {
        let mut encoder =
            flate2::GzBuilder::new().filename("layer.tar").write(Vec::new(), flate2::Compression::best());
        encoder.write_all(part).unwrap();
        members.extend(encoder.finish().unwrap());
    }
    assert_eq!(entries(&members).unwrap().len(), 2);
}

#[test]
fn what_was_written_is_read_back() {
    let mut changes = ChangeSet::default();
    let mut insert = |name: &str, kind: EntryKind| {
        let mut attributes = Attributes { mode: 0o4711, uid: 1 << 30, gid: 99, ..Attributes::default() };
        attributes.mtime = Timestamp { seconds: 1_600_000_000, nanoseconds: 1_000 };
        attributes.xattrs.insert(b"security.capability".to_vec(), vec![1, 0, 0, 2]);
        changes.insert(RootPath::new(name).unwrap(), Change::Upsert(Entry { kind, attributes }));
    };
    insert("d", EntryKind::Directory);
    insert("d/f", EntryKind::File { size: 5000 });
    insert("d/g", EntryKind::HardLink { target: RootPath::new("d/f").unwrap() });
    insert(&"x/".repeat(500), EntryKind::Symlink { target: vec![b'y'; 1000] });
    insert("dev", EntryKind::BlockDevice(Device { major: 8, minor: 70_000 }));
    insert("fifo", EntryKind::Fifo);
    changes.insert(RootPath::new("gone").unwrap(), Change::Remove);
    let content = |_: &RootPath| Ok([b'c'; 5000].as_slice());
    let (blob, _) =
        write_layer(&changes, content, Compression::Gzip, Threads::exactly(1), Vec::new()).unwrap();
    let back: ChangeSet = entries(&blob)
        .unwrap()
        .into_iter()
        .map(|entry| match entry {
            LayerEntry::Present { path, entry } => (path, Change::Upsert(entry)),
            LayerEntry::Whiteout { path } => (path, Change::Remove),
            LayerEntry::Opaque { path } => panic!("{path}"),
        })
        .collect();
    assert_eq!(back, changes);
}

/// Damage anywhere is an error or another archive, never a panic, a hang or memory without bound.
#[test]
fn damaged_archives_end() {
    let good = ended(&[
        &pax(&[("path", "long/name"), ("mtime", "1.5"), ("SCHILY.xattr.user.x", "y")], &file("f")),
        &extended(b'L', b"gnu/name\0", &file("g")),
        &raw(b"data", &EntryKind::File { size: 1000 }, &[]),
        &[7; 1024],
        &file("a/.wh.b"),
        &raw(b"l", &EntryKind::Symlink { target: b"t".to_vec() }, &[]),
    ]);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    let (mut read, mut refused) = (0, 0);
    for _ in 0..4000 {
        let mut bad = good.clone();
        for _ in 0..=random(3) {
            let at = random(bad.len());
            bad[at] = [0, 0xff, b'9', b'/', b'.', b' ', bad[at] ^ 1, b'x'][random(8)];
            // Half of the time the damage is in what a valid checksum covers.
            let block = at / RECORD * RECORD;
            if random(2) == 0 && &bad[block + 257..block + 262] == b"ustar" {
                checksum(&mut bad[block..block + RECORD]);
            }
        }
        bad.truncate(bad.len() - random(2) * random(600));
        match entries(&bad) {
            Ok(_) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
}
