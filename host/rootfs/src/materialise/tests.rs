//! Hostile archives by name, and at random.
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

mod written;

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
        self.root.unpack(&mut layers, Limits::default())
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
    let result = case.root.unpack(&mut layers, limits);
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
