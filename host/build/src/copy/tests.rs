//! COPY and ADD against a real tree: what stands where, with which owner and mode.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wbuild_dockerfile::IgnoreFile;
use wbuild_layer::{Change, ChangeSet, EntryKind};
use wbuild_monitor::{JournalCheck, MtimeRule};

use super::*;
use crate::context::ContextFiles;
use crate::error::Ignored;

/// A context on disk and a tree to copy into.
struct Bench {
    dir: tempfile::TempDir,
    ignore: IgnoreFile,
    owner: Option<(u32, u32)>,
    chmod: Option<Chmod>,
    kind: CopyKind,
    exclude: Vec<String>,
}

const TIME: Timestamp = Timestamp { seconds: 77, nanoseconds: 0 };

impl Bench {
    /// A context with these files; a name that ends in a slash is a directory, `a -> b` a link.
    fn new(files: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let context = dir.path().join("context");
        std::fs::create_dir(&context).unwrap();
        for file in files {
            make(&context, file);
        }
        Tree::make(&dir.path().join("tree"), &mut std::iter::empty()).unwrap();
        let (kind, exclude) = (CopyKind::Copy, Vec::new());
        Self { dir, ignore: IgnoreFile::default(), owner: None, chmod: None, kind, exclude }
    }

    fn ignoring(mut self, text: &str) -> Self {
        self.ignore = IgnoreFile::parse(text.as_bytes()).unwrap();
        self
    }

    fn context(&self) -> std::path::PathBuf {
        self.dir.path().join("context")
    }

    fn try_copy(&self, source: &str, dest: &str) -> Result<ChangeSet, FilesError> {
        self.try_source(&path(source, None), dest)
    }

    fn try_source(&self, source: &CopySource, dest: &str) -> Result<ChangeSet, FilesError> {
        let context = Dir::open_ambient_dir(self.context(), ambient_authority()).unwrap();
        let files = ContextFiles::new(&context, &self.ignore, "the build context".to_owned());
        let tree = Tree::open(&self.dir.path().join("tree"), "test", JournalCheck::FullWalk).unwrap();
        let shape = if dest.ends_with('/') { DestShape::Directory } else { DestShape::AsIs };
        let path = if dest.len() > 1 { dest.trim_end_matches('/') } else { dest };
        let dest = CopyDest { path: path.to_owned(), shape };
        let copier = Copier {
            tree: &tree,
            kind: self.kind,
            owner: self.owner,
            chmod: self.chmod.as_ref(),
            exclude: &self.exclude,
            checkouts: &[],
            fetched: &[],
            times: CopyTimes::Set,
        };
        copier.copy(&files, source, &dest, &mut |_| {})?;
        Ok(tree.finish(MtimeRule::SetTo(TIME)).unwrap().0)
    }

    /// What a copy changes, as `path mode uid:gid`, links as `path -> target`.
    fn copy(&self, source: &str, dest: &str) -> Vec<String> {
        shown(&self.try_copy(source, dest).unwrap())
    }
}

fn path(source: &str, include: Option<Include>) -> CopySource {
    CopySource::Path { pattern: format!("/{source}"), written: source.to_owned(), include }
}

/// `base` and what `--parents` takes of it.
fn parents(base: &str, pattern: &str, presence: Presence) -> CopySource {
    path(base, Some(Include { pattern: pattern.to_owned(), presence }))
}

fn make(root: &Path, file: &str) {
    let parent = |path: &Path| std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    if let Some((name, target)) = file.split_once(" -> ") {
        parent(&root.join(name));
        symlink(target, root.join(name)).unwrap();
    } else if file.ends_with('/') {
        std::fs::create_dir_all(root.join(file)).unwrap();
        mode(&root.join(file), 0o750);
    } else {
        parent(&root.join(file));
        std::fs::write(root.join(file), file).unwrap();
        mode(&root.join(file), 0o640);
    }
}

fn shown(changes: &ChangeSet) -> Vec<String> {
    let line = |(path, change): (&RootPath, &Change)| match change {
        Change::Remove => format!("{path} removed"),
        Change::Upsert(entry) | Change::Opaque(entry) => {
            assert_eq!(entry.attributes.mtime, TIME, "{path}");
            let wbuild_layer::Attributes { mode, uid, gid, .. } = &entry.attributes;
            match &entry.kind {
                EntryKind::Symlink { target } => format!("{path} -> {}", String::from_utf8_lossy(target)),
                EntryKind::HardLink { target } => format!("{path} = {target}"),
                EntryKind::Directory => format!("{path}/ {mode:o} {uid}:{gid}"),
                _ => format!("{path} {mode:o} {uid}:{gid}"),
            }
        }
    };
    changes.iter().map(line).collect()
}

