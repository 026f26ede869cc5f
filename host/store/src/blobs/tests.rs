//! Tests of blobs and of what a store does when it is opened.

use super::*;
use crate::test_rooms::{Rooms, entries};
use std::io::Write;
use wbuild_oci::{DigestError, media};

#[test]
fn a_blob_appears_on_commit_and_not_before() {
    let rooms = Rooms::new();
    let mut ingest = rooms.store.ingest(Expected::anything()).unwrap();
    ingest.write_all(b"ab").unwrap();
    ingest.append(b"c").unwrap();
    assert_eq!(ingest.written(), 3);
    assert_eq!(entries(&rooms.dir, "blobs/sha256"), Vec::<String>::new());
    let digest = Digest::of(b"abc");
    assert_eq!(ingest.commit().unwrap(), (digest, 3));
    assert_eq!(rooms.store.size_of(&digest).unwrap(), Some(3));
    assert_eq!(rooms.store.read(&digest, 3).unwrap(), b"abc");
    assert_eq!(entries(&rooms.dir, "blobs/sha256"), [digest.hex()]);
    assert_eq!(entries(&rooms.dir, "ingest"), Vec::<String>::new());
}

#[test]
fn what_is_not_as_expected_leaves_nothing() {
    let rooms = Rooms::new();
    let blob = Descriptor::of(media::LAYER_TAR, b"abc");
    let attempt = |expected: Expected, content: &[u8]| {
        rooms.store.ingest_from(&mut &content[..], expected).unwrap_err()
    };
    assert!(matches!(attempt(Expected::of(&blob), b"abd"), StoreError::Digest(DigestError::Mismatch { .. })));
    assert!(matches!(attempt(Expected::of(&blob), b"ab"), StoreError::Size { expected: 3, actual: 2 }));
    assert!(matches!(attempt(Expected::of(&blob), b"abcd"), StoreError::Size { expected: 3, actual: 4 }));
    assert!(matches!(attempt(Expected::digest(blob.digest, 2), b"abc"), StoreError::TooLarge { limit: 2 }));
    assert!(matches!(attempt(Expected::digest(blob.digest, 9), b"abd"), StoreError::Digest(_)));
    assert_eq!(entries(&rooms.dir, "blobs/sha256"), Vec::<String>::new());
    assert_eq!(entries(&rooms.dir, "ingest"), Vec::<String>::new());
    assert!(
        matches!(rooms.store.blob(&blob.digest), Err(StoreError::Missing(digest)) if digest == blob.digest)
    );
}

#[test]
fn an_ingest_can_begin_again() {
    let rooms = Rooms::new();
    let mut ingest = rooms.store.ingest(Expected::digest(Digest::of(b"abc"), 10)).unwrap();
    ingest.append(b"longer").unwrap();
    ingest.restart().unwrap();
    ingest.append(b"abc").unwrap();
    assert_eq!(ingest.commit().unwrap().1, 3);
}

#[test]
fn a_writer_may_hash_what_it_writes() {
    let rooms = Rooms::new();
    let digest = Digest::of(b"abc");
    let ingest = |expected| {
        let mut ingest = rooms.store.ingest(expected).unwrap();
        ingest.append(b"x").unwrap();
        ingest.restart().unwrap();
        ingest.append(b"abc").unwrap();
        ingest
    };
    assert_eq!(ingest(Expected::hashed_by_writer()).commit_as(digest).unwrap(), (digest, 3));
    assert_eq!(ingest(Expected::hashed_by_writer()).commit().unwrap(), (digest, 3));
    assert_eq!(ingest(Expected::anything()).commit_as(digest).unwrap(), (digest, 3));
    assert!(ingest(Expected::anything()).commit_as(Digest::of(b"")).is_err());
    assert_eq!(entries(&rooms.dir, "blobs/sha256"), [digest.hex()]);
    assert_eq!(entries(&rooms.dir, "ingest"), Vec::<String>::new());
}

#[test]
fn a_damaged_blob_is_noticed_and_replaced() {
    let rooms = Rooms::new();
    let blob = rooms.store.ingest_bytes(media::LAYER_TAR, b"abc").unwrap();
    let path = format!("blobs/sha256/{}", blob.digest.hex());
    rooms.dir.write(&path, b"abd").unwrap();
    assert!(matches!(rooms.store.read(&blob.digest, 10), Err(StoreError::Digest(_))));
    assert!(matches!(rooms.store.copy(&blob, &mut io::sink()), Err(StoreError::Digest(_))));
    rooms.dir.write(&path, b"ab").unwrap();
    assert!(matches!(rooms.store.copy(&blob, &mut io::sink()), Err(StoreError::Size { .. })));
    rooms.store.ingest_bytes(media::LAYER_TAR, b"abc").unwrap();
    let mut copied = Vec::new();
    rooms.store.copy(&blob, &mut copied).unwrap();
    assert_eq!(copied, b"abc");
    assert!(matches!(rooms.store.read(&blob.digest, 2), Err(StoreError::TooLarge { limit: 2 })));
}

