//! What all layers of an image are together, without a tree on disk.
//!
//! Names and attributes are in memory, contents stay in their layers: a union is built by one pass over the layers and written
//! by a second one. The rules are those by which a tree is unpacked: a later entry replaces an earlier one with all beneath it,
//! unless both are directories; a whiteout concerns lower layers only; links are followed in the directories above an entry,
//! within the root. What is written depends on the layers alone.

mod sink;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};

use crate::{Attributes, Entry, EntryKind, LayerEntry, LayerReader, ReadError, RootPath};
pub use sink::{TarSink, UnionSink};

/// Linux's limit (man 7 path_resolution).
const LINKS: usize = 40;

/// Why layers have no union, or it cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum UnionError {
    /// A layer could not be read.
    #[error("layer {layer}")]
    Layer {
        /// Its number, from 0.
        layer: usize,
        /// Why.
        source: ReadError,
    },
    /// An entry that no file system could hold there.
    #[error("layer {layer}: {path} {reason}")]
    Entry {
        /// The layer's number, from 0.
        layer: usize,
        /// The entry.
        path: RootPath,
        /// Why not.
        reason: &'static str,
    },
    /// A file, link or directory could not be written.
    #[error("cannot write {path}")]
    Write {
        /// Which.
        path: RootPath,
        /// Why.
        source: io::Error,
    },
}

/// Opens a layer by its number, from 0 for the lowest.
pub trait Source {
    /// The layer from its beginning.
    ///
    /// # Errors
    /// It cannot be opened.
    fn layer(&self, number: usize) -> io::Result<LayerReader>;
    /// How many there are.
    fn count(&self) -> usize;
}

/// A file, link or directory of the union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is; never a hard link: names of one file have one node.
    pub entry: Entry,
    /// Where a regular file's content is: the layer, and how many entries of it come before.
    content: Option<(usize, u64)>,
}

/// One name in the union.
#[derive(Clone, Copy, Debug)]
struct Name {
    node: usize,
    /// The layer that made it last.
    layer: usize,
}

/// All layers of an image together.
#[derive(Debug, Default)]
pub struct Union {
    names: BTreeMap<RootPath, Name>,
    nodes: Vec<Node>,
}

impl Union {
    /// Reads all layers, lowest first, and verifies them.
    ///
    /// # Errors
    /// See [`UnionError`].
    pub fn of(source: &dyn Source) -> Result<Self, UnionError> {
        let mut union = Self::default();
        for layer in 0..source.count() {
            let failed = |source| UnionError::Layer { layer, source };
            let mut reader = source.layer(layer).map_err(|error| failed(ReadError::Input(error)))?;
            let mut number = 0;
            while let Some(entry) = reader.next_entry().map_err(failed)? {
                union.apply(layer, number, entry)?;
                number += 1;
            }
            reader.finish().map_err(failed)?;
        }
        Ok(union)
    }

    /// Every name but the root's with what it stands for, in path order.
    pub fn iter(&self) -> impl Iterator<Item = (&RootPath, &Node)> {
        self.names.iter().map(|(path, name)| (path, &self.nodes[name.node]))
    }

    /// Writes everything to `sink`: directories in path order, then contents in the order in which the layers have them, then
    /// links and special files in path order.
    ///
    /// # Errors
    /// See [`UnionError`].
    pub fn write(&self, source: &dyn Source, sink: &mut dyn UnionSink) -> Result<(), UnionError> {
        let failed = |path: &RootPath| {
            let path = path.clone();
            move |source| UnionError::Write { path, source }
        };
        let mut first: BTreeMap<usize, &RootPath> = BTreeMap::new();
        for (path, name) in &self.names {
            first.entry(name.node).or_insert(path);
        }
        for (path, node) in self.iter().filter(|(_, node)| node.is_directory()) {
            sink.directory(path, &node.entry.attributes).map_err(failed(path))?;
        }
        self.write_contents(source, sink, &first)?;
        for (path, name) in &self.names {
            let node = &self.nodes[name.node];
            let original = first[&name.node];
            if original != path {
                let kind = EntryKind::HardLink { target: original.clone() };
                let link = Entry { kind, attributes: node.entry.attributes.clone() };
                sink.special(path, &link).map_err(failed(path))?;
            } else if !node.is_directory() && node.content.is_none() {
                sink.special(path, &node.entry).map_err(failed(path))?;
            }
        }
        sink.finish().map_err(failed(&RootPath::root()))
    }

