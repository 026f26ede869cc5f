//! Records: the guard, what needs none, and the way to disk and back.

use std::os::fd::AsFd;

use wbuild_layer::Device;

use super::{PLACES, Tree, path};
use crate::record::{InodeKey, Record, birth};
use crate::root::stat_fd;
use crate::{GraftId, Owner, Root, RootError, Scope, Special};

#[test]
fn an_inode_without_a_record_is_roots_with_its_real_bits() {
    let tree = Tree::new("/tmp");
    tree.create("a", b"").unwrap();
    let records = tree.root.records().len();
    let mut stat = tree.found("a").unwrap().stat;
    tree.root.records().show(&mut stat);
    assert_eq!((stat.stx_uid, stat.stx_gid, stat.stx_mode), (0, 0, 0o100_644));
    // Three placeholders at most have one.
    assert!(records <= 3, "{records}");
}

#[test]
fn a_record_never_speaks_for_a_later_inode_of_the_same_number() {
    let tree = Tree::new("/tmp");
    tree.create("a", b"").unwrap();
    let stat = tree.found("a").unwrap().stat;
    let record = Record { uid: 7, mode: 0o600, ..Record::default() };
    tree.root.records().set(&stat, record);
    let mut later = stat;
    later.stx_btime.tv_sec += 1;
    assert_eq!(tree.root.records().get(&stat).uid, 7);
    assert_eq!(tree.root.records().get(&later).uid, 0, "the birth time guards the record");
    assert_eq!(tree.root.records().get(&later).mode, 0o644);
}

#[test]
fn a_create_replaces_what_a_reused_inode_number_had() {
    for place in PLACES {
        let tree = Tree::new(place);
        for round in 0..200 {
            tree.create("a", b"").unwrap();
            let found = tree.found("a").unwrap();
            assert_eq!(tree.root.records().get(&found.stat).uid, 0, "round {round}");
            tree.chown("a", 1000, 1000).unwrap();
            drop(found);
            tree.unlink("a").unwrap();
        }
    }
}

#[test]
fn an_open_file_keeps_its_record_when_its_name_goes() {
    let tree = Tree::new("/tmp");
    tree.create("a", b"").unwrap();
    tree.chown("a", 1000, 50).unwrap();
    let fd = tree.open("a", rustix::fs::OFlags::RDONLY).unwrap();
    tree.unlink("a").unwrap();
    let mut stat = stat_fd(fd.as_fd()).unwrap();
    tree.root.records().show(&mut stat);
    assert_eq!((stat.stx_uid, stat.stx_gid), (1000, 50));
    let persistent = tree.root.records().persistent();
    assert!(persistent.iter().all(|(key, ..)| *key != InodeKey::of(&stat)), "it does not outlive the step");
}

#[test]
fn the_real_mode_lets_the_owner_work_and_the_virtual_one_is_shown() {
    let tree = Tree::new("/tmp");
    tree.create("a", b"").unwrap();
    for (asked, real) in [(0o4755, 0o755), (0o000, 0o600), (0o444, 0o644), (0o011, 0o711), (0o2070, 0o770)] {
        tree.chmod("a", asked).unwrap();
        let mut stat = tree.found("a").unwrap().stat;
        assert_eq!(u32::from(stat.stx_mode) & 0o7777, real, "{asked:o}");
        tree.root.records().show(&mut stat);
        assert_eq!(u32::from(stat.stx_mode) & 0o7777, asked);
    }
    tree.make_dir("d").unwrap();
    tree.chmod("d", 0o1000).unwrap();
    let stat = tree.found("d").unwrap().stat;
    assert_eq!(u32::from(stat.stx_mode) & 0o7777, 0o700);
}

#[test]
fn chown_takes_setuid_and_file_capabilities_from_files_alone() {
    let tree = Tree::new("/tmp");
    tree.create("a", b"").unwrap();
    tree.make_dir("d").unwrap();
    for name in ["a", "d"] {
        tree.chmod(name, 0o6755).unwrap();
        tree.set_xattr(name, "security.capability", b"x").unwrap();
        tree.chown(name, 5, 5).unwrap();
    }
    let file = tree.root.records().get(&tree.found("a").unwrap().stat);
    assert_eq!((file.mode, file.xattrs.len()), (0o755, 0));
    let dir = tree.root.records().get(&tree.found("d").unwrap().stat);
    assert_eq!((dir.mode, dir.xattrs.len()), (0o6755, 1));
    // Without group execution setgid meant mandatory locking: it stays.
    tree.chmod("a", 0o6745).unwrap();
    tree.chown("a", 5, 5).unwrap();
    assert_eq!(tree.root.records().get(&tree.found("a").unwrap().stat).mode, 0o2745);
}

#[test]
fn devices_are_empty_files_that_nobody_opens() {
    let tree = Tree::new("/tmp");
    let null = Special::Char(Device { major: 1, minor: 3 });
    tree.make_node("null", null).unwrap();
    tree.chmod("null", 0o666).unwrap();
    let mut stat = tree.found("null").unwrap().stat;
    assert_eq!(stat.stx_mode, 0o100_000, "real mode 000 also after chmod");
    tree.root.records().show(&mut stat);
    assert_eq!((stat.stx_mode, stat.stx_rdev_major, stat.stx_rdev_minor), (0o020_666, 1, 3));
}

