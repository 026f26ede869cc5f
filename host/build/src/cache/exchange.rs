//! The cache in a registry or a layout: `--cache-to` and `--cache-from`.
//!
//! A cache is one image whose lowest layer lists entries (key and record) and whose other layers are those that the entries name; so
//! any registry and any tool takes it, and what it holds is known after two requests. A layer is fetched only when a step has
//! to run on it or the result needs it. Whoever may write to the place of a cache decides what its readers build: an
//! entry is believed, a layer is held against its digests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};
use wbuild_layer::Blob;
use wbuild_oci::{Descriptor, Digest, ImageConfig, MANIFEST_LIMIT, Manifest, Platform, Reference, media};
use wbuild_store::{LayoutSource, Store};

use super::record::{Record, STEPS};
use crate::error::BuildError;
use crate::reads::{self, Candidate};

/// The media type of the list of entries.
const ENTRIES: &str = "application/vnd.wbuild.cache.entries.v1+json";
/// The largest list that is read, in bytes.
const LIMIT: u64 = 64 << 20;
/// An exported list holds at most so many entries; those that ran longest ago are left out.
pub(crate) const MOST_ENTRIES: usize = 2_000;

/// Where entries are taken from.
pub enum CacheSource {
    /// `type=registry,ref=..`
    Registry(Reference),
    /// `type=local,src=..`
    Local {
        /// The layout.
        layout: LayoutSource,
        /// Where it is, for messages.
        path: PathBuf,
    },
}

/// Where entries are written to after a build.
pub struct CacheExport {
    /// The place.
    pub to: CacheDest,
    /// Which entries.
    pub mode: CacheMode,
    /// What a failure means.
    pub errors: ExportErrors,
}

/// A place for entries.
pub enum CacheDest {
    /// `type=registry,ref=..`
    Registry(Reference),
    /// `type=local,dest=..`: an OCI layout directory.
    Local {
        /// The directory.
        dir: Dir,
        /// Where it is, for messages.
        path: PathBuf,
    },
}

/// Which entries are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Those whose layers are in the image.
    #[default]
    Min,
    /// Those of all stages.
    Max,
}

/// What a failed export means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportErrors {
    /// The build fails.
    #[default]
    Fail,
    /// It is told, and the build is done.
    Ignore,
}

/// The list of entries, as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    version: u32,
    entries: Vec<Entry>,
    /// What steps read, by their weak keys.
    #[serde(default)]
    reads: Vec<Reads>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reads {
    weak: Digest,
    /// The document as it stands in the store, in base64.
    document: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: Digest,
    record: Record,
}

/// The entries of the caches that a build reads, with where each came from: an index into the build's sources.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    steps: BTreeMap<Digest, (Record, usize)>,
    /// Documents by weak keys.
    reads: BTreeMap<Digest, Vec<(Vec<u8>, usize)>>,
}

impl Imported {
    /// Takes in a list that came from the source of this number; what is known already stays.
    pub(crate) fn add(&mut self, list: &[u8], source: usize) -> Result<usize, serde_json::Error> {
        let List { entries, reads, .. } = serde_json::from_slice::<List>(list)?;
        let count = entries.len();
        for Entry { key, record } in entries {
            // As from the store: what this version does not understand is not there.
            if let Some(record) = Record::parse(&record.to_bytes()) {
                self.steps.entry(key).or_insert((record, source));
            }
        }
        for Reads { weak, document } in reads {
            if let Ok(document) = STANDARD.decode(document) {
                self.reads.entry(weak).or_default().push((document, source));
            }
        }
        Ok(count)
    }

    /// How many steps it knows.
    pub(crate) fn count(&self) -> usize {
        self.steps.len()
    }

    pub(crate) fn get(&self, key: &Digest) -> Option<&(Record, usize)> {
        self.steps.get(key)
    }

    /// Runs of a step under its weak key.
    pub(crate) fn candidates(&self, weak: &Digest) -> impl Iterator<Item = Candidate> {
        self.reads.get(weak).into_iter().flatten().flat_map(|(document, _)| reads::parse(document))
    }

    /// What one source has of what steps read.
    pub(crate) fn reads_of(&self, source: usize) -> impl Iterator<Item = (Digest, &[u8])> {
        let of = move |(document, from): &'_ (Vec<u8>, usize)| (*from == source).then_some(document.len());
        self.reads.iter().flat_map(move |(weak, all)| {
            let mine = all.iter().filter(move |one| of(one).is_some());
            mine.map(move |(document, _)| (*weak, document.as_slice()))
        })
    }

