//! Holding a read set against a tree: whether the step that learnt it would learn the same here.
//!
//! First what costs little, all entries without their contents; then contents, read by several threads and remembered while a build runs; last the
//! strong digests, which alone decide.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use wbuild_layer::RootPath;
use wbuild_monitor::{Errno, Facts, Observation, State};
use wbuild_oci::Digest;

use super::set::{Dir, ReadSet};
use crate::tree::Tree;

/// So many differences are told.
const SHOWN: usize = 3;
/// A file that changed within this time before it is read is read again the next time: within it the clock of files may stand still.
const FRESH_NANOSECONDS: i128 = 50_000_000;

/// One state of a file of a tree: device, inode, size, change time.
type Stamp = ((u32, u32), u64, u64, (i64, u32));

/// Digests of files of trees, for as long as a build runs.
#[derive(Debug, Default)]
pub(crate) struct TreeDigests {
    known: Mutex<HashMap<Stamp, Digest>>,
}

impl TreeDigests {
    fn digest(&self, tree: &Tree, path: &RootPath) -> Result<Digest, Errno> {
        let stat = tree.observe_stat(path)?;
        let changed = (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec);
        let stamp = ((stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino, stat.stx_size, changed);
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = known().get(&stamp) {
            return Ok(*digest);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos().cast_signed());
        let age = now - (i128::from(changed.0) * 1_000_000_000 + i128::from(changed.1));
        let digest = tree.observe_content(path)?;
        if age > FRESH_NANOSECONDS {
            known().insert(stamp, digest);
        }
        Ok(digest)
    }

    /// The digests of files of a tree, in their order.
    fn all(&self, tree: &Tree, paths: &[&RootPath]) -> Result<Vec<Digest>, (RootPath, Errno)> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(paths.len() / 16 + 1);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut mine = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(path) = paths.get(at) else { return Ok(mine) };
                let digest = self.digest(tree, path).map_err(|errno| ((*path).clone(), errno))?;
                mine.push((at, digest));
            }
        };
        let mut found: Vec<(usize, Digest)> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut all = work()?;
            for other in others {
                // A panic goes on here.
                all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(all)
        })?;
        found.sort_unstable_by_key(|(at, _)| *at);
        Ok(found.into_iter().map(|(_, digest)| digest).collect())
    }

    /// Reads the contents that a step looked at and that are in its tree as they were.
    pub(crate) fn complete(
        &self,
        tree: &Tree,
        observations: &mut [Observation],
    ) -> Result<(), (RootPath, Errno)> {
        let is_open = |observation: &Observation| match &observation.state {
            State::There(seen) => {
                seen.content.is_none() && wants_content(observation.facts, &observation.state)
            }
            State::Absent | State::Astray => false,
        };
        let open: Vec<&RootPath> =
            observations.iter().filter(|one| is_open(one)).map(|one| &one.path).collect();
        let mut digests = self.all(tree, &open)?.into_iter();
        for observation in observations.iter_mut().filter(|one| is_open(one)) {
            if let State::There(seen) = &mut observation.state {
                seen.content = digests.next();
            }
        }
        Ok(())
    }
}

fn wants_content(facts: Facts, state: &State) -> bool {
    const S_IFREG: u32 = 0o100_000;
    matches!(state, State::There(seen) if seen.kind == S_IFREG) && facts.has(Facts::CONTENT)
}

/// Whether a read set holds in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything is as it was.
    Holds,
    /// These are not, the first few.
    Differs(Vec<String>),
}

/// Holds a read set against a tree.
///
/// # Errors
/// A path that cannot be looked at.
pub(crate) fn hold(set: &ReadSet, tree: &Tree, digests: &TreeDigests) -> Result<Verdict, (RootPath, Errno)> {
    let mut states = Vec::with_capacity(set.dirs.len());
    let mut differs = Vec::new();
    for dir in &set.dirs {
        let mut all = Vec::with_capacity(dir.entries.len());
        for entry in &dir.entries {
            let Some(path) = dir.path_of(entry) else { return Ok(Verdict::Differs(vec![damaged()])) };
            let state = match tree.observe(&path, entry.facts()) {
                Ok(state) => state,
                Err(errno) => return Err((path, errno)),
            };
            if !entry.has_shape(&state) {
                differs.push(told(&path, &state, entry.facts()));
                if differs.len() == SHOWN {
                    return Ok(Verdict::Differs(differs));
                }
            }
            all.push((path, state));
        }
        states.push(all);
    }
    if !differs.is_empty() {
        return Ok(Verdict::Differs(differs));
    }
    let pairs = || set.dirs.iter().zip(&states).flat_map(|(dir, all)| dir.entries.iter().zip(all));
    let files: Vec<&RootPath> = pairs()
        .filter(|(entry, (_, state))| wants_content(entry.facts(), state))
        .map(|(_, (path, _))| path)
        .collect();
    let found: HashMap<RootPath, Digest> =
        files.iter().map(|path| (*path).clone()).zip(digests.all(tree, &files)?).collect();
    for (entry, (path, _)) in pairs() {
        if let Some(digest) = found.get(path)
            && !entry.has_content(Some(digest))
            && differs.len() < SHOWN
        {
            let (was, is) = (entry.content_hint(), &digest.hex()[..8]);
            differs.push(format!("{path} changed: its content was {was}.., is {is}.."));
        }
    }
    let is_same = |(dir, all): (&Dir, Vec<(RootPath, State)>)| {
        let states: Vec<State> = all
            .into_iter()
            .map(|(path, mut state)| {
                if let State::There(seen) = &mut state {
                    seen.content = found.get(&path).copied();
                }
                state
            })
            .collect();
        dir.matches(&states)
    };
    if differs.is_empty() && set.dirs.iter().zip(states).all(is_same) {
        return Ok(Verdict::Holds);
    }
    if differs.is_empty() {
        differs.push("something that it read changed".to_owned());
    }
    Ok(Verdict::Differs(differs))
}

fn damaged() -> String {
    "its record is damaged".to_owned()
}

/// What is different at a path, as far as that is known without what stood there.
fn told(path: &RootPath, state: &State, facts: Facts) -> String {
    match state {
        State::Absent => format!("{path} is gone, or is not there as it was"),
        State::Astray => format!("the way to {path} is another one"),
        State::There(seen) => match &seen.link {
            Some(text) => format!("{path} is a link to {} now", String::from_utf8_lossy(text)),
            None if facts == Facts::KIND => format!("{path} is there now, or is of another kind"),
            None if seen.names.is_some() => {
                format!("{path}: the names in it, or its owner, mode or time, are not the same")
            }
            None => format!("{path} is there now, or its owner, mode, size or time changed"),
        },
    }
}
