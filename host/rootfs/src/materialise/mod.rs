//! Materialising: an image's layers to a captured rootfs.
//!
//! Only files beneath the tree are reached: every name is taken in a directory whose descriptor was opened from the root's with
//! `RESOLVE_IN_ROOT` (or beneath it without links), and the last component is never followed. What a layer says of owners, modes,
//! devices and extended attributes goes to the records. After an error the tree is of no use and has to be discarded; and it may
//! be used only after success, because a layer is verified when its end was read.

mod apply;
mod copied;
mod directories;
mod likeness;
mod remove;

use std::io::{self, Read};

use rustix::io::Errno;
use wbuild_layer::{Expected, LayerEntry, LayerReader, Limits, ReadError, RootPath, Verified};

use crate::root::Root;
use apply::Unpacker;

pub use copied::Sharing;
pub use likeness::Likeness;

/// One layer to unpack.
pub struct Layer {
    /// Its blob, from the first byte.
    pub blob: Box<dyn Read + Send>,
    /// What the blob has to be.
    pub expected: Expected,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layer").field("expected", &self.expected).finish_non_exhaustive()
    }
}

/// Why a tree could not be made. Layers are counted from 1, lowest first.
#[derive(Debug, thiserror::Error)]
pub enum MaterialiseError {
    /// A layer's blob could not be opened.
    #[error("cannot open layer {layer}: {source}")]
    Open {
        /// Which.
        layer: usize,
        /// Why.
        source: io::Error,
    },
    /// A layer is not what it should be.
    #[error("layer {layer}: {source}")]
    Layer {
        /// Which.
        layer: usize,
        /// What is wrong.
        source: ReadError,
    },
    /// An entry could not be made.
    #[error("layer {layer}: cannot {action} {path}: {source}")]
    Entry {
        /// Which.
        layer: usize,
        /// What was tried.
        action: &'static str,
        /// The entry.
        path: RootPath,
        /// The kernel's reason.
        source: Errno,
    },
    /// An entry contradicts what is there.
    #[error("layer {layer}: entry {path}: {reason}")]
    Refused {
        /// Which.
        layer: usize,
        /// The entry.
        path: RootPath,
        /// What is wrong with it.
        reason: Refusal,
    },
    /// A step is running on the tree: what is unpacked would enter its changes.
    #[error("the tree is in use by a step")]
    InUse,
    /// Another tree's file could not be taken over. EXDEV and EOPNOTSUPP say that the volume cannot share so.
    #[error("cannot take {path} over from another tree: {source}")]
    Copy {
        /// Which file.
        path: RootPath,
        /// The kernel's reason.
        source: Errno,
    },
}

/// Why an entry is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something stands where a directory is needed.
    #[error("{0} is in its way: not a directory, or a symbolic link that leads to none")]
    ParentNotDirectory(RootPath),
    /// A hard link to a name that is not there.
    #[error("its hard link target {0} does not exist")]
    MissingTarget(RootPath),
    /// A hard link to a directory.
    #[error("its hard link target {0} is a directory")]
    DirectoryTarget(RootPath),
    /// An extended attribute that Linux could not hold.
    #[error("its extended attributes are longer than 64 KiB, or one has no name")]
    Xattrs,
}

impl Root {
    /// Fills this tree, which no step uses now, from layers, lowest first, each at most as large as `limits` say; an error of the iterator is
    /// a blob that could not be opened. They are opened one ahead of where they are needed. Answers what each was.
    ///
    /// # Errors
    /// See [`MaterialiseError`]; the tree is then to be discarded.
    pub fn unpack(
        &self,
        layers: &mut dyn Iterator<Item = io::Result<Layer>>,
        limits: Limits,
    ) -> Result<Vec<Verified>, MaterialiseError> {
        if self.journal().is_recording() {
            return Err(MaterialiseError::InUse);
        }
        let mut open = layers.enumerate().map(|(i, opened)| match opened {
            Ok(layer) => Ok((i + 1, LayerReader::new(layer.blob, layer.expected, limits))),
            Err(source) => Err(MaterialiseError::Open { layer: i + 1, source }),
        });
        let mut unpacker = Unpacker::new(self);
        let mut verified = Vec::new();
        let mut next = open.next().transpose()?;
        while let Some((layer, reader)) = next {
            // The layer after this one is decompressed meanwhile, as far as its buffers reach.
            next = open.next().transpose()?;
            verified.push(unpack(&mut unpacker, layer, reader)?);
        }
        unpacker.finish()?;
        Ok(verified)
    }

    /// Fills this tree, a new one, from another, which is open for writing nowhere and must not be changed any more. Answers what that
    /// one looked like.
    ///
    /// # Errors
    /// See [`MaterialiseError`]; the tree is then to be discarded.
    pub fn take_over(&self, from: &Self, sharing: Sharing) -> Result<Likeness, MaterialiseError> {
        if self.journal().is_recording() || from.journal().is_recording() {
            return Err(MaterialiseError::InUse);
        }
        copied::copy(self, from, sharing)
    }
}

fn unpack(
    unpacker: &mut Unpacker<'_>,
    layer: usize,
    mut reader: LayerReader,
) -> Result<Verified, MaterialiseError> {
    let wrong = |source| MaterialiseError::Layer { layer, source };
    unpacker.begin(layer);
    while let Some(entry) = reader.next_entry().map_err(wrong)? {
        match entry {
            LayerEntry::Whiteout { path } => unpacker.whiteout(&path)?,
            LayerEntry::Opaque { path } => unpacker.opaque(&path)?,
            LayerEntry::Present { path, entry } => unpacker.present(&path, entry, &mut reader)?,
        }
    }
    reader.finish().map_err(wrong)
}

#[cfg(test)]
mod tests;
