//! Two images held against each other: which layer, which path, which field differs.
//!
//! Both are in the store. Layers with one digest are not read; the others are read entry by entry, contents as digests, so memory
//! grows with the entries of one layer and not with its contents.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use wbuild_layer::{Entry, EntryKind, LayerEntry, RootPath, Source, UnionError};
use wbuild_oci::{CONFIG_LIMIT, Descriptor, Digest, Hasher, ImageConfig, MANIFEST_LIMIT, Manifest, Time};
use wbuild_store::{Store, StoreError};

use crate::error::BuildError;
use crate::export::Layers;

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub place: Place,
    /// What: `mode`, `Env[2]`.
    pub field: String,
    /// What the first image has; `None` for nothing.
    pub one: Option<String>,
    /// What the second image has; `None` for nothing.
    pub other: Option<String>,
}

/// Where images differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The manifest.
    Manifest,
    /// The config.
    Config,
    /// A layer, from 0 for the lowest, or an entry of it.
    Layer(usize, Option<RootPath>),
}

/// What a layer says of one path.
type Facts = BTreeMap<String, String>;

/// Compares two images of the store by their manifests' descriptors.
///
/// # Errors
/// One of them cannot be read.
pub fn compare(store: &Store, one: &Descriptor, other: &Descriptor) -> Result<Vec<Difference>, BuildError> {
    let mut found = Vec::new();
    if one.digest == other.digest {
        return Ok(found);
    }
    let (first, second) = (manifest(store, one)?, manifest(store, other)?);
    let (first_config, second_config) = (config(store, &first)?, config(store, &second)?);
    // Layers and config are told by themselves.
    let plain = |manifest: &Manifest| {
        let mut value = serde_json::to_value(manifest).unwrap_or_default();
        value["layers"] = manifest.layers.iter().map(|layer| layer.media_type.clone()).collect();
        value["config"] = manifest.config.media_type.clone().into();
        value
    };
    values(&Place::Manifest, "", &plain(&first), &plain(&second), &mut found);
    let bare = |config: &ImageConfig| {
        let mut value = serde_json::to_value(config).unwrap_or_default();
        value["rootfs"] = Value::Null;
        value
    };
    values(&Place::Config, "", &bare(&first_config), &bare(&second_config), &mut found);
    let layers = |manifest: &Manifest, config: &ImageConfig| -> Vec<(Descriptor, Digest)> {
        manifest.layers.iter().cloned().zip(config.rootfs.diff_ids.iter().copied()).collect()
    };
    let (first, second) = (layers(&first, &first_config), layers(&second, &second_config));
    for number in 0..first.len().max(second.len()) {
        match (first.get(number), second.get(number)) {
            (Some(one), Some(other)) => layer(store, number, one, other, &mut found)?,
            (one, other) => {
                let shown =
                    |layer: Option<&(Descriptor, Digest)>| layer.map(|(layer, _)| layer.digest.to_string());
                let place = Place::Layer(number, None);
                found.push(Difference {
                    place,
                    field: "layer".to_owned(),
                    one: shown(one),
                    other: shown(other),
                });
            }
        }
    }
    Ok(found)
}

fn manifest(store: &Store, descriptor: &Descriptor) -> Result<Manifest, StoreError> {
    let digest = descriptor.digest;
    let bytes = store.read(&digest, MANIFEST_LIMIT)?;
    Manifest::parse(&bytes).map_err(|source| StoreError::Document { digest, source })
}

fn config(store: &Store, manifest: &Manifest) -> Result<ImageConfig, StoreError> {
    let digest = manifest.config.digest;
    let bytes = store.read(&digest, CONFIG_LIMIT)?;
    ImageConfig::parse(&bytes).map_err(|source| StoreError::Document { digest, source })
}

/// Compares JSON values, member by member.
fn values(place: &Place, field: &str, one: &Value, other: &Value, found: &mut Vec<Difference>) {
    match (one, other) {
        (Value::Object(first), Value::Object(second)) => {
            let keys: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
            for key in keys {
                let name = if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
                let part =
                    |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or_default();
                values(place, &name, &part(first), &part(second), found);
            }
        }
        (Value::Array(first), Value::Array(second)) => {
            for number in 0..first.len().max(second.len()) {
                let part = |array: &[Value]| array.get(number).cloned().unwrap_or_default();
                values(place, &format!("{field}[{number}]"), &part(first), &part(second), found);
            }
        }
        _ if one != other => {
            let shown = |value: &Value| (!value.is_null()).then(|| value.to_string());
            let (one, other) = (shown(one), shown(other));
            found.push(Difference { place: place.clone(), field: field.to_owned(), one, other });
        }
        _ => {}
    }
}

