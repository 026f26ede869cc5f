//! Full walks of a tree, to hold the journal against (slow; a debug switch, and what the tests run with).
//!
//! A walk reads every name with its attributes but no content: a content that changed shows in size or modification time. What stands beneath
//! the placeholders of the views is not looked at.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;

use wbuild_layer::{Change, RootPath};

use crate::RootError;
use crate::collect::Finished;
use crate::journal::{Before, Copied};
use crate::record::{InodeKey, S_IFSOCK};
use crate::root::Root;
use crate::walk::{is_view, names};

/// What a walk saw.
#[derive(Debug)]
pub(crate) struct Snapshot {
    paths: BTreeMap<RootPath, Before>,
}

impl Snapshot {
    /// Walks the whole tree.
    pub(crate) fn take(root: &Root) -> Result<Self, RootError> {
        let mut paths = BTreeMap::new();
        let inside =
            |path: &RootPath, source| RootError::Inside { action: "walk", path: path.clone(), source };
        let mut pending = vec![RootPath::root()];
        while let Some(path) = pending.pop() {
            if is_view(&path) {
                continue;
            }
            let Some(found) = root.find(&path).map_err(|e| inside(&path, e))? else { continue };
            let before = Before::new(&found.stat, root.records().get(&found.stat));
            if before.is_directory() {
                let names = names(found.fd.as_fd()).map_err(|e| inside(&path, e))?;
                pending.extend(names.iter().filter_map(|name| path.join(name.to_bytes()).ok()));
            }
            if before.kind != S_IFSOCK {
                paths.insert(path, before);
            }
        }
        Ok(Self { paths })
    }

    /// Makes it speak of the copies that stand for shared inodes now.
    pub(crate) fn follow(&mut self, replaced: &HashMap<InodeKey, Copied>) {
        for before in self.paths.values_mut() {
            if let Some(copied) = replaced.get(&before.key) {
                copied.apply(before);
            }
        }
    }

    /// Fails if a path differs between the walks and the changes of the step do not speak of it.
    pub(crate) fn check(&self, after: &Self, finished: &Finished) -> Result<(), RootError> {
        let mut missed: BTreeMap<&RootPath, &'static str> = BTreeMap::new();
        for path in self.paths.keys().chain(after.paths.keys()) {
            let difference = difference(self.paths.get(path), after.paths.get(path));
            if let Some(detail) = difference
                && !spoken_of(path, after.paths.contains_key(path), finished)
            {
                missed.insert(path, detail);
            }
        }
        match missed.first_key_value() {
            None => Ok(()),
            Some((path, detail)) => Err(RootError::JournalMissed {
                missed: missed.len(),
                path: (*path).clone(),
                detail: (*detail).to_owned(),
            }),
        }
    }
}

fn difference(before: Option<&Before>, after: Option<&Before>) -> Option<&'static str> {
    let (before, after) = match (before, after) {
        (None, None) => return None,
        (None, Some(_)) => return Some("it is new"),
        (Some(_), None) => return Some("it is gone"),
        (Some(before), Some(after)) => (before, after),
    };
    if before.kind != after.kind {
        return Some("its type is another");
    }
    if before.record != after.record {
        return Some("its attributes are others");
    }
    if before.is_directory() {
        return None;
    }
    let identity = |b: &Before| -> (InodeKey, wbuild_layer::Timestamp) { (b.key, b.birth) };
    if identity(before) != identity(after) {
        return Some("it is another file");
    }
    if before.size != after.size {
        return Some("its size is another");
    }
    (before.mtime != after.mtime).then_some("its modification time is another")
}

fn spoken_of(path: &RootPath, present: bool, finished: &Finished) -> bool {
    if let Some(change) = finished.changes.get(path) {
        return matches!(change, Change::Remove) != present;
    }
    if present {
        return false;
    }
    // Gone with an ancestor, hidden by an opaque one, or replaced by something that is no directory.
    let mut above = path.parent();
    while let Some(ancestor) = above {
        match finished.changes.get(&ancestor) {
            Some(Change::Remove | Change::Opaque(_)) => return true,
            Some(Change::Upsert(entry)) if entry.kind != wbuild_layer::EntryKind::Directory => return true,
            _ => above = ancestor.parent(),
        }
    }
    false
}
