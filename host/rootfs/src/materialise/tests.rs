//! Hostile archives by name, round trips, and umoci and skopeo as oracles.
#![expect(clippy::disallowed_methods, reason = "tests look at their own trees from outside")]

use super::*;
use crate::{Owner, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, stat_fd};
use rustix::fs::Statx;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use wbuild_layer::{
    Attributes, Change, ChangeSet, Device, Entry, EntryKind, Malformed, Threads, Timestamp, Xattrs,
    write_layer,
};
use wbuild_layer::{Compression, Digest};

/// A tar archive of hostile or ordinary entries, without any check: names go to the header as they are.
#[derive(Default, Clone)]
struct Archive(Vec<u8>);

impl Archive {
    fn entry(mut self, kind: u8, name: &str, link: &str, content: &[u8], mode: u32) -> Self {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[136..147].copy_from_slice(b"14524650000");
        header[156] = kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().div_ceil(512) * 512, 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.entry(b'0', name, "", content.as_bytes(), 0o644)
    }

    fn dir(self, name: &str, mode: u32) -> Self {
        self.entry(b'5', name, "", b"", mode)
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name, target, b"", 0o777)
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name, target, b"", 0o644)
    }

    fn blob(&self) -> Vec<u8> {
        [self.0.clone(), vec![0; 1024]].concat()
    }
}

fn archive() -> Archive {
    Archive::default()
}

struct Case {
    dir: TempDir,
    root: Root,
}

impl Case {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        let root = Root::create(&dir.path().join("tree"), Owner::Caller).unwrap();
        Self { dir, root }
    }

    fn blobs(&self, blobs: &[Vec<u8>]) -> Result<Vec<Verified>, MaterialiseError> {
        let mut layers = blobs.iter().cloned().map(|blob| {
            let expected = Expected { digest: Digest::of(&blob), size: blob.len() as u64, diff_id: None };
            Ok(Layer { blob: Box::new(io::Cursor::new(blob)), expected })
        });
        self.root.materialise(Materialise::Unpack { layers: &mut layers, limits: Limits::default() })
    }

    /// Unpacks and checks that nothing outside the tree is other than before.
    fn unpack(&self, layers: &[Archive]) -> Result<(), MaterialiseError> {
        let blobs: Vec<_> = layers.iter().map(Archive::blob).collect();
        let result = self.blobs(&blobs);
        let listed = |path: &Path| -> Vec<_> {
            let mut names: Vec<_> =
                std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(listed(self.dir.path()), ["outside", "tree"]);
        assert_eq!(listed(&self.dir.path().join("tree")), ["fs"]);
        assert_eq!(listed(&self.dir.path().join("outside")), ["secret"]);
        assert_eq!(std::fs::read(self.dir.path().join("outside/secret")).unwrap(), b"secret");
        let secret = std::fs::metadata(self.dir.path().join("outside/secret")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::nlink(&secret), 1);
        result.map(drop)
    }

    fn stat(&self, path: &str) -> Option<Statx> {
        let fd = self.root.open_path(&RootPath::new(path).unwrap()).unwrap()?;
        let mut stat = stat_fd(fd.as_fd()).unwrap();
        self.root.records().show(&mut stat);
        Some(stat)
    }

    fn mode(&self, path: &str) -> u32 {
        self.stat(path).unwrap_or_else(|| panic!("{path} is not there")).stx_mode.into()
    }

    fn kind(&self, path: &str) -> Option<u32> {
        self.stat(path).map(|stat| u32::from(stat.stx_mode) & S_IFMT)
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.dir.path().join("tree/fs").join(path)).unwrap()
    }

    fn time(&self, path: &str) -> i64 {
        self.stat(path).unwrap().stx_mtime.tv_sec
    }

    /// Where the outside directory is, as somebody knows who made the archive.
    fn outside(&self) -> String {
        self.dir.path().join("outside").to_str().unwrap().to_owned()
    }
}

