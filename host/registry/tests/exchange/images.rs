//! Small images in a store, and clients with little patience.

use cap_std::{ambient_authority, fs::Dir};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wbuild_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference, media};
use wbuild_registry::{Client, Credentials, Patience, Settings};
use wbuild_store::{Expected, Progress, Remote, RemoteError, Silent, Store, Transfer, TransferKind};

/// A store in a temporary directory, which goes with it.
pub(crate) struct TestStore {
    pub(crate) store: Store,
    pub(crate) files: tempfile::TempDir,
}

impl TestStore {
    pub(crate) fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let store = Store::open(&Self::dir(&files)).unwrap();
        Self { store, files }
    }

    fn dir(files: &tempfile::TempDir) -> Dir {
        Dir::open_ambient_dir(files.path(), ambient_authority()).unwrap()
    }

    /// Everything the store holds: that no file is left over, and which blobs there are.
    pub(crate) fn blobs(&self) -> Vec<String> {
        let dir = Self::dir(&self.files);
        assert_eq!(dir.read_dir("ingest").unwrap().count(), 0, "something is left in ingest");
        let blobs = dir.read_dir("blobs/sha256").unwrap();
        let mut names: Vec<_> =
            blobs.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// An image for linux/amd64 of layers with these contents.
    pub(crate) fn image(&self, layers: &[&[u8]]) -> (Descriptor, Manifest) {
        let mut config = ImageConfig::scratch(&Platform::new("linux", "amd64"));
        let mut descriptors = Vec::new();
        for layer in layers {
            let (digest, size) = self.store.ingest_from(&mut &layer[..], Expected::anything()).unwrap();
            config.rootfs.diff_ids.push(digest);
            descriptors.push(Descriptor::new(media::LAYER_TAR, digest, size));
        }
        let config = self.store.ingest_bytes(media::CONFIG, &config.to_bytes()).unwrap();
        let manifest = Manifest::new(config, descriptors);
        let descriptor = self.store.ingest_bytes(media::MANIFEST, &manifest.to_bytes()).unwrap();
        (descriptor, manifest)
    }
}

pub(crate) fn amd64() -> Platform {
    Platform::new("linux", "amd64")
}

pub(crate) fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// Bytes without a pattern, the same for the same seed.
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(size)
    .collect()
}

/// Patience for tests: quick to try again, quick to give up.
pub(crate) fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(5),
        stall: Duration::from_secs(5),
        attempts: 3,
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(20),
    }
}

pub(crate) fn client() -> Client {
    client_with(Settings { patience: patience(), ..Settings::default() })
}

pub(crate) fn client_with(settings: Settings) -> Client {
    Client::new(settings).unwrap()
}

pub(crate) fn client_knowing(config_json: &str) -> Client {
    let credentials = Credentials::parse(config_json.as_bytes()).unwrap();
    client_with(Settings { credentials, patience: patience(), ..Settings::default() })
}

/// Keeps what is reported.
#[derive(Clone, Default)]
pub(crate) struct Reports(Arc<Mutex<Vec<Transfer>>>);

impl Progress for Reports {
    fn report(&self, transfer: Transfer) {
        self.0.lock().unwrap().push(transfer);
    }
}

impl Reports {
    pub(crate) fn of(&self, digest: &Digest) -> Vec<TransferKind> {
        let reports = self.0.lock().unwrap();
        reports.iter().filter(|report| report.digest == *digest).map(|report| report.kind.clone()).collect()
    }
}

/// Resolves and fetches a whole image.
pub(crate) async fn pull(
    client: &Client,
    store: &Store,
    name: &str,
) -> Result<wbuild_store::Image, RemoteError> {
    let reference = reference(name);
    let image = client.resolve(store, &reference, &amd64()).await?;
    client.fetch(store, &reference, &image.manifest.layers, &Silent).await?;
    Ok(image)
}

/// An error with everything below it, as a user would see it.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text += &format!(": {error}");
        next = error.source();
    }
    text
}
