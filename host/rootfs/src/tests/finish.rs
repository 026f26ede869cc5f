//! The journal's cases one by one.

use rustix::fs::{OFlags, RenameFlags};
use wbuild_layer::{Change, Device, EntryKind};

use super::{PLACES, Tree, at, lines, path};
use crate::journal::mtime;
use crate::{JournalCheck, MtimeRule, RootError, Special};

const NONE: RenameFlags = RenameFlags::empty();

fn step(place: &str, prepare: impl Fn(&Tree), act: impl Fn(&Tree)) -> Vec<String> {
    let tree = Tree::new(place);
    prepare(&tree);
    let tree = tree.reopened();
    tree.begin();
    act(&tree);
    lines(&tree.finish())
}

fn steps(prepare: impl Fn(&Tree), act: impl Fn(&Tree), expected: &[&str]) {
    for place in PLACES {
        assert_eq!(step(place, &prepare, &act), expected, "{place}");
    }
}

fn dir_with_file(tree: &Tree) {
    tree.make_dir("d").unwrap();
    tree.create("d/f", b"one").unwrap();
}

#[test]
fn nothing_done_is_nothing_changed() {
    steps(dir_with_file, |_| {}, &[]);
}

#[test]
fn an_unchanged_write_open_is_dropped() {
    steps(dir_with_file, |t| drop(t.open("d/f", OFlags::RDWR).unwrap()), &[]);
}

#[test]
fn made_and_removed_again_is_nothing() {
    let act = |t: &Tree| {
        t.make_dir("n").unwrap();
        t.create("n/x", b"").unwrap();
        t.unlink("n/x").unwrap();
        t.remove_dir("n").unwrap();
    };
    steps(dir_with_file, act, &[]);
}

#[test]
fn content_of_the_same_length_is_a_change() {
    steps(dir_with_file, |t| t.write("d/f", b"two").unwrap(), &["+ /d/f file 3"]);
}

#[test]
fn content_with_its_old_time_put_back_is_a_change() {
    let act = |t: &Tree| {
        let time = mtime(&t.found("d/f").unwrap().stat);
        t.write("d/f", b"two").unwrap();
        t.set_mtime("d/f", time).unwrap();
    };
    steps(dir_with_file, act, &["+ /d/f file 3"]);
}

#[test]
fn a_chmod_alone_is_a_change_of_one_path() {
    steps(dir_with_file, |t| t.chmod("d", 0o700).unwrap(), &["+ /d dir"]);
    steps(dir_with_file, |t| t.chmod("d/f", 0o4644).unwrap(), &["+ /d/f file 3"]);
    let back = |t: &Tree| {
        t.chmod("d/f", 0o600).unwrap();
        t.chmod("d/f", 0o644).unwrap();
    };
    steps(dir_with_file, back, &[]);
}

#[test]
fn removal_of_a_tree_is_one_whiteout() {
    let act = |t: &Tree| {
        t.unlink("d/f").unwrap();
        t.remove_dir("d").unwrap();
    };
    steps(dir_with_file, act, &["- /d"]);
}

#[test]
fn removed_and_made_again_is_opaque() {
    let act = |t: &Tree| {
        t.unlink("d/f").unwrap();
        t.remove_dir("d").unwrap();
        t.make_dir("d").unwrap();
        t.create("d/g", b"new").unwrap();
    };
    steps(dir_with_file, act, &["! /d dir", "+ /d/g file 3"]);
}

#[test]
fn a_directory_renamed_away_and_back_is_opaque() {
    let act = |t: &Tree| {
        t.rename("d", "e", NONE).unwrap();
        t.write("e/f", b"two").unwrap();
        t.rename("e", "d", NONE).unwrap();
    };
    steps(dir_with_file, act, &["! /d dir", "+ /d/f file 3"]);
}

#[test]
fn a_renamed_directory_brings_its_subtree() {
    let act = |t: &Tree| t.rename("d", "e", NONE).unwrap();
    steps(dir_with_file, act, &["- /d", "+ /e dir", "+ /e/f file 3"]);
}

#[test]
fn a_failed_rename_of_a_directory_is_nothing() {
    let act = |t: &Tree| {
        assert!(t.rename("d", "d/f", NONE).is_err());
        assert!(t.rename("d", "full", NONE).is_err());
    };
    let prepare = |t: &Tree| {
        dir_with_file(t);
        t.make_dir("full").unwrap();
        t.create("full/x", b"").unwrap();
    };
    steps(prepare, act, &[]);
}

#[test]
fn unlink_and_create_at_the_same_path_is_a_change() {
    let act = |t: &Tree| {
        let time = mtime(&t.found("d/f").unwrap().stat);
        t.unlink("d/f").unwrap();
        t.create("d/f", b"one").unwrap();
        t.set_mtime("d/f", time).unwrap();
    };
    steps(dir_with_file, act, &["+ /d/f file 3"]);
}

