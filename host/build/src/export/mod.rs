//! The result to where it should go: layouts, archives, root filesystems, registries.
//!
//! A file appears when it is complete; one that is there is replaced only then. A directory is filled in place.

mod directory;
mod file;

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::PoisonError;

use wbuild_layer::{LayerReader, Limits, Source, TarSink, Union};
use wbuild_oci::{Descriptor, Digest, ImageConfig, MANIFEST_LIMIT, Manifest, Reference};
use wbuild_store::{ArchiveForm, LayoutError, Pushed, Store, StoreError, write_layout_dir, write_layout_tar};

use crate::error::BuildError;
use crate::images::ImageSet;
use crate::progress::Reporter;
use crate::request::{Archive, MediaTypes, Output};
use directory::DirectorySink;

/// What goes to the outputs.
pub(crate) struct Export<'a> {
    pub(crate) store: &'a Store,
    pub(crate) reporter: &'a Reporter,
    /// The image, or an index.
    pub(crate) manifest: &'a Descriptor,
    /// With its attestations, where there are any: what outputs that can hold them get.
    pub(crate) whole: &'a Descriptor,
    /// Its names.
    pub(crate) tags: &'a [Reference],
}

/// Writes the image to every output, registries last: what is pushed is complete here, too.
pub(crate) fn export(
    store: &Store,
    images: &ImageSet<'_>,
    reporter: &Reporter,
    (manifest, whole): (&Descriptor, &Descriptor),
    tags: &[Reference],
    outputs: &[Output],
) -> Result<Vec<Pushed>, BuildError> {
    let export = Export { store, reporter, manifest, whole, tags };
    for output in outputs {
        export.write(output)?;
    }
    let mut pushed = Vec::new();
    for media_types in [MediaTypes::Oci, MediaTypes::Docker] {
        let mut names: Vec<Reference> = Vec::new();
        for output in outputs {
            if let Output::Registry { names: more, media_types: wanted } = output
                && *wanted == media_types
            {
                names.extend(tags.iter().chain(more).cloned());
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        if names.is_empty() {
            continue;
        }
        let manifest = match media_types {
            MediaTypes::Oci => whole.clone(),
            MediaTypes::Docker => export.in_docker_types()?,
        };
        pushed.extend(images.push(&manifest, &names)?);
    }
    Ok(pushed)
}

impl Export<'_> {
    fn write(&self, output: &Output) -> Result<(), BuildError> {
        match output {
            Output::Layout { dir, path } => {
                let running = self.reporter.start(&format!("exporting to the OCI layout {}", path.display()));
                write_layout_dir(self.store, self.whole, self.tags, dir).map_err(to_layout(path))?;
                running.done();
            }
            Output::Archive { form, dir, name, path } => {
                let running =
                    self.reporter.start(&format!("exporting to the {} {}", described(*form), path.display()));
                file::write(dir, Path::new(name), path, |out| self.archive(*form, path, out))?;
                running.done();
            }
            Output::Stream { form, stream, what } => {
                let running = self.reporter.start(&format!("exporting the {} to {what}", described(*form)));
                let path = Path::new(what);
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                let mut out = BufWriter::with_capacity(1 << 20, &mut **stream);
                self.archive(*form, path, &mut out)?;
                let host = |source| BuildError::Host { action: "write to", path: what.into(), source };
                out.flush().map_err(host)?;
                running.done();
            }
            Output::Directory { dir, path } => {
                let running =
                    self.reporter.start(&format!("exporting the root filesystem to {}", path.display()));
                let mut sink = DirectorySink::new(dir);
                self.rootfs(path, &mut sink)?;
                if let Some(note) = sink.left_out() {
                    running.note(&note);
                    self.reporter.warn(None, &format!("{}: {note}", path.display()));
                }
                running.done();
            }
            Output::Registry { .. } => {}
        }
        Ok(())
    }

    fn archive(&self, form: Archive, path: &Path, out: &mut dyn Write) -> Result<(), BuildError> {
        let (form, what) = match form {
            Archive::Oci => (ArchiveForm::Oci, self.whole),
            // It holds one image and nothing about it.
            Archive::Docker => (ArchiveForm::Docker, self.manifest),
            Archive::Rootfs => return self.rootfs(path, &mut TarSink::new(out)),
        };
        write_layout_tar(self.store, what, self.tags, form, out).map_err(to_layout(path))
    }

    fn rootfs(&self, path: &Path, sink: &mut dyn wbuild_layer::UnionSink) -> Result<(), BuildError> {
        let layers = Layers::of(self.store, self.manifest)?;
        let failed = |source| BuildError::Rootfs { dest: path.to_owned(), source: Box::new(source) };
        let union = Union::of(&layers).map_err(failed)?;
        union.write(&layers, sink).map_err(failed)
    }

    /// The same image under Docker's schema 2 media types, in the store.
    fn in_docker_types(&self) -> Result<Descriptor, BuildError> {
        let manifest = read_manifest(self.store, self.manifest)?.to_docker();
        Ok(self.store.ingest_bytes(manifest.media_type(), &manifest.to_bytes())?)
    }
}

fn described(form: Archive) -> &'static str {
    match form {
        Archive::Oci => "OCI archive",
        Archive::Docker => "Docker archive",
        Archive::Rootfs => "root filesystem as a tar",
    }
}

fn to_layout(path: &Path) -> impl FnOnce(LayoutError) -> BuildError {
    let dest = path.to_owned();
    move |source| BuildError::Export { dest, source: Box::new(source) }
}

fn read_manifest(store: &Store, descriptor: &Descriptor) -> Result<Manifest, StoreError> {
    let bytes = store.read(&descriptor.digest, MANIFEST_LIMIT)?;
    Manifest::parse(&bytes).map_err(|source| StoreError::Document { digest: descriptor.digest, source })
}

/// The layers of an image in the store.
pub(crate) struct Layers<'a> {
    store: &'a Store,
    layers: Vec<(Descriptor, Digest)>,
}

impl<'a> Layers<'a> {
    /// Those of the image whose manifest is `manifest`.
    pub(crate) fn of(store: &'a Store, manifest: &Descriptor) -> Result<Self, StoreError> {
        let manifest = read_manifest(store, manifest)?;
        let digest = manifest.config.digest;
        let config = store.read(&digest, wbuild_oci::CONFIG_LIMIT)?;
        let config = ImageConfig::parse(&config).map_err(|source| StoreError::Document { digest, source })?;
        Ok(Self { store, layers: manifest.layers.into_iter().zip(config.rootfs.diff_ids).collect() })
    }

    /// Only one of them.
    pub(crate) fn one(store: &'a Store, layer: Descriptor, diff_id: Digest) -> Self {
        Self { store, layers: vec![(layer, diff_id)] }
    }
}

impl Source for Layers<'_> {
    fn layer(&self, number: usize) -> io::Result<LayerReader> {
        let (layer, diff_id) = self.layers.get(number).ok_or(io::ErrorKind::NotFound)?;
        let blob = self.store.blob(&layer.digest).map_err(io::Error::other)?.into_std();
        let expected =
            wbuild_layer::Expected { digest: layer.digest, size: layer.size, diff_id: Some(*diff_id) };
        Ok(LayerReader::new(blob, expected, Limits::default()))
    }

    fn count(&self) -> usize {
        self.layers.len()
    }
}

#[cfg(test)]
mod tests;
