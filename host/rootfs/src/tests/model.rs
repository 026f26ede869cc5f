//! A brute-force picture of a tree, with contents, and what a changeset makes of one: the oracle of the journal.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use rustix::fs::OFlags;
use wbuild_layer::{Attributes, Change, ChangeSet, EntryKind, RootPath};

use super::Tree;
use crate::journal::mtime;
use crate::record::{InodeKey, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK};
use crate::walk::{is_view, names};
use crate::{Scope, raw};

/// What stands at a path, as an unpacked layer would have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) what: What,
    pub(crate) attributes: Attributes,
    /// Names with the same number are one inode.
    pub(crate) group: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    File(Vec<u8>),
    Directory,
    Symlink(Vec<u8>),
    Fifo,
    Char(u32, u32),
    Block(u32, u32),
}

pub(crate) type Model = BTreeMap<RootPath, Standing>;

/// Walks the tree and reads everything.
pub(crate) fn look(tree: &Tree) -> Model {
    let mut model = Model::new();
    let mut pending = vec![RootPath::root()];
    while let Some(path) = pending.pop() {
        if is_view(&path) {
            continue;
        }
        let found = tree.root.find(&path).unwrap().unwrap();
        let record = tree.root.records().get(&found.stat);
        let what = match (record.special, u32::from(found.stat.stx_mode) & S_IFMT) {
            (Some(crate::Special::Char(d)), _) => What::Char(d.major, d.minor),
            (Some(crate::Special::Block(d)), _) => What::Block(d.major, d.minor),
            (None, S_IFREG) => {
                let inode = raw::Inode { fd: found.fd.as_fd(), stat: &found.stat, scope: Scope::Tree };
                let fd = raw::reopen(&tree.root, &inode, OFlags::RDONLY).unwrap();
                let mut content = vec![0; usize::try_from(found.stat.stx_size).unwrap()];
                let read = rustix::io::read(&fd, &mut content).unwrap();
                assert_eq!(read, content.len());
                What::File(content)
            }
            (None, S_IFDIR) => {
                let list = names(found.fd.as_fd()).unwrap();
                pending.extend(list.iter().map(|name| path.join(name.to_bytes()).unwrap()));
                What::Directory
            }
            (None, S_IFLNK) => {
                What::Symlink(rustix::fs::readlinkat(&found.fd, c"", Vec::new()).unwrap().into_bytes())
            }
            (None, S_IFIFO) => What::Fifo,
            (None, S_IFSOCK) => continue,
            (None, other) => panic!("{path}: type {other:o}"),
        };
        let attributes = Attributes {
            mode: record.mode,
            uid: record.uid,
            gid: record.gid,
            mtime: mtime(&found.stat),
            xattrs: record.xattrs,
        };
        model.insert(path, Standing { what, attributes, group: InodeKey::of(&found.stat).inode });
    }
    model
}

/// Unpacks a changeset onto a picture as a layer is unpacked; contents come from `after`.
pub(crate) fn apply(before: &Model, changes: &ChangeSet, after: &Model) -> Model {
    let mut model = before.clone();
    let mut next_group = 1 << 60;
    for (path, change) in changes.iter() {
        let (entry, opaque) = match change {
            Change::Remove => {
                model.retain(|other, _| !other.starts_with(path));
                continue;
            }
            Change::Upsert(entry) => (entry, false),
            Change::Opaque(entry) => (entry, true),
        };
        let stays = matches!(model.get(path), Some(old) if old.what == What::Directory)
            && entry.kind == EntryKind::Directory
            && !opaque;
        if !stays {
            model.retain(|other, _| !other.starts_with(path));
        }
        next_group += 1;
        let mut group = next_group;
        let what = match &entry.kind {
            EntryKind::File { size } => {
                let What::File(content) = &after[path].what else { panic!("{path} is no file") };
                assert_eq!(content.len() as u64, *size, "{path}");
                What::File(content.clone())
            }
            EntryKind::Directory => What::Directory,
            EntryKind::Symlink { target } => What::Symlink(target.clone()),
            EntryKind::Fifo => What::Fifo,
            EntryKind::CharDevice(d) => What::Char(d.major, d.minor),
            EntryKind::BlockDevice(d) => What::Block(d.major, d.minor),
            EntryKind::HardLink { target } => {
                assert!(target < path, "{target} before {path}");
                assert!(
                    matches!(changes.get(target), Some(Change::Upsert(e)) if !matches!(e.kind, EntryKind::HardLink { .. })),
                    "{path} points to {target}, which the changeset does not hold"
                );
                group = model[target].group;
                assert_eq!(model[target].attributes, entry.attributes, "{path}");
                model[target].what.clone()
            }
        };
        model.insert(path.clone(), Standing { what, attributes: entry.attributes.clone(), group });
    }
    model
}

/// Renumbers groups by their first name. A symbolic link with several names is not a group in a layer.
pub(crate) fn normalised(model: &Model) -> Model {
    let mut first: BTreeMap<u64, u64> = BTreeMap::new();
    let mut out = Model::new();
    for (index, (path, standing)) in model.iter().enumerate() {
        let mut standing = standing.clone();
        standing.group = if matches!(standing.what, What::Symlink(_) | What::Directory) {
            0
        } else {
            *first.entry(standing.group).or_insert(index as u64 + 1)
        };
        out.insert(path.clone(), standing);
    }
    // The index of the first name differs between two models that hold other paths: compare only where all paths agree.
    out
}
