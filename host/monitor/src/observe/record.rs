//! Where a step's observations are gathered while it runs.
//!
//! Each is evaluated when it is made first, against a tree in which the step has not changed it yet: every change announces itself here before
//! it happens, so that what it takes away is read first, and whatever lies at or beneath a name of the step's own making is left out. Contents
//! and listings that no change touches are read after the step. One lock, held over the few calls that look at a path: a change that is
//! announced meanwhile waits for them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wbuild_layer::RootPath;
use wbuild_rootfs::{InodeKey, Root, S_IFDIR};

use super::{
    Facts, Names, NetworkUse, Observation, Observations, State, Taint, content, digest_of_names, look, names,
};
use crate::Errno;

/// So many paths are kept: a step that looked at more has to run.
const MOST: usize = 400_000;
/// So many asked paths are remembered, so that the same question is not looked into again.
const MOST_ASKED: usize = 100_000;

#[derive(Debug)]
struct Entry {
    state: State,
    /// What was asked while it was the tree's.
    facts: Facts,
    /// What is the step's own by now.
    own: Facts,
}

/// Which question: the inode a path starts at, the path, whether a last link was followed, and whether the asker may search everything.
pub(super) type Asked = (InodeKey, Vec<u8>, [bool; 2]);

#[derive(Debug, Default)]
struct Inner {
    paths: HashMap<RootPath, Entry>,
    /// Names that the step made, replaced or removed, with the type of what stood there before.
    own: HashMap<Vec<u8>, Option<u32>>,
    asked: HashMap<Asked, Facts>,
    taints: BTreeSet<Taint>,
    network: NetworkUse,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    inner: Mutex<Inner>,
}

/// What a change leaves of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Some of it.
    Content,
    /// Nothing.
    Nothing,
}

impl Inner {
    /// Whether what stands at a path is the step's doing.
    fn is_own(&self, path: &RootPath) -> bool {
        if self.own.is_empty() {
            return false;
        }
        let path = path.as_bytes();
        let above = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
        above.chain([path]).any(|path| self.own.contains_key(path))
    }

    fn taint(&mut self, taint: Taint) {
        // A step that finds ever new reasons fills no memory.
        if self.taints.len() < 64 {
            self.taints.insert(taint);
        }
    }

    /// Learns `facts` of a path, unless they are the step's own or known.
    fn record(&mut self, root: &Root, path: &RootPath, facts: Facts) {
        if self.is_own(path) {
            return;
        }
        let known = self.paths.get(path);
        let missing = match known {
            Some(Entry { state: State::There(seen), facts: known, own }) => {
                facts.of_kind(seen.kind).without(*known).without(*own)
            }
            // Nothing more is to be learnt of nothing.
            Some(_) => return,
            None => facts,
        };
        if missing == Facts::NONE {
            return;
        }
        if known.is_none() && self.paths.len() >= MOST {
            return self.taint(Taint::Overflow);
        }
        let state = match look(root, path, Facts::KIND.and(missing)) {
            Ok(state) => state,
            // The placeholder of a view or of a mount: what appears there is none of the tree's.
            Err(Errno::ACCESS) => return,
            Err(_) => return self.taint(Taint::Unreadable(path.clone())),
        };
        match (self.paths.get_mut(path), state) {
            (Some(Entry { state: State::There(there), facts: known, .. }), State::There(now)) => {
                *known = known.and(missing);
                there.attributes = there.attributes.or(now.attributes);
                there.times = there.times.or(now.times);
            }
            (Some(_), _) => {}
            (None, state) => {
                let facts = match &state {
                    State::There(seen) => Facts::KIND.and(facts.of_kind(seen.kind)),
                    State::Absent | State::Astray => Facts::KIND,
                };
                self.paths.insert(path.clone(), Entry { state, facts, own: Facts::NONE });
            }
        }
    }

    /// Reads the content and the listing of a path now, if they were asked for: a change is about to take them away.
    fn settle(&mut self, root: &Root, path: &RootPath) {
        let Some(Entry { state: State::There(seen), facts, .. }) = self.paths.get_mut(path) else { return };
        let facts = facts.of_kind(seen.kind);
        if facts.has(Facts::CONTENT) && seen.content.is_none() {
            match content(root, path) {
                Ok(digest) => seen.content = Some(digest),
                Err(_) => return self.taint(Taint::Unreadable(path.clone())),
            }
        }
        if facts.has(Facts::NAMES) && seen.names.is_none() {
            let listed = self.names_before(root, path);
            match (listed, self.paths.get_mut(path)) {
                (Ok(names), Some(Entry { state: State::There(seen), .. })) => {
                    seen.names = Some(digest_of_names(&names));
                }
                _ => self.taint(Taint::Unreadable(path.clone())),
            }
        }
    }