#[test]
fn a_file_where_a_directory_was_hides_it() {
    let act = |t: &Tree| {
        t.unlink("d/f").unwrap();
        t.remove_dir("d").unwrap();
        t.create("d", b"now a file").unwrap();
    };
    steps(dir_with_file, act, &["+ /d file 10"]);
    let back = |t: &Tree| {
        t.unlink("x").unwrap();
        t.make_dir("x").unwrap();
        t.create("x/y", b"").unwrap();
    };
    steps(|t| t.create("x", b"").unwrap(), back, &["+ /x dir", "+ /x/y file 0"]);
}

fn linked(tree: &Tree) {
    tree.make_dir("d").unwrap();
    tree.create("d/one", b"1").unwrap();
    tree.link("d/one", "two").unwrap();
    tree.link("two", "a").unwrap();
}

#[test]
fn a_change_through_one_name_shows_at_all() {
    let expected = ["+ /a file 2", "+ /d/one link /a", "+ /two link /a"];
    steps(linked, |t| t.write("two", b"22").unwrap(), &expected);
    // Also when the name that was written through is gone before the end.
    let act = |t: &Tree| {
        t.write("two", b"22").unwrap();
        t.unlink("two").unwrap();
    };
    steps(linked, act, &["+ /a file 2", "+ /d/one link /a", "- /two"]);
}

#[test]
fn a_new_name_brings_the_whole_group() {
    let expected = ["+ /a file 1", "+ /d/one link /a", "+ /three link /a", "+ /two link /a"];
    steps(linked, |t| t.link("a", "three").unwrap(), &expected);
    steps(dir_with_file, |t| t.link("d/f", "e").unwrap(), &["+ /d/f file 3", "+ /e link /d/f"]);
}

#[test]
fn a_removed_name_leaves_the_group_alone() {
    steps(linked, |t| t.unlink("two").unwrap(), &["- /two"]);
}

#[test]
fn links_are_found_after_their_directory_moved() {
    for place in PLACES {
        let tree = Tree::new(place);
        linked(&tree);
        let tree = tree.reopened();
        tree.begin();
        tree.rename("d", "e", NONE).unwrap();
        tree.finish();
        let tree = tree.reopened();
        tree.begin();
        tree.write("a", b"longer").unwrap();
        assert_eq!(lines(&tree.finish()), ["+ /a file 6", "+ /e/one link /a", "+ /two link /a"]);
    }
}

#[test]
fn special_files_are_entries_and_sockets_are_reported() {
    let tree = Tree::new("/tmp");
    tree.begin();
    tree.make_fifo("p").unwrap();
    tree.make_node("n", Special::Char(Device { major: 1, minor: 3 })).unwrap();
    tree.symlink("p", "l").unwrap();
    tree.make_socket("s").unwrap();
    tree.make_dir("d").unwrap();
    tree.make_socket("d/s").unwrap();
    let finished = tree.root.finish(MtimeRule::Keep).unwrap();
    assert_eq!(lines(&finished.changes), ["+ /d dir", "+ /l symlink p", "+ /n char 1:3", "+ /p fifo"]);
    assert_eq!(finished.sockets, [path("d/s"), path("s")]);
}

#[test]
fn the_time_rule_holds_in_the_tree_and_in_the_entries() {
    for (rule, new, old) in [
        (MtimeRule::NoLaterThan(at(5000)), at(5000), at(4000)),
        (MtimeRule::SetTo(at(5000)), at(5000), at(5000)),
    ] {
        let tree = Tree::new("/tmp");
        tree.root.begin(JournalCheck::FullWalk).unwrap();
        tree.make_dir("d").unwrap();
        tree.create("d/new", b"").unwrap();
        tree.create("d/old", b"").unwrap();
        tree.set_mtime("d/old", at(4000)).unwrap();
        tree.symlink("x", "l").unwrap();
        let changes = tree.root.finish(rule).unwrap().changes;
        for (name, time) in [("d", new), ("d/new", new), ("d/old", old), ("l", new)] {
            assert_eq!(mtime(&tree.found(name).unwrap().stat), time, "{name} {rule:?}");
            let Some(Change::Upsert(entry)) = changes.get(&path(name)) else { panic!("{name}") };
            assert_eq!(entry.attributes.mtime, time, "{name} {rule:?}");
        }
    }
}

#[test]
fn a_directory_that_is_not_in_the_layer_keeps_its_time() {
    let tree = Tree::new("/tmp");
    dir_with_file(&tree);
    tree.set_mtime("d", at(1234)).unwrap();
    let root_time = mtime(&tree.found("").unwrap().stat);
    tree.begin();
    tree.create("d/g", b"").unwrap();
    tree.create("h", b"").unwrap();
    assert_ne!(mtime(&tree.found("d").unwrap().stat), at(1234));
    assert_eq!(lines(&tree.finish()), ["+ /d/g file 0", "+ /h file 0"]);
    assert_eq!(mtime(&tree.found("d").unwrap().stat), at(1234));
    assert_eq!(mtime(&tree.found("").unwrap().stat), root_time);
}