/// Compares two layers that the store has; `number` is their place.
pub(crate) fn layer(
    store: &Store,
    number: usize,
    one: &(Descriptor, Digest),
    other: &(Descriptor, Digest),
    found: &mut Vec<Difference>,
) -> Result<(), BuildError> {
    if one.0.digest == other.0.digest {
        return Ok(());
    }
    let mut whole = |field: &str, one: String, other: String| {
        let place = Place::Layer(number, None);
        found.push(Difference { place, field: field.to_owned(), one: Some(one), other: Some(other) });
    };
    if one.1 == other.1 {
        whole("compressed form", one.0.digest.to_string(), other.0.digest.to_string());
        return Ok(());
    }
    let (first, second) = (entries(store, one)?, entries(store, other)?);
    let before = found.len();
    let paths: BTreeSet<&RootPath> = first.keys().chain(second.keys()).collect();
    for path in paths {
        let place = Place::Layer(number, Some(path.clone()));
        let (one, other) = (first.get(path), second.get(path));
        let (Some(one), Some(other)) = (one, other) else {
            let shown = |facts: Option<&Facts>| facts.map(|facts| facts["type"].clone());
            let (one, other) = (shown(one), shown(other));
            found.push(Difference { place, field: "entry".to_owned(), one, other });
            continue;
        };
        let fields: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
        for field in fields {
            let (one, other) = (one.get(field).cloned(), other.get(field).cloned());
            if one != other {
                found.push(Difference { place: place.clone(), field: field.clone(), one, other });
            }
        }
    }
    if found.len() == before {
        let place = Place::Layer(number, None);
        let (one, other) = (Some(one.1.to_string()), Some(other.1.to_string()));
        found.push(Difference { place, field: "order or encoding of the archive".to_owned(), one, other });
    }
    Ok(())
}

/// Everything a layer says, by path.
fn entries(store: &Store, layer: &(Descriptor, Digest)) -> Result<BTreeMap<RootPath, Facts>, BuildError> {
    let failed = |source| BuildError::Rootfs {
        dest: format!("layer {}", layer.0.digest).into(),
        source: Box::new(UnionError::Layer { layer: 0, source }),
    };
    let source = Layers::one(store, layer.0.clone(), layer.1);
    let input = |error| failed(wbuild_layer::ReadError::Input(error));
    let mut reader = source.layer(0).map_err(input)?;
    let mut entries = BTreeMap::new();
    while let Some(entry) = reader.next_entry().map_err(failed)? {
        let (path, facts) = match entry {
            LayerEntry::Present { path, entry } => {
                let mut facts = facts(&entry);
                if matches!(entry.kind, EntryKind::File { .. }) {
                    let mut hasher = Hasher::new();
                    loop {
                        let piece = reader.content().map_err(failed)?;
                        if piece.is_empty() {
                            break;
                        }
                        hasher.update(piece);
                    }
                    facts.insert("content".to_owned(), hasher.finish().to_string());
                }
                (path, facts)
            }
            LayerEntry::Whiteout { path } => (path, fact("whiteout")),
            LayerEntry::Opaque { path } => {
                (path.join(".wh..wh..opq").unwrap_or(path), fact("opaque whiteout"))
            }
        };
        entries.insert(path, facts);
    }
    reader.finish().map_err(failed)?;
    Ok(entries)
}

fn fact(kind: &str) -> Facts {
    [("type".to_owned(), kind.to_owned())].into()
}

fn facts(entry: &Entry) -> Facts {
    let (kind, more) = match &entry.kind {
        EntryKind::File { size } => ("file", Some(("size", size.to_string()))),
        EntryKind::Directory => ("directory", None),
        EntryKind::Symlink { target } => {
            ("symbolic link", Some(("target", String::from_utf8_lossy(target).into_owned())))
        }
        EntryKind::HardLink { target } => ("hard link", Some(("target", target.to_string()))),
        EntryKind::CharDevice(device) => {
            ("character device", Some(("device", format!("{}:{}", device.major, device.minor))))
        }
        EntryKind::BlockDevice(device) => {
            ("block device", Some(("device", format!("{}:{}", device.major, device.minor))))
        }
        EntryKind::Fifo => ("FIFO", None),
    };
    let mut facts = fact(kind);
    facts.extend(more.map(|(name, value)| (name.to_owned(), value)));
    let attributes = &entry.attributes;
    let mtime = Time::from_unix_nanos(attributes.mtime.seconds, attributes.mtime.nanoseconds);
    for (name, value) in [
        ("mode", format!("{:04o}", attributes.mode)),
        ("uid", attributes.uid.to_string()),
        ("gid", attributes.gid.to_string()),
        ("mtime", mtime.to_string()),
    ] {
        facts.insert(name.to_owned(), value);
    }
    for (name, value) in &attributes.xattrs {
        facts.insert(format!("xattr {}", String::from_utf8_lossy(name)), value.escape_ascii().to_string());
    }
    facts
}

#[cfg(test)]
mod tests;
