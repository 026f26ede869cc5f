//! The end of a step: from the journal to the changeset, without walking the tree.
//!
//! Candidates are the journal's paths in path order, each compared with what stands there now; whatever lies beneath a path that was
//! emitted with its subtree, removed, or never there at either end is not looked at again, since the entry of the ancestor speaks for it. A directory
//! that only had names made or removed in it is not emitted, and gets its old modification time back: so a tree that lived
//! through a step and a tree unpacked from its layers agree. All processes of the step are gone when this runs.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use wbuild_layer::{Attributes, Change, ChangeSet, Entry, EntryKind, RootPath, Timestamp};

use crate::check::Snapshot;
use crate::journal::{Before, Recorded, Touch, Touched, mtime};
use crate::raw::{Content, Inode, own_copy};
use crate::record::{InodeKey, Record, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, Scope, Special};
use crate::root::Root;
use crate::walk::{Found, is_view, names};
use crate::{MtimeRule, RootError};

/// What a step left.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Finished {
    /// What is different.
    pub changes: ChangeSet,
    /// AF_UNIX sockets, which no layer can hold: left out.
    pub sockets: Vec<RootPath>,
}

impl Root {
    /// Ends the step that [`Root::begin`] started: stops the journal, applies the rule for modification times to what changed, in the tree and
    /// in the entries, and answers the changes. The records are not persisted by this.
    ///
    /// # Errors
    /// The host's, with the path; what the journal missed, if that was to be checked.
    pub fn finish(&self, rule: MtimeRule) -> Result<Finished, RootError> {
        if !self.journal().is_recording() {
            return Err(RootError::NotBegun);
        }
        let recorded = self.journal().take();
        let before = self.walked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let after = before.is_some().then(|| Snapshot::take(self)).transpose()?;
        let mut collector = Collector {
            root: self,
            recorded,
            rule,
            out: BTreeMap::new(),
            sockets: Vec::new(),
            verified: HashSet::new(),
        };
        collector.compare_all()?;
        collector.complete_groups()?;
        collector.restore_times()?;
        let replaced = std::mem::take(&mut collector.recorded.replaced);
        let finished = collector.finished();
        if let (Some(mut before), Some(after)) = (before, after) {
            before.follow(&replaced);
            before.check(&after, &finished)?;
        }
        Ok(finished)
    }
}

/// A path that will be in the changeset. No descriptor is kept: a step can leave any number of them.
struct Emitted {
    entry: Entry,
    opacity: Opacity,
    /// Which inode, if it has other names.
    shared: Option<InodeKey>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Opacity {
    Transparent,
    Opaque,
}

struct Collector<'a> {
    root: &'a Root,
    recorded: Recorded,
    rule: MtimeRule,
    /// `None` for a removal.
    out: BTreeMap<RootPath, Option<Emitted>>,
    sockets: Vec<RootPath>,
    /// Inodes whose names in the hard-link index were found to be true.
    verified: HashSet<InodeKey>,
}

/// Whether the journal's entries beneath a path still say something.
#[derive(PartialEq, Eq)]
enum Beneath {
    Open,
    Settled,
}

fn inside(action: &'static str, path: &RootPath) -> impl FnOnce(Errno) -> RootError {
    let path = path.clone();
    move |source| RootError::Inside { action, path, source }
}

fn kind(found: &Found) -> u32 {
    u32::from(found.stat.stx_mode) & S_IFMT
}

