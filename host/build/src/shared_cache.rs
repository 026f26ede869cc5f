//! The traffic of a build with shared caches: what they list before it, layers as it needs them, what it made after it.
//!
//! A cache that cannot be read is told and does without; a layer that a cache promises and does not give ends this try of the build,
//! which is then begun again without shared caches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use wbuild_oci::{Descriptor, Digest, Reference};
use wbuild_store::{ErrorClass, Pick, Store};

use crate::cache::{
    CacheDest, CacheExport, CacheMode, CacheSource, ExportErrors, Imported, MOST_ENTRIES, Package, StepCache,
    list_in, package, read_list,
};
use crate::error::BuildError;
use crate::image::Growing;
use crate::images::ImageSet;
use crate::progress::Reporter;
use crate::reads::{self, Candidate};
use crate::request::BuildRequest;

/// How often a list is written where others write it at the same moment.
const TRIES: u32 = 10;
/// How long the others have at least before it is looked at what became of a list.
const SETTLING: Duration = Duration::from_millis(200);

/// The shared caches of one build.
pub(crate) struct SharedCaches<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) store: &'a Store,
    pub(crate) images: &'a ImageSet<'a>,
    pub(crate) reporter: &'a Reporter,
}

impl SharedCaches<'_> {
    /// What the caches list.
    pub(crate) fn import(&self) -> Imported {
        let mut imported = Imported::default();
        for (number, source) in self.request.cache_from.iter().enumerate() {
            let name = describe(source);
            let running = self.reporter.start(&format!("importing cache manifest from {name}"));
            match self.list(source) {
                Ok(Some(list)) => match imported.add(&list, number) {
                    Ok(count) => {
                        running.note(&format!("{count} entries"));
                        running.done();
                    }
                    Err(error) => {
                        running.note(&format!("the list of entries cannot be read: {error}"));
                    }
                },
                Ok(None) => running.note("it is no cache of wbuild"),
                Err(BuildError::Cancelled) => running.cancelled(),
                Err(error) => running.note(&full(&error)),
            }
        }
        imported
    }

    fn list(&self, source: &CacheSource) -> Result<Option<Vec<u8>>, BuildError> {
        let manifest = match source {
            CacheSource::Registry(reference) => self.images.document(reference)?,
            CacheSource::Local { layout, path } => {
                wbuild_store::import_document(self.store, layout, &Pick::Only)
                    .map_err(|source| layout_error(path, source))?
            }
        };
        let Some(list) = list_in(self.store, &manifest)? else { return Ok(None) };
        self.bring_from(source, std::slice::from_ref(&list))?;
        read_list(self.store, &list).map(Some)
    }

    fn bring_from(&self, source: &CacheSource, blobs: &[Descriptor]) -> Result<(), BuildError> {
        match source {
            CacheSource::Registry(reference) => self.images.fetch_blobs(reference, blobs),
            CacheSource::Local { layout, path } => blobs.iter().try_for_each(|blob| {
                wbuild_store::import_blob(self.store, layout, blob)
                    .map_err(|source| layout_error(path, source))
            }),
        }
    }

    /// Brings those of `layers` into the store that a cache promised.
    pub(crate) fn bring(&self, cache: &StepCache, layers: &[(Descriptor, Digest)]) -> Result<(), BuildError> {
        let mut missing: BTreeMap<usize, Vec<Descriptor>> = BTreeMap::new();
        for (layer, _) in layers {
            if let Some(source) = cache.lender(&layer.digest)
                && !self.store.has(&layer.digest)?
            {
                missing.entry(source).or_default().push(layer.clone());
            }
        }
        for (number, blobs) in missing {
            let source =
                self.request.cache_from.get(number).ok_or(BuildError::Unplanned { what: "a cache" })?;
            self.bring_from(source, &blobs).inspect_err(|error| {
                if !matches!(error, BuildError::Cancelled) {
                    self.reporter.warn(None, &format!("{}: {}", describe(source), full(error)));
                    cache.lose();
                }
            })?;
        }
        Ok(())
    }

    /// Writes to every `--cache-to` what this build found and made.
    pub(crate) fn export(&self, cache: &StepCache, image: &Growing) -> Result<(), BuildError> {
        for export in &self.request.cache_to {
            let name = match &export.to {
                CacheDest::Registry(reference) => reference.familiar(),
                CacheDest::Local { path, .. } => path.display().to_string(),
            };
            let running = self.reporter.start(&format!("exporting cache to {name}"));
            match self.send(export, cache, image) {
                Ok(text) => {
                    running.note(&text);
                    running.done();
                }
                Err(BuildError::Cancelled) => {
                    running.cancelled();
                    return Err(BuildError::Cancelled);
                }
                Err(error) if export.errors == ExportErrors::Ignore => {
                    running.note(&full(&error));
                    drop(running);
                    self.reporter.warn(None, &format!("the cache was not exported to {name}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(&self, export: &CacheExport, cache: &StepCache, image: &Growing) -> Result<String, BuildError> {
        // What is there already and was read stays there: builds that share a place do not push each other out.
        let same = self.request.cache_from.iter().find(|source| match (source, &export.to) {
            (CacheSource::Registry(from), CacheDest::Registry(to)) => from == to,
            _ => false,
        });
        let mut tries = 1;
        loop {
            let began = Instant::now();
            let there = match same {
                Some(source) => self.there_now(source)?,
                None => Imported::default(),
            };
            let package = self.package(export, cache, image, &there)?;
            if same.is_some() && package.keys.iter().all(|key| there.get(key).is_some()) {
                return Ok("nothing is new".to_owned());
            }
            self.write(export, cache, &package, &there)?;
            let told = format!("{} entries, {} layers", package.entries, package.layers.len());
            let Some(source) = same else { return Ok(told) };
            // A registry does not write on a condition. Whoever read the list before this one was written writes within about the
            // time that this took, without it.
            std::thread::sleep(SETTLING + began.elapsed() * 3);
            let now = self.there_now(source)?;
            if package.keys.iter().all(|key| now.get(key).is_some()) || now.count() >= MOST_ENTRIES {
                return Ok(told);
            }
            if tries == TRIES {
                return Ok(format!(
                    "{told}; other builds wrote at the same moment, and some of it may be lost"
                ));
            }
            tries += 1;
        }
    }

    /// What a place lists at this moment; nothing where there is no cache yet.
    fn there_now(&self, source: &CacheSource) -> Result<Imported, BuildError> {
        let mut imported = Imported::default();
        let list = match self.list(source) {
            Ok(list) => list,
            Err(BuildError::Cache { source, .. }) if source.class() == ErrorClass::Missing => None,
            Err(error) => return Err(error),
        };
        if let Some(list) = list {
            // What cannot be read is written anew.
            drop(imported.add(&list, 0));
        }
        Ok(imported)
    }

    /// What this build has, and what is `there`.
    fn package(
        &self,
        export: &CacheExport,
        cache: &StepCache,
        image: &Growing,
        there: &Imported,
    ) -> Result<Package, BuildError> {
        let own: BTreeSet<Digest> =
            image.layers_with_diff_ids().into_iter().map(|(layer, _)| layer.digest).collect();
        let wanted =
            |layer: &wbuild_layer::Blob| export.mode == CacheMode::Max || own.contains(&layer.digest);
        let reads = self.reads(cache, there)?;
        package(self.store, &cache.keys(), wanted, there.of(0), &reads)
    }

    /// Writes it to a place, whose own entries are `there`.
    fn write(
        &self,
        export: &CacheExport,
        cache: &StepCache,
        package: &Package,
        there: &Imported,
    ) -> Result<(), BuildError> {
        match &export.to {
            CacheDest::Registry(reference) => {
                let kept: BTreeSet<Digest> =
                    there.of(0).filter_map(|(_, record)| record.layer()).map(|layer| layer.digest).collect();
                let new: Vec<(Descriptor, Digest)> = package
                    .layers
                    .iter()
                    .filter(|layer| !kept.contains(&layer.digest))
                    .map(|layer| (layer.clone(), layer.digest))
                    .collect();
                self.bring(cache, &new)?;
                self.images.push(&package.manifest, std::slice::from_ref(reference))?;
            }
            CacheDest::Local { dir, path } => {
                let all: Vec<(Descriptor, Digest)> =
                    package.layers.iter().map(|layer| (layer.clone(), layer.digest)).collect();
                self.bring(cache, &all)?;
                let name: Reference =
                    "cache:latest".parse().map_err(|_| BuildError::Unplanned { what: "a name" })?;
                wbuild_store::write_layout_dir(self.store, &package.manifest, &[name], dir)
                    .map_err(|source| BuildError::Export { dest: path.clone(), source: Box::new(source) })?;
            }
        }
        Ok(())
    }
}

impl SharedCaches<'_> {
    /// What the store knows of what the steps of this build read, and what is known in the place that is written.
    fn reads(&self, cache: &StepCache, there: &Imported) -> Result<BTreeMap<Digest, Vec<u8>>, BuildError> {
        let mut all: BTreeMap<Digest, Vec<Candidate>> = BTreeMap::new();
        for weak in cache.weak_keys() {
            all.entry(weak).or_default().extend(reads::stored(self.store, &weak)?);
        }
        for (weak, document) in there.reads_of(0) {
            all.entry(weak).or_default().extend(reads::parse(document));
        }
        Ok(all.into_iter().map(|(weak, candidates)| (weak, reads::document(candidates))).collect())
    }
}

fn describe(source: &CacheSource) -> String {
    match source {
        CacheSource::Registry(reference) => reference.familiar(),
        CacheSource::Local { path, .. } => path.display().to_string(),
    }
}

fn layout_error(path: &std::path::Path, source: wbuild_store::LayoutError) -> BuildError {
    BuildError::Layout { name: "cache".to_owned(), path: path.to_owned(), source: Box::new(source) }
}

/// An error with its causes, in one line.
fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
