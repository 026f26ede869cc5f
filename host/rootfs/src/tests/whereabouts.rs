//! What is remembered of where directories lie is what the kernel says now, after whatever moved them.

use std::os::fd::AsFd;

use rustix::fs::RenameFlags;

use super::{PLACES, Tree, path};
use crate::Located;
use crate::root::stat_fd;

fn agrees(tree: &Tree, names: &[&str]) {
    for name in names {
        let found = tree.found(name).unwrap();
        let asked = tree.root.locate(found.fd.as_fd()).unwrap();
        // Twice: what is learnt now, and what is remembered.
        for _ in 0..2 {
            assert_eq!(tree.root.locate_known(found.fd.as_fd(), &found.stat).unwrap(), asked, "{name}");
        }
        assert_eq!(asked, Located::Tree(path(name)));
    }
}

#[test]
fn a_directory_is_where_the_kernel_says() {
    for place in PLACES {
        let tree = Tree::new(place);
        for name in ["a", "a/b", "a/b/c", "d", "d/e"] {
            tree.make_dir(name).unwrap();
        }
        agrees(&tree, &["a", "a/b", "a/b/c", "d", "d/e"]);
        tree.rename("a/b", "d/e/b", RenameFlags::empty()).unwrap();
        agrees(&tree, &["a", "d/e/b", "d/e/b/c"]);
        tree.rename("a", "d", RenameFlags::EXCHANGE).unwrap();
        agrees(&tree, &["a", "d", "a/e", "a/e/b/c"]);
        tree.remove_dir("a/e/b/c").unwrap();
        // On tmpfs and ext4 alike the number may be used again.
        tree.make_dir("d/c").unwrap();
        agrees(&tree, &["d/c", "a/e/b"]);
        tree.make_dir("x").unwrap();
        tree.rename("a", "x", RenameFlags::empty()).unwrap();
        agrees(&tree, &["x", "x/e/b", "d/c"]);
    }
}

#[test]
fn a_removed_directory_is_nowhere_it_was() {
    for place in PLACES {
        let tree = Tree::new(place);
        tree.make_dir("a").unwrap();
        agrees(&tree, &["a"]);
        let held = tree.found("a").unwrap();
        tree.remove_dir("a").unwrap();
        let stat = stat_fd(held.fd.as_fd()).unwrap();
        for stat in [&stat, &held.stat] {
            assert_ne!(tree.root.locate_known(held.fd.as_fd(), stat).unwrap(), Located::Tree(path("a")));
        }
    }
}

/// What is remembered is used: a rename behind the tree's back goes unnoticed until something of the tree's own moves.
#[test]
fn what_is_remembered_is_used() {
    let tree = Tree::new("/tmp");
    tree.make_dir("a").unwrap();
    agrees(&tree, &["a"]);
    let fs = tree.path.join("fs");
    rustix::fs::rename(fs.join("a"), fs.join("z")).unwrap();
    let found = tree.found("z").unwrap();
    assert_eq!(tree.root.locate_known(found.fd.as_fd(), &found.stat).unwrap(), Located::Tree(path("a")));
    tree.make_dir("n").unwrap();
    tree.remove_dir("n").unwrap();
    assert_eq!(tree.root.locate_known(found.fd.as_fd(), &found.stat).unwrap(), Located::Tree(path("z")));
}
