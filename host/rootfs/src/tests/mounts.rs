//! Grafts leave no trace.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Tree, lines};
use crate::journal::mtime;
use crate::{GraftAccess, MountTable};

fn source(place: &std::path::Path) -> OwnedFd {
    rustix::fs::open(place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

#[test]
fn placeholders_come_and_go_without_a_trace() {
    let tree = Tree::new("/tmp");
    tree.make_dir("etc").unwrap();
    tree.create("etc/hosts", b"image").unwrap();
    tree.chmod("etc/hosts", 0o640).unwrap();
    let outside = tempfile::tempdir().unwrap();
    let (dir, file) = (outside.path().join("dir"), outside.path().join("file"));
    rustix::fs::mkdir(&dir, Mode::from_raw_mode(0o755)).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a host file to graft")]
    std::fs::write(&file, b"graft").unwrap();
    let times = || ["", "etc"].map(|name| mtime(&tree.found(name).unwrap().stat));
    let before = (super::model::look(&tree), times());

    tree.begin();
    let mut table = MountTable::default();
    let top = tree.found("").unwrap().fd;
    let etc = tree.found("etc").unwrap().fd;
    let rw = GraftAccess::ReadWrite;
    table.graft(&tree.root, etc.as_fd(), c"hosts", source(&file), rw).unwrap();
    table.graft(&tree.root, etc.as_fd(), c"resolv.conf", source(&file), rw).unwrap();
    table.make_way(&tree.root, top.as_fd(), c"way").unwrap();
    let way = tree.found("way").unwrap().fd;
    table.graft(&tree.root, way.as_fd(), c"cache", source(&dir), rw).unwrap();
    assert_eq!(table.graft(&tree.root, top.as_fd(), c"etc", source(&file), rw), Err(Errno::ISDIR));
    assert_eq!(table.graft(&tree.root, etc.as_fd(), c"hosts", source(&dir), rw), Err(Errno::NOTDIR));
    assert_eq!(tree.found("etc/hosts").unwrap().stat.stx_mode, 0o100_000, "closed to the kernel's walk");
    let text = [dir.as_os_str().as_encoded_bytes(), b"/x/y"].concat();
    assert_eq!(table.holding(&text).unwrap().1, b"x/y");
    assert!(table.holding(&[dir.as_os_str().as_encoded_bytes(), b"x"].concat()).is_none());

    drop((etc, way, top));
    table.clear(&tree.root).unwrap();
    assert_eq!(lines(&tree.finish()), [""; 0]);
    assert_eq!((super::model::look(&tree), times()), before);
}

#[test]
fn a_way_that_a_step_used_stays_and_is_in_the_layer() {
    let tree = Tree::new("/tmp");
    let outside = tempfile::tempdir().unwrap();
    tree.begin();
    let mut table = MountTable::default();
    let top = tree.found("").unwrap().fd;
    table.make_way(&tree.root, top.as_fd(), c"way").unwrap();
    let way = tree.found("way").unwrap().fd;
    table.graft(&tree.root, way.as_fd(), c"cache", source(outside.path()), GraftAccess::ReadOnly).unwrap();
    tree.create("way/kept", b"x").unwrap();
    table.clear(&tree.root).unwrap();
    assert_eq!(lines(&tree.finish()), ["+ /way dir", "+ /way/kept file 1"]);
}