impl Collector<'_> {
    fn compare_all(&mut self) -> Result<(), RootError> {
        let touched: Vec<_> = self.recorded.touched.iter().map(|(p, t)| (p.clone(), t.clone())).collect();
        let mut settled: Option<RootPath> = None;
        for (path, touched) in touched {
            if settled.as_ref().is_some_and(|above| path.starts_with(above)) {
                continue;
            }
            if self.compare(&path, &touched)? == Beneath::Settled {
                settled = Some(path);
            }
        }
        Ok(())
    }

    fn compare(&mut self, path: &RootPath, touched: &Touched) -> Result<Beneath, RootError> {
        let found = self.root.find(path).map_err(inside("look at", path))?;
        let found = match found {
            Some(found) if kind(&found) == S_IFSOCK => {
                self.sockets.push(path.clone());
                None
            }
            other => other,
        };
        let before = touched.before.as_ref().filter(|before| before.kind != S_IFSOCK);
        let (before, found) = match (before, found) {
            (None, None) => return Ok(Beneath::Settled),
            // Removing the directory would have touched it itself: this is another directory's entry, gone with its path.
            (Some(_), None) if touched.why == Touch::NamesWithin => return Ok(Beneath::Settled),
            (Some(_), None) => {
                self.out.insert(path.clone(), None);
                return Ok(Beneath::Settled);
            }
            (None, Some(found)) => {
                self.emit_subtree(path, found, Opacity::Transparent)?;
                return Ok(Beneath::Settled);
            }
            (Some(before), Some(found)) => (before, found),
        };
        let key = InodeKey::of(&found.stat);
        let directory = kind(&found) == S_IFDIR;
        let same = before.key == key
            && before.birth == crate::record::birth(&found.stat)
            && before.kind == kind(&found)
            && !self.recorded.gone.contains(&key)
            && !self.recorded.moved.contains(&key);
        if !same {
            let opaque = directory && before.is_directory();
            let opacity = if opaque { Opacity::Opaque } else { Opacity::Transparent };
            self.emit_subtree(path, found, opacity)?;
            return Ok(Beneath::Settled);
        }
        let record = self.root.records().get(&found.stat);
        let different = before.record != record || self.times_or_content_differ(before, &found, touched.why);
        if different {
            self.emit(path, &found, record, Opacity::Transparent)?;
        }
        if !directory {
            self.note_links(path, &found)?;
        }
        Ok(Beneath::Open)
    }

    fn times_or_content_differ(&self, before: &Before, found: &Found, why: Touch) -> bool {
        let after = Before::new(&found.stat, Record::default());
        let timed = self.recorded.timed.contains(&after.key);
        if before.is_directory() {
            return why == Touch::Itself && timed && before.mtime != after.mtime;
        }
        before.size != after.size
            || before.mtime != after.mtime
            // Written and then given its old time back.
            || (timed && before.ctime != after.ctime)
            // Written within the same tick of the clock in which it had been written before.
            || (after.mtime == after.ctime && before.ctime != after.ctime)
    }

    /// Puts what stands at a path into the changeset, with its modification time as the rule has it.
    fn emit(
        &mut self,
        path: &RootPath,
        found: &Found,
        record: Record,
        opacity: Opacity,
    ) -> Result<(), RootError> {
        let kind = entry_kind(found, &record, path)?;
        let had = mtime(&found.stat);
        let time = self.rule.apply(had);
        let mut key = InodeKey::of(&found.stat);
        let several = self.root.own_links(&found.stat) > 1 && kind != EntryKind::Directory;
        if time != had {
            let inode = Inode { fd: found.fd.as_fd(), stat: &found.stat, scope: Scope::Tree };
            let own = own_copy(self.root, &inode, Content::Kept).map_err(inside("copy", path))?;
            key = own.as_ref().map_or(key, |own| InodeKey::of(&own.stat));
            let fd = own.as_ref().map_or(found.fd.as_fd(), |own| own.fd.as_fd());
            set_mtime(fd, time).map_err(inside("set the times of", path))?;
        }
        let shared = several.then_some(key);
        let Record { uid, gid, mode, xattrs, .. } = record;
        let entry = Entry { kind, attributes: Attributes { mode, uid, gid, mtime: time, xattrs } };
        self.out.insert(path.clone(), Some(Emitted { entry, opacity, shared }));
        Ok(())
    }

    /// Emits a path and, if it is a directory, everything beneath it.
    fn emit_subtree(&mut self, path: &RootPath, found: Found, opacity: Opacity) -> Result<(), RootError> {
        let mut pending = self.emit_one(path, &found, opacity)?;
        while let Some(path) = pending.pop() {
            if let Some(found) = self.root.find(&path).map_err(inside("look at", &path))? {
                pending.extend(self.emit_one(&path, &found, Opacity::Transparent)?);
            }
        }
        Ok(())
    }

    /// Emits a path alone and answers what stands beneath it.
    fn emit_one(
        &mut self,
        path: &RootPath,
        found: &Found,
        opacity: Opacity,
    ) -> Result<Vec<RootPath>, RootError> {
        let mut beneath = Vec::new();
        if is_view(path) {
            return Ok(beneath);
        }
        match kind(found) {
            S_IFSOCK => {
                self.sockets.push(path.clone());
                return Ok(beneath);
            }
            S_IFDIR => beneath = children(path, found)?,
            _ => self.note_links(path, found)?,
        }
        let record = self.root.records().get(&found.stat);
        self.emit(path, found, record, opacity)?;
        Ok(beneath)
    }

    /// Makes sure that the index knows `path` as a name of this inode, and only names that are true.
    fn note_links(&mut self, path: &RootPath, found: &Found) -> Result<(), RootError> {
        let key = InodeKey::of(&found.stat);
        let indexed = self.root.links().names(&key);
        if self.root.own_links(&found.stat) <= 1 && indexed.is_empty() {
            return Ok(());
        }
        if !self.verified.insert(key) {
            self.root.links().add(key, None, path.clone());
            return Ok(());
        }
        let mut names = BTreeSet::from([path.clone()]);
        for name in indexed {
            let at = self.root.find(&name).map_err(inside("look at", &name))?;
            if at.is_some_and(|at| InodeKey::of(&at.stat) == key) {
                names.insert(name);
            }
        }
        self.root.links().replace(key, names);
        Ok(())
    }

    /// A hard link can only point into its own layer: with one name of an inode go all the others.
    fn complete_groups(&mut self) -> Result<(), RootError> {
        let shared: BTreeSet<InodeKey> =
            self.out.values().flatten().filter_map(|emitted| emitted.shared).collect();
        let names: BTreeSet<RootPath> = shared.iter().flat_map(|key| self.root.links().names(key)).collect();
        for path in names {
            if matches!(self.out.get(&path), Some(Some(_))) {
                continue;
            }
            if let Some(found) = self.root.find(&path).map_err(inside("look at", &path))? {
                let record = self.root.records().get(&found.stat);
                self.emit(&path, &found, record, Opacity::Transparent)?;
            }
        }
        Ok(())
    }

    /// Gives directories that are not in the changeset the modification times they had.
    fn restore_times(&self) -> Result<(), RootError> {
        for (path, touched) in &self.recorded.touched {
            let Some(before) = touched.before.as_ref().filter(|before| before.is_directory()) else {
                continue;
            };
            if self.out.contains_key(path) {
                continue;
            }
            let Some(found) = self.root.find(path).map_err(inside("look at", path))? else { continue };
            // Another directory here means that an ancestor is in the changeset and has settled this one.
            if InodeKey::of(&found.stat) == before.key && mtime(&found.stat) != before.mtime {
                set_mtime(found.fd.as_fd(), before.mtime).map_err(inside("set the times of", path))?;
            }
        }
        Ok(())
    }

    fn finished(self) -> Finished {
        let mut first_names: BTreeMap<InodeKey, RootPath> = BTreeMap::new();
        let mut changes = ChangeSet::default();
        for (path, emitted) in self.out {
            let Some(Emitted { mut entry, opacity, shared }) = emitted else {
                changes.insert(path, Change::Remove);
                continue;
            };
            // A link's names are links of their own in a layer.
            if let Some(key) = shared
                && !matches!(entry.kind, EntryKind::Symlink { .. })
            {
                let first = first_names.entry(key).or_insert_with(|| path.clone());
                if *first != path {
                    entry.kind = EntryKind::HardLink { target: first.clone() };
                }
            }
            let change = match opacity {
                Opacity::Transparent => Change::Upsert(entry),
                Opacity::Opaque => Change::Opaque(entry),
            };
            changes.insert(path, change);
        }
        let mut sockets = self.sockets;
        sockets.sort();
        Finished { changes, sockets }
    }
}