    fn write_contents(
        &self,
        source: &dyn Source,
        sink: &mut dyn UnionSink,
        first: &BTreeMap<usize, &RootPath>,
    ) -> Result<(), UnionError> {
        let mut wanted: BTreeMap<usize, BTreeMap<u64, usize>> = BTreeMap::new();
        for node in first.keys() {
            if let Some((layer, number)) = self.nodes[*node].content {
                wanted.entry(layer).or_default().insert(number, *node);
            }
        }
        for (layer, mut files) in wanted {
            let failed = |source| UnionError::Layer { layer, source };
            let mut reader = source.layer(layer).map_err(|error| failed(ReadError::Input(error)))?;
            let mut number = 0;
            while !files.is_empty() && reader.next_entry().map_err(failed)?.is_some() {
                if let Some(node) = files.remove(&number) {
                    let (path, node) = (first[&node], &self.nodes[node]);
                    let mut content = Content { reader: &mut reader, failed: None };
                    let written = sink.file(path, node.size(), &node.entry.attributes, &mut content);
                    if let Some(source) = content.failed {
                        return Err(failed(source));
                    }
                    written.map_err(|source| UnionError::Write { path: path.clone(), source })?;
                }
                number += 1;
            }
        }
        Ok(())
    }

    fn apply(&mut self, layer: usize, number: u64, entry: LayerEntry) -> Result<(), UnionError> {
        match entry {
            LayerEntry::Present { path, entry } => {
                let refused = |reason| UnionError::Entry { layer, path: path.clone(), reason };
                let place = self.place(&path).map_err(refused)?;
                self.put(layer, number, place, entry).map_err(refused)
            }
            LayerEntry::Whiteout { path } => {
                let refused = |reason| UnionError::Entry { layer, path: path.clone(), reason };
                let place = self.place(&path).map_err(refused)?;
                self.remove(&place, Reach::LowerThan(layer), Itself::Too);
                Ok(())
            }
            LayerEntry::Opaque { path } => {
                let refused = |reason| UnionError::Entry { layer, path: path.clone(), reason };
                let place = self.resolve(&path).map_err(refused)?;
                self.remove(&place, Reach::LowerThan(layer), Itself::Stays);
                Ok(())
            }
        }
    }