#[test]
fn a_file_becomes_the_name_or_goes_into_the_directory() {
    let bench = Bench::new(&["a"]);
    assert_eq!(bench.copy("a", "/b"), ["/b 640 0:0"]);
    assert_eq!(bench.copy("a", "/d/"), ["/d/ 755 0:0", "/d/a 640 0:0"]);
    assert_eq!(bench.copy("a", "/d"), ["/d/a 640 0:0"], "a directory is there");
    assert_eq!(bench.copy("a", "/x/y/z"), ["/x/ 755 0:0", "/x/y/ 755 0:0", "/x/y/z 640 0:0"]);
    assert_eq!(bench.copy("a", "/"), ["/a 640 0:0"]);
}

#[test]
fn a_directory_stands_for_its_content() {
    let bench = Bench::new(&["dir/", "dir/f", "dir/sub/", "dir/sub/g"]);
    let copied = ["/out/ 755 0:0", "/out/f 640 0:0", "/out/sub/ 750 0:0", "/out/sub/g 640 0:0"];
    assert_eq!(bench.copy("dir", "/out"), copied);
    let bench = Bench::new(&["dir/f", "dir/sub/", "dir/sub/g"]);
    assert_eq!(
        bench.copy("", "/"),
        ["/dir/ 755 0:0", "/dir/f 640 0:0", "/dir/sub/ 750 0:0", "/dir/sub/g 640 0:0"]
    );
}

#[test]
fn what_is_there_is_replaced_but_not_a_directory_by_a_file() {
    let bench = Bench::new(&["a", "b", "dir/x", "link -> a"]);
    bench.copy("a", "/f");
    assert_eq!(bench.copy("b", "/f"), ["/f 640 0:0"]);
    bench.copy("dir", "/f2");
    bench.copy("a", "/d/b/");
    assert!(matches!(bench.try_copy("b", "/d/"), Err(FilesError::Conflict { .. })));
    assert!(matches!(bench.try_copy("dir", "/f"), Err(FilesError::Conflict { .. })));
    assert!(matches!(bench.try_copy("a", "/f/below"), Err(FilesError::Conflict { .. })));
}

#[test]
fn links_are_copied_in_directories_and_followed_as_sources() {
    let bench = Bench::new(&["dir/real", "dir/link -> real", "top -> dir/real", "way -> dir"]);
    assert_eq!(bench.copy("dir", "/d"), ["/d/ 755 0:0", "/d/link -> real", "/d/real 640 0:0"]);
    assert_eq!(bench.copy("top", "/x/"), ["/x/ 755 0:0", "/x/top 640 0:0"]);
    assert_eq!(bench.copy("way/real", "/y"), ["/y 640 0:0"]);
}

#[test]
fn no_link_leads_out_of_the_context_or_the_tree() {
    let bench = Bench::new(&["abs -> /etc/passwd", "up -> ../../../../etc/passwd", "in -> /a", "a"]);
    for source in ["abs", "up", "../../etc/passwd", "up/../../etc/passwd"] {
        let missing = bench.try_copy(source, "/x");
        assert!(matches!(missing, Err(FilesError::Missing { .. } | FilesError::Read { .. })), "{source}");
    }
    assert_eq!(bench.copy("in", "/x"), ["/x 640 0:0"], "an absolute link starts at the context");
    let tree = Bench::new(&["d/out -> ../../../../../../tmp", "d/abs -> /elsewhere", "f"]);
    tree.copy("d", "/");
    assert_eq!(tree.copy("f", "/abs/"), ["/elsewhere/ 755 0:0", "/elsewhere/f 640 0:0"]);
    assert_eq!(tree.copy("f", "/out/"), ["/tmp/ 755 0:0", "/tmp/f 640 0:0"], "the tree's /tmp");
}

#[test]
fn owners_and_modes_are_given() {
    let mut bench = Bench::new(&["dir/f", "link -> dir/f"]);
    bench.owner = Some((5, 6));
    assert_eq!(bench.copy("dir", "/o"), ["/o/ 755 5:6", "/o/f 640 5:6"]);
    bench.chmod = Some(Chmod::Octal(0o4711));
    assert_eq!(bench.copy("dir", "/p"), ["/p/ 4711 5:6", "/p/f 4711 5:6"]);
    assert_eq!(
        bench.copy("link", "/deep/er/l"),
        ["/deep/ 755 5:6", "/deep/er/ 755 5:6", "/deep/er/l 4711 5:6"]
    );
}

