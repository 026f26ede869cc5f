//! From an image layout into the store.
//!
//! Every blob is checked against its descriptor on the way in, so a layout is trusted no more than a registry. Only the
//! chosen image is read; blobs the store has already are not read at all.

use crate::{Expected, Image, LayoutError, LayoutSource, Pick, Store, StoreError};
use std::collections::BTreeSet;
use wbuild_oci::{
    CONFIG_LIMIT, Descriptor, Digest, DocumentError, ImageConfig, Index, MANIFEST_LIMIT, Manifest, Platform,
    Reference, media,
};

/// An index may list indexes, but no image needs more than this.
const NESTING_LIMIT: usize = 4;

/// Brings one image of a layout into the store, layers included.
///
/// # Errors
/// [`LayoutError`]: the image is not there or is ambiguous, not for `platform`, or a blob is not what it should be.
pub fn import(
    store: &Store,
    source: &LayoutSource,
    pick: &Pick,
    platform: &Platform,
) -> Result<Image, LayoutError> {
    let image = find(store, source, pick, platform)?;
    for layer in &image.manifest.layers {
        bring(store, source, layer)?;
    }
    Ok(image)
}

/// Brings a whole image or index of a layout into the store, whatever platforms it is for. Of an index, images that the layout does
/// not hold are an error.
///
/// # Errors
/// [`LayoutError`]: the image is not there or is ambiguous, or a blob is not what it should be.
pub fn import_whole(store: &Store, source: &LayoutSource, pick: &Pick) -> Result<Descriptor, LayoutError> {
    whole(store, source, pick, Layers::Brought)
}

/// As [`import_whole`], but for layers: those stay where they are, for a layout that is lent to the store ([`Store::lend`]).
///
/// # Errors
/// As [`import_whole`]; layers are not looked at.
pub fn import_documents(
    store: &Store,
    source: &LayoutSource,
    pick: &Pick,
) -> Result<Descriptor, LayoutError> {
    whole(store, source, pick, Layers::Left)
}

/// Whether layers come along.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layers {
    Brought,
    Left,
}

fn whole(
    store: &Store,
    source: &LayoutSource,
    pick: &Pick,
    layers: Layers,
) -> Result<Descriptor, LayoutError> {
    let index = picked(source.index()?, pick)?;
    let available = || list(index.manifests.iter().map(describe));
    let first = index.manifests.first().ok_or_else(|| LayoutError::Ambiguous { available: available() })?;
    if index.manifests.iter().any(|entry| entry.digest != first.digest) {
        return Err(LayoutError::Ambiguous { available: available() });
    }
    bring_all(store, source, first, layers, NESTING_LIMIT)?;
    let mut descriptor = Descriptor::new(first.media_type.clone(), first.digest, first.size);
    descriptor.platform.clone_from(&first.platform);
    Ok(descriptor)
}

/// Brings the one document that `pick` names into the store, and nothing beneath it.
///
/// # Errors
/// As [`import_whole`].
pub fn import_document(store: &Store, source: &LayoutSource, pick: &Pick) -> Result<Descriptor, LayoutError> {
    let index = picked(source.index()?, pick)?;
    let available = || list(index.manifests.iter().map(describe));
    let first = index.manifests.first().ok_or_else(|| LayoutError::Ambiguous { available: available() })?;
    document(store, source, first, MANIFEST_LIMIT)?;
    Ok(Descriptor::new(first.media_type.clone(), first.digest, first.size))
}

/// Brings one blob of a layout into the store.
///
/// # Errors
/// [`LayoutError`]: it is not there, or not what its descriptor says.
pub fn import_blob(store: &Store, source: &LayoutSource, blob: &Descriptor) -> Result<(), LayoutError> {
    bring(store, source, blob)
}

/// Brings what an entry names, and everything beneath it.
fn bring_all(
    store: &Store,
    source: &LayoutSource,
    entry: &Descriptor,
    layers: Layers,
    depth: usize,
) -> Result<(), LayoutError> {
    let depth = depth.checked_sub(1).ok_or(LayoutError::Nesting(entry.digest))?;
    if entry.kind() == media::Kind::Index {
        let index =
            Index::parse(&document(store, source, entry, MANIFEST_LIMIT)?).map_err(malformed(entry))?;
        return index.manifests.iter().try_for_each(|entry| bring_all(store, source, entry, layers, depth));
    }
    let image = read_image(store, source, entry)?;
    if layers == Layers::Left {
        return Ok(());
    }
    image.manifest.layers.iter().try_for_each(|layer| bring(store, source, layer))
}