#[test]
fn a_time_set_on_a_directory_is_a_change() {
    steps(dir_with_file, |t| t.set_mtime("d", at(77)).unwrap(), &["+ /d dir"]);
}

#[test]
fn the_check_finds_what_the_journal_did_not_see() {
    let tree = Tree::new("/tmp");
    dir_with_file(&tree);
    tree.begin();
    let file = tree.path.join("fs/d/behind");
    #[expect(clippy::disallowed_methods, reason = "the test changes the tree behind the journal")]
    std::fs::write(file, b"x").unwrap();
    match tree.root.finish(MtimeRule::Keep) {
        Err(RootError::JournalMissed { missed: 1, path: found, .. }) => assert_eq!(found, path("d/behind")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn finish_needs_begin() {
    let tree = Tree::new("/tmp");
    assert!(matches!(tree.root.finish(MtimeRule::Keep), Err(RootError::NotBegun)));
}

#[test]
fn what_the_views_hold_is_nobodys_business() {
    let tree = Tree::new("/tmp");
    tree.root.close_views().unwrap();
    for name in ["proc", "dev", "sys"] {
        assert_eq!(tree.found(name).unwrap().stat.stx_mode, 0o040_000);
    }
    let dev = tree.found("dev").unwrap().stat;
    assert_eq!(tree.root.records().get(&dev).mode, 0o755);
    tree.begin();
    tree.create("x", b"").unwrap();
    assert_eq!(lines(&tree.finish()), ["+ /x file 0"]);
    tree.root.open_views().unwrap();
    assert_eq!(tree.found("proc").unwrap().stat.stx_mode, 0o040_755);
    assert_eq!(tree.root.records().get(&tree.found("proc").unwrap().stat).mode, 0o555);
}

#[test]
fn threads_touch_the_same_paths_and_nothing_is_lost() {
    let tree = Tree::new("/dev/shm");
    for name in ["a", "b", "c"] {
        tree.make_dir(name).unwrap();
    }
    let before = super::model::look(&tree);
    tree.begin();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let tree = &tree;
            scope.spawn(move || {
                for round in 0..400_u32 {
                    let (x, y) = (round % 3, (round / 3 + thread) % 3);
                    let name = |i: u32| ["a", "b", "c"][i as usize];
                    let (one, two) = (format!("{}/f{}", name(x), round % 7), format!("{}/g", name(y)));
                    // Most of these lose a race: only the end counts.
                    let _ = match (round + thread) % 6 {
                        0 => tree.create(&one, b"1"),
                        1 => tree.rename(&one, &two, NONE),
                        2 => tree.link(&two, &one),
                        3 => tree.unlink(&one),
                        4 => tree.rename(name(x), &format!("moved{thread}"), NONE),
                        _ => tree.rename(&format!("moved{thread}"), name(y), NONE),
                    };
                }
            });
        }
    });
    let changes = tree.finish();
    let after = super::model::look(&tree);
    let made = super::model::apply(&before, &changes, &after);
    assert_eq!(super::model::normalised(&made), super::model::normalised(&after));
    assert!(changes.iter().any(|(_, c)| matches!(c, Change::Upsert(e) if e.kind != EntryKind::Directory)));
}

#[test]
fn a_step_may_leave_more_files_than_there_are_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let tree = Tree::new("/dev/shm");
    tree.make_dir("old").unwrap();
    for i in 0..3000 {
        tree.create(&format!("old/{i}"), b"").unwrap();
    }
    tree.begin();
    tree.make_dir("new").unwrap();
    for i in 0..3000 {
        tree.create(&format!("new/{i}"), b"").unwrap();
        tree.chmod(&format!("old/{i}"), 0o600).unwrap();
    }
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(1024), maximum: limit.maximum }).unwrap();
    let changes = tree.finish();
    setrlimit(Resource::Nofile, limit).unwrap();
    assert_eq!(changes.len(), 6001);
}

#[test]
fn all_names_of_a_symbolic_link_get_the_time_of_one() {
    let tree = Tree::new("/tmp");
    tree.symlink("x", "a").unwrap();
    tree.link("a", "b").unwrap();
    let tree = tree.reopened();
    tree.begin();
    tree.link("a", "c").unwrap();
    let changes = tree.root.finish(MtimeRule::SetTo(at(9))).unwrap().changes;
    assert_eq!(lines(&changes), ["+ /a symlink x", "+ /b symlink x", "+ /c symlink x"]);
}