fn refusal(result: Result<(), MaterialiseError>) -> Refusal {
    match result.unwrap_err() {
        MaterialiseError::Refused { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

fn at(path: &str) -> RootPath {
    RootPath::new(path).unwrap()
}

const TIME: i64 = 0o14_524_650_000;

#[test]
fn absolute_names_are_of_the_root() {
    let case = Case::new();
    case.unpack(&[archive().file("/etc/motd", "hello").file("/../../etc/issue", "there")]).unwrap();
    assert_eq!((case.read("etc/motd"), case.read("etc/issue")), ("hello".into(), "there".into()));
}

#[test]
fn dot_dot_out_of_the_root_is_refused() {
    for name in ["../evil", "a/../../evil", "../outside/secret"] {
        let case = Case::new();
        let error = case.unpack(&[archive().file(name, "evil")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("layer 1: entry /{name} of the layer: its name leads out of the root directory")
        );
    }
}

#[test]
fn a_symlinked_parent_is_followed_within_the_root_only() {
    let case = Case::new();
    let outside = case.outside();
    case.unpack(&[
        archive()
            .dir("usr/lib/", 0o755)
            .symlink("lib", "usr/lib")
            .symlink("abs", &outside)
            .symlink("up", "../../../outside"),
        archive().file("lib/libc.so", "libc"),
    ])
    .unwrap();
    assert_eq!(case.read("usr/lib/libc.so"), "libc");
    assert_eq!(case.kind("lib"), Some(S_IFLNK));
    // The links out are text like any other; nothing can be put where they seem to lead.
    let case = Case::new();
    let result = case.unpack(&[archive().symlink("abs", &outside).file("abs/secret", "evil")]);
    assert_eq!(refusal(result), Refusal::ParentNotDirectory(at("abs")));
    let case = Case::new();
    case.unpack(&[archive()
        .dir("outside/", 0o755)
        .symlink("d/up", "../../../outside")
        .file("d/up/secret", "inside")])
        .unwrap();
    assert_eq!(case.read("outside/secret"), "inside");
}

#[test]
fn a_link_swapped_for_a_directory_is_not_followed_by_a_kept_descriptor() {
    let case = Case::new();
    let layer = archive()
        .dir("real/", 0o755)
        .symlink("d", "real")
        .file("d/one", "1")
        .dir("d/", 0o755)
        .file("d/two", "2");
    case.unpack(&[layer]).unwrap();
    assert_eq!((case.read("real/one"), case.read("d/two")), ("1".into(), "2".into()));
    assert_eq!(case.kind("d"), Some(S_IFDIR));
    assert!(case.stat("real/two").is_none());
}

#[test]
fn a_file_is_written_over_a_link_not_through_it() {
    let case = Case::new();
    let outside = case.outside();
    case.unpack(&[
        archive().symlink("s", &format!("{outside}/secret")).file("target", "old").symlink("t", "target"),
        archive().file("s", "new").file("t", "new"),
    ])
    .unwrap();
    assert_eq!(
        (case.read("s"), case.read("t"), case.read("target")),
        ("new".into(), "new".into(), "old".into())
    );
    assert_eq!(case.kind("s"), Some(S_IFREG));
}

#[test]
fn hard_links_lead_nowhere_outside() {
    let case = Case::new();
    let outside = case.outside();
    let absolute = format!("{outside}/secret");
    let missing = refusal(case.unpack(&[archive().hard_link("h", &absolute)]));
    assert_eq!(missing, Refusal::MissingTarget(at(&absolute)));
    let case = Case::new();
    let error = case.unpack(&[archive().hard_link("h", "../outside/secret")]).unwrap_err();
    let text = "its hard link target \"../outside/secret\" leads out of the root directory";
    assert!(error.to_string().contains(text), "{error}");
    let case = Case::new();
    let through = archive().symlink("s", &outside).hard_link("h", "s/secret");
    assert_eq!(refusal(case.unpack(&[through])), Refusal::MissingTarget(at("s/secret")));
    // A hard link to a link is one more name of the link itself.
    let case = Case::new();
    case.unpack(&[archive().symlink("s", &absolute).hard_link("h", "s")]).unwrap();
    assert_eq!(case.kind("h"), Some(S_IFLNK));
    let case = Case::new();
    let result = case.unpack(&[archive().dir("d/", 0o755).hard_link("h", "d")]);
    assert_eq!(refusal(result), Refusal::DirectoryTarget(at("d")));
}

#[test]
fn device_nodes_are_records() {
    let case = Case::new();
    let mut layer = archive().entry(b'4', "disk", "", b"", 0o660);
    let last = layer.0.len() - 512;
    layer.0[last + 329..last + 336].copy_from_slice(b"0000010");
    layer.0[last + 337..last + 344].copy_from_slice(b"0000001");
    layer.0[last + 148..last + 156].fill(b' ');
    let sum: u32 = layer.0[last..last + 512].iter().map(|b| u32::from(*b)).sum();
    layer.0[last + 148..last + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    case.unpack(&[layer.entry(b'3', "dev/null", "", b"", 0o666).entry(b'6', "fifo", "", b"", 0o600)])
        .unwrap();
    let disk = case.stat("disk").unwrap();
    assert_eq!((case.mode("disk"), disk.stx_rdev_major, disk.stx_rdev_minor), (0o060_660, 8, 1));
    assert_eq!(case.mode("dev/null"), S_IFCHR | 0o666);
    assert_eq!(case.mode("fifo"), 0o010_600);
    assert!(case.root.may_hold_fifos());
    let real = std::fs::symlink_metadata(case.dir.path().join("tree/fs/disk")).unwrap();
    assert!(real.is_file() && real.len() == 0);
}

#[test]
fn a_file_replaces_a_directory_and_a_directory_a_file() {
    let case = Case::new();
    case.unpack(&[
        archive().dir("d/", 0o755).file("d/a/b", "x").file("f", "y"),
        archive().file("d", "now a file").dir("f/", 0o700).file("f/in", "z"),
    ])
    .unwrap();
    assert_eq!((case.read("d"), case.read("f/in")), ("now a file".into(), "z".into()));
}

#[test]
fn the_last_of_duplicates_stays() {
    let case = Case::new();
    let layer = archive()
        .file("a", "one")
        .file("a", "two")
        .symlink("a", "b")
        .file("a", "three")
        .dir("d/", 0o700)
        .dir("d/", 0o711);
    case.unpack(&[layer.hard_link("h", "a").hard_link("h", "a").hard_link("a", "a")]).unwrap();
    assert_eq!(case.read("a"), "three");
    assert_eq!(case.mode("d"), S_IFDIR | 0o711);
    assert_eq!(case.stat("h").unwrap().stx_nlink, 2);
}

#[test]
fn a_file_in_the_way_of_a_directory_is_refused() {
    let case = Case::new();
    let result = case.unpack(&[archive().file("a", "").file("a/b/c", "")]);
    assert_eq!(refusal(result), Refusal::ParentNotDirectory(at("a")));
    let case = Case::new();
    let result = case.unpack(&[archive().symlink("loop", "loop").file("loop/x", "")]);
    assert_eq!(refusal(result), Refusal::ParentNotDirectory(at("loop")));
}

#[test]
fn whiteouts_concern_lower_layers_only() {
    let case = Case::new();
    let lower = archive()
        .file("d/old", "1")
        .file("d/kept", "2")
        .file("gone/deep/er", "3")
        .file("e/low", "4")
        .file("w", "5");
    let upper = archive()
        .file("d/new", "6")
        .file("d/.wh.old", "")
        .file(".wh.gone", "")
        .file("e/sub/high", "7")
        .file("e/.wh..wh..opq", "")
        .file("e/late", "8")
        .file("w", "9")
        .file(".wh.w", "")
        .file("absent/.wh.never", "")
        .file(".wh..wh.plnk", "");
    case.unpack(&[lower, upper]).unwrap();
    let there = |path: &str| case.stat(path).is_some();
    assert!(there("d/new") && there("d/kept") && there("e/sub/high") && there("e/late"));
    assert!(
        !there("d/old") && !there("gone") && !there("e/low") && !there("absent") && !there(".wh..wh.plnk")
    );
    assert_eq!(case.read("w"), "9");
}

#[test]
fn whiteouts_do_not_reach_outside() {
    let case = Case::new();
    let outside = case.outside();
    let lower = archive().symlink("s", &outside).symlink("up", "../../outside");
    case.unpack(&[lower, archive().file("s/.wh.secret", "").file("up/.wh..wh..opq", "")]).unwrap();
    let case = Case::new();
    // The link goes, not what it leads to.
    case.unpack(&[archive().symlink("s", &outside), archive().file(".wh.s", "")]).unwrap();
    assert!(case.stat("s").is_none());
    for name in [".wh...", "a/.wh..", ".wh."] {
        let error = Case::new().unpack(&[archive().file(name, "")]).unwrap_err();
        assert!(matches!(
            error,
            MaterialiseError::Layer { source: ReadError::Entry { source: Malformed::Whiteout, .. }, .. }
        ));
    }
}

#[test]
fn a_bomb_is_an_error() {
    let case = Case::new();
    let entry = Entry { kind: EntryKind::File { size: 64 << 20 }, attributes: Attributes::default() };
    let changes: ChangeSet = [(at("zeros"), Change::Upsert(entry))].into_iter().collect();
    let open = |_: &RootPath| Ok(io::repeat(0).take(64 << 20));
    let (bomb, _) = write_layer(&changes, open, Compression::Gzip, Threads::exactly(1), Vec::new()).unwrap();
    let expected = Expected { digest: Digest::of(&bomb), size: bomb.len() as u64, diff_id: None };
    let mut layers = [Ok(Layer { blob: Box::new(io::Cursor::new(bomb)), expected })].into_iter();
    let limits = Limits { ratio_from: 1 << 20, ..Limits::default() };
    let result = case.root.materialise(Materialise::Unpack { layers: &mut layers, limits });
    assert!(matches!(result, Err(MaterialiseError::Layer { source: ReadError::Limit { .. }, .. })));
}

#[test]
fn modes_times_and_implied_parents() {
    let case = Case::new();
    let layer = archive()
        .dir("d/", 0o1777)
        .entry(b'0', "d/tool", "", b"x", 0o6755)
        .entry(b'0', "d/none", "", b"x", 0)
        .file("implied/by/this", "x");
    case.unpack(&[layer, archive().file("d/later", "y")]).unwrap();
    assert_eq!(case.mode("d"), S_IFDIR | 0o1777);
    assert_eq!((case.mode("d/tool"), case.mode("d/none")), (S_IFREG | 0o6755, S_IFREG));
    assert_eq!(case.mode("implied/by"), S_IFDIR | 0o755);
    for path in ["d", "d/tool", "d/later", "implied", "implied/by", "implied/by/this"] {
        assert_eq!(case.time(path), TIME, "{path}");
    }
    for path in ["", "proc", "dev", "sys"] {
        assert_eq!(case.time(path), 0, "{path}");
    }
    // Really setuid is nothing.
    let real = std::fs::symlink_metadata(case.dir.path().join("tree/fs/d/tool")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&real), S_IFREG | 0o755);
}

fn attributes(mode: u32, uid: u32) -> Attributes {
    let mut xattrs = Xattrs::new();
    if uid == 42 {
        // cap_net_raw+ep, revision 2 (capability.h); the kernel holds umoci to the format, and to files.
        if mode & 0o111 == 0o111 {
            let capability = [vec![1, 0, 0, 2, 0, 0x20, 0, 0], vec![0; 12]].concat();
            xattrs.insert(b"security.capability".to_vec(), capability);
        }
        xattrs.insert(b"user.note".to_vec(), b"hello".to_vec());
    }
    Attributes {
        mode,
        uid,
        gid: uid / 2,
        mtime: Timestamp { seconds: 1_600_000_000, nanoseconds: 5 },
        xattrs,
    }
}

/// One of everything, as a changeset.
fn sample() -> ChangeSet {
    let mut changes = ChangeSet::default();
    let mut put = |path: &str, kind: EntryKind, mode: u32, uid: u32| {
        changes.insert(at(path), Change::Upsert(Entry { kind, attributes: attributes(mode, uid) }));
    };
    put("dir", EntryKind::Directory, 0o2750, 42);
    put("dir/file", EntryKind::File { size: 3_000_000 }, 0o4711, 42);
    put("dir/link", EntryKind::HardLink { target: at("dir/file") }, 0o4711, 42);
    put("dir/empty", EntryKind::File { size: 0 }, 0o400, 7);
    put("etc", EntryKind::Directory, 0o755, 0);
    put("etc/symlink", EntryKind::Symlink { target: b"../dir/file".to_vec() }, 0o777, 9);
    put("etc/tty", EntryKind::CharDevice(Device { major: 5, minor: 0 }), 0o620, 5);
    put("etc/fifo", EntryKind::Fifo, 0o622, 3);
    let long = "n".repeat(200);
    put(&format!("etc/{long}"), EntryKind::File { size: 1 }, 0o644, 3_000_000_000);
    changes
}

fn blob(changes: &ChangeSet, compression: Compression) -> Vec<u8> {
    let open = |path: &RootPath| {
        Ok(io::repeat(path.as_bytes()[0]).take(match changes.get(path) {
            Some(Change::Upsert(Entry { kind: EntryKind::File { size }, .. })) => *size,
            other => panic!("{other:?}"),
        }))
    };
    write_layer(changes, open, compression, Threads::exactly(2), Vec::new()).unwrap().0
}

#[test]
fn what_is_unpacked_is_what_was_written() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let case = Case::new();
        let wanted = sample();
        case.blobs(&[blob(&wanted, compression)]).unwrap();
        for (path, change) in wanted.iter() {
            let Change::Upsert(Entry { attributes, .. }) = change else { panic!("{path}") };
            let fd = case.root.open_path(path).unwrap().unwrap();
            let stat = stat_fd(fd.as_fd()).unwrap();
            let record = case.root.records().get(&stat);
            assert_eq!(
                (record.uid, record.gid, record.mode),
                (attributes.uid, attributes.gid, attributes.mode),
                "{path}"
            );
            assert_eq!(record.xattrs, attributes.xattrs, "{path}");
            assert_eq!((stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec), (1_600_000_000, 5), "{path}");
        }
        assert_eq!(case.read("dir/file"), "d".repeat(3_000_000));
        let key = crate::InodeKey::of(&case.stat("dir/file").unwrap());
        assert_eq!(case.root.links().names(&key), [at("dir/file"), at("dir/link")]);
    }
}

/// The tree lives through persist and open, and a step that does nothing changes nothing in it.
#[test]
fn a_tree_that_was_unpacked_is_settled() {
    let case = Case::new();
    case.blobs(&[blob(&sample(), Compression::Gzip)]).unwrap();
    case.root.persist().unwrap();
    let again = Root::open(&case.dir.path().join("tree"), Owner::Caller).unwrap();
    again.begin(crate::JournalCheck::FullWalk).unwrap();
    assert!(matches!(case.root.begin(crate::JournalCheck::Off), Ok(())));
    assert!(matches!(case.blobs(&[]), Err(MaterialiseError::InUse)));
    let finished = again.finish(crate::MtimeRule::Keep).unwrap();
    assert_eq!(finished.changes, ChangeSet::default());
}

#[test]
fn a_layer_that_is_not_what_it_should_be_is_an_error() {
    let good = blob(&sample(), Compression::Gzip);
    let unpack = |blob: Vec<u8>, expected: Expected| {
        let case = Case::new();
        let mut layers = [Ok(Layer { blob: Box::new(io::Cursor::new(blob)), expected })].into_iter();
        case.root
            .materialise(Materialise::Unpack { layers: &mut layers, limits: Limits::default() })
            .unwrap_err()
    };
    let expected =
        Expected { digest: Digest::of(&good), size: good.len() as u64, diff_id: Some(Digest::of(b"")) };
    assert!(
        unpack(good.clone(), expected)
            .to_string()
            .starts_with("layer 1: the layer's content has DiffID sha256:")
    );
    let cut = good[..good.len() - 9].to_vec();
    let error = unpack(cut, Expected { diff_id: None, ..expected }).to_string();
    assert!(error.starts_with("layer 1: the layer's compressed data is damaged"), "{error}");
}

/// An image layout with one image of these layers, for the oracles.
fn layout(dir: &Path, blobs: &[(Vec<u8>, Vec<u8>)]) {
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        std::fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        format!("\"digest\":\"{digest}\",\"size\":{}", bytes.len())
    };
    std::fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let diff_ids: Vec<_> = blobs.iter().map(|(_, tar)| format!("\"{}\"", Digest::of(tar))).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let media = |kind: &str| format!("\"mediaType\":\"application/vnd.oci.image.{kind}\"");
    let layers: Vec<_> = blobs
        .iter()
        .map(|(blob, _)| {
            let suffix = if blob.starts_with(&[0x1f]) { "+gzip" } else { "+zstd" };
            format!("{{{},{}}}", media(&format!("layer.v1.tar{suffix}")), put(blob))
        })
        .collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,{},"config":{{{},{}}},"layers":[{}]}}"#,
        media("manifest.v1+json"),
        media("config.v1+json"),
        put(config.as_bytes()),
        layers.join(",")
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{{},{},"annotations":{{"org.opencontainers.image.ref.name":"t"}}}}]}}"#,
        media("manifest.v1+json"),
        put(manifest.as_bytes())
    );
    std::fs::write(dir.join("index.json"), index).unwrap();
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("the oracle {program} is needed: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The layers of the oracle tests: everything, then whiteouts, an opaque directory, replacements.
fn two_layers() -> [ChangeSet; 2] {
    let mut upper = ChangeSet::default();
    let mut put = |path: &str, change: Change| upper.insert(at(path), change);
    let entry = |kind: EntryKind, mode: u32| Entry { kind, attributes: attributes(mode, 0) };
    put("dir", Change::Upsert(entry(EntryKind::Directory, 0o700)));
    put("dir/empty", Change::Remove);
    put("dir/file", Change::Upsert(entry(EntryKind::File { size: 5 }, 0o600)));
    put("etc", Change::Opaque(entry(EntryKind::Directory, 0o711)));
    put("etc/hosts", Change::Upsert(entry(EntryKind::File { size: 9 }, 0o644)));
    [sample(), upper]
}

/// `path type mode uid gid size mtime` for all of a tree on disk, by GNU find.
fn found(dir: &Path) -> Vec<String> {
    let format = "%P %y %m %U %G %T@ %l\\n";
    let output = Command::new("find").arg(dir).args(["-mindepth", "1", "-printf", format]).output().unwrap();
    assert!(output.status.success());
    let mut lines: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The same lines from a captured tree.
fn pretended(case: &Case) -> Vec<String> {
    let fs = case.dir.path().join("tree/fs");
    let views = ["proc", "dev", "sys"];
    let mut lines = Vec::new();
    for line in found(&fs) {
        let path = line.split(' ').next().unwrap();
        if views.contains(&path) {
            continue;
        }
        let stat = case.stat(path).unwrap();
        let mode = u32::from(stat.stx_mode);
        let kind = match mode & S_IFMT {
            S_IFDIR => 'd',
            S_IFLNK => 'l',
            S_IFREG => 'f',
            S_IFCHR => 'c',
            crate::S_IFIFO => 'p',
            other => panic!("{path}: {other:o}"),
        };
        let link = std::fs::read_link(fs.join(path)).map(|t| t.display().to_string()).unwrap_or_default();
        let (uid, gid, time) = (stat.stx_uid, stat.stx_gid, stat.stx_mtime);
        let bits = mode & 0o7777;
        lines.push(format!("{path} {kind} {bits:o} {uid} {gid} {}.{:09}0 {link}", time.tv_sec, time.tv_nsec));
    }
    lines.sort();
    lines
}

/// umoci unpacks the same layers, as root with real owners and devices, to the same tree; skopeo copies the image, verifying it.
#[test]
fn umoci_and_skopeo_agree() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let temp = TempDir::new().unwrap();
        let image = temp.path().join("image");
        let blobs: Vec<_> =
            two_layers().iter().map(|c| (blob(c, compression), blob(c, Compression::None))).collect();
        layout(&image, &blobs);
        let source = format!("oci:{}:t", image.display());
        let copied = format!("oci:{}:t", temp.path().join("copied").display());
        run("skopeo", &["copy", "--insecure-policy", &source, &copied]);
        if compression == Compression::Zstd {
            // Debian's umoci knows no zstd.
            continue;
        }
        assert!(rustix::process::geteuid().is_root(), "umoci makes devices: run this test as root");
        let bundle = temp.path().join("bundle");
        run("umoci", &["unpack", "--image", &format!("{}:t", image.display()), bundle.to_str().unwrap()]);
        let case = Case::new();
        case.blobs(&blobs.iter().map(|(blob, _)| blob.clone()).collect::<Vec<_>>()).unwrap();
        assert_eq!(pretended(&case), found(&bundle.join("rootfs")));
        assert_eq!(case.read("dir/link"), "d".repeat(3_000_000));
        // As root the tree's files are given to the scratch user, and say the same.
        let owner = Owner::Scratch { uid: 65321, gid: 65321 };
        let root = Root::create(&temp.path().join("scratch"), owner).unwrap();
        let scratch = Case { dir: TempDir::new().unwrap(), root };
        scratch.blobs(&blobs.iter().map(|(blob, _)| blob.clone()).collect::<Vec<_>>()).unwrap();
        let owners =
            Command::new("find").arg(temp.path().join("scratch/fs")).args(["-not", "-uid", "65321"]).output();
        assert_eq!(owners.unwrap().stdout, b"");
    }
}

