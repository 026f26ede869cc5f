//! Headers as an independent reader (the tar crate) and the byte layout of POSIX have them.

use super::*;
use crate::{Device, Xattrs};
use std::io::Read;

fn attributes() -> Attributes {
    Attributes {
        mode: 0o644,
        uid: 7,
        gid: 8,
        mtime: Timestamp { seconds: 9, nanoseconds: 0 },
        xattrs: Xattrs::new(),
    }
}

fn header(name: &[u8], kind: &EntryKind, attributes: &Attributes) -> Vec<u8> {
    let mut out = Vec::new();
    entry(&mut out, name, kind, attributes).unwrap();
    out
}

type Records = Vec<(String, Vec<u8>)>;

/// What an independent reader (the tar crate) makes of one entry's header.
fn read_back(name: &[u8], kind: &EntryKind, attributes: &Attributes) -> (Vec<u8>, Records, tar::Header) {
    let mut bytes = header(name, kind, attributes);
    bytes.extend_from_slice(&[0; 1024]);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
    let pax = entry.pax_extensions().unwrap().map_or_else(Vec::new, |pax| {
        pax.map(|r| r.unwrap()).map(|r| (r.key().unwrap().to_owned(), r.value_bytes().to_vec())).collect()
    });
    let path = entry.path_bytes().into_owned();
    let mut rest = Vec::new();
    entry.read_to_end(&mut rest).unwrap();
    (path, pax, entry.header().clone())
}

#[test]
fn a_plain_entry_is_one_ustar_header() {
    let bytes = header(b"etc/passwd", &EntryKind::File { size: 10 }, &attributes());
    assert_eq!(bytes.len(), 512);
    assert_eq!(&bytes[257..265], b"ustar\x0000");
    assert_eq!(&bytes[265..329], &[0; 64], "no user and group names");
    let (path, pax, header) = read_back(b"etc/passwd", &EntryKind::File { size: 0 }, &attributes());
    assert_eq!((path.as_slice(), pax.len()), (b"etc/passwd".as_slice(), 0));
    assert_eq!((header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0o644, 7, 8));
    assert_eq!(header.mtime().unwrap(), 9);
}

#[test]
fn names_of_every_length_come_back() {
    for len in 1..600 {
        for gap in [7, 60, 99, 120, 1000] {
            let name: Vec<u8> =
                (0..len).map(|i| if i % gap == gap - 1 && i + 1 < len { b'/' } else { b'n' }).collect();
            let (path, pax, _) = read_back(&name, &EntryKind::Fifo, &attributes());
            assert_eq!(path, name, "length {len}, gap {gap}");
            assert!(len > 100 || pax.is_empty());
        }
        let mut directory = vec![b'd'; len];
        directory.push(b'/');
        assert_eq!(read_back(&directory, &EntryKind::Directory, &attributes()).0, directory);
    }
}

#[test]
fn big_numbers_and_fractions_are_pax_records() {
    let mut odd = attributes();
    (odd.uid, odd.gid) = (0o777_7777, 0x8000_0000);
    odd.mtime = Timestamp { seconds: -2, nanoseconds: 500_000_000 };
    odd.xattrs.insert(b"security.capability".to_vec(), vec![1, 0, b'=', 255]);
    let (_, pax, header) = read_back(b"f", &EntryKind::Fifo, &odd);
    let expected: Records = vec![
        ("SCHILY.xattr.security.capability".into(), vec![1, 0, b'=', 255]),
        ("gid".into(), b"2147483648".to_vec()),
        ("mtime".into(), b"-1.5".to_vec()),
    ];
    assert_eq!(pax, expected);
    assert_eq!(header.uid().unwrap(), 0o777_7777);
    let bytes = self::header(b"big", &EntryKind::File { size: 1 << 33 }, &attributes());
    assert!(bytes.windows(18).any(|w| w == b"19 size=8589934592"));
    odd.mtime = Timestamp { seconds: 1, nanoseconds: 1 };
    assert!(read_back(b"f", &EntryKind::Fifo, &odd).1.contains(&("mtime".into(), b"1.000000001".to_vec())));
}

#[test]
fn links_and_devices() {
    for len in [1, 100, 101, 4000] {
        let target = vec![b'l'; len];
        let mut bytes = header(b"s", &EntryKind::Symlink { target: target.clone() }, &attributes());
        bytes.extend_from_slice(&[0; 1024]);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.link_name_bytes().unwrap().into_owned(), target);
    }
    let (_, _, header) =
        read_back(b"d", &EntryKind::CharDevice(Device { major: 4095, minor: 1_048_575 }), &attributes());
    assert_eq!(
        (header.device_major().unwrap(), header.device_minor().unwrap()),
        (Some(4095), Some(1_048_575))
    );
}

#[test]
fn a_record_counts_its_own_digits() {
    for len in 0..2000 {
        let mut out = Vec::new();
        pax_record(&mut out, b"k", &vec![b'v'; len]);
        let said: usize =
            out.split(|b| *b == b' ').next().map(|d| String::from_utf8_lossy(d).parse().unwrap()).unwrap();
        assert_eq!(said, out.len());
    }
}

#[test]
fn what_the_format_cannot_hold_is_refused() {
    let mut out = Vec::new();
    let mut odd = attributes();
    odd.xattrs.insert(b"user.a=b".to_vec(), Vec::new());
    assert!(matches!(entry(&mut out, b"f", &EntryKind::Fifo, &odd), Err(Unwritable::XattrName(_))));
    let device = EntryKind::BlockDevice(Device { major: 1 << 21, minor: 0 });
    assert_eq!(entry(&mut out, b"f", &device, &attributes()), Err(Unwritable::Device(1 << 21)));
    let nothing = EntryKind::Symlink { target: Vec::new() };
    assert_eq!(entry(&mut out, b"f", &nothing, &attributes()), Err(Unwritable::LinkText));
}
