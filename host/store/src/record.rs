//! Small documents by key: what `build` remembers between builds.
//!
//! A document is written whole or not at all; of two writers one wins. The store does not read them.

use crate::{StoreError, blobs::failed, ingest};
use cap_std::fs::Dir;
use std::io;
use wbuild_oci::Digest;

pub(crate) fn read(records: &Dir, kind: &str, key: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
    let path = format!("{kind}/{}", key.hex());
    match records.read(&path) {
        Ok(document) => Ok(Some(document)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", format!("records/{path}"))(error)),
    }
}

/// Every document of a kind, in the order of their keys.
pub(crate) fn all(records: &Dir, kind: &str) -> Result<Vec<Vec<u8>>, StoreError> {
    let entries = match records.read_dir(kind) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", format!("records/{kind}"))(error)),
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>();
    let mut names = names.map_err(failed("list", format!("records/{kind}")))?;
    names.sort();
    let mut documents = Vec::new();
    for key in names.iter().filter_map(|name| Digest::from_hex(name.to_str()?).ok()) {
        documents.extend(read(records, kind, &key)?);
    }
    Ok(documents)
}

pub(crate) fn write(
    ingest: &Dir,
    records: &Dir,
    kind: &str,
    key: &Digest,
    document: &[u8],
) -> Result<(), StoreError> {
    let path = format!("records/{kind}/{}", key.hex());
    records.create_dir_all(kind).map_err(failed("create", format!("records/{kind}")))?;
    let room = records.open_dir(kind).map_err(failed("open", format!("records/{kind}")))?;
    ingest::place(ingest, &room, &key.hex(), document).map_err(failed("write", path))
}
