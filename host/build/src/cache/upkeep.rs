//! The cache as its owner sees it: what is in it, how large it is, and what goes first when it is to be smaller.
//!
//! What goes first is what was not used for longest. Nothing goes that a running build uses, nor, unless all is to go, what
//! belongs to an image that has a name in the store. An entry whose layer is gone goes with it.

use std::collections::BTreeSet;

use wbuild_oci::{Digest, Index, MANIFEST_LIMIT, Manifest};
use wbuild_store::{Held, Removal, Soundness, Store, StoreError};

use super::record::{Record, STEPS};
use super::{digests, explain};
use crate::reads::READS;

/// One step that the cache knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// Its key.
    pub key: Digest,
    /// The step as it was displayed: `[build 3/7] RUN make`.
    pub step: String,
    /// When it ran, in seconds since 1970.
    pub created: i64,
    /// How long it took, in milliseconds.
    pub took: u64,
    /// The digest of its layer's blob, if it made one.
    pub layer: Option<Digest>,
    /// The size of that blob in bytes.
    pub size: u64,
    /// When the layer was used last, in seconds since 1970; `None` where it is gone.
    pub used: Option<i64>,
}

/// How much of the store may stay. Without any limit all goes that may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PruneLimits {
    /// The size of all blobs, in bytes.
    pub size: Option<u64>,
    /// What was not used since this moment goes, in seconds since 1970.
    pub unused_since: Option<i64>,
    /// What images with a name are made of.
    pub named: NamedImages,
}

/// What happens to images that have a name in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamedImages {
    /// They stay.
    #[default]
    Stay,
    /// They go as everything else.
    Go,
}

/// What a pruning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Blobs that are gone.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that should have gone and that a running build may use.
    pub in_use: u64,
    /// Unpacked trees that are gone.
    pub trees: u64,
    /// The bytes that they took when they were kept.
    pub tree_bytes: u64,
    /// Steps that the cache does not know any more.
    pub entries: u64,
}

/// The steps that the cache knows, the one that ran last first.
///
/// # Errors
/// [`StoreError::Io`].
pub fn cache_entries(store: &Store) -> Result<Vec<CacheEntry>, StoreError> {
    let blobs: std::collections::BTreeMap<Digest, Held> =
        store.blobs()?.into_iter().map(|held| (held.digest, held)).collect();
    let mut all = Vec::new();
    for Held { digest: key, .. } in store.record_list(STEPS)? {
        let Some(record) = store.record(STEPS, &key)?.and_then(|document| Record::parse(&document)) else {
            continue;
        };
        let layer = record.layer();
        let (size, used) = match &layer {
            Some(layer) => (layer.size, blobs.get(&layer.digest).map(|held| held.used)),
            None => (0, Some(record.created)),
        };
        let layer = layer.map(|layer| layer.digest);
        let Record { step, created, took, .. } = record;
        all.push(CacheEntry { key, step, created, took, layer, size, used });
    }
    all.sort_by(|one, other| (other.created, &one.step).cmp(&(one.created, &other.step)));
    Ok(all)
}

/// Makes the store as small as `limits` say.
///
/// # Errors
/// [`StoreError`]; what was removed until then is gone.
pub fn prune(store: &Store, limits: &PruneLimits) -> Result<Pruned, StoreError> {
    let PruneLimits { size, unused_since, named } = *limits;
    let everything = size.is_none() && unused_since.is_none();
    let mut all = store.blobs()?;
    let mut total: u64 = all.iter().map(|held| held.size).sum();
    let mut pruned = Pruned::default();
    prune_trees(store, limits, &mut total, &mut pruned)?;
    if named == NamedImages::Stay {
        let stays = named_blobs(store)?;
        all.retain(|held| !stays.contains(&held.digest));
    }
    let mut going = Vec::new();
    for held in &all {
        let old = unused_since.is_some_and(|since| held.used < since);
        let too_much = size.is_some_and(|size| total > size);
        if everything || old || too_much {
            total -= held.size;
            going.push(held.digest);
        }
    }
    let sizes: std::collections::BTreeMap<Digest, u64> =
        all.iter().map(|held| (held.digest, held.size)).collect();
    for (digest, removal) in going.iter().zip(store.remove_blobs(&going)?) {
        match removal {
            Removal::Removed => {
                pruned.blobs += 1;
                pruned.bytes += sizes.get(digest).copied().unwrap_or_default();
            }
            Removal::InUse => pruned.in_use += 1,
            Removal::Absent => {}
        }
    }
    pruned.entries = prune_entries(store, unused_since, everything)?;
    Ok(pruned)
}

