//! A tree whose files are hard links to another's: nothing done in it may reach the other.

use std::os::fd::AsFd;

use rustix::fs::{OFlags, RenameFlags};

use super::model::{Model, look};
use super::{PLACES, Tree, at, lines};
use crate::raw::{self, Inode};
use crate::root::stat_fd;
use crate::{InodeKey, MtimeRule, Scope};

/// A tree with a plain file, one with two names, an executable, and one that is another user's.
fn source(place: &str) -> Tree {
    let tree = Tree::new(place);
    tree.make_dir("etc").unwrap();
    tree.create("etc/passwd", b"root").unwrap();
    tree.create("one", b"same").unwrap();
    tree.link("one", "two").unwrap();
    tree.create("tool", b"#!").unwrap();
    tree.chmod("tool", 0o755).unwrap();
    tree.create("owned", b"mine").unwrap();
    tree.chown("owned", 7, 8).unwrap();
    tree.set_xattr("owned", "user.x", b"y").unwrap();
    for file in ["etc/passwd", "one", "tool", "owned"] {
        tree.set_mtime(file, at(1_000)).unwrap();
    }
    tree
}

/// Does `act` in a tree linked from [`source`] and answers its changes; the source must be what it was.
fn changes_of(place: &str, rule: MtimeRule, act: impl FnOnce(&Tree)) -> (Vec<String>, Model) {
    let source = source(place);
    let before = look(&source);
    let tree = source.linked(place).reopened();
    tree.begin();
    act(&tree);
    let changes = tree.root.finish(rule).unwrap().changes;
    assert_eq!(look(&source), before, "the tree that was linked from");
    (lines(&changes), look(&tree))
}

fn everywhere(expected: &[&str], act: impl Fn(&Tree)) {
    for place in PLACES {
        let (changes, _) = changes_of(place, MtimeRule::Keep, &act);
        assert_eq!(changes, expected, "{place}");
    }
}

fn links(tree: &Tree, path: &str) -> u32 {
    let mut stat = tree.found(path).unwrap().stat;
    tree.root.show(&mut stat);
    stat.stx_nlink
}

#[test]
fn files_are_the_same_inodes_and_count_their_own_names() {
    for place in PLACES {
        let source = source(place);
        let tree = source.linked(place);
        for (file, own) in [("etc/passwd", 1), ("one", 2), ("owned", 1)] {
            let key = |tree: &Tree| InodeKey::of(&tree.found(file).unwrap().stat);
            assert_eq!(key(&tree), key(&source), "{file}");
            assert_eq!(links(&tree, file), own, "{file}");
        }
    }
}

#[test]
fn writing_truncating_and_times_go_to_a_copy() {
    everywhere(&["+ /etc/passwd file 6"], |t| t.write("etc/passwd", b"hacker").unwrap());
    everywhere(&["+ /etc/passwd file 1"], |t| t.truncate("etc/passwd", 1).unwrap());
    everywhere(&["+ /etc/passwd file 0"], |t| {
        t.open("etc/passwd", OFlags::WRONLY | OFlags::TRUNC).map(drop).unwrap();
    });
    everywhere(&["+ /etc/passwd file 4"], |t| t.set_mtime("etc/passwd", at(2_000)).unwrap());
    everywhere(&["+ /etc/passwd file 4"], |t| t.chmod("etc/passwd", 0o755).unwrap());
    everywhere(&["+ /tool file 2"], |t| t.chmod("tool", 0o644).unwrap());
}

#[test]
fn a_copy_that_nobody_wrote_to_is_no_change() {
    everywhere(&[], |t| t.open("etc/passwd", OFlags::RDWR).map(drop).unwrap());
    everywhere(&[], |t| t.open("one", OFlags::RDWR).map(drop).unwrap());
    everywhere(&[], |t| {
        t.chmod("etc/passwd", 0o700).unwrap();
        t.chmod("etc/passwd", 0o644).unwrap();
    });
}

#[test]
fn records_need_no_copy() {
    everywhere(&["+ /etc/passwd file 4"], |t| {
        let before = InodeKey::of(&t.found("etc/passwd").unwrap().stat);
        t.chown("etc/passwd", 3, 3).unwrap();
        t.chmod("etc/passwd", 0o4644).unwrap();
        t.set_xattr("etc/passwd", "user.a", b"b").unwrap();
        assert_eq!(InodeKey::of(&t.found("etc/passwd").unwrap().stat), before);
    });
}

#[test]
fn the_rule_for_times_reaches_a_copy_alone() {
    for place in PLACES {
        let (changes, after) =
            changes_of(place, MtimeRule::NoLaterThan(at(500)), |t| t.chown("owned", 1, 1).unwrap());
        assert_eq!(changes, ["+ /owned file 4"], "{place}");
        assert_eq!(after[&super::path("owned")].attributes.mtime, at(500), "{place}");
        assert_eq!(after[&super::path("owned")].attributes.uid, 1, "{place}");
    }
}