    /// What a directory listed before the step: its names of now without those of the step's making, with those that it took away.
    fn names_before(&self, root: &Root, path: &RootPath) -> Result<Names, Errno> {
        let changed: Vec<&[u8]> = self.own.keys().filter_map(|own| name_in(path, own)).collect();
        self.listing_before(root, path, &changed)
    }

    fn listing_before(&self, root: &Root, path: &RootPath, changed: &[&[u8]]) -> Result<Names, Errno> {
        let mut all = if self.is_own(path) { Names::new() } else { names(root, path)? };
        for name in changed {
            let before = path.join(name).ok().and_then(|own| self.own.get(own.as_bytes()).copied().flatten());
            match before {
                Some(kind) => all.insert(name.to_vec(), kind),
                None => all.remove(*name),
            };
        }
        Ok(all)
    }

    fn marks_own(&mut self, path: &RootPath, facts: Facts) {
        if let Some(entry) = self.paths.get_mut(path) {
            // Its being there stays what it was.
            entry.own = entry.own.and(facts.without(Facts::KIND));
        }
    }

    fn kind_of(&self, path: &RootPath) -> Option<u32> {
        match self.paths.get(path) {
            Some(Entry { state: State::There(seen), .. }) => Some(seen.kind),
            _ => None,
        }
    }

    /// Everything at and beneath a path, now.
    fn take_in(&mut self, root: &Root, path: &RootPath) {
        let mut pending = vec![path.clone()];
        while let Some(path) = pending.pop() {
            if self.is_own(&path) {
                continue;
            }
            self.record(root, &path, Facts::ALL);
            self.settle(root, &path);
            self.note_names(&path);
            if self.kind_of(&path) == Some(S_IFDIR) {
                match names(root, &path) {
                    Ok(names) => pending.extend(names.keys().filter_map(|name| path.join(name).ok())),
                    Err(_) => self.taint(Taint::Unreadable(path.clone())),
                }
            }
        }
    }

    /// A file with other names changes at those, too, which nobody announces.
    fn note_names(&mut self, path: &RootPath) {
        let Some(Entry { state: State::There(seen), .. }) = self.paths.get(path) else { return };
        if seen.kind != S_IFDIR && seen.times.is_some_and(|times| times.size.1 > 1) {
            self.taint(Taint::Shared(path.clone()));
        }
    }
}

impl Observer {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns `facts` of a canonical path.
    pub(super) fn record(&self, root: &Root, path: &RootPath, facts: Facts) {
        self.lock().record(root, path, facts);
    }

    /// What was learnt of a path, if it is known and none of the step's own.
    pub(super) fn state_of(&self, path: &RootPath) -> Option<State> {
        let inner = self.lock();
        if inner.is_own(path) {
            return None;
        }
        inner.paths.get(path).map(|entry| entry.state.clone())
    }

    pub(crate) fn taint(&self, taint: Taint) {
        self.lock().taint(taint);
    }

    /// A change that was announced failed.
    pub(super) fn failed(&self, path: RootPath) {
        let mut inner = self.lock();
        if !inner.is_own(&path) {
            inner.taint(Taint::Failed(path));
        }
    }

    pub(crate) fn uses_network(&self) {
        self.lock().network = NetworkUse::Used;
    }

    /// Whether a question was looked into already.
    pub(super) fn was_asked(&self, asked: &Asked, facts: Facts) -> bool {
        self.lock().asked.get(asked).is_some_and(|known| known.has(facts))
    }

    pub(super) fn asked(&self, asked: Asked, facts: Facts) {
        let mut inner = self.lock();
        if inner.asked.len() >= MOST_ASKED {
            inner.asked.clear();
        }
        let known = inner.asked.entry(asked).or_default();
        *known = known.and(facts);
    }

