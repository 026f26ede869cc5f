//! What a mount's tree holds: files as they are, links followed beneath the root of the source and nowhere else.

use std::os::unix::fs::{PermissionsExt, symlink};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wbuild_dockerfile::IgnoreFile;
use wbuild_monitor::JournalCheck;

use super::*;
use crate::context::ContextFiles;

/// A context with a file, a directory, links in and out, and something that is ignored.
fn context() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("sub")).unwrap();
    std::fs::write(at("sub/file"), "content").unwrap();
    std::fs::set_permissions(at("sub/file"), std::fs::Permissions::from_mode(0o751)).unwrap();
    std::fs::write(at("hidden"), "").unwrap();
    symlink("sub", at("inside")).unwrap();
    symlink("/etc", at("outside")).unwrap();
    symlink("../../../../../../etc/passwd", at("above")).unwrap();
    dir
}

fn mounted(context: &Path, source: &str) -> Result<(tempfile::TempDir, Tree), FilesError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tree");
    Tree::make(&path, &mut std::iter::empty()).unwrap();
    let tree = Tree::open(&path, "test", JournalCheck::Off).unwrap();
    let context = Dir::open_ambient_dir(context, ambient_authority()).unwrap();
    let ignore = IgnoreFile::parse(b"hidden\n").unwrap();
    let files = ContextFiles::new(&context, &ignore, "the build context".to_owned());
    let (source_path, place) = (RootPath::new(source).unwrap(), RootPath::new(PLACE).unwrap());
    copy(&files, &source_path, source, &tree, &place, &Cancel::default())?;
    Ok((dir, tree))
}

#[test]
fn files_are_there_as_they_are_and_ignored_ones_are_not() {
    let context = context();
    let (_dir, tree) = mounted(context.path(), "/").unwrap();
    let node = |path: &str| tree.node(&RootPath::new(path).unwrap()).unwrap();
    let file = node("m/sub/file").unwrap();
    assert_eq!((file.mode, file.uid, file.gid), (0o751, 0, 0));
    assert_eq!(node("m/hidden"), None);
    assert_eq!(tree.read_link(&RootPath::new("m/outside").unwrap()).unwrap(), b"/etc");
}

#[test]
fn a_source_can_be_a_file_or_behind_a_link() {
    let context = context();
    for (source, found) in [("/sub/file", "m"), ("/inside", "m/file"), ("/inside/file", "m")] {
        let (_dir, tree) = mounted(context.path(), source).unwrap();
        let node = tree.node(&RootPath::new(found).unwrap()).unwrap();
        assert_eq!(node.map(|node| node.kind), Some(Kind::File), "{source}");
    }
}

#[test]
fn what_is_not_beneath_the_source_is_not_there() {
    let context = context();
    for source in ["/absent", "/absent/below", "/sub/file/below", "/outside", "/outside/passwd", "/above"] {
        match mounted(context.path(), source) {
            Err(FilesError::Missing { ignored: Ignored::No, written, .. }) => assert_eq!(written, source),
            other => panic!("{source}: {:?}", other.err()),
        }
    }
    let hidden = mounted(context.path(), "/hidden").err();
    assert!(matches!(hidden, Some(FilesError::Missing { ignored: Ignored::Yes, .. })), "{hidden:?}");
}