/// Removes unpacked trees, before any layer: they are made again from those. `total` is what the store holds; theirs is added, and what goes is taken off.
fn prune_trees(
    store: &Store,
    limits: &PruneLimits,
    total: &mut u64,
    pruned: &mut Pruned,
) -> Result<(), StoreError> {
    let trees = store.kept_trees()?;
    *total += trees.iter().map(|tree| tree.bytes).sum::<u64>();
    let everything = limits.size.is_none() && limits.unused_since.is_none();
    for tree in &trees {
        let old = limits.unused_since.is_some_and(|since| tree.used < since);
        let too_much = limits.size.is_some_and(|size| *total > size);
        if !(everything || old || too_much) {
            continue;
        }
        match store.remove_kept(&tree.key)? {
            Removal::Removed => {
                pruned.trees += 1;
                pruned.tree_bytes += tree.bytes;
                *total -= tree.bytes;
            }
            Removal::InUse => pruned.in_use += 1,
            Removal::Absent => *total -= tree.bytes,
        }
    }
    Ok(())
}

/// Removes entries whose layer is gone, those without one that are old, and what is known of old contexts.
fn prune_entries(store: &Store, unused_since: Option<i64>, everything: bool) -> Result<u64, StoreError> {
    let there: BTreeSet<Digest> = store.blobs()?.into_iter().map(|held| held.digest).collect();
    let old = |held: &Held| everything || unused_since.is_some_and(|since| held.used < since);
    let mut gone = 0;
    for held in store.record_list(STEPS)? {
        let record = store.record(STEPS, &held.digest)?.and_then(|document| Record::parse(&document));
        let stays = match record.map(|record| record.layer()) {
            Some(Some(layer)) => there.contains(&layer.digest),
            Some(None) => !old(&held),
            None => false,
        };
        if !stays && store.remove_record(STEPS, &held.digest)? == Removal::Removed {
            gone += 1;
        }
    }
    for kind in [digests::KIND, explain::INPUTS, explain::DECISIONS, READS] {
        for held in store.record_list(kind)?.iter().filter(|held| old(held)) {
            store.remove_record(kind, &held.digest)?;
        }
    }
    Ok(gone)
}

/// All that images with a name are made of, as far as it is there.
fn named_blobs(store: &Store) -> Result<BTreeSet<Digest>, StoreError> {
    let mut all = BTreeSet::new();
    let mut pending: Vec<Digest> =
        store.named_images()?.into_iter().map(|named| named.descriptor.digest).collect();
    while let Some(digest) = pending.pop() {
        if !all.insert(digest) {
            continue;
        }
        let bytes = match store.read(&digest, MANIFEST_LIMIT) {
            Ok(bytes) => bytes,
            // A name promises nothing; what is damaged is for `verify`.
            Err(StoreError::Missing(_) | StoreError::Digest(_) | StoreError::TooLarge { .. }) => continue,
            Err(error) => return Err(error),
        };
        if let Ok(manifest) = Manifest::parse(&bytes) {
            all.insert(manifest.config.digest);
            all.extend(manifest.layers.iter().map(|layer| layer.digest));
        } else if let Ok(index) = Index::parse(&bytes) {
            pending.extend(index.manifests.iter().map(|manifest| manifest.digest));
        }
    }
    Ok(all)
}