    /// Announces that the content of a file is about to change, or to become changeable.
    pub(crate) fn changes_content(&self, root: &Root, path: &RootPath, keeps: Keeps) {
        let mut inner = self.lock();
        if inner.is_own(path) {
            return;
        }
        match keeps {
            Keeps::Content => inner.record(root, path, Facts::STAT.and(Facts::CONTENT)),
            // The number of its names decides whether this is about one path.
            Keeps::Nothing => inner.record(root, path, Facts::ATTRIBUTES),
        }
        inner.settle(root, path);
        if let Ok(State::There(seen)) = look(root, path, Facts::TIMES)
            && seen.times.is_some_and(|times| times.size.1 > 1)
        {
            inner.taint(Taint::Shared(path.clone()));
        }
        inner.marks_own(path, Facts::TIMES.and(Facts::CONTENT));
    }

    /// Announces that owner, mode, times or extended attributes are about to change: all of the file will be in the layer.
    pub(crate) fn changes_attributes(&self, root: &Root, path: &RootPath) {
        let mut inner = self.lock();
        if inner.is_own(path) {
            return;
        }
        inner.record(root, path, Facts::STAT.and(Facts::CONTENT));
        inner.note_names(path);
        inner.marks_own(path, Facts::STAT);
    }

    /// Announces that what stands at a path is about to get another name.
    pub(crate) fn moves(&self, root: &Root, path: &RootPath) {
        let mut inner = self.lock();
        if !inner.is_own(path) {
            inner.take_in(root, path);
        }
    }

    /// Announces that what stands at a path, if anything, is about to lose it.
    pub(crate) fn removes(&self, root: &Root, path: &RootPath) {
        let mut inner = self.lock();
        if inner.is_own(path) {
            return;
        }
        // A directory that goes is empty, or the call fails.
        inner.record(root, path, Facts::ATTRIBUTES.and(Facts::NAMES));
        inner.settle(root, path);
    }

    /// Tells that what stands at a path now, or that nothing does, is the step's doing.
    pub(crate) fn is_own(&self, path: &RootPath) {
        let mut inner = self.lock();
        if inner.is_own(path) {
            return;
        }
        let before = inner.kind_of(path);
        inner.own.insert(path.as_bytes().to_vec(), before);
        if let Some(parent) = path.parent() {
            inner.marks_own(&parent, Facts::TIMES);
        }
    }

    /// Tells that paths may lead elsewhere from now on: a link was made, or a directory moved.
    pub(crate) fn leads_elsewhere(&self) {
        self.lock().asked.clear();
    }

    /// Everything. The grafts are off, and no guest is there any more. Contents that no change touched are not read.
    pub(crate) fn finish(&self, root: &Root) -> Observations {
        let mut inner = self.lock();
        let mut changed: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
        for own in inner.own.keys() {
            let (parent, name) = split(own);
            changed.entry(parent.to_vec()).or_default().push(name.to_vec());
        }
        let is_listed = |entry: &Entry| match &entry.state {
            State::There(seen) => seen.names.is_none() && entry.facts.of_kind(seen.kind).has(Facts::NAMES),
            State::Absent | State::Astray => false,
        };
        let listed = inner.paths.iter().filter(|(_, entry)| is_listed(entry)).map(|(path, _)| path.clone());
        let listed: Vec<RootPath> = listed.collect();
        for path in listed {
            let names: Vec<&[u8]> =
                changed.get(path.as_bytes()).into_iter().flatten().map(Vec::as_slice).collect();
            let before = inner.listing_before(root, &path, &names);
            match (before, inner.paths.get_mut(&path)) {
                (Ok(names), Some(Entry { state: State::There(seen), .. })) => {
                    seen.names = Some(digest_of_names(&names));
                }
                _ => inner.taint(Taint::Unreadable(path)),
            }
        }
        let observation = |(path, entry): (&RootPath, &Entry)| Observation {
            path: path.clone(),
            facts: entry.facts,
            state: entry.state.clone(),
        };
        let mut paths: Vec<Observation> = inner.paths.iter().map(observation).collect();
        paths.sort_by(|one, other| one.path.as_bytes().cmp(other.path.as_bytes()));
        Observations { paths, network: inner.network, taints: inner.taints.iter().cloned().collect() }
    }
}

/// The directory of a path and its name there.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// The name of `path` if it stands in the directory `dir` itself.
fn name_in<'a>(dir: &RootPath, path: &'a [u8]) -> Option<&'a [u8]> {
    let (parent, name) = split(path);
    (parent == dir.as_bytes()).then_some(name)
}
