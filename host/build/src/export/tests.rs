//! Root filesystems to directories.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wbuild_layer::{
    Attributes, Change, ChangeSet, Compression, Device, Entry, EntryKind, RootPath, Threads, Timestamp,
    write_layer,
};
use wbuild_store::Expected;

use super::*;

fn path(text: &str) -> RootPath {
    RootPath::new(text).unwrap()
}

fn entry(kind: EntryKind, mode: u32) -> Change {
    let mtime = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };
    Change::Upsert(Entry {
        kind,
        attributes: Attributes { mode, uid: 7, gid: 8, mtime, ..Attributes::default() },
    })
}

#[test]
fn a_directory_has_what_its_caller_can_have_and_nothing_leaves_it() {
    let files = tempfile::tempdir().unwrap();
    let dir = Dir::open_ambient_dir(files.path(), ambient_authority()).unwrap();
    dir.create_dir_all("store").unwrap();
    dir.create_dir_all("out").unwrap();
    dir.create_dir_all("elsewhere").unwrap();
    let store = Store::open(&dir.open_dir("store").unwrap()).unwrap();
    let changes: ChangeSet = [
        (path("etc"), entry(EntryKind::Directory, 0o555)),
        (path("etc/name"), entry(EntryKind::File { size: 2 }, 0o4755)),
        (path("etc/other"), entry(EntryKind::HardLink { target: path("etc/name") }, 0o4755)),
        (path("link"), entry(EntryKind::Symlink { target: b"/etc/name".to_vec() }, 0o777)),
        (path("null"), entry(EntryKind::CharDevice(Device { major: 1, minor: 3 }), 0o666)),
        (path("pipe"), entry(EntryKind::Fifo, 0o600)),
    ]
    .into_iter()
    .collect();
    let ingest = store.ingest(Expected::anything()).unwrap();
    let open = |_: &RootPath| Ok(io::Cursor::new(b"hi"));
    let (ingest, blob) = write_layer(&changes, open, Compression::Gzip, Threads::exactly(1), ingest).unwrap();
    ingest.commit().unwrap();
    let layers = Layers::one(&store, blob.descriptor(), blob.diff_id);
    // Somebody's link must not lead out.
    std::os::unix::fs::symlink(files.path().join("elsewhere"), files.path().join("out/etc")).unwrap();
    let out = dir.open_dir("out").unwrap();
    let mut sink = DirectorySink::new(&out);
    Union::of(&layers).unwrap().write(&layers, &mut sink).unwrap();
    assert_eq!(sink.left_out().unwrap(), "1 device left out; type=tar has everything");
    let at = |name: &str| std::fs::symlink_metadata(files.path().join("out").join(name)).unwrap();
    assert_eq!(at("etc").permissions().mode() & 0o7777, 0o555);
    assert_eq!(
        (at("etc/name").permissions().mode() & 0o7777, at("etc/name").mtime()),
        (0o755, 1_700_000_000)
    );
    assert_eq!(at("etc/name").ino(), at("etc/other").ino());
    assert_eq!(std::fs::read_link(files.path().join("out/link")).unwrap(), Path::new("/etc/name"));
    assert!(!files.path().join("out/null").exists());
    assert_eq!(at("pipe").mode() & 0o170_000, 0o010_000);
    assert_eq!(dir.read_dir("elsewhere").unwrap().count(), 0);
    // Again over itself.
    let mut sink = DirectorySink::new(&out);
    if rustix::process::geteuid().is_root() {
        Union::of(&layers).unwrap().write(&layers, &mut sink).unwrap();
    }
    std::fs::set_permissions(files.path().join("out/etc"), std::fs::Permissions::from_mode(0o755)).unwrap();
}