fn find(
    store: &Store,
    source: &LayoutSource,
    pick: &Pick,
    platform: &Platform,
) -> Result<Image, LayoutError> {
    let mut index = picked(source.index()?, pick)?;
    for _ in 0..NESTING_LIMIT {
        let no_image = |index: &Index| LayoutError::Platform {
            wanted: platform.to_string(),
            available: list(index.platforms().map(ToString::to_string)),
        };
        let entry = index.select(platform).ok_or_else(|| no_image(&index))?.clone();
        if entry.kind() == media::Kind::Index {
            let bytes = document(store, source, &entry, MANIFEST_LIMIT)?;
            index = Index::parse(&bytes).map_err(malformed(&entry))?;
            continue;
        }
        let image = read_image(store, source, &entry)?;
        // An entry without a platform is for whatever its config says.
        if platform.rank(&image.config.platform()).is_none() {
            return Err(LayoutError::Platform {
                wanted: platform.to_string(),
                available: image.config.platform().to_string(),
            });
        }
        return Ok(image);
    }
    Err(LayoutError::Nesting(index.manifests.first().map_or_else(|| Digest::of(b""), |entry| entry.digest)))
}

/// The part of a layout's index that `pick` names.
fn picked(mut index: Index, pick: &Pick) -> Result<Index, LayoutError> {
    let available = || list(index.manifests.iter().map(describe));
    let chosen: Vec<Descriptor> = match pick {
        Pick::Only => index.manifests.clone(),
        Pick::Name(name) => index.manifests.iter().filter(|entry| is_named(entry, name)).cloned().collect(),
        Pick::Digest(digest) => {
            index.manifests.iter().filter(|entry| entry.digest == *digest).cloned().collect()
        }
    };
    let wanted = match pick {
        Pick::Only => "any".to_owned(),
        Pick::Name(name) => name.clone(),
        Pick::Digest(digest) => digest.to_string(),
    };
    if chosen.is_empty() {
        return Err(LayoutError::NoSuchImage { wanted, available: available() });
    }
    // One image may stand there under several names, and under one name once for each platform.
    let images: BTreeSet<_> = chosen.iter().map(|entry| (entry.platform.clone(), entry.digest)).collect();
    let platforms: BTreeSet<_> = chosen.iter().map(|entry| entry.platform.clone()).collect();
    if images.len() > platforms.len() {
        return Err(LayoutError::Ambiguous { available: available() });
    }
    index.manifests = chosen;
    Ok(index)
}

fn names(entry: &Descriptor) -> impl Iterator<Item = &String> {
    [wbuild_oci::ANNOTATION_REF_NAME, wbuild_oci::ANNOTATION_IMAGE_NAME]
        .into_iter()
        .filter_map(|key| entry.annotations.get(key))
}

/// Some writers put the tag into the name, others the whole reference: either finds it.
fn is_named(entry: &Descriptor, name: &str) -> bool {
    let wanted: Option<Reference> = name.parse().ok();
    names(entry).any(|given| {
        given == name || (wanted.is_some() && given.contains(['/', ':']) && given.parse().ok() == wanted)
    })
}

fn describe(entry: &Descriptor) -> String {
    names(entry).last().cloned().unwrap_or_else(|| entry.digest.to_string())
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

fn read_image(store: &Store, source: &LayoutSource, entry: &Descriptor) -> Result<Image, LayoutError> {
    let manifest =
        Manifest::parse(&document(store, source, entry, MANIFEST_LIMIT)?).map_err(malformed(entry))?;
    let config = document(store, source, &manifest.config, CONFIG_LIMIT)?;
    let config = ImageConfig::parse(&config).map_err(malformed(&manifest.config))?;
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids {
        return Err(LayoutError::LayerCount { digest: entry.digest, layers, diff_ids });
    }
    let mut descriptor = Descriptor::new(manifest.media_type(), entry.digest, entry.size);
    descriptor.platform = Some(config.platform());
    Ok(Image { descriptor, manifest, config })
}

/// Brings a small blob into the store and reads it.
fn document(
    store: &Store,
    source: &LayoutSource,
    blob: &Descriptor,
    limit: u64,
) -> Result<Vec<u8>, LayoutError> {
    if blob.size > limit {
        return Err(failed(blob)(StoreError::TooLarge { limit }));
    }
    bring(store, source, blob)?;
    store.read(&blob.digest, limit).map_err(failed(blob))
}

fn bring(store: &Store, source: &LayoutSource, blob: &Descriptor) -> Result<(), LayoutError> {
    match store.size_of(&blob.digest).map_err(failed(blob))? {
        Some(size) if size == blob.size => Ok(()),
        Some(actual) => Err(failed(blob)(StoreError::Size { expected: blob.size, actual })),
        None => {
            let mut content = source.blob(&blob.digest)?;
            store.ingest_from(&mut content, Expected::of(blob)).map(drop).map_err(failed(blob))
        }
    }
}

fn failed(blob: &Descriptor) -> impl FnOnce(StoreError) -> LayoutError {
    let digest = blob.digest;
    move |source| LayoutError::Blob { digest, source }
}

fn malformed(blob: &Descriptor) -> impl FnOnce(DocumentError) -> LayoutError {
    let name = blob.digest.to_string();
    move |source| LayoutError::Document { name, source }
}

#[cfg(test)]
mod tests;