#[test]
fn globs_match_one_level_each() {
    let bench = Bench::new(&["a.go", "b.go", "c.txt", "sub/x.go", "sub/deep/y.go"]);
    assert_eq!(bench.copy("*.go", "/g/"), ["/g/ 755 0:0", "/g/a.go 640 0:0", "/g/b.go 640 0:0"]);
    assert_eq!(bench.copy("*/*.go", "/h/"), ["/h/ 755 0:0", "/h/x.go 640 0:0"]);
    assert!(bench.copy("*.c", "/n/").is_empty(), "as in BuildKit, no match is no error");
    assert!(matches!(bench.try_copy("nowhere/*.c", "/n/"), Err(FilesError::Missing { .. })));
}

#[test]
fn what_is_ignored_is_not_there() {
    let bench = Bench::new(&["keep", "drop", "dir/a", "dir/b", "dir/sub/c"]).ignoring("drop\ndir\n!dir/b\n");
    assert_eq!(bench.copy("", "/"), ["/dir/ 755 0:0", "/dir/b 640 0:0", "/keep 640 0:0"]);
    let missing = bench.try_copy("drop", "/x").unwrap_err();
    assert!(matches!(missing, FilesError::Missing { ignored: Ignored::Yes, .. }), "{missing}");
    let missing = bench.try_copy("nowhere", "/x").unwrap_err();
    assert!(matches!(missing, FilesError::Missing { ignored: Ignored::No, .. }), "{missing}");
}

#[test]
fn what_is_excluded_is_not_copied() {
    let mut bench =
        Bench::new(&["app/a.go", "app/a_test.go", "app/sub/b_test.go", "app/sub/b.go", "app/doc/x"]);
    bench.exclude = vec!["**/*_test.go".to_owned(), "doc".to_owned()];
    assert_eq!(bench.copy("app", "/o")[1..], ["/o/a.go 640 0:0", "/o/sub/ 755 0:0", "/o/sub/b.go 640 0:0"]);
    bench.exclude = vec!["sub".to_owned(), "!sub/b.go".to_owned(), "doc".to_owned(), "*.go".to_owned()];
    assert_eq!(bench.copy("app", "/p"), ["/p/ 755 0:0", "/p/sub/ 755 0:0", "/p/sub/b.go 640 0:0"]);
    bench.exclude = vec!["a.go".to_owned()];
    assert_eq!(bench.copy("app/a.go", "/q"), ["/q 640 0:0"], "what is named itself is copied");
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    let bench = Bench::new(&["a/", "a/b/", "a/b/c/", "a/b/c/f", "a/b/g", "a/x/", "a/x/h", "z/"]);
    let copied = |base: &str, pattern: &str, dest: &str| {
        shown(&bench.try_source(&parents(base, pattern, Presence::Optional), dest).unwrap())
    };
    assert_eq!(
        copied("", "a/b/c", "/out/"),
        [
            "/out/ 755 0:0",
            "/out/a/ 750 0:0",
            "/out/a/b/ 750 0:0",
            "/out/a/b/c/ 750 0:0",
            "/out/a/b/c/f 640 0:0"
        ]
    );
    assert_eq!(copied("a/b", "c", "/p/"), ["/p/ 755 0:0", "/p/c/ 750 0:0", "/p/c/f 640 0:0"]);
    assert_eq!(copied("a/b", "*/f", "/p2/"), ["/p2/ 755 0:0", "/p2/c/ 750 0:0", "/p2/c/f 640 0:0"]);
    assert_eq!(copied("a", "**/h", "/q/"), ["/q/ 755 0:0", "/q/x/ 750 0:0", "/q/x/h 640 0:0"]);
    assert_eq!(copied("a", "nothing*", "/r/"), ["/r/ 755 0:0"]);
    let missing = bench.try_source(&parents("", "a/nothing", Presence::Required), "/s/").unwrap_err();
    assert!(matches!(missing, FilesError::Missing { .. }), "{missing}");
}

#[test]
fn hard_links_stay_hard_links() {
    let bench = Bench::new(&["dir/a"]);
    std::fs::hard_link(bench.context().join("dir/a"), bench.context().join("dir/b")).unwrap();
    assert_eq!(bench.copy("dir", "/d"), ["/d/ 755 0:0", "/d/a 640 0:0", "/d/b = /d/a"]);
}

#[test]
fn a_heredoc_is_a_file() {
    let bench = Bench::new(&[]);
    let source = CopySource::Inline { name: "EOF".to_owned(), content: "text\n".to_owned() };
    assert_eq!(shown(&bench.try_source(&source, "/etc/").unwrap()), ["/etc/ 755 0:0", "/etc/EOF 644 0:0"]);
    assert_eq!(shown(&bench.try_source(&source, "/motd").unwrap()), ["/motd 644 0:0"]);
}

