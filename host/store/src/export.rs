//! From the store into an image layout, a directory or a tar.
//!
//! What is written is an image, or an index with every image of it. A tar's bytes depend on that and its names alone. A directory may hold other images, which stay; its index is
//! replaced whole after the blobs are there. Every blob is verified on its way out.

use crate::{LayoutError, Store, StoreError, ingest, layout::failed, lock};
use cap_std::fs::Dir;
use std::collections::BTreeMap;
use std::io::{self, Write};
use wbuild_oci::{
    ANNOTATION_CREATED, ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, CONFIG_LIMIT, Descriptor, Digest,
    DocumentError, ImageConfig, Index, Layout, MANIFEST_LIMIT, Manifest, Reference, media,
};

const INDEX: &str = "index.json";
/// The list of images in the archives of `docker save`.
const DOCKER_LIST: &str = "manifest.json";
/// An index may list indexes, but no image needs more than this.
const NESTING_LIMIT: usize = 4;

/// What tools an archive is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveForm {
    /// An OCI layout.
    Oci,
    /// The same layout with the `manifest.json` of `docker save`, which `docker load`, `podman load` and skopeo's
    /// `docker-archive:` read. It holds one image.
    Docker,
}

/// Writes the image or index `manifest` into the layout in `dir`, under `names`, or without a name where there
/// are none. Images that are there stay; one that has one of the names loses it.
///
/// # Errors
/// [`LayoutError`].
pub fn write_layout_dir(
    store: &Store,
    manifest: &Descriptor,
    names: &[Reference],
    dir: &Dir,
) -> Result<(), LayoutError> {
    let image = Parts::read(store, manifest)?;
    dir.create_dir_all("blobs/sha256").map_err(failed("create", "blobs/sha256"))?;
    let blobs = dir.open_dir("blobs/sha256").map_err(failed("open", "blobs/sha256"))?;
    for blob in image.blobs.values() {
        write_blob(store, blob, dir, &blobs)?;
    }
    let _lock = lock::lock_dir(dir).map_err(failed("lock", "."))?;
    let mut index = match dir.read(INDEX) {
        Ok(bytes) => Index::parse(&bytes).map_err(|source| malformed(INDEX, source))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Index::new(Vec::new()),
        Err(error) => return Err(failed("read", INDEX)(error)),
    };
    let entries = image.entries(names);
    index.manifests.retain(|old| !entries.iter().any(|new| replaces(new, old)));
    index.manifests.extend(entries);
    ingest::place(dir, dir, Layout::FILE, &Layout::to_bytes()).map_err(failed("write", Layout::FILE))?;
    ingest::place(dir, dir, INDEX, &index.to_compact_bytes()).map_err(failed("write", INDEX))
}

/// Whether the entry `new` of an index takes the place of `old`: the same name, or the same image without one.
fn replaces(new: &Descriptor, old: &Descriptor) -> bool {
    let name = |entry: &Descriptor| {
        let given = |key| entry.annotations.get(key).cloned();
        given(ANNOTATION_IMAGE_NAME).or_else(|| given(ANNOTATION_REF_NAME))
    };
    match (name(new), name(old)) {
        (Some(new), Some(old)) => new == old,
        (None, None) => new.digest == old.digest,
        _ => false,
    }
}

fn write_blob(store: &Store, blob: &Descriptor, dir: &Dir, blobs: &Dir) -> Result<(), LayoutError> {
    let target = blob.digest.hex();
    if blobs.metadata(&target).is_ok_and(|there| there.len() == blob.size) {
        return Ok(());
    }
    let path = || format!("blobs/sha256/{target}");
    let (temporary, mut file) = lock::create_locked(dir, ".partial").map_err(failed("create", path()))?;
    let result = store.copy(blob, &mut file).map_err(unreadable(&blob.digest)).and_then(|()| {
        file.sync_data().map_err(failed("sync", path()))?;
        dir.rename(&temporary, blobs, &target).map_err(failed("rename", path()))
    });
    if result.is_err() {
        drop(dir.remove_file(&temporary));
    }
    result
}