    /// Everything that came from one source.
    pub(crate) fn of(&self, source: usize) -> impl Iterator<Item = (Digest, &Record)> {
        self.steps
            .iter()
            .filter(move |(_, (_, from))| *from == source)
            .map(|(key, (record, _))| (*key, record))
    }
}

/// The list of entries in a cache whose manifest is in the store; `None` where the manifest is not one of a cache.
pub(crate) fn list_in(store: &Store, manifest: &Descriptor) -> Result<Option<Descriptor>, BuildError> {
    let bytes = store.read(&manifest.digest, MANIFEST_LIMIT)?;
    let list = Manifest::parse(&bytes).ok().and_then(|manifest| manifest.layers.into_iter().next());
    Ok(list.filter(|list| list.media_type == ENTRIES && list.size <= LIMIT))
}

/// Reads a list that is in the store.
pub(crate) fn read_list(store: &Store, list: &Descriptor) -> Result<Vec<u8>, BuildError> {
    Ok(store.read(&list.digest, LIMIT)?)
}

/// A cache that is ready to be sent: its manifest and all it names are in the store, but for layers that `lent` names.
pub(crate) struct Package {
    pub(crate) manifest: Descriptor,
    pub(crate) entries: usize,
    /// The keys of its entries that this build has.
    pub(crate) keys: BTreeSet<Digest>,
    /// The layers that it names.
    pub(crate) layers: Vec<Descriptor>,
}

/// Makes a cache of the entries under `keys`, of which `wanted` decides by their layers, and of `more`, which are somewhere already.
pub(crate) fn package<'m>(
    store: &Store,
    keys: &BTreeSet<Digest>,
    wanted: impl Fn(&Blob) -> bool,
    more: impl Iterator<Item = (Digest, &'m Record)>,
    reads: &BTreeMap<Digest, Vec<u8>>,
) -> Result<Package, BuildError> {
    let mut all: BTreeMap<Digest, Record> = more.map(|(key, record)| (key, record.clone())).collect();
    for key in keys {
        let record = store.record(STEPS, key)?.and_then(|document| Record::parse(&document));
        if let Some(record) = record
            && record.layer().is_none_or(|layer| wanted(&layer))
        {
            all.insert(*key, record);
        }
    }
    let mut entries: Vec<Entry> = all.into_iter().map(|(key, record)| Entry { key, record }).collect();
    if entries.len() > MOST_ENTRIES {
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.record.created));
        entries.truncate(MOST_ENTRIES);
        entries.sort_by_key(|entry| entry.key);
    }
    let layers: BTreeMap<Digest, Blob> =
        entries.iter().filter_map(|entry| entry.record.layer()).map(|layer| (layer.digest, layer)).collect();
    let count = entries.len();
    // Digests, numbers and strings: nothing here can fail.
    let named: BTreeSet<Digest> = entries.iter().map(|entry| entry.key).collect();
    let reads = known_reads(reads, &named);
    let list = serde_json::to_vec(&List { version: 1, entries, reads }).unwrap_or_default();
    let list = store.ingest_bytes(ENTRIES, &list)?;
    let mut config = ImageConfig::scratch(&Platform::host());
    config.rootfs.diff_ids = std::iter::once(list.digest).chain(layers.values().map(|l| l.diff_id)).collect();
    let config = store.ingest_bytes(media::CONFIG, &config.to_bytes())?;
    let layers: Vec<Descriptor> = layers.values().map(Blob::descriptor).collect();
    let manifest = Manifest::new(config, std::iter::once(list).chain(layers.iter().cloned()).collect());
    let manifest = store.ingest_bytes(media::MANIFEST, &manifest.to_bytes())?;
    let keys = named.intersection(keys).copied().collect();
    Ok(Package { manifest, entries: count, keys, layers })
}

/// Of what steps read, the runs that are among the entries: the others' layers are not there.
fn known_reads(all: &BTreeMap<Digest, Vec<u8>>, named: &BTreeSet<Digest>) -> Vec<Reads> {
    let kept = all.iter().filter_map(|(weak, document)| {
        let mut candidates = reads::parse(document);
        candidates.retain(|candidate| named.contains(&candidate.key));
        let document = (!candidates.is_empty()).then(|| reads::document(candidates))?;
        Some(Reads { weak: *weak, document: STANDARD.encode(document) })
    });
    kept.take(MOST_ENTRIES).collect()
}
