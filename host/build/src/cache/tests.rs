//! Look-ups over a real store: what is found, what is missed, and who waits for whom.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cap_std::ambient_authority;
use wbuild_layer::Blob;
use wbuild_monitor::NetworkUse;
use wbuild_oci::{Compression, media};

use super::*;

struct Room {
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
    store: Store,
}

fn room() -> Room {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap()).unwrap();
    Room { path: dir.path().to_owned(), _dir: dir, store }
}

impl Room {
    /// A layer in the store, and what leads to it.
    fn remember(&self, key: Digest, content: &[u8]) -> Blob {
        let there = self.store.ingest_bytes(media::LAYER_GZIP, content).unwrap();
        let blob = Blob {
            compression: Compression::Gzip,
            diff_id: Digest::of(b"tar"),
            tar_size: 1,
            digest: there.digest,
            size: there.size,
        };
        let made = Made { layer: Some(blob), image: Vec::new() };
        let record = Record::new("RUN x", 0, Duration::ZERO, &made, NetworkUse::None);
        StepCache::write(&self.store, &[key], &record).unwrap();
        blob
    }
}

fn found(cache: &StepCache, stage: &str, key: Digest) -> Option<Option<Blob>> {
    match cache.look_up(stage, key).unwrap() {
        Found::Made(made) => Some(made.layer),
        Found::Missing(_) => None,
    }
}

#[test]
fn a_layer_is_found_as_long_as_it_is_there() {
    let room = room();
    let key = Digest::of(b"key");
    let cache = StepCache::new(&room.store, NoCache::Nowhere, Imported::default());
    assert_eq!(found(&cache, "s", key), None);
    let blob = room.remember(key, b"layer");
    assert_eq!(found(&cache, "s", key), Some(Some(blob)));
    let file = room.path.join("blobs/sha256").join(blob.digest.hex());
    std::fs::File::options().write(true).open(&file).unwrap().set_len(2).unwrap();
    assert_eq!(found(&cache, "s", key), None, "a blob that was cut short");
    std::fs::remove_file(file).unwrap();
    assert_eq!(found(&cache, "s", key), None, "a blob that is gone");
}

#[test]
fn a_record_that_is_damaged_is_a_miss() {
    let room = room();
    let key = Digest::of(b"key");
    room.remember(key, b"layer");
    room.store.put_record(record::STEPS, &key, b"{\"version\":1").unwrap();
    assert_eq!(found(&StepCache::new(&room.store, NoCache::Nowhere, Imported::default()), "s", key), None);
}

#[test]
fn stages_can_be_kept_from_the_cache() {
    let room = room();
    let key = Digest::of(b"key");
    let blob = room.remember(key, b"layer");
    let only_b = NoCache::Stages(BTreeSet::from(["B".to_owned()]));
    for (no_cache, a, b) in [
        (NoCache::Nowhere, Some(Some(blob)), Some(Some(blob))),
        (NoCache::Everywhere, None, None),
        (only_b, Some(Some(blob)), None),
    ] {
        let cache = StepCache::new(&room.store, no_cache.clone(), Imported::default());
        assert_eq!((found(&cache, "a", key), found(&cache, "b", key)), (a, b), "{no_cache:?}");
    }
}

#[test]
fn two_stages_at_the_same_step_make_it_once() {
    let room = room();
    let cache = StepCache::new(&room.store, NoCache::Everywhere, Imported::default());
    let (made, key) = (AtomicU32::new(0), Digest::of(b"key"));
    std::thread::scope(|scope| {
        for stage in ["a", "b", "c"] {
            let (cache, made) = (&cache, &made);
            scope.spawn(move || {
                if let Found::Missing(claim) = cache.look_up(stage, key).unwrap() {
                    made.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                    claim.fulfil(&Made::default());
                }
            });
        }
    });
    assert_eq!(made.load(Ordering::SeqCst), 1);
}

#[test]
fn a_step_that_failed_can_be_tried_by_who_waited() {
    let room = room();
    let cache = StepCache::new(&room.store, NoCache::Nowhere, Imported::default());
    let key = Digest::of(b"key");
    let first = cache.look_up("a", key).unwrap();
    assert!(matches!(first, Found::Missing(_)));
    drop(first);
    assert_eq!(found(&cache, "b", key), None);
}
