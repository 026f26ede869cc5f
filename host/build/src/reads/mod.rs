//! The read-set cache: a step whose own key misses is found by what it read.
//!
//! A RUN is recorded under a weak key, which is its key without the tree it starts from and with the machine it runs on, together with what it
//! learnt of that tree. Where all of that is the same in the tree of now, the step would do what it did: its layer is taken. What observations
//! do not cover is not recorded (`learn`), and a step that used the network is believed for a limited time (`lifetime`).
//!
//! What a step read of a mount stands in the weak key with the files of the mount. Nothing here decides for COPY, which reads nothing unseen.

mod hold;
mod lifetime;
mod machine;
mod proof;
mod record;
mod set;
#[cfg(test)]
mod tests;

use std::time::Duration;

use wbuild_monitor::{NetworkUse, Observations, Observing, Taint};
use wbuild_oci::Digest;
use wbuild_plan::{Run, RunMountKind, Step};
use wbuild_store::Store;

use crate::cache::{Common, Made, ReadSets, Record};
use crate::error::BuildError;
use crate::search::Search;
use crate::stage::{Sources, StageRunner, StageState};
use crate::tree::Tree;

pub(crate) use hold::TreeDigests;
use hold::{Verdict, hold};
pub use lifetime::lifetime;
pub(crate) use lifetime::{FoundBy, Lifetime};
pub(crate) use record::{Candidate, READS, document, parse, read as stored};
use set::ReadSet;

/// What is known of a step that ran.
#[derive(Clone, Debug)]
pub(crate) struct Learnt {
    user: String,
    network: NetworkUse,
    set: ReadSet,
}

impl Learnt {
    /// Writes it down with what the step made.
    pub(crate) fn remember(
        self,
        store: &Store,
        (weak, key): (&Digest, Digest),
        record: &Record,
    ) -> Result<(), wbuild_store::StoreError> {
        let Self { user, network, set } = self;
        record::add(store, weak, Candidate::new(key, user, network, record, set))
    }
}

/// What came of looking for a step by what it read.
pub(crate) enum Replay {
    /// It need not run.
    Found(Box<Hit>),
    /// It has to run; why the runs that are known do not count, of the newest.
    Unknown(Vec<String>),
}

/// A run that read what is there now.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) record: Record,
    pub(crate) made: Made,
    /// So many paths were looked at.
    pub(crate) paths: usize,
}

/// The parent of every weak key: no tree, but the machine.
pub(crate) fn any_tree<'a>(common: &Common<'a>) -> Common<'a> {
    let text = format!("wbuild read set {} {}", record::VERSION, machine::fingerprint());
    Common { parent: Digest::of(text.as_bytes()), ..common.clone() }
}

/// Whether what a step may read is its tree and what stands in its key.
pub(crate) fn is_observable(run: &Run) -> bool {
    run.mounts.iter().all(|mount| match mount.kind {
        RunMountKind::Bind(_) | RunMountKind::Tmpfs(_) => true,
        // What a cache holds is in no key; nor are secrets and agents, which leave no trace anywhere.
        RunMountKind::Cache(_) | RunMountKind::Secret(_) | RunMountKind::Ssh(_) => false,
    })
}

