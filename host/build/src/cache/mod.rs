//! The step cache: what a step made before is not made again.
//!
//! A step is found by its key (`key`), which names the tree it starts from by content. So a step that ran again and made the same
//! layer lets everything after it be found, and a miss stops nothing. What is found is a layer's descriptor; its data is not
//! touched until a step has to run on it. Entries live in the store as records; nothing here reaches the network.

mod content;
mod digests;
mod exchange;
mod explain;
mod key;
mod record;
mod rules;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;
use wbuild_oci::Digest;
use wbuild_store::{Store, StoreError};

use crate::reads::{self, Candidate, TreeDigests};
pub(crate) use content::{Reader, Selection};
pub(crate) use digests::DigestCache;
pub use exchange::{CacheDest, CacheExport, CacheMode, CacheSource, ExportErrors};
pub(crate) use exchange::{Imported, MOST_ENTRIES, Package, list_in, package, read_list};
pub use explain::{Decision, LastBuild};
pub(crate) use explain::{Inputs, PARENT_CHANGED};
pub(crate) use key::{Common, Given, Origin, StepKey, copy, run, workdir};
use record::STEPS;
pub(crate) use record::{Made, Record};
pub use rules::{CacheRules, ReadSets};
pub use upkeep::{CacheEntry, NamedImages, PruneLimits, Pruned, cache_entries, prune, verify_blobs};

/// Which steps run though the cache knows them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum NoCache {
    /// None.
    #[default]
    Nowhere,
    /// All: `--no-cache`.
    Everywhere,
    /// Those of the stages of these names: `--no-cache-filter`.
    Stages(BTreeSet<String>),
}

impl NoCache {
    fn covers(&self, stage: &str) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Everywhere => true,
            // As BuildKit compares stage names.
            Self::Stages(names) => names.iter().any(|name| name.eq_ignore_ascii_case(stage)),
        }
    }
}

/// What a key led to.
#[derive(Debug)]
pub(crate) enum Found {
    /// The step made this before.
    Made(Made),
    /// The step has to run; others that come to the same key wait until this is dropped.
    Missing(Claim),
}

/// The cache as one build uses it.
pub(crate) struct StepCache {
    store: Store,
    no_cache: NoCache,
    shared: Arc<Shared>,
    digests: Mutex<BTreeMap<Option<String>, Arc<DigestCache>>>,
    imported: Imported,
    /// Layers that a shared cache promised: the number of that cache.
    lent: Mutex<BTreeMap<Digest, usize>>,
    /// Whether a shared cache did not give what it promised.
    lost: AtomicBool,
    decisions: Mutex<Vec<Decision>>,
    tree_digests: TreeDigests,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Steps at work.
    claimed: BTreeSet<Digest>,
    /// What this build made: its records may be on their way to the disk still.
    made: BTreeMap<Digest, Made>,
    /// Keys that led to something, whoever made it.
    used: BTreeSet<Digest>,
    /// Weak keys of steps that were looked for by what they read, or that ran.
    weak: BTreeSet<Digest>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right and duty to make what a key stands for.
#[derive(Debug)]
pub(crate) struct Claim {
    shared: Arc<Shared>,
    key: Digest,
}

impl Claim {
    /// What was claimed.
    pub(crate) fn key(&self) -> Digest {
        self.key
    }

    /// The step is done: who waits for the key gets this.
    pub(crate) fn fulfil(&self, made: &Made) {
        let mut state = self.shared.lock();
        state.made.insert(self.key, made.clone());
        state.used.insert(self.key);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.lock().claimed.remove(&self.key);
        self.shared.released.notify_all();
    }
}

impl StepCache {
    pub(crate) fn new(store: &Store, no_cache: NoCache, imported: Imported) -> Self {
        Self {
            store: store.clone(),
            no_cache,
            shared: Arc::default(),
            digests: Mutex::default(),
            imported,
            lent: Mutex::default(),
            lost: AtomicBool::new(false),
            decisions: Mutex::default(),
            tree_digests: TreeDigests::default(),
        }
    }

    /// Notes what was decided about a step.
    pub(crate) fn decide(&self, decision: Decision) {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner).push(decision);
    }

    /// Why a step with these inputs is not found, and since when, in seconds since 1970; nothing where it was never seen before.
    pub(crate) fn reasons(
        &self,
        stage: &str,
        place: &Digest,
        inputs: &Inputs,
    ) -> Result<(Vec<String>, Option<i64>), StoreError> {
        if self.no_cache.covers(stage) {
            return Ok((vec!["--no-cache asks for it".to_owned()], None));
        }
        let Some(before) = Inputs::read(&self.store, place)? else { return Ok((Vec::new(), None)) };
        Ok((inputs.changes_since(&before), Some(before.built)))
    }

    /// Adds to what was decided about a step that it ran, and what came of that.
    pub(crate) fn remark(&self, step: &str, remark: String) {
        let mut decisions = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(decision) = decisions.iter_mut().rfind(|decision| decision.step == step) {
            decision.remarks.push(remark);
        }
    }

    /// The keys of all that this build found or made.
    pub(crate) fn keys(&self) -> BTreeSet<Digest> {
        self.shared.lock().used.clone()
    }

