//! Changesets and layer archives, each from the other.
//!
//! Layer bytes depend on the changeset and the file contents alone: no clock, no readdir order, no umask, no
//! thread count. This crate never opens a path by itself: contents come from and go to the caller.

#![forbid(unsafe_code)]

mod archive;
mod changeset;
mod compress;
mod path;
mod read;
mod union;
mod write;

pub use archive::encode::Unwritable;
pub use changeset::{Attributes, Change, ChangeSet, Device, Entry, EntryKind, Timestamp, Xattrs};
pub use compress::{Blob, BlobWriter, LevelError, Packing, Threads};
pub use path::{RootPath, RootPathError};
pub use read::{Expected, LayerEntry, LayerReader, Limits, Malformed, ReadError, Verified};
pub use union::{Node, Source, TarSink, Union, UnionError, UnionSink};
pub use wbuild_oci::{Compression, Digest, Hasher};
pub use write::{WriteError, write_layer};
