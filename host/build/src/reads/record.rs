//! What the store remembers of a step that ran, by its weak key: what it read, and what it made.
//!
//! Under one weak key stand the last few runs, the newest first. A record that cannot be read is none; one whose layer is gone is no candidate.

use std::io::Read;

use serde::{Deserialize, Serialize};
use wbuild_monitor::NetworkUse;
use wbuild_oci::Digest;
use wbuild_store::{Store, StoreError};

use super::set::ReadSet;
use crate::cache::Record;

/// The kind of record in the store.
pub(crate) const READS: &str = "reads";
/// Of the format and of what observations mean: another number forgets every record. 1 did not know that what is not made for want of its
/// directory depends on that.
pub(crate) const VERSION: u32 = 2;
/// So many runs are kept under one weak key.
const MOST: usize = 8;
/// A document is not larger, unpacked.
const LIMIT: u64 = 256 << 20;
const LEVEL: i32 = 6;

/// One run of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Candidate {
    /// The key under which the run is known exactly.
    pub(crate) key: Digest,
    /// The user that the step's USER meant, with groups and home.
    pub(crate) user: String,
    pub(crate) network: NetworkUse,
    /// What it made, and when; as JSON, which [`Record`] reads by itself.
    record: Vec<u8>,
    pub(crate) set: ReadSet,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    candidates: Vec<Candidate>,
}

impl Candidate {
    pub(crate) fn new(key: Digest, user: String, network: NetworkUse, record: &Record, set: ReadSet) -> Self {
        Self { key, user, network, record: record.to_bytes(), set }
    }

    /// What it made; `None` where this version does not understand it.
    pub(crate) fn record(&self) -> Option<Record> {
        Record::parse(&self.record)
    }
}

/// The candidates in a document; none in one that cannot be read.
pub(crate) fn parse(document: &[u8]) -> Vec<Candidate> {
    let mut plain = Vec::new();
    let Ok(decoder) = zstd::Decoder::new(document) else { return Vec::new() };
    if decoder.take(LIMIT).read_to_end(&mut plain).is_err() {
        return Vec::new();
    }
    match postcard::from_bytes::<Document>(&plain) {
        Ok(Document { version: VERSION, candidates }) => candidates,
        _ => Vec::new(),
    }
}

fn to_bytes(candidates: Vec<Candidate>) -> Vec<u8> {
    // Numbers, bytes and strings, compressed in memory: nothing here can fail.
    let plain = postcard::to_stdvec(&Document { version: VERSION, candidates }).unwrap_or_default();
    zstd::encode_all(plain.as_slice(), LEVEL).unwrap_or_default()
}

/// The document of `candidates`, the newest of each key, the newest first.
pub(crate) fn document(mut candidates: Vec<Candidate>) -> Vec<u8> {
    let created = |candidate: &Candidate| candidate.record().map_or(i64::MIN, |record| record.created);
    candidates.sort_by_key(|candidate| std::cmp::Reverse(created(candidate)));
    let mut seen = std::collections::BTreeSet::new();
    candidates.retain(|candidate| seen.insert(candidate.key));
    candidates.truncate(MOST);
    to_bytes(candidates)
}

/// What the store has under a weak key.
pub(crate) fn read(store: &Store, weak: &Digest) -> Result<Vec<Candidate>, StoreError> {
    Ok(store.record(READS, weak)?.map(|document| parse(&document)).unwrap_or_default())
}

/// Adds a run to what the store has. Of two builds that add at the same moment one may be forgotten: then its step runs once more.
pub(crate) fn add(store: &Store, weak: &Digest, candidate: Candidate) -> Result<(), StoreError> {
    let mut all = vec![candidate];
    all.extend(read(store, weak)?);
    store.put_record(READS, weak, &document(all))
}
