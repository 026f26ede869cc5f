//! Layers of our own writer: they come back as they were, and umoci and skopeo as oracles agree.

use super::*;

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
        case.root.unpack(&mut layers, Limits::default()).unwrap_err()
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
