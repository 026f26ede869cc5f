//! What a step changed, as the OCI layer specification names it: additions, modifications, removals.
//!
//! A [`ChangeSet`] is sorted by path and holds one change a path, so its order depends on nothing else.
//! It holds no file contents: a layer writer asks for those by path.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::RootPath;

/// Seconds since 1970 with a nanosecond part in `0..1_000_000_000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp {
    /// Whole seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds past `seconds`.
    pub nanoseconds: u32,
}

/// Extended attributes by full name (`security.capability`, `user.mime_type`), in name order.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the guest sees of an inode besides its content: the virtual owner and mode, never the host's.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky (`mode & 0o7777`); no file type.
    pub mode: u32,
    /// Virtual owner.
    pub uid: u32,
    /// Virtual group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Timestamp,
    /// Extended attributes.
    #[serde(with = "pairs")]
    pub xattrs: Xattrs,
}

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Device {
    /// The driver's number.
    pub major: u32,
    /// The device's number within the driver.
    pub minor: u32,
}

/// The type of an entry with what only that type has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A regular file of `size` bytes.
    File {
        /// Content length in bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// The link's text, as it is.
        target: Vec<u8>,
    },
    /// One more name of a file that the same changeset holds under `target`, which sorts before it.
    HardLink {
        /// The first name of the file.
        target: RootPath,
    },
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A FIFO.
    Fifo,
}

/// One file as a layer carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its type.
    pub kind: EntryKind,
    /// Its owner, mode, times and extended attributes.
    pub attributes: Attributes,
}

/// What happened at one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// It is there now, new or different from before.
    Upsert(Entry),
    /// A directory that hides everything the lower layers have beneath it (opaque whiteout).
    Opaque(Entry),
    /// It is gone (whiteout).
    Remove,
}

/// The changes of one step, one for each path, in path order (by component, parents first).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChangeSet {
    #[serde(with = "pairs")]
    changes: BTreeMap<RootPath, Change>,
}

impl ChangeSet {
    /// Records what happened at `path`, replacing what was recorded before.
    pub fn insert(&mut self, path: RootPath, change: Change) {
        self.changes.insert(path, change);
    }

    /// The change at `path`.
    #[must_use]
    pub fn get(&self, path: &RootPath) -> Option<&Change> {
        self.changes.get(path)
    }

    /// All changes in path order.
    pub fn iter(&self) -> impl Iterator<Item = (&RootPath, &Change)> {
        self.changes.iter()
    }

    /// All changes in path order, to be adjusted in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&RootPath, &mut Change)> {
        self.changes.iter_mut()
    }

    /// How many paths changed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// True if nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl FromIterator<(RootPath, Change)> for ChangeSet {
    fn from_iter<I: IntoIterator<Item = (RootPath, Change)>>(iter: I) -> Self {
        Self { changes: iter.into_iter().collect() }
    }
}

/// A map as a list of pairs: its keys are bytes, which JSON cannot have as keys.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changeset_crosses_a_process_boundary_as_json() {
        let xattrs = Xattrs::from([(b"user.a".to_vec(), vec![0xff, 0])]);
        let attributes = Attributes { mode: 0o755, xattrs, ..Attributes::default() };
        let path = RootPath::new(b"a/\xfe").unwrap();
        let entry = Entry { kind: EntryKind::Directory, attributes };
        let changes: ChangeSet = [(path, Change::Upsert(entry))].into_iter().collect();
        let text = serde_json::to_vec(&changes).unwrap();
        assert_eq!(serde_json::from_slice::<ChangeSet>(&text).unwrap(), changes);
    }
}
