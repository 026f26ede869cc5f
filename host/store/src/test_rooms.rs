//! A store in a temporary directory, for tests.

use crate::Store;
use cap_std::{ambient_authority, fs::Dir};
use wbuild_oci::{Descriptor, ImageConfig, Manifest, Platform, media};

/// A store and its directory, which goes with it.
pub(crate) struct Rooms {
    pub(crate) store: Store,
    pub(crate) dir: Dir,
    pub(crate) files: tempfile::TempDir,
}

impl Rooms {
    pub(crate) fn new() -> Self {
        let files = tempfile::tempdir().expect("a temporary directory");
        let dir = Dir::open_ambient_dir(files.path(), ambient_authority()).expect("it can be opened");
        let store = Store::open(&dir).expect("a store in it");
        Self { store, dir, files }
    }

    /// An image of layers with these contents.
    pub(crate) fn image(&self, platform: &str, layers: &[&[u8]]) -> (Descriptor, Manifest) {
        let platform: Platform = platform.parse().expect("a platform");
        let mut config = ImageConfig::scratch(&platform);
        config.created = Some(wbuild_oci::Time::from_unix(1_700_000_000));
        let take = |media_type: &str, bytes: &[u8]| self.store.ingest_bytes(media_type, bytes).expect("room");
        let layers: Vec<_> = layers.iter().map(|layer| take(media::LAYER_TAR, layer)).collect();
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.digest).collect();
        let manifest = Manifest::new(take(media::CONFIG, &config.to_bytes()), layers);
        (take(media::MANIFEST, &manifest.to_bytes()), manifest)
    }
}

/// The names in a directory, sorted.
pub(crate) fn entries(dir: &Dir, path: &str) -> Vec<String> {
    let entries = dir.read_dir(path).expect("a directory");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name that is text"))
        .collect();
    names.sort();
    names
}

/// An empty temporary directory.
pub(crate) fn empty() -> (tempfile::TempDir, Dir) {
    let files = tempfile::tempdir().expect("a temporary directory");
    let dir = Dir::open_ambient_dir(files.path(), ambient_authority()).expect("it can be opened");
    (files, dir)
}
