//! A changeset to a blob in the store.

use std::fs::File;
use std::io;

use wbuild_layer::{Blob, ChangeSet, Packing, RootPath, Threads, WriteError, write_layer};
use wbuild_store::{Expected, Store, StoreError};

use crate::background::Background;

/// Why a layer was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The layer could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes the layer of `changes`, whose files `open` gives, and puts it into the store: it is there once `syncs` was waited
/// for, so that the next step runs while the disk works. `then` is done after that.
pub(crate) fn commit(
    store: &Store,
    syncs: &Background,
    changes: &ChangeSet,
    packing: Packing,
    open: impl FnMut(&RootPath) -> io::Result<File>,
    then: impl FnOnce(&Blob) -> Result<(), StoreError> + Send + 'static,
) -> Result<Blob, CommitError> {
    let ingest = store.ingest(Expected::hashed_by_writer())?;
    let (ingest, blob) = write_layer(changes, open, packing, Threads::available(), ingest)?;
    syncs.start(move || {
        ingest.commit_as(blob.digest)?;
        then(&blob)
    })?;
    Ok(blob)
}

/// The layer of no change at all.
pub(crate) fn empty(store: &Store, packing: Packing) -> Result<Blob, CommitError> {
    let ingest = store.ingest(Expected::hashed_by_writer())?;
    let nothing = |_: &RootPath| -> io::Result<File> { Err(io::ErrorKind::NotFound.into()) };
    let (ingest, blob) = write_layer(&ChangeSet::default(), nothing, packing, Threads::exactly(1), ingest)?;
    ingest.commit_as(blob.digest)?;
    Ok(blob)
}