#[test]
fn everything_survives_the_way_to_disk() {
    for place in PLACES {
        let tree = Tree::new(place);
        tree.create("a", b"").unwrap();
        tree.chown("a", 1, 2).unwrap();
        tree.chmod("a", 0o4111).unwrap();
        tree.set_xattr("a", "security.capability", &[0, 255, 10]).unwrap();
        tree.link("a", "b").unwrap();
        tree.make_fifo("p").unwrap();
        tree.make_node("dev0", Special::Block(Device { major: 8, minor: 1 })).unwrap();
        let before = (tree.root.records().persistent(), tree.root.links().snapshot());
        let tree = tree.reopened();
        assert_eq!((tree.root.records().persistent(), tree.root.links().snapshot()), before);
        assert!(tree.root.may_hold_fifos());
        let key = InodeKey::of(&tree.found("a").unwrap().stat);
        assert_eq!(tree.root.links().names(&key), [path("a"), path("b")]);
    }
}

#[test]
fn grafts_records_are_not_persisted() {
    let tree = Tree::new("/tmp");
    tree.create("a", b"").unwrap();
    let stat = tree.found("a").unwrap().stat;
    let record = Record { uid: 3, scope: Scope::Graft(GraftId(0)), ..Record::default() };
    tree.root.records().set(&stat, record);
    assert_eq!(tree.root.records().get(&stat).uid, 3);
    let key = InodeKey::of(&stat);
    assert!(tree.root.records().persistent().iter().all(|(k, b, _)| *k != key || *b != birth(&stat)));
}

#[test]
fn damaged_records_are_an_error_at_every_length() {
    let tree = Tree::new("/tmp");
    tree.create("a", b"").unwrap();
    tree.chown("a", 1, 2).unwrap();
    tree.set_xattr("a", "user.x", b"y").unwrap();
    tree.link("a", "b").unwrap();
    tree.root.persist().unwrap();
    let file = tree.path.join("records");
    #[expect(clippy::disallowed_methods, reason = "the test damages a host file")]
    let whole = std::fs::read(&file).unwrap();
    for length in 0..whole.len() {
        #[expect(clippy::disallowed_methods, reason = "the test damages a host file")]
        std::fs::write(&file, &whole[..length]).unwrap();
        let opened = Root::open(&tree.path, Owner::Caller);
        assert!(matches!(opened, Err(RootError::Records { .. })), "{length} of {}", whole.len());
    }
    let longer = [whole.as_slice(), b"!"].concat();
    #[expect(clippy::disallowed_methods, reason = "the test damages a host file")]
    std::fs::write(&file, longer).unwrap();
    assert!(matches!(Root::open(&tree.path, Owner::Caller), Err(RootError::Records { .. })));
}

#[test]
fn xattrs_are_limited_and_know_create_from_replace() {
    use crate::raw::{Inode, XattrWrite, set_xattr};
    use rustix::io::Errno;
    let tree = Tree::new("/tmp");
    tree.create("a", b"").unwrap();
    let found = tree.found("a").unwrap();
    let inode = Inode { fd: found.fd.as_fd(), stat: &found.stat, scope: Scope::Tree };
    let set = |name: &str, value: &[u8], how| set_xattr(&tree.root, &inode, name.as_bytes(), value, how);
    assert_eq!(set("user.a", b"1", XattrWrite::Replace), Err(Errno::NODATA));
    assert_eq!(set("user.a", b"1", XattrWrite::Create), Ok(()));
    assert_eq!(set("user.a", b"2", XattrWrite::Create), Err(Errno::EXIST));
    assert_eq!(set("user.b", &vec![0; 65_000], XattrWrite::Set), Ok(()));
    assert_eq!(set("user.c", &[0; 1000], XattrWrite::Set), Err(Errno::NOSPC));
    assert_eq!(tree.remove_xattr("a", "user.c"), Err(Errno::NODATA));
}

#[test]
fn as_root_everything_belongs_to_the_scratch_user() {
    if !rustix::process::geteuid().is_root() {
        // Only root gives files away; an ordinary user's are its own.
        return;
    }
    rustix::process::umask(rustix::fs::Mode::empty());
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let path = dir.path().join("tree");
    let owner = Owner::Scratch { uid: 65_321, gid: 65_322 };
    let tree = Tree { root: Root::create(&path, owner).unwrap(), path, _dir: dir };
    tree.make_dir("d").unwrap();
    tree.create("d/f", b"x").unwrap();
    tree.symlink("f", "d/l").unwrap();
    tree.make_fifo("d/p").unwrap();
    tree.make_node("d/n", Special::Char(Device { major: 1, minor: 3 })).unwrap();
    tree.make_socket("d/s").unwrap();
    tree.link_nameless("d/t", b"x").unwrap();
    tree.root.persist().unwrap();
    let output = std::process::Command::new("find")
        .arg(&tree.path)
        .args(["-not", "(", "-uid", "65321", "-gid", "65322", ")", "-print"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let mut stat = tree.found("d/f").unwrap().stat;
    tree.root.records().show(&mut stat);
    assert_eq!((stat.stx_uid, stat.stx_gid), (0, 0));
}