/// Archives put together at random from what attacks are made of: whatever comes of them, nothing outside the tree is touched.
#[test]
fn random_archives_stay_inside() {
    let mut seed = 7_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    let (mut unpacked, mut refused) = (0, 0);
    for _ in 0..300 {
        let case = Case::new();
        let outside = case.outside();
        let names = [
            "a",
            "a/b",
            "a/b/c",
            "b",
            "b/secret",
            "s",
            "s/secret",
            "./a",
            "/b",
            "a/../b",
            "proc",
            "dev/x",
            "../outside/secret",
        ];
        let targets =
            ["a", "b", "/", ".", "..", "../..", "../../outside", outside.as_str(), "a/b", "s", "/s"];
        let mut layers = Vec::new();
        for _ in 0..=random(3) {
            let mut layer = archive();
            for _ in 0..random(12) {
                let most = names.len() - random(2);
                let name = names[random(most)];
                let target = targets[random(targets.len())];
                let whiteout = |mark: &str| match name.rsplit_once('/') {
                    Some((dir, base)) => format!("{dir}/{}", mark.replace('*', base)),
                    None => mark.replace('*', name),
                };
                layer = match random(8) {
                    0 | 1 => layer.file(name, "evil"),
                    2 => layer.dir(&format!("{name}/"), 0o755),
                    3 | 4 => layer.symlink(name, target),
                    5 => layer.hard_link(name, target),
                    6 => layer.file(&whiteout(".wh.*"), ""),
                    _ => layer.file(&whiteout(".wh..wh..opq"), ""),
                };
            }
            layers.push(layer);
        }
        match case.unpack(&layers) {
            Ok(()) => unpacked += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(unpacked > 20 && refused > 20, "{unpacked} unpacked, {refused} refused");
}