#[test]
fn opening_removes_what_the_dead_left_and_not_what_the_living_use() {
    let rooms = Rooms::new();
    let mut ingest = rooms.store.ingest(Expected::anything()).unwrap();
    ingest.append(b"living").unwrap();
    rooms.dir.write("ingest/dead", b"half").unwrap();
    // Another process: another open file, so another lock.
    let second = Store::open(&rooms.dir).unwrap();
    assert_eq!(entries(&rooms.dir, "ingest").len(), 1);
    let (digest, _) = ingest.commit().unwrap();
    assert_eq!(second.read(&digest, 10).unwrap(), b"living");
}

#[test]
fn a_store_is_an_image_layout_whatever_opened_it_first() {
    let rooms = Rooms::new();
    let marker = rooms.dir.read("oci-layout").unwrap();
    Layout::parse(&marker).unwrap();
    Index::parse(&rooms.dir.read("index.json").unwrap()).unwrap();
    rooms
        .dir
        .write("index.json", br#"{"schemaVersion":2,"manifests":[],"annotations":{"kept":"yes"}}"#)
        .unwrap();
    Store::open(&rooms.dir).unwrap();
    assert!(rooms.dir.read_to_string("index.json").unwrap().contains("kept"));
}

#[test]
fn many_threads_write_the_same_blobs() {
    let rooms = Rooms::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = Store::open(&rooms.dir).unwrap();
                for number in 0..50u8 {
                    let blob = store.ingest_bytes(media::LAYER_TAR, &[number; 1000]).unwrap();
                    assert_eq!(store.read(&blob.digest, 1000).unwrap(), [number; 1000]);
                }
            });
        }
    });
    assert_eq!(entries(&rooms.dir, "blobs/sha256").len(), 50);
    assert_eq!(entries(&rooms.dir, "ingest"), Vec::<String>::new());
}

#[test]
fn records_are_replaced_whole() {
    let rooms = Rooms::new();
    let key = Digest::of(b"key");
    assert_eq!(rooms.store.record("steps", &key).unwrap(), None);
    rooms.store.put_record("steps", &key, b"one").unwrap();
    rooms.store.put_record("steps", &key, b"two").unwrap();
    assert_eq!(rooms.store.record("steps", &key).unwrap().as_deref(), Some(&b"two"[..]));
    assert_eq!(rooms.store.record("others", &key).unwrap(), None);
    assert_eq!(Store::open(&rooms.dir).unwrap().record("steps", &key).unwrap().as_deref(), Some(&b"two"[..]));
}

#[test]
fn a_killed_process_leaves_a_store_that_works() {
    const ROLE: &str = "WBUILD_STORE_TEST_VICTIM";
    if let Some(path) = std::env::var_os(ROLE) {
        let dir = Dir::open_ambient_dir(path, cap_std::ambient_authority()).unwrap();
        let store = Store::open(&dir).unwrap();
        let _tree = store.tree().unwrap();
        for number in 0u64.. {
            store.ingest_bytes(media::LAYER_TAR, &vec![number.to_le_bytes()[0]; 100_000]).unwrap();
            store.put_record("steps", &Digest::of(b"key"), &number.to_le_bytes()).unwrap();
            let tree = store.tree().unwrap();
            tree.dir().create_dir_all("a/b/c").unwrap();
        }
    }
    let rooms = Rooms::new();
    let program = std::env::current_exe().unwrap();
    let name = "blobs::tests::a_killed_process_leaves_a_store_that_works";
    for round in 0..10 {
        let mut victim = std::process::Command::new(&program)
            .args(["--exact", name, "--nocapture"])
            .env(ROLE, rooms.files.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while entries(&rooms.dir, "trees").is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        std::thread::sleep(std::time::Duration::from_millis(7 * round));
        victim.kill().unwrap();
        victim.wait().unwrap();
        let store = Store::open(&rooms.dir).unwrap();
        assert_eq!(entries(&rooms.dir, "trees"), Vec::<String>::new());
        assert_eq!(entries(&rooms.dir, "ingest"), Vec::<String>::new());
        for name in entries(&rooms.dir, "blobs/sha256") {
            store.read(&Digest::from_hex(&name).unwrap(), 1 << 20).unwrap();
        }
        assert!(store.record("steps", &Digest::of(b"key")).unwrap().is_none_or(|record| record.len() == 8));
    }
}
