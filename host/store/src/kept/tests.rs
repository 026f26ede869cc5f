//! Tests of trees that are kept.

use crate::test_rooms::{Rooms, entries};
use crate::{Removal, Store};
use wbuild_oci::Digest;

fn key() -> Digest {
    Digest::of(b"the layers")
}

/// Keeps a tree with one file.
fn keep(store: &Store, key: &Digest) {
    let tree = store.tree().unwrap();
    tree.dir().write("file", b"content").unwrap();
    tree.keep(store, key, Digest::of(b"looks"), 4096).unwrap();
}

#[test]
fn a_kept_tree_is_found_by_the_next_process() {
    let rooms = Rooms::new();
    assert!(rooms.store.kept_tree(&key()).unwrap().is_none());
    keep(&rooms.store, &key());
    assert!(entries(&rooms.dir, "trees").is_empty());
    let next = Store::open(&rooms.dir).unwrap();
    let kept = next.kept_tree(&key()).unwrap().unwrap();
    assert_eq!(kept.likeness, Digest::of(b"looks"));
    assert_eq!(rooms.dir.read(format!("{}/file", kept.path())).unwrap(), b"content");
    let listed = next.kept_trees().unwrap();
    assert_eq!((listed[0].key, listed[0].bytes, listed.len()), (key(), 4096, 1));
}

#[test]
fn of_two_that_keep_one_stays() {
    let rooms = Rooms::new();
    keep(&rooms.store, &key());
    let second = rooms.store.tree().unwrap();
    second.keep(&rooms.store, &key(), Digest::of(b"other"), 1).unwrap();
    assert_eq!(rooms.store.kept_tree(&key()).unwrap().unwrap().likeness, Digest::of(b"looks"));
    assert!(entries(&rooms.dir, "trees").is_empty());
}

#[test]
fn what_is_read_is_not_removed() {
    let rooms = Rooms::new();
    keep(&rooms.store, &key());
    let (one, two) = (rooms.store.kept_tree(&key()).unwrap(), rooms.store.kept_tree(&key()).unwrap());
    assert_eq!(rooms.store.remove_kept(&key()).unwrap(), Removal::InUse);
    drop(one);
    assert_eq!(rooms.store.remove_kept(&key()).unwrap(), Removal::InUse);
    drop(two);
    assert_eq!(rooms.store.remove_kept(&key()).unwrap(), Removal::Removed);
    assert_eq!(rooms.store.remove_kept(&key()).unwrap(), Removal::Absent);
    assert!(entries(&rooms.dir, "kept").is_empty());
}

#[test]
fn a_discarded_one_is_gone() {
    let rooms = Rooms::new();
    keep(&rooms.store, &key());
    rooms.store.kept_tree(&key()).unwrap().unwrap().discard().unwrap();
    assert!(entries(&rooms.dir, "kept").is_empty());
}

#[test]
fn what_is_not_whole_is_swept() {
    let rooms = Rooms::new();
    let names = [&b"no mark"[..], b"half a mark", b"another boot", b"only a lock", b"only a mark"];
    let [bare, half, old, lock, mark] = names.map(|name| Digest::of(name).hex());
    for key in [&bare, &half, &old] {
        rooms.dir.create_dir_all(format!("kept/{key}/root")).unwrap();
    }
    rooms.dir.write(format!("kept/{half}.json"), r#"{"boot":"#).unwrap();
    let other = format!(r#"{{"boot":"x","likeness":"{}","bytes":1}}"#, Digest::of(b"looks"));
    rooms.dir.write(format!("kept/{old}.json"), &other).unwrap();
    rooms.dir.write(format!("kept/{lock}.lock"), "").unwrap();
    rooms.dir.write(format!("kept/{mark}.json"), &other).unwrap();
    keep(&rooms.store, &key());
    let opened = Store::open(&rooms.dir).unwrap();
    let name = key().hex();
    let expected = ["", ".json", ".lock"].map(|end| format!("{name}{end}"));
    assert_eq!(entries(&rooms.dir, "kept"), expected);
    assert!(opened.kept_tree(&key()).unwrap().is_some());
}
