//! Why a step ran: what its key was made of this time and the time before.
//!
//! The inputs of a step that ran are written down under its place: the Dockerfile's name and the image's, the stage, the text of the
//! instruction. The next time the step misses they are compared. What a build decided for each step is kept for `wbuild why`. All
//! of this explains and decides nothing; where it is missing, there is no explanation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wbuild_oci::Digest;
use wbuild_store::{Store, StoreError};

use super::key::Input;

/// The kind of record that holds the inputs of a step.
pub(super) const INPUTS: &str = "inputs";
/// The kind of record that holds what the last build decided.
pub(super) const DECISIONS: &str = "decisions";
/// Lists of files that are longer are not kept.
const MOST_FILES: usize = 20_000;
/// How many reasons are told; the others are counted.
const SHOWN: usize = 4;

/// What is told of a step whose tree is another one.
pub(crate) const PARENT_CHANGED: &str = "the layers below it changed";

/// What went into a step that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inputs {
    pub(crate) key: Digest,
    pub(crate) inputs: Vec<Input>,
    /// Path and the beginning of the digest of each file that was selected; `None` where there are too many.
    pub(crate) files: Option<BTreeMap<String, String>>,
    /// When the build began in which it ran, in seconds since 1970.
    #[serde(default)]
    pub(crate) built: i64,
}

impl Inputs {
    pub(crate) fn new(key: Digest, inputs: Vec<Input>, files: &[(String, Digest)]) -> Self {
        let short = |(path, digest): &(String, Digest)| (path.clone(), digest.hex()[..16].to_owned());
        let files = (files.len() <= MOST_FILES).then(|| files.iter().map(short).collect());
        Self { key, inputs, files, built: 0 }
    }

    /// What was written down at a place; what cannot be read is nothing.
    pub(crate) fn read(store: &Store, place: &Digest) -> Result<Option<Self>, StoreError> {
        Ok(store.record(INPUTS, place)?.and_then(|document| serde_json::from_slice(&document).ok()))
    }

    pub(crate) fn write(&self, store: &Store, place: &Digest) -> Result<(), StoreError> {
        // Digests and strings: nothing here can fail.
        store.put_record(INPUTS, place, &serde_json::to_vec(self).unwrap_or_default())
    }

    /// Why the step is not found now though it ran with the inputs `before`: one line for each change, the first few.
    pub(crate) fn changes_since(&self, before: &Self) -> Vec<String> {
        if self.key == before.key {
            return vec!["what it made is not in the store any more".to_owned()];
        }
        let mut all = Vec::new();
        match (&before.files, &self.files) {
            (Some(old), Some(new)) => files(old, new, &mut all),
            _ => all.push("the files that it copies changed".to_owned()),
        }
        let files_changed = !all.is_empty();
        let (old, new) = (by_name(&before.inputs), by_name(&self.inputs));
        for (name, value) in &new {
            match (name.as_str(), old.get(name)) {
                (_, Some(was)) if was == value => {}
                ("files", _) if files_changed => {}
                ("parent", _) => all.push(PARENT_CHANGED.to_owned()),
                (_, Some(was)) => all.push(format!("{name} changed from {was} to {value}")),
                (_, None) => all.push(format!("{name} is new: {value}")),
            }
        }
        all.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("{name} is gone")));
        let more = all.len().saturating_sub(SHOWN);
        all.truncate(SHOWN);
        if more > 0 {
            all.push(format!("and {more} more"));
        }
        all
    }
}

fn files(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>, all: &mut Vec<String>) {
    for (path, digest) in new {
        match old.get(path) {
            Some(was) if was == digest => {}
            Some(was) => all.push(format!("{path} changed, {}.. to {}..", short(was), short(digest))),
            None => all.push(format!("{path} is new")),
        }
    }
    all.extend(old.keys().filter(|path| !new.contains_key(*path)).map(|path| format!("{path} is gone")));
}

/// As much of a digest as tells two versions of a file apart.
fn short(digest: &str) -> &str {
    digest.get(..8).unwrap_or(digest)
}

/// Values by name; those of one name in their order.
fn by_name(inputs: &[Input]) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for Input { name, value } in inputs {
        all.entry(name.clone())
            .and_modify(|there| there.push_str(&format!(", {value}")))
            .or_insert(value.clone());
    }
    all
}

/// What a build decided about one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The step as it was displayed.
    pub step: String,
    /// Whether the cache had it.
    pub cached: bool,
    /// Why it ran, or how it was found, one line each.
    pub reasons: Vec<String>,
    /// What is to be known about it besides.
    #[serde(default)]
    pub remarks: Vec<String>,
}

/// What the last build in this store decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBuild {
    /// The Dockerfile's name.
    pub dockerfile: String,
    /// When it began, in seconds since 1970.
    pub began: i64,
    /// Its steps, in the order in which they were decided.
    pub decisions: Vec<Decision>,
}

fn last() -> Digest {
    Digest::of(b"last")
}

impl LastBuild {
    pub(crate) fn write(&self, store: &Store) -> Result<(), StoreError> {
        store.put_record(DECISIONS, &last(), &serde_json::to_vec(self).unwrap_or_default())
    }

    /// What the last build decided; `None` where there was none.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn read(store: &Store) -> Result<Option<Self>, StoreError> {
        Ok(store.record(DECISIONS, &last())?.and_then(|document| serde_json::from_slice(&document).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(key: &str, inputs: &[(&str, &str)], files: &[(&str, &str)]) -> Inputs {
        let input = |(name, value): &(&str, &str)| Input { name: (*name).into(), value: (*value).into() };
        let file = |(path, content): &(&str, &str)| ((*path).to_owned(), Digest::of(content.as_bytes()));
        let files: Vec<_> = files.iter().map(file).collect();
        Inputs::new(Digest::of(key.as_bytes()), inputs.iter().map(input).collect(), &files)
    }

    #[test]
    fn changes_are_named() {
        let before =
            inputs("1", &[("parent", "a"), ("variable V", "1"), ("user", "x")], &[("f", "1"), ("g", "1")]);
        let same_key = before.changes_since(&before);
        assert_eq!(same_key, ["what it made is not in the store any more"]);
        let now = inputs("2", &[("parent", "b"), ("variable V", "2")], &[("f", "2"), ("h", "1")]);
        assert_eq!(
            now.changes_since(&before),
            ["f changed, 6b86b273.. to d4735e3a..", "h is new", "g is gone", PARENT_CHANGED, "and 2 more"]
        );
        let now = inputs(
            "2",
            &[("parent", "a"), ("variable V", "2"), ("variable W", "")],
            &[("f", "1"), ("g", "1")],
        );
        assert_eq!(
            now.changes_since(&before),
            ["variable V changed from 1 to 2", "variable W is new: ", "user is gone"]
        );
    }

    #[test]
    fn the_digest_of_all_files_is_told_only_where_no_file_can_be() {
        let before = inputs("1", &[("files", "d1")], &[("f", "1")]);
        assert_eq!(
            inputs("2", &[("files", "d2")], &[("f", "2")]).changes_since(&before),
            ["f changed, 6b86b273.. to d4735e3a.."]
        );
        let now = inputs("2", &[("files", "d2")], &[("f", "1")]);
        assert_eq!(now.changes_since(&before), ["files changed from d1 to d2"]);
    }
}