impl StageRunner<'_> {
    /// What a step that ran learnt; `tree` is as the step left it.
    pub(crate) fn learn(
        &self,
        step: &Step,
        run: &Run,
        observed: Option<Observations>,
        user: String,
        tree: &Tree,
    ) -> Result<Option<Learnt>, BuildError> {
        let Some(Observations { mut paths, network, taints }) = observed else { return Ok(None) };
        let unseen =
            if is_observable(run) { taints.first().map(taint) } else { Some(UNSEEN_MOUNT.to_owned()) };
        if let Some(reason) = unseen {
            tracing::debug!(step = step.name, ?taints, "no read set is kept");
            self.cache.remark(&step.name, format!("it will be found by its key alone: {reason}"));
            return Ok(None);
        }
        self.cache
            .tree_digests()
            .complete(tree, &mut paths)
            .map_err(|(path, errno)| self.unreadable(step, path, errno.into()))?;
        Ok(Some(Learnt { user, network, set: ReadSet::new(&paths) }))
    }

    /// Looks for a run of the step that read what is there now.
    pub(crate) fn replay(
        &self,
        step: &Step,
        run: &Run,
        search: &Search,
        state: &mut StageState,
        sources: &mut dyn Sources,
    ) -> Result<Replay, BuildError> {
        let Some(weak) = search.weak.filter(|_| self.observing() == Observing::All) else {
            return Ok(Replay::Unknown(Vec::new()));
        };
        let candidates = self.cache.candidates(&self.stage.name, &weak)?;
        if candidates.is_empty() {
            return Ok(Replay::Unknown(Vec::new()));
        }
        self.ensure_tree(state, sources)?;
        let Some(parked) = &state.tree else { return Ok(Replay::Unknown(Vec::new())) };
        let tree = parked.open(&self.stage.name)?;
        // Where the user cannot be found, the step itself says so.
        let Ok(user) = self.user_files(step, &tree)?.process(&run.user) else {
            return Ok(Replay::Unknown(Vec::new()));
        };
        let user = format!("{user:?}");
        let lifetime = Lifetime::of(&self.request.dockerfile, step.span)?;
        let ttl = self.request.cache_rules.network_ttl;
        let mut first = Vec::new();
        for candidate in &candidates {
            let Some(record) = candidate.record() else { continue };
            let Some(made) = self.cache.made_by(&record, &candidate.key)? else { continue };
            let reasons = if candidate.user != user {
                vec![format!("the user {:?} is another one in its tree", run.user)]
            } else if !lifetime.holds(FoundBy::Reads, candidate.network, self.age(&record), ttl) {
                vec![format!("it used the network {} ago", told(self.age(&record)))]
            } else {
                match hold(&candidate.set, &tree, self.cache.tree_digests()) {
                    Ok(Verdict::Holds) => {
                        let paths = candidate.set.len();
                        return Ok(Replay::Found(Box::new(Hit { record, made, paths })));
                    }
                    Ok(Verdict::Differs(reasons)) => reasons,
                    Err((path, errno)) => return Err(self.unreadable(step, path, errno.into())),
                }
            };
            if first.is_empty() {
                first = reasons;
            }
        }
        Ok(Replay::Unknown(first))
    }

    /// Whether what a step learns is recorded, and looked for.
    pub(crate) fn observing(&self) -> Observing {
        match self.request.cache_rules.read_sets {
            ReadSets::Used => Observing::All,
            ReadSets::Off => Observing::Nothing,
        }
    }

    pub(crate) fn age(&self, record: &Record) -> Duration {
        Duration::from_secs(u64::try_from(self.now.saturating_sub(record.created)).unwrap_or(0))
    }
}

const UNSEEN_MOUNT: &str = "what a mount of type cache, secret or ssh brings is not seen";

/// Why what a step made depends on more than its tree.
fn taint(taint: &Taint) -> String {
    let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    match taint {
        Taint::Machine(path) => format!("it read {}, which tells of the machine", text(path)),
        Taint::Shared(path) => format!("it changed {path}, which has other names"),
        Taint::Magic(path) => format!("it went to {} through a descriptor or a process", text(path)),
        Taint::Failed(path) => format!("a change of {path} began and failed"),
        Taint::Unreadable(path) => format!("{path} could not be looked at"),
        Taint::Overflow => "it looked at more paths than are kept".to_owned(),
    }
}

/// A duration in its largest unit.
fn told(age: Duration) -> String {
    let seconds = age.as_secs();
    let (size, unit) = match seconds {
        0..=119 => (1, "seconds"),
        120..=7199 => (60, "minutes"),
        7200..=172_799 => (3600, "hours"),
        _ => (86_400, "days"),
    };
    format!("{} {unit}", seconds / size)
}
