//! What of a file is content, and what is not.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wbuild_dockerfile::IgnoreFile;

use super::*;
use crate::context::ContextFiles;

struct Context(tempfile::TempDir);

impl Context {
    fn new() -> Self {
        let context = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(context.at("src/deep")).unwrap();
        std::fs::write(context.at("src/a.c"), "a").unwrap();
        std::fs::write(context.at("src/deep/b.c"), "b").unwrap();
        std::fs::write(context.at("README"), "read").unwrap();
        symlink("a.c", context.at("src/link")).unwrap();
        context
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path)
    }

    fn digest(&self, pattern: &str) -> Digest {
        self.digest_but(pattern, "").unwrap()
    }

    fn digest_but(&self, pattern: &str, ignore: &str) -> Result<Digest, FilesError> {
        let dir = Dir::open_ambient_dir(self.0.path(), ambient_authority()).unwrap();
        let ignore = IgnoreFile::parse(ignore.as_bytes()).unwrap();
        let from = ContextFiles::new(&dir, &ignore, "the build context".into());
        let source = CopySource::Path { pattern: pattern.into(), written: pattern.into(), include: None };
        let reader = Reader { from: &from, mtimes: None, known: None, cancelled: &|| false, exclude: &[] };
        reader.read(&[source]).map(|selection| selection.digest())
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A change by its name.
type Change<'a> = (&'a str, &'a dyn Fn(&Context));

#[test]
fn whatever_a_layer_shows_is_content() {
    let changes: [Change<'_>; 10] = [
        ("bytes", &|c| std::fs::write(c.at("src/a.c"), "A").unwrap()),
        ("mode", &|c| set_mode(&c.at("src/a.c"), 0o755)),
        ("mode of a directory", &|c| set_mode(&c.at("src/deep"), 0o700)),
        ("name", &|c| std::fs::rename(c.at("src/a.c"), c.at("src/c.c")).unwrap()),
        ("a new file", &|c| std::fs::write(c.at("src/new"), "").unwrap()),
        ("a new directory", &|c| std::fs::create_dir(c.at("src/new")).unwrap()),
        ("a file that is gone", &|c| std::fs::remove_file(c.at("src/deep/b.c")).unwrap()),
        ("a link's text", &|c| {
            std::fs::remove_file(c.at("src/link")).unwrap();
            symlink("deep/b.c", c.at("src/link")).unwrap();
        }),
        ("a file in the place of a link", &|c| {
            std::fs::remove_file(c.at("src/link")).unwrap();
            std::fs::write(c.at("src/link"), "a.c").unwrap();
        }),
        ("a second name of the same file", &|c| {
            std::fs::remove_file(c.at("src/deep/b.c")).unwrap();
            std::fs::hard_link(c.at("src/a.c"), c.at("src/deep/b.c")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let context = Context::new();
        let before = context.digest("/src");
        change(&context);
        assert_ne!(before, context.digest("/src"), "{what}");
    }
}

#[test]
fn what_no_layer_shows_is_no_content() {
    let changes: [Change<'_>; 4] = [
        ("times", &|c| {
            let file = std::fs::File::options().write(true).open(c.at("src/a.c")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
        ("a file that is not selected", &|c| std::fs::write(c.at("README"), "other").unwrap()),
        ("the inode", &|c| {
            std::fs::write(c.at("copy"), "a").unwrap();
            std::fs::rename(c.at("copy"), c.at("src/a.c")).unwrap();
        }),
        ("the mode of the directory that is named", &|c| set_mode(&c.at("src"), 0o700)),
    ];
    for (what, change) in changes {
        let context = Context::new();
        let before = context.digest("/src");
        change(&context);
        assert_eq!(before, context.digest("/src"), "{what}");
    }
}

#[test]
fn hidden_files_are_no_content() {
    let context = Context::new();
    let digest = || context.digest_but("/", "README\n**/*.c\n!src/a.c\n").unwrap();
    let before = digest();
    std::fs::write(context.at("README"), "other").unwrap();
    std::fs::write(context.at("src/deep/b.c"), "other").unwrap();
    assert_eq!(before, digest());
    std::fs::write(context.at("src/a.c"), "other").unwrap();
    assert_ne!(before, digest());
}

#[test]
fn globs_select_by_name() {
    let context = Context::new();
    let before = context.digest("/src/*.c");
    std::fs::write(context.at("src/deep/b.c"), "other").unwrap();
    assert_eq!(before, context.digest("/src/*.c"));
    std::fs::write(context.at("src/z.c"), "").unwrap();
    assert_ne!(before, context.digest("/src/*.c"));
}

#[test]
fn a_source_that_is_not_there_is_told_as_the_copy_would() {
    let context = Context::new();
    let missing = context.digest_but("/nowhere", "").unwrap_err();
    assert!(matches!(missing, FilesError::Missing { ignored: Ignored::No, .. }), "{missing}");
    let hidden = context.digest_but("/README", "README\n").unwrap_err();
    assert!(matches!(hidden, FilesError::Missing { ignored: Ignored::Yes, .. }), "{hidden}");
}

#[test]
fn times_count_as_far_as_the_step_lets_them() {
    let context = Context::new();
    let dir = Dir::open_ambient_dir(context.0.path(), ambient_authority()).unwrap();
    let ignore = IgnoreFile::default();
    let from = ContextFiles::new(&dir, &ignore, "a tree".into());
    let digest = |seconds: u64, rule| {
        let file = std::fs::File::options().write(true).open(context.at("README")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        let source = CopySource::Path { pattern: "/README".into(), written: "README".into(), include: None };
        let reader =
            Reader { from: &from, mtimes: Some(rule), known: None, cancelled: &|| false, exclude: &[] };
        reader.read(&[source]).unwrap().digest()
    };
    let rule = MtimeRule::NoLaterThan(Timestamp { seconds: 100, nanoseconds: 0 });
    assert_eq!(digest(200, rule), digest(300, rule));
    assert_ne!(digest(20, rule), digest(30, rule));
    assert_ne!(digest(200, MtimeRule::Keep), digest(300, MtimeRule::Keep));
}