/// Reads every blob and tells `each` of those that are not what their name says. Answers how many were read.
///
/// # Errors
/// [`StoreError::Io`].
pub fn verify_blobs(store: &Store, mut each: impl FnMut(&Digest)) -> Result<u64, StoreError> {
    let mut read = 0;
    for Held { digest, .. } in store.blobs()? {
        match store.check(&digest)? {
            Soundness::Sound => read += 1,
            Soundness::Damaged => {
                read += 1;
                each(&digest);
            }
            Soundness::Absent => {}
        }
    }
    Ok(read)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test ages what is in the store with std")]
mod tests {
    use std::time::Duration;

    use cap_std::ambient_authority;
    use cap_std::fs::Dir;
    use wbuild_layer::Blob;
    use wbuild_oci::{Compression, Descriptor, media};

    use wbuild_monitor::NetworkUse;

    use super::*;

    struct Room {
        dir: tempfile::TempDir,
    }

    impl Room {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }

        fn store(&self) -> Store {
            Store::open(&Dir::open_ambient_dir(self.dir.path(), ambient_authority()).unwrap()).unwrap()
        }

        /// A step of long ago with a layer of `size` bytes, used at `used`.
        fn step(&self, name: &str, size: usize, used: u64) -> Digest {
            let store = self.store();
            let content = vec![name.as_bytes()[0]; size];
            let Descriptor { digest, size, .. } = store.ingest_bytes(media::LAYER_GZIP, &content).unwrap();
            let (compression, diff_id) = (Compression::Gzip, Digest::of(b"tar"));
            let blob = Blob { compression, diff_id, tar_size: 0, digest, size };
            let made = super::super::Made { layer: Some(blob), image: Vec::new() };
            let created = i64::try_from(used).unwrap();
            let record = Record::new(name, created, Duration::ZERO, &made, NetworkUse::None);
            let key = Digest::of(name.as_bytes());
            super::super::StepCache::write(&store, &[key], &record).unwrap();
            self.age("blobs/sha256", digest, used);
            self.age("records/steps", key, used);
            digest
        }

        fn age(&self, room: &str, digest: Digest, used: u64) {
            let path = self.dir.path().join(room).join(digest.hex());
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(used)).unwrap();
        }

        fn steps(&self) -> Vec<String> {
            cache_entries(&self.store()).unwrap().into_iter().map(|entry| entry.step).collect()
        }
    }

    #[test]
    fn the_oldest_go_until_the_size_fits() {
        let room = Room::new();
        for (name, used) in [("b", 20), ("a", 10), ("c", 30)] {
            room.step(name, 100, used);
        }
        let pruned =
            prune(&room.store(), &PruneLimits { size: Some(250), ..PruneLimits::default() }).unwrap();
        assert_eq!(pruned, Pruned { blobs: 1, bytes: 100, entries: 1, ..Pruned::default() });
        assert_eq!(room.steps(), ["c", "b"]);
    }

    #[test]
    fn what_was_not_used_goes() {
        let room = Room::new();
        for (name, used) in [("b", 20), ("a", 10), ("c", 30)] {
            room.step(name, 100, used);
        }
        let limits = PruneLimits { unused_since: Some(25), ..PruneLimits::default() };
        assert_eq!(prune(&room.store(), &limits).unwrap().blobs, 2);
        assert_eq!(room.steps(), ["c"]);
    }

    #[test]
    fn without_a_limit_all_goes_but_what_is_used_or_has_a_name() {
        let room = Room::new();
        let (named, used) = (room.step("named", 10, 10), room.step("used", 11, 11));
        room.step("free", 12, 12);
        let store = room.store();
        let config = store.ingest_bytes(media::CONFIG, b"{}").unwrap();
        let manifest = Manifest::new(config, vec![Descriptor::new(media::LAYER_GZIP, named, 10)]);
        let manifest = store.ingest_bytes(media::MANIFEST, &manifest.to_bytes()).unwrap();
        store.name_image(&"app".parse().unwrap(), &manifest).unwrap();
        drop(store);
        let builder = room.store();
        assert!(builder.has(&used).unwrap());
        let pruned = prune(&room.store(), &PruneLimits::default()).unwrap();
        assert_eq!((pruned.blobs, pruned.in_use, pruned.entries), (1, 1, 1));
        let mut left = room.steps();
        left.sort();
        assert_eq!(left, ["named", "used"]);
        drop(builder);
        let all = PruneLimits { named: NamedImages::Go, ..PruneLimits::default() };
        // A filesystem's clock ticks in milliseconds, and what was used within a tick of a lease's begin is spared.
        std::thread::sleep(Duration::from_millis(20));
        prune(&room.store(), &all).unwrap();
        assert!(room.steps().is_empty());
    }

    #[test]
    fn damaged_blobs_are_told() {
        let room = Room::new();
        let (good, bad) = (room.step("good", 10, 10), room.step("bad", 11, 10));
        std::fs::write(room.dir.path().join("blobs/sha256").join(bad.hex()), "x").unwrap();
        let mut told = Vec::new();
        assert_eq!(verify_blobs(&room.store(), |digest| told.push(*digest)).unwrap(), 2);
        assert_eq!(told, [bad]);
        assert_ne!(good, bad);
    }
}
