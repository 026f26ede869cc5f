//! Layers against GNU tar, gzip, zstd and Python; what cannot be written; the pinned bytes.

use super::*;
use crate::Compression;
use crate::{Device, Timestamp, Xattrs};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};

fn path(text: &str) -> RootPath {
    RootPath::new(text).unwrap()
}

fn attributes(mode: u32) -> Attributes {
    Attributes {
        mode,
        uid: 0,
        gid: 42,
        mtime: Timestamp { seconds: 1_700_000_000, nanoseconds: 0 },
        xattrs: Xattrs::new(),
    }
}

fn entry(kind: EntryKind, mode: u32) -> Entry {
    Entry { kind, attributes: attributes(mode) }
}

/// One of everything.
fn sample() -> (ChangeSet, BTreeMap<RootPath, Vec<u8>>) {
    let mut contents = BTreeMap::new();
    let mut changes = ChangeSet::default();
    let mut file = |changes: &mut ChangeSet, name: &str, content: &[u8], mode: u32| {
        changes
            .insert(path(name), Change::Upsert(entry(EntryKind::File { size: content.len() as u64 }, mode)));
        contents.insert(path(name), content.to_vec());
    };
    file(&mut changes, "usr/bin/tool", b"#!/bin/sh\n", 0o4755);
    file(&mut changes, "usr/empty", b"", 0o600);
    file(&mut changes, &format!("usr/{}", "long/".repeat(60)), b"deep", 0o644);
    file(&mut changes, "usr/größe", b"umlaut", 0o644);
    changes.insert(path("usr"), Change::Upsert(entry(EntryKind::Directory, 0o755)));
    changes.insert(path("usr/old"), Change::Remove);
    changes.insert(path("usr/bin/gone"), Change::Remove);
    changes.insert(path("var/cache"), Change::Opaque(entry(EntryKind::Directory, 0o1777)));
    changes.insert(
        path("usr/link"),
        Change::Upsert(entry(EntryKind::Symlink { target: b"../bin".to_vec() }, 0o777)),
    );
    changes.insert(
        path("usr/zwin"),
        Change::Upsert(entry(EntryKind::HardLink { target: path("usr/bin/tool") }, 0o4755)),
    );
    changes.insert(
        path("dev/null"),
        Change::Upsert(entry(EntryKind::CharDevice(Device { major: 1, minor: 3 }), 0o666)),
    );
    changes.insert(path("run/fifo"), Change::Upsert(entry(EntryKind::Fifo, 0o600)));
    (changes, contents)
}

fn write(
    changes: &ChangeSet,
    contents: &BTreeMap<RootPath, Vec<u8>>,
    compression: Compression,
) -> Result<(Vec<u8>, Blob), WriteError> {
    write_layer(changes, |path| Ok(contents[path].as_slice()), compression, Threads::exactly(2), Vec::new())
}

/// Runs a trusted reader over `input`; it has to be installed and to succeed.
fn oracle(program: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("the oracle {program} is needed: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{program} {arguments:?} failed");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn order_is_whiteouts_then_names_parents_first() {
    let (changes, contents) = sample();
    let (bytes, _) = write(&changes, &contents, Compression::None).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap())
        .map(|name| name.replace(&"long/".repeat(59), "LONG/"))
        .collect();
    let expected = [
        "dev/null",
        "run/fifo",
        "usr/",
        "usr/.wh.old",
        "usr/bin/.wh.gone",
        "usr/bin/tool",
        "usr/empty",
        "usr/größe",
        "usr/link",
        "usr/LONG/long",
        "usr/zwin",
        "var/cache/",
        "var/cache/.wh..wh..opq",
    ];
    assert_eq!(names, expected);
}

