//! Tests of trees and their removal.

use crate::Store;
use crate::test_rooms::{Rooms, entries};
use cap_std::fs::{Dir, Permissions, PermissionsExt};
use std::os::unix::ffi::OsStrExt;

#[test]
fn a_tree_is_empty_and_goes_when_it_is_dropped() {
    let rooms = Rooms::new();
    let tree = rooms.store.tree().unwrap();
    assert_eq!(tree.dir().entries().unwrap().count(), 0);
    tree.dir().write("file", b"x").unwrap();
    assert!(rooms.dir.exists(format!("{}/file", tree.path())));
    let other = rooms.store.tree().unwrap();
    assert_ne!(other.path(), tree.path());
    drop(tree);
    assert_eq!(entries(&rooms.dir, "trees").len(), 2);
    other.remove().unwrap();
    assert_eq!(entries(&rooms.dir, "trees"), Vec::<String>::new());
}

#[test]
fn opening_removes_dead_trees_and_not_living_ones() {
    let rooms = Rooms::new();
    let living = rooms.store.tree().unwrap();
    living.dir().write("file", b"x").unwrap();
    for path in ["trees/dead/a/b", "trees/orphan"] {
        rooms.dir.create_dir_all(path).unwrap();
    }
    rooms.dir.write("trees/dead/a/b/file", b"x").unwrap();
    rooms.dir.write("trees/dead.lock", b"").unwrap();
    rooms.dir.write("trees/only.lock", b"").unwrap();
    Store::open(&rooms.dir).unwrap();
    assert_eq!(entries(&rooms.dir, "trees").len(), 2);
    assert_eq!(living.dir().read("file").unwrap(), b"x");
}

#[test]
fn trees_are_spread_where_the_filesystem_can() {
    let rooms = Rooms::new();
    // Other filesystems know no such attribute: setting it fails there or is forgotten.
    if rustix::fs::fstatfs(&rooms.dir).unwrap().f_type == 0xEF53 {
        let trees = rooms.dir.open("trees").unwrap();
        assert!(rustix::fs::ioctl_getflags(&trees).unwrap().contains(rustix::fs::IFlags::TOPDIR));
    }
}

/// Makes what stops a simple removal.
fn difficult(dir: &Dir) {
    dir.write("target", b"kept").unwrap();
    dir.create_dir("tree").unwrap();
    let tree = dir.open_dir("tree").unwrap();
    // Deeper than there are file descriptors, and longer than a path may be.
    let mut deep = tree.try_clone().unwrap();
    for _ in 0..3000 {
        deep.create_dir("directory").unwrap();
        deep = deep.open_dir("directory").unwrap();
    }
    tree.create_dir("closed").unwrap();
    tree.create_dir("closed/inner").unwrap();
    tree.write("closed/inner/file", b"x").unwrap();
    tree.symlink("../target", "link").unwrap();
    tree.symlink("..", "up").unwrap();
    tree.write(std::path::Path::new(std::ffi::OsStr::from_bytes(b"\xff\xfe")), b"x").unwrap();
    tree.create_dir(std::path::Path::new(std::ffi::OsStr::from_bytes(b"d\xff"))).unwrap();
    for path in ["closed/inner/file", "closed/inner", "closed"] {
        tree.set_permissions(path, Permissions::from_mode(0)).unwrap();
    }
}

#[test]
fn a_tree_a_guest_made_difficult_is_removed() {
    let rooms = Rooms::new();
    difficult(&rooms.dir);
    super::removal::remove_tree(&rooms.dir, "tree").unwrap();
    assert!(!rooms.dir.exists("tree"));
    assert_eq!(rooms.dir.read("target").unwrap(), b"kept");
    super::removal::remove_tree(&rooms.dir, "tree").unwrap();
}

#[test]
fn many_may_open_a_store_with_leftovers() {
    let rooms = Rooms::new();
    for round in 0..10 {
        for number in 0..30 {
            rooms.dir.create_dir_all(format!("trees/{round}/{number}/a/b")).unwrap();
        }
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| Store::open(&rooms.dir).unwrap());
            }
        });
        assert_eq!(entries(&rooms.dir, "trees"), Vec::<String>::new());
    }
}