/// The paths in a directory.
fn children(path: &RootPath, found: &Found) -> Result<Vec<RootPath>, RootError> {
    let names = names(found.fd.as_fd()).map_err(inside("list", path))?;
    Ok(names.iter().filter_map(|name| path.join(name.to_bytes()).ok()).collect())
}

fn entry_kind(found: &Found, record: &Record, path: &RootPath) -> Result<EntryKind, RootError> {
    match record.special {
        Some(Special::Char(device)) => return Ok(EntryKind::CharDevice(device)),
        Some(Special::Block(device)) => return Ok(EntryKind::BlockDevice(device)),
        None => {}
    }
    match kind(found) {
        S_IFREG => Ok(EntryKind::File { size: found.stat.stx_size }),
        S_IFDIR => Ok(EntryKind::Directory),
        S_IFIFO => Ok(EntryKind::Fifo),
        S_IFLNK => {
            let target =
                rustix::fs::readlinkat(&found.fd, c"", Vec::new()).map_err(inside("read the link", path))?;
            Ok(EntryKind::Symlink { target: target.into_bytes() })
        }
        // The host made no device here: guests cannot, and unpacking makes records.
        _ => Err(inside("take into a layer", path)(Errno::OPNOTSUPP)),
    }
}

/// Sets the modification time and nothing else, of a link itself.
pub(crate) fn set_mtime(fd: BorrowedFd<'_>, time: Timestamp) -> Result<(), Errno> {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let modified = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    let times = Timestamps { last_access: omit, last_modification: modified };
    rustix::fs::utimensat(fd, c"", &times, AtFlags::EMPTY_PATH)
}