#[test]
fn gnu_tar_gzip_and_zstd_agree() {
    let (changes, contents) = sample();
    let (gzip, _) = write(&changes, &contents, Compression::Gzip).unwrap();
    oracle("gzip", &["-t"], &gzip);
    let list = oracle("tar", &["--numeric-owner", "-tvzf", "-"], &gzip);
    for line in [
        "crw-rw-rw- 0/42            1,3 2023-11-14 22:13 dev/null",
        "drwxr-xr-x 0/42              0 2023-11-14 22:13 usr/\n",
        "-rwsr-xr-x 0/42             10 2023-11-14 22:13 usr/bin/tool",
        "lrwxrwxrwx 0/42              0 2023-11-14 22:13 usr/link -> ../bin",
        "hrwsr-xr-x 0/42              0 2023-11-14 22:13 usr/zwin link to usr/bin/tool",
        "drwxrwxrwt 0/42              0 2023-11-14 22:13 var/cache/\n",
        "-rw-r--r-- 0/42              6 2023-11-14 22:13 usr/gr",
    ] {
        assert!(list.contains(line), "{line:?} is not in\n{list}");
    }
    let (zstd, _) = write(&changes, &contents, Compression::Zstd).unwrap();
    assert_eq!(oracle("zstd", &["-dc"], &zstd).len(), oracle("gzip", &["-dc"], &gzip).len());
}

#[test]
fn python_reads_names_pax_and_contents() {
    let (changes, contents) = sample();
    let (gzip, _) = write(&changes, &contents, Compression::Gzip).unwrap();
    let script = "import sys,tarfile\n\
        for m in tarfile.open(fileobj=sys.stdin.buffer, mode='r|gz'):\n\
        \x20 print(len(m.name), m.name[:20], m.mtime, m.uname+m.gname, m.isfile() and m.size)";
    let out = oracle("python3", &["-c", script], &gzip);
    assert!(out.contains("303 usr/long/long/long/l 1700000000  4"), "{out}");
    assert!(out.contains("usr/größe 1700000000  6"), "{out}");
    assert_eq!(out.lines().count(), 13);
}

/// A changed digest here gives every layer another name: see compress::tests::golden.
#[test]
fn golden() {
    let (changes, contents) = sample();
    let (_, blob) = write(&changes, &contents, Compression::Gzip).unwrap();
    assert_eq!(blob.diff_id.hex(), "5ffd965fd34d0dea8760f8b829f726c8c4484acf1875a8de5322d1967c5f2853");
}

#[test]
fn empty_changeset_is_an_empty_archive() {
    let (bytes, blob) = write(&ChangeSet::default(), &BTreeMap::new(), Compression::None).unwrap();
    assert_eq!(bytes, vec![0; 1024]);
    // The well-known DiffID of the empty layer.
    assert_eq!(blob.diff_id.hex(), "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
}

#[test]
fn a_file_that_changes_its_length_is_an_error() {
    let (changes, mut contents) = sample();
    contents.insert(path("usr/bin/tool"), b"#!".to_vec());
    let error = write(&changes, &contents, Compression::Gzip).unwrap_err();
    assert_eq!(error.to_string(), "/usr/bin/tool changed while it was read: it has 2 bytes, expected 10");
    contents.insert(path("usr/bin/tool"), b"#!/bin/sh\n\n".to_vec());
    assert!(matches!(
        write(&changes, &contents, Compression::Gzip),
        Err(WriteError::Grew { expected: 10, .. })
    ));
}

#[test]
fn what_a_layer_cannot_say_is_an_error_with_the_path() {
    let refuse = |name: &str, change: Change| {
        let changes: ChangeSet = [(path(name), change)].into_iter().collect();
        match write(&changes, &BTreeMap::new(), Compression::None).unwrap_err() {
            WriteError::Unwritable { path: at, source } if at == path(name) => source,
            other => panic!("{other}"),
        }
    };
    assert_eq!(refuse("a/.wh.b", Change::Upsert(entry(EntryKind::Fifo, 0))), Unwritable::ReservedName);
    assert_eq!(refuse(".wh.a/b", Change::Remove), Unwritable::ReservedName);
    assert_eq!(refuse("", Change::Remove), Unwritable::NotDirectory);
    assert_eq!(refuse("a", Change::Opaque(entry(EntryKind::Fifo, 0))), Unwritable::NotDirectory);
    let dangling = EntryKind::HardLink { target: path("0") };
    assert_eq!(refuse("a", Change::Upsert(entry(dangling, 0))), Unwritable::DanglingLink(path("0")));
}

#[test]
fn the_root_itself_can_change() {
    let changes: ChangeSet =
        [(RootPath::root(), Change::Opaque(entry(EntryKind::Directory, 0o700)))].into_iter().collect();
    let (bytes, _) = write(&changes, &BTreeMap::new(), Compression::None).unwrap();
    assert_eq!(&bytes[..3], b"./\0");
    assert!(oracle("tar", &["-tf", "-"], &bytes).contains(".wh..wh..opq"));
}