#[test]
fn all_names_of_an_inode_go_with_its_copy() {
    everywhere(&["+ /one file 5", "+ /two link /one"], |t| {
        t.write("two", b"other").unwrap();
        assert_eq!(links(t, "one"), 2);
        assert_eq!(t.found("one").unwrap().stat.stx_ino, t.found("two").unwrap().stat.stx_ino);
    });
    everywhere(&["+ /one file 5", "+ /three link /one", "+ /two link /one"], |t| {
        t.link("one", "three").unwrap();
        assert_eq!(links(t, "one"), 3);
        t.write("three", b"other").unwrap();
        assert_eq!(links(t, "one"), 3);
    });
    everywhere(&["- /one", "+ /two file 5"], |t| {
        t.unlink("one").unwrap();
        t.write("two", b"other").unwrap();
        assert_eq!(links(t, "two"), 1);
    });
}

#[test]
fn a_descriptor_from_before_reaches_the_copy_and_never_the_other_tree() {
    everywhere(&["+ /etc/passwd file 6"], |t| {
        let old = t.found("etc/passwd").unwrap();
        let inode = Inode { fd: old.fd.as_fd(), stat: &old.stat, scope: Scope::Tree };
        t.write("etc/passwd", b"first!").unwrap();
        // By the old descriptor: mode, owner, times, and another open for writing.
        raw::chmod(&t.root, &inode, 0o711).unwrap();
        raw::chown(&t.root, &inode, Some(5), None).unwrap();
        let again = raw::reopen(&t.root, &inode, OFlags::WRONLY).unwrap();
        rustix::io::write(&again, b"second").unwrap();
        let now = t.found("etc/passwd").unwrap();
        assert_eq!(stat_fd(again.as_fd()).unwrap().stx_ino, now.stat.stx_ino);
        let record = t.root.records().get(&now.stat);
        assert_eq!((record.mode, record.uid), (0o711, 5));
    });
}

#[test]
fn a_removed_file_is_written_to_nowhere_else() {
    everywhere(&["- /etc/passwd"], |t| {
        let old = t.found("etc/passwd").unwrap();
        t.unlink("etc/passwd").unwrap();
        let inode = Inode { fd: old.fd.as_fd(), stat: &old.stat, scope: Scope::Tree };
        let mut stat = old.stat;
        t.root.show(&mut stat);
        assert_eq!(stat.stx_nlink, 0);
        let open = raw::reopen(&t.root, &inode, OFlags::RDWR).unwrap();
        rustix::io::write(&open, b"nobody sees it").unwrap();
        raw::chmod(&t.root, &inode, 0o777).unwrap();
    });
    everywhere(&["+ /etc/passwd file 3"], |t| {
        let old = t.found("etc/passwd").unwrap();
        t.create("new", b"new").unwrap();
        t.rename("new", "etc/passwd", RenameFlags::empty()).unwrap();
        let inode = Inode { fd: old.fd.as_fd(), stat: &old.stat, scope: Scope::Tree };
        let open = raw::reopen(&t.root, &inode, OFlags::RDWR).unwrap();
        rustix::io::write(&open, b"nobody sees it").unwrap();
    });
}

#[test]
fn threads_that_write_link_and_remove_reach_no_other_tree() {
    for place in PLACES {
        let source = source(place);
        let before = look(&source);
        for _ in 0..20 * super::rounds() {
            let tree = source.linked(place);
            tree.begin();
            std::thread::scope(|scope| {
                for number in 0..4 {
                    let tree = &tree;
                    scope.spawn(move || {
                        let name = format!("extra-{number}");
                        for round in 0..50 {
                            // Most of it fails: the others are at the same names.
                            let _ = match (round + number) % 5 {
                                0 => tree.write("one", b"changed"),
                                1 => tree.link("two", &name),
                                2 => tree.unlink(&name),
                                3 => tree.chmod("two", if round % 2 == 0 { 0o755 } else { 0o644 }),
                                _ => tree.rename("one", "two", RenameFlags::EXCHANGE),
                            };
                        }
                    });
                }
            });
            tree.finish();
            assert_eq!(look(&source), before, "{place}");
        }
    }
}

/// A copy must be made by the names of now: one that came since they were listed may be going when they are counted.
#[test]
fn a_name_on_its_way_out_does_not_count() {
    for place in PLACES {
        let source = source(place);
        let before = look(&source);
        for _ in 0..300 * super::rounds() {
            let tree = source.linked(place);
            tree.begin();
            let done = std::sync::atomic::AtomicBool::new(false);
            std::thread::scope(|scope| {
                for number in 0..4 {
                    let (tree, done) = (&tree, &done);
                    scope.spawn(move || {
                        let name = format!("extra-{number}");
                        while !done.load(std::sync::atomic::Ordering::Relaxed) {
                            let _ = tree.link("one", &name);
                            let _ = tree.unlink(&name);
                        }
                    });
                }
                std::thread::sleep(std::time::Duration::from_micros(500));
                let opened = tree.open("two", OFlags::WRONLY | OFlags::TRUNC);
                opened.and_then(|fd| rustix::io::write(&fd, b"bad")).unwrap();
                done.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            tree.finish();
            assert_eq!(look(&source), before, "{place}");
        }
    }
}

#[test]
fn a_chain_of_trees_survives_the_first() {
    for place in PLACES {
        let first = source(place);
        let second = first.linked(place);
        let third = second.linked(place).reopened();
        let before = look(&third);
        drop(first);
        second.begin();
        drop(second);
        assert_eq!(look(&third), before);
        third.begin();
        third.write("one", b"alone").unwrap();
        assert_eq!(lines(&third.finish()), ["+ /one file 5", "+ /two link /one"]);
    }
}
