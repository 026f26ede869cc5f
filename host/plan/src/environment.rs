//! The two lists of variables of a stage: what its instructions and steps see, and what its image keeps.
//!
//! What they see holds the ARGs in scope beside the image's variables; the image's own list holds only what the base image and ENV
//! set. Both keep their order: a name set again keeps its place in the image, as in BuildKit.

use std::collections::{BTreeMap, BTreeSet};

use wbuild_dockerfile::Variables;

/// What instructions and steps see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    values: BTreeMap<String, (usize, String)>,
    next: usize,
}

impl Scope {
    /// Sets a variable; one that is set again goes to the end.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), (self.next, value.to_owned()));
        self.next += 1;
    }

    /// `NAME=value` in order of setting.
    pub(crate) fn list(&self) -> Vec<String> {
        let mut all: Vec<_> = self.values.iter().map(|(name, (at, value))| (*at, name, value)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, name, value)| format!("{name}={value}")).collect()
    }
}

impl Scope {
    /// Every name that is set.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.values.keys().map(String::as_str).collect()
    }

    /// The bytes a copy takes, roughly.
    pub(crate) fn size(&self) -> usize {
        self.values.iter().map(|(name, (_, value))| name.len() + value.len() + 2 * size_of::<String>()).sum()
    }
}

/// The names of the ARGs in scope, each once, in order of declaration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    names: Vec<String>,
    known: BTreeSet<String>,
}

impl Declared {
    pub(crate) fn add(&mut self, name: &str) {
        if self.known.insert(name.to_owned()) {
            self.names.push(name.to_owned());
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}

impl Variables for Scope {
    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(_, value)| value.as_str())
    }
}

/// The image's `Env`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ImageEnv {
    list: Vec<String>,
    places: BTreeMap<String, usize>,
}

impl ImageEnv {
    pub(crate) fn new(list: Vec<String>) -> Self {
        let mut places = BTreeMap::new();
        for (at, entry) in list.iter().enumerate() {
            places.entry(split(entry).0.to_owned()).or_insert(at);
        }
        Self { list, places }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        match self.places.get(name) {
            Some(at) => self.list[*at] = entry,
            None => {
                self.places.insert(name.to_owned(), self.list.len());
                self.list.push(entry);
            }
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    pub(crate) fn list(&self) -> &[String] {
        &self.list
    }
}

/// `NAME=value`; no value is an empty one.
pub(crate) fn split(entry: &str) -> (&str, &str) {
    entry.split_once('=').unwrap_or((entry, ""))
}
