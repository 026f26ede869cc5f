//! A read set as it is written down: directory by directory, so that it stays small.
//!
//! Each directory has one strong digest over what was learnt of its entries, and each entry two short sums that decide nothing: they say
//! which entry is different where the digest is. A step that looked at 30,000 files has some hundred kilobytes of names and sums.

use serde::{Deserialize, Serialize};
use wbuild_layer::RootPath;
use wbuild_monitor::{Facts, Observation, State};
use wbuild_oci::Digest;

/// What a step learnt of its tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReadSet {
    /// In path order.
    pub(crate) dirs: Vec<Dir>,
}

/// One directory of which entries were looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dir {
    path: Vec<u8>,
    /// Over names, facts and states of the entries.
    digest: [u8; 32],
    pub(crate) entries: Vec<Entry>,
}

/// One entry of a directory; the root of the tree is the entry without a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    name: Vec<u8>,
    facts: u8,
    /// Short sums of the state without its content, and of the content.
    shape: u32,
    content: u32,
}

impl Entry {
    pub(crate) fn facts(&self) -> Facts {
        Facts::from_bits(self.facts)
    }

    /// How the beginning of the content's digest was.
    pub(crate) fn content_hint(&self) -> String {
        format!("{:08x}", self.content)
    }

    pub(crate) fn has_shape(&self, state: &State) -> bool {
        self.shape == shape(state)
    }

    pub(crate) fn has_content(&self, content: Option<&Digest>) -> bool {
        self.content == hint(content)
    }
}

impl Dir {
    /// The path of an entry; `None` for a damaged record.
    pub(crate) fn path_of(&self, entry: &Entry) -> Option<RootPath> {
        let dir = RootPath::new(&self.path).ok()?;
        if entry.name.is_empty() { Some(dir) } else { dir.join(&entry.name).ok() }
    }

    /// Whether the entries were in these states.
    pub(crate) fn matches(&self, states: &[State]) -> bool {
        let entries = self.entries.iter().zip(states);
        let all = entries.map(|(entry, state)| (entry.name.as_slice(), entry.facts(), state));
        states.len() == self.entries.len() && *digest(&self.path, all).as_bytes() == self.digest
    }
}

impl ReadSet {
    /// From observations in path order, whose contents are all known.
    pub(crate) fn new(observations: &[Observation]) -> Self {
        let mut split: Vec<(&[u8], &[u8], &Observation)> = observations
            .iter()
            .map(|observation| {
                let path = observation.path.as_bytes();
                match path.iter().rposition(|byte| *byte == b'/') {
                    Some(at) => (&path[..at], &path[at + 1..], observation),
                    None => (b"".as_slice(), path, observation),
                }
            })
            .collect();
        split.sort_by_key(|(dir, name, _)| (*dir, *name));
        let dirs = split.chunk_by(|(one, ..), (other, ..)| one == other).map(|chunk| {
            let path = chunk[0].0.to_vec();
            let all = chunk.iter().map(|(_, name, seen)| (*name, seen.facts, &seen.state));
            let digest = *digest(&path, all).as_bytes();
            let entry = |(_, name, seen): &(&[u8], &[u8], &Observation)| Entry {
                name: name.to_vec(),
                facts: seen.facts.bits(),
                shape: shape(&seen.state),
                content: hint(content(&seen.state)),
            };
            Dir { path, digest, entries: chunk.iter().map(entry).collect() }
        });
        Self { dirs: dirs.collect() }
    }

    /// How many paths it is about.
    pub(crate) fn len(&self) -> usize {
        self.dirs.iter().map(|dir| dir.entries.len()).sum()
    }
}

fn content(state: &State) -> Option<&Digest> {
    match state {
        State::There(seen) => seen.content.as_ref(),
        State::Absent | State::Astray => None,
    }
}

fn bytes(state: &State) -> Vec<u8> {
    // Numbers, bytes and digests: nothing here can fail.
    postcard::to_stdvec(state).unwrap_or_default()
}

fn shape(state: &State) -> u32 {
    let mut state = state.clone();
    if let State::There(seen) = &mut state {
        seen.content = None;
    }
    short(&Digest::of(&bytes(&state)))
}

fn hint(content: Option<&Digest>) -> u32 {
    content.map_or(0, short)
}

fn short(digest: &Digest) -> u32 {
    let [a, b, c, d, ..] = *digest.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

fn digest<'a>(path: &[u8], entries: impl Iterator<Item = (&'a [u8], Facts, &'a State)>) -> Digest {
    let mut hasher = wbuild_oci::Hasher::new();
    let mut framed = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    framed(path);
    for (name, facts, state) in entries {
        framed(name);
        framed(&[facts.bits()]);
        framed(&bytes(state));
    }
    hasher.finish()
}