    fn put(&mut self, layer: usize, number: u64, place: RootPath, entry: Entry) -> Result<(), &'static str> {
        if place.is_root() {
            return Ok(());
        }
        self.make_parents(layer, &place)?;
        let node = match &entry.kind {
            EntryKind::HardLink { target } => {
                let target = self.place(target)?;
                let name = self.names.get(&target).ok_or("is a hard link to nothing")?;
                let node = name.node;
                if self.nodes[node].is_directory() {
                    return Err("is a hard link to a directory");
                }
                if target == place {
                    return Ok(());
                }
                node
            }
            kind => {
                let content = matches!(kind, EntryKind::File { .. }).then_some((layer, number));
                self.nodes.push(Node { entry, content });
                self.nodes.len() - 1
            }
        };
        let both = |old: &Name| self.nodes[old.node].is_directory() && self.nodes[node].is_directory();
        if !self.names.get(&place).is_some_and(both) {
            self.remove(&place, Reach::All, Itself::Too);
        }
        self.names.insert(place, Name { node, layer });
        Ok(())
    }

    /// Directories that no layer names, as every engine makes them.
    fn make_parents(&mut self, layer: usize, place: &RootPath) -> Result<(), &'static str> {
        let mut above = place.parent();
        let mut missing = Vec::new();
        while let Some(path) = above.filter(|path| !path.is_root()) {
            match self.names.get(&path) {
                Some(name) if self.nodes[name.node].is_directory() => break,
                Some(_) => return Err("is beneath something that is no directory"),
                None => above = path.parent(),
            }
            missing.push(path);
        }
        for path in missing.into_iter().rev() {
            let attributes = Attributes { mode: 0o755, ..Attributes::default() };
            let entry = Entry { kind: EntryKind::Directory, attributes };
            self.nodes.push(Node { entry, content: None });
            self.names.insert(path, Name { node: self.nodes.len() - 1, layer });
        }
        Ok(())
    }

    fn remove(&mut self, place: &RootPath, reach: Reach, itself: Itself) {
        let beneath = self.names.range(place.clone()..).take_while(|(path, _)| path.starts_with(place));
        let mut kept: Option<RootPath> = None;
        let mut gone = Vec::new();
        // From the last name backwards, so that a directory is seen after what is in it.
        for (path, name) in beneath.collect::<Vec<_>>().into_iter().rev() {
            let holds = kept.as_ref().is_some_and(|kept| kept.starts_with(path));
            let stays = match reach {
                Reach::All => false,
                Reach::LowerThan(layer) => name.layer >= layer || holds,
            };
            if stays || (itself == Itself::Stays && path == place) {
                kept = Some(path.clone());
            } else {
                gone.push(path.clone());
            }
        }
        for path in gone {
            self.names.remove(&path);
        }
    }

    /// Where an entry of this name lies: links in the directories above it are followed, itself is not.
    fn place(&self, path: &RootPath) -> Result<RootPath, &'static str> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => self.resolve(&parent)?.join(name).map_err(|_| "has no usable name"),
            _ => Ok(RootPath::root()),
        }
    }

    fn resolve(&self, path: &RootPath) -> Result<RootPath, &'static str> {
        let mut left: VecDeque<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        let mut done = RootPath::root();
        let mut links = 0;
        while let Some(component) = left.pop_front() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    done = done.parent().unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            let next = done.join(&component).map_err(|_| "has no usable name")?;
            let text = match self.names.get(&next).map(|name| &self.nodes[name.node].entry.kind) {
                Some(EntryKind::Symlink { target }) => target,
                _ => {
                    done = next;
                    continue;
                }
            };
            links += 1;
            if links > LINKS {
                return Err("has too many symbolic links above it");
            }
            if text.starts_with(b"/") {
                done = RootPath::root();
            }
            for part in text.split(|byte| *byte == b'/').rev() {
                left.push_front(part.to_vec());
            }
        }
        Ok(done)
    }
}

impl Node {
    fn is_directory(&self) -> bool {
        self.entry.kind == EntryKind::Directory
    }

    fn size(&self) -> u64 {
        match self.entry.kind {
            EntryKind::File { size } => size,
            _ => 0,
        }
    }
}

/// Which names are removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    All,
    /// Those that this layer has not made, but for the directories above what it has made.
    LowerThan(usize),
}

/// Whether a place goes with what is beneath it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Itself {
    Too,
    Stays,
}

/// The content of the reader's current entry; a failure of the layer is kept, so that it is told from one of the sink.
struct Content<'a> {
    reader: &'a mut LayerReader,
    failed: Option<ReadError>,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reader.content_at_most(buffer.len()) {
            Ok(piece) => {
                buffer[..piece.len()].copy_from_slice(piece);
                Ok(piece.len())
            }
            Err(error) => {
                let told = io::Error::other(error.to_string());
                self.failed = Some(error);
                Err(told)
            }
        }
    }
}

#[cfg(test)]
mod tests;