/// Writes a new layout with this one image or index to `out` as a tar: members sorted by name, no times, no owners.
///
/// # Errors
/// [`LayoutError`]; [`LayoutError::SeveralImages`] for an index in Docker's form.
pub fn write_layout_tar(
    store: &Store,
    manifest: &Descriptor,
    names: &[Reference],
    form: ArchiveForm,
    out: &mut dyn Write,
) -> Result<(), LayoutError> {
    let image = Parts::read(store, manifest)?;
    let list = match form {
        ArchiveForm::Oci => None,
        ArchiveForm::Docker => Some(image.docker_list(names)?),
    };
    let mut tar = tar::Builder::new(out);
    for name in ["blobs/", "blobs/sha256/"] {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        tar.append_data(&mut header, name, io::empty()).map_err(failed("write", name))?;
    }
    for blob in image.blobs.values() {
        let name = format!("blobs/sha256/{}", blob.digest.hex());
        let mut header = header(tar::EntryType::Regular, 0o444, blob.size);
        header.set_path(&name).map_err(failed("write", &name))?;
        header.set_cksum();
        let out = tar.get_mut();
        out.write_all(header.as_bytes()).map_err(failed("write", &name))?;
        store.copy(blob, out).map_err(unreadable(&blob.digest))?;
        let padding = usize::try_from(blob.size.wrapping_neg() % 512).unwrap_or_default();
        out.write_all(&[0; 512][..padding]).map_err(failed("write", &name))?;
    }
    let index = Index::new(image.entries(names)).to_compact_bytes();
    let list = list.map(|list| (DOCKER_LIST, list));
    for (name, content) in
        std::iter::once((INDEX, index)).chain(list).chain([(Layout::FILE, Layout::to_bytes())])
    {
        let mut header = header(tar::EntryType::Regular, 0o444, content.len() as u64);
        tar.append_data(&mut header, name, content.as_slice()).map_err(failed("write", name))?;
    }
    tar.finish().and_then(|()| tar.get_mut().flush()).map_err(failed("finish", "the archive"))
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// What an image or index is made of.
struct Parts {
    /// With the platform and the annotations that its entry in a layout has.
    top: Descriptor,
    /// The manifest, where it is one image.
    manifest: Option<Manifest>,
    /// Manifests, configs and layers by digest: each once, in the order of their names.
    blobs: BTreeMap<Digest, Descriptor>,
}

impl Parts {
    fn read(store: &Store, descriptor: &Descriptor) -> Result<Self, LayoutError> {
        let mut blobs = BTreeMap::new();
        let (top, manifest) = gather(store, descriptor, &mut blobs, NESTING_LIMIT)?;
        Ok(Self { top, manifest, blobs })
    }

    /// The `manifest.json` of `docker save`.
    fn docker_list(&self, names: &[Reference]) -> Result<Vec<u8>, LayoutError> {
        let manifest = self.manifest.as_ref().ok_or(LayoutError::SeveralImages(self.top.digest))?;
        let path = |blob: &Descriptor| format!("blobs/sha256/{}", blob.digest.hex());
        // A name with a tag keeps it when it is shortened, and docker load wants one.
        let tags: Vec<String> =
            names.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect();
        let list = serde_json::json!([{
            "Config": path(&manifest.config),
            "RepoTags": tags,
            "Layers": manifest.layers.iter().map(path).collect::<Vec<_>>(),
        }]);
        Ok(list.to_string().into_bytes())
    }

    /// The image's entries in an index, one for each name, annotated as BuildKit annotates them.
    fn entries(&self, names: &[Reference]) -> Vec<Descriptor> {
        let plain = self.top.clone();
        let named = names.iter().map(|name| {
            let mut entry = plain.clone();
            entry.annotations.insert(ANNOTATION_IMAGE_NAME.to_owned(), name.to_string());
            let tag = name.tag().map_or_else(|| name.identifier(), str::to_owned);
            entry.annotations.insert(ANNOTATION_REF_NAME.to_owned(), tag);
            entry
        });
        let named: Vec<_> = named.collect();
        if named.is_empty() { vec![plain] } else { named }
    }
}

/// Adds everything that `descriptor` needs to `blobs`; returns it as a layout's index lists it, and the manifest if it is one.
fn gather(
    store: &Store,
    descriptor: &Descriptor,
    blobs: &mut BTreeMap<Digest, Descriptor>,
    depth: usize,
) -> Result<(Descriptor, Option<Manifest>), LayoutError> {
    let digest = descriptor.digest;
    let depth = depth.checked_sub(1).ok_or(LayoutError::Nesting(digest))?;
    let bytes = store.read(&digest, MANIFEST_LIMIT).map_err(unreadable(&digest))?;
    if descriptor.kind() == media::Kind::Index {
        let index = Index::parse(&bytes).map_err(|source| malformed(digest, source))?;
        for entry in &index.manifests {
            gather(store, entry, blobs, depth)?;
        }
        let whole = Descriptor::new(index.media_type(), digest, bytes.len() as u64);
        blobs.insert(digest, whole.clone());
        return Ok((whole, None));
    }
    let manifest = Manifest::parse(&bytes).map_err(|source| malformed(digest, source))?;
    let config =
        store.read(&manifest.config.digest, CONFIG_LIMIT).map_err(unreadable(&manifest.config.digest))?;
    let config = ImageConfig::parse(&config).map_err(|source| malformed(manifest.config.digest, source))?;
    let mut whole = Descriptor::new(manifest.media_type(), digest, bytes.len() as u64);
    blobs.extend(manifest.blobs().chain([&whole]).map(|blob| (blob.digest, blob.clone())));
    whole.platform = Some(config.platform());
    if let Some(created) = config.created {
        whole.annotations.insert(ANNOTATION_CREATED.to_owned(), created.to_string());
    }
    Ok((whole, Some(manifest)))
}

fn unreadable(digest: &Digest) -> impl FnOnce(StoreError) -> LayoutError {
    let digest = *digest;
    move |source| LayoutError::Blob { digest, source }
}

fn malformed(name: impl ToString, source: DocumentError) -> LayoutError {
    LayoutError::Document { name: name.to_string(), source }
}

#[cfg(test)]
mod tests;
