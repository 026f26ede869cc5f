//! What differs is named, and nothing else is.

use std::io::Cursor;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wbuild_layer::{Attributes, Change, ChangeSet, Compression, Packing, Threads, Timestamp, write_layer};
use wbuild_oci::{Platform, media};
use wbuild_store::Expected;

use super::*;

struct Case {
    store: Store,
    _files: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(files.path(), ambient_authority()).unwrap();
        Self { store: Store::open(&dir).unwrap(), _files: files }
    }

    /// An image of one layer with one file.
    fn image(&self, mode: u32, content: &str, env: &str, packing: Packing) -> Descriptor {
        let mtime = Timestamp { seconds: 7, nanoseconds: 0 };
        let attributes = Attributes { mode, mtime, ..Attributes::default() };
        let entry = Entry { kind: EntryKind::File { size: content.len() as u64 }, attributes };
        let changes: ChangeSet =
            [(RootPath::new("etc/name").unwrap(), Change::Upsert(entry))].into_iter().collect();
        let ingest = self.store.ingest(Expected::anything()).unwrap();
        let open = |_: &RootPath| Ok(Cursor::new(content.as_bytes().to_vec()));
        let (ingest, blob) = write_layer(&changes, open, packing, Threads::exactly(1), ingest).unwrap();
        ingest.commit().unwrap();
        let mut config = ImageConfig::scratch(&Platform::new("linux", "amd64"));
        config.config.env = vec![env.to_owned()];
        config.rootfs.diff_ids = vec![blob.diff_id];
        let config = self.store.ingest_bytes(media::CONFIG, &config.to_bytes()).unwrap();
        let manifest = Manifest::new(config, vec![blob.descriptor()]);
        self.store.ingest_bytes(media::MANIFEST, &manifest.to_bytes()).unwrap()
    }

    fn shown(&self, one: &Descriptor, other: &Descriptor) -> Vec<String> {
        let line = |difference: Difference| {
            let Difference { place, field, one, other } = difference;
            let place = match place {
                Place::Layer(number, Some(path)) => format!("{number} {path}"),
                Place::Layer(number, None) => number.to_string(),
                other => format!("{other:?}"),
            };
            format!("{place} {field}: {} / {}", one.unwrap_or_default(), other.unwrap_or_default())
        };
        compare(&self.store, one, other).unwrap().into_iter().map(line).collect()
    }
}

#[test]
fn layer_path_and_field_are_named() {
    let case = Case::new();
    let gzip = Packing::from(Compression::Gzip);
    let one = case.image(0o644, "hi", "A=1", gzip);
    assert_eq!(case.shown(&one, &case.image(0o644, "hi", "A=1", gzip)), Vec::<String>::new());
    assert_eq!(case.shown(&one, &case.image(0o600, "hi", "A=1", gzip)), ["0 /etc/name mode: 0644 / 0600"]);
    let content = case.shown(&one, &case.image(0o644, "ho", "A=1", gzip));
    assert_eq!(content.len(), 1);
    assert!(content[0].starts_with("0 /etc/name content: sha256:"), "{content:?}");
    assert_eq!(
        case.shown(&one, &case.image(0o644, "hi", "A=2", gzip)),
        ["Config config.Env[0]: \"A=1\" / \"A=2\""]
    );
    let zstd = case.shown(&one, &case.image(0o644, "hi", "A=1", Compression::Zstd.into()));
    assert!(zstd.iter().any(|line| line.starts_with("0 compressed form: sha256:")), "{zstd:?}");
    assert!(zstd.iter().any(|line| line.starts_with("Manifest layers[0]: ")), "{zstd:?}");
}