    /// The number of the shared cache that promised a layer.
    pub(crate) fn lender(&self, layer: &Digest) -> Option<usize> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner).get(layer).copied()
    }

    /// A shared cache did not give what it promised.
    pub(crate) fn lose(&self) {
        self.lost.store(true, Ordering::SeqCst);
    }

    /// Whether a shared cache did not give what it promised.
    pub(crate) fn has_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Looks a step up; where another stage of this build is at the same step, waits for it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn look_up(&self, stage: &str, key: Digest) -> Result<Found, StoreError> {
        self.look_up_if(stage, key, &|_| true)
    }

    /// As [`Self::look_up`], for a step of which not every run `counts`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn look_up_if(
        &self,
        stage: &str,
        key: Digest,
        counts: &dyn Fn(&Record) -> bool,
    ) -> Result<Found, StoreError> {
        let mut state = self.shared.lock();
        loop {
            if let Some(made) = state.made.get(&key) {
                return Ok(Found::Made(made.clone()));
            }
            if state.claimed.insert(key) {
                break;
            }
            state = self.shared.released.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        let claim = Claim { shared: Arc::clone(&self.shared), key };
        if self.no_cache.covers(stage) {
            return Ok(Found::Missing(claim));
        }
        let found = match self.stored(&key, counts)? {
            Some(made) => Some(made),
            None => self.lend(&key, counts)?,
        };
        let Some(made) = found else { return Ok(Found::Missing(claim)) };
        self.shared.lock().used.insert(key);
        Ok(Found::Made(made))
    }

    /// What the store has for a key; `None` where it has nothing, or not the layer that it promises.
    fn stored(&self, key: &Digest, counts: &dyn Fn(&Record) -> bool) -> Result<Option<Made>, StoreError> {
        let document = self.store.record(STEPS, key)?;
        match document.and_then(|document| Record::parse(&document)).filter(counts) {
            Some(record) => self.there(&record),
            None => Ok(None),
        }
    }

    /// What a record says, if the store has it.
    fn there(&self, record: &Record) -> Result<Option<Made>, StoreError> {
        match record.layer() {
            None => Ok(Some(record.made())),
            Some(blob) if self.store.size_of(&blob.digest)? == Some(blob.size) => Ok(Some(record.made())),
            Some(_) => Ok(None),
        }
    }

    /// What a shared cache has for a key. Its layer comes when it is needed; the entry is taken over at once.
    fn lend(&self, key: &Digest, counts: &dyn Fn(&Record) -> bool) -> Result<Option<Made>, StoreError> {
        let Some((record, source)) = self.imported.get(key) else { return Ok(None) };
        if !counts(record) {
            return Ok(None);
        }
        if let Some(layer) = record.layer() {
            self.lent.lock().unwrap_or_else(PoisonError::into_inner).insert(layer.digest, *source);
        }
        self.store.put_record(STEPS, key, &record.to_bytes())?;
        Ok(Some(record.made()))
    }

    /// Runs of a step under its weak key, here and in shared caches.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn candidates(&self, stage: &str, weak: &Digest) -> Result<Vec<Candidate>, StoreError> {
        self.shared.lock().weak.insert(*weak);
        if self.no_cache.covers(stage) {
            return Ok(Vec::new());
        }
        let mut all = reads::stored(&self.store, weak)?;
        all.extend(self.imported.candidates(weak));
        Ok(all)
    }

    /// What a run made, if the store has it or a shared cache promises it; `key` is that of the run.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn made_by(&self, record: &Record, key: &Digest) -> Result<Option<Made>, StoreError> {
        match self.there(record)? {
            Some(made) => Ok(Some(made)),
            None => self.lend(key, &|lent| lent.made() == record.made()),
        }
    }

    /// A step was found by what it read: from now on `key` leads there, too.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn found_by_reads(&self, key: &Digest, record: &Record) -> Result<(), StoreError> {
        self.shared.lock().used.insert(*key);
        self.store.put_record(STEPS, key, &record.to_bytes())
    }

    /// The weak keys under which this build looked or wrote.
    pub(crate) fn weak_keys(&self) -> BTreeSet<Digest> {
        self.shared.lock().weak.clone()
    }

    /// Digests of files of trees.
    pub(crate) fn tree_digests(&self) -> &TreeDigests {
        &self.tree_digests
    }

    /// Writes down what a step made; its blob is in the store.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn write(store: &Store, keys: &[Digest], record: &Record) -> Result<(), StoreError> {
        let document = record.to_bytes();
        keys.iter().try_for_each(|key| store.put_record(STEPS, key, &document))
    }

    /// Lets `key` lead to what `known` leads to.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn alias(&self, key: Digest, known: Digest) -> Result<(), StoreError> {
        // A step of this build may be on its way to the disk: then the next build finds it by `known`.
        match self.store.record(STEPS, &known)? {
            Some(document) => {
                self.store.put_record(STEPS, &key, &document)?;
                self.shared.lock().used.insert(key);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The remembered digests of the build context, or of the named one in `root`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn digests(&self, name: Option<&str>, root: &Dir) -> Result<Arc<DigestCache>, StoreError> {
        let mut all = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = all.get(&name.map(str::to_owned)) {
            return Ok(Arc::clone(there));
        }
        let loaded = Arc::new(DigestCache::load(&self.store, root)?);
        all.insert(name.map(str::to_owned), Arc::clone(&loaded));
        Ok(loaded)
    }

    /// Writes down what was learnt of files, and what was decided.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn save(&self, dockerfile: &str, began: i64) -> Result<(), StoreError> {
        let all = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().try_for_each(|digests| digests.save(&self.store))?;
        let decisions = self.decisions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        LastBuild { dockerfile: dockerfile.to_owned(), began, decisions }.write(&self.store)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test damages a store with std")]
mod tests;