/// A tar of these entries, uncompressed; a name with ` -> ` is a link, one with a slash at its end a directory.
pub(crate) fn tar(entries: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let (name, target) = entry.split_once(" -> ").unwrap_or((entry, ""));
        let kind = if !target.is_empty() {
            b'2'
        } else if name.ends_with('/') {
            b'5'
        } else {
            b'0'
        };
        let mut block = [0_u8; 512];
        let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000600\0");
        put(108, "0000011\0");
        put(116, "0000012\0");
        put(124, "00000000001\0");
        put(136, "00000000001\0");
        put(148, "        ");
        put(157, target);
        put(257, "ustar\x0000");
        block[156] = kind;
        if kind != b'0' {
            block[124..135].copy_from_slice(b"00000000000");
        }
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend_from_slice(&block);
        if kind == b'0' {
            out.push(b'x');
            out.resize(out.len() + 511, 0);
        }
    }
    out.resize(out.len() + 1024, 0);
    out
}

#[test]
fn add_unpacks_an_archive_within_its_destination() {
    let mut bench = Bench::new(&[]);
    bench.kind = CopyKind::Add;
    std::fs::write(bench.context().join("a.tar"), tar(&["./", "d/", "d/f", "link -> /etc", "link/g"]))
        .unwrap();
    let unpacked = bench.copy("a.tar", "/out");
    assert_eq!(
        unpacked,
        [
            "/out/ 755 0:0",
            "/out/d/ 600 9:10",
            "/out/d/f 600 9:10",
            "/out/etc/ 755 0:0",
            "/out/etc/g 600 9:10",
            "/out/link -> /etc"
        ],
        "a link's root is the destination, as it is in Docker's chroot"
    );
    bench.kind = CopyKind::Copy;
    assert_eq!(bench.copy("a.tar", "/c/"), ["/c/ 755 0:0", "/c/a.tar 644 0:0"]);
}

#[test]
fn an_archive_cannot_leave_the_tree() {
    let mut bench = Bench::new(&[]);
    bench.kind = CopyKind::Add;
    std::fs::write(bench.context().join("a.tar"), tar(&["../../evil"])).unwrap();
    match bench.try_copy("a.tar", "/out/") {
        Err(FilesError::Archive { .. }) => {}
        Ok(changes) => assert!(shown(&changes).iter().all(|line| line.starts_with("/out")), "{changes:?}"),
        Err(other) => panic!("{other}"),
    }
    assert!(!bench.dir.path().join("evil").exists());
}

#[test]
fn a_copy_between_trees_keeps_owners_but_not_the_views() {
    let bench = Bench::new(&["f"]);
    let mut chowned = Bench::new(&["f"]);
    chowned.owner = Some((3, 4));
    chowned.copy("f", "/data/");
    let from = Tree::open(&chowned.dir.path().join("tree"), "stage 0", JournalCheck::Off).unwrap();
    let tree = Tree::open(&bench.dir.path().join("tree"), "test", JournalCheck::FullWalk).unwrap();
    let (kind, times) = (CopyKind::Copy, CopyTimes::Kept);
    let copier = Copier {
        tree: &tree,
        kind,
        owner: None,
        chmod: None,
        exclude: &[],
        fetched: &[],
        checkouts: &[],
        times,
    };
    let source = path("", None);
    let dest = CopyDest { path: "/".to_owned(), shape: DestShape::Directory };
    copier.copy(&from, &source, &dest, &mut |_| {}).unwrap();
    let changes = tree.finish(MtimeRule::SetTo(TIME)).unwrap().0;
    assert_eq!(shown(&changes), ["/data/ 755 3:4", "/data/f 640 3:4"]);
}

#[test]
fn user_attributes_of_a_context_are_kept() {
    let bench = Bench::new(&["f"]);
    let set =
        rustix::fs::setxattr(bench.context().join("f"), "user.kept", b"v", rustix::fs::XattrFlags::empty());
    // Not every filesystem that holds a temporary directory has them (tmpfs before Linux 6.6).
    if set == Err(rustix::io::Errno::OPNOTSUPP) {
        return;
    }
    set.unwrap();
    let changes = bench.try_copy("f", "/f").unwrap();
    let Some(Change::Upsert(entry)) = changes.get(&RootPath::new("f").unwrap()) else {
        panic!("{changes:?}")
    };
    assert_eq!(entry.attributes.xattrs, BTreeMap::from([(b"user.kept".to_vec(), b"v".to_vec())]));
}
