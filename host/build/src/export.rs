//! The result to where it should go: layouts, archives, registries.
//!
//! A file appears when it is complete; one that is there is replaced only then.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::PoisonError;

use cap_std::fs::{Dir, OpenOptions};
use wbuild_oci::{Descriptor, Reference};
use wbuild_store::{Pushed, Store, write_layout_dir, write_layout_tar};

use crate::error::BuildError;
use crate::images::ImageSet;
use crate::progress::Reporter;
use crate::request::Output;

/// Writes the image to every output, registries last: what is pushed is complete here, too.
pub(crate) fn export(
    store: &Store,
    images: &mut ImageSet<'_>,
    reporter: &Reporter,
    manifest: &Descriptor,
    tags: &[Reference],
    outputs: &[Output],
) -> Result<Vec<Pushed>, BuildError> {
    let mut names: Vec<Reference> = Vec::new();
    for output in outputs {
        match output {
            Output::Layout { dir, path } => {
                let running = reporter.start(&format!("exporting to the OCI layout {}", path.display()));
                write_layout_dir(store, manifest, tags, dir)
                    .map_err(|source| BuildError::Export { dest: path.clone(), source: Box::new(source) })?;
                running.done();
            }
            Output::Archive { dir, name, path } => {
                let running = reporter.start(&format!("exporting to the OCI archive {}", path.display()));
                archive(store, manifest, tags, dir, Path::new(name), path)?;
                running.done();
            }
            Output::Stream(stream) => {
                let running = reporter.start("exporting an OCI archive to standard output");
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                let mut out = BufWriter::with_capacity(1 << 20, &mut **stream);
                write_layout_tar(store, manifest, tags, &mut out)
                    .map_err(|source| BuildError::Export { dest: "-".into(), source: Box::new(source) })?;
                out.flush().map_err(|source| BuildError::Host {
                    action: "write to",
                    path: "-".into(),
                    source,
                })?;
                running.done();
            }
            Output::Registry(more) => names.extend(tags.iter().chain(more).cloned()),
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    if names.is_empty() { Ok(Vec::new()) } else { images.push(manifest, &names) }
}

fn archive(
    store: &Store,
    manifest: &Descriptor,
    tags: &[Reference],
    dir: &Dir,
    name: &Path,
    path: &Path,
) -> Result<(), BuildError> {
    let host = |action| {
        let path = path.to_owned();
        move |source: io::Error| BuildError::Host { action, path, source }
    };
    let write = |file: cap_std::fs::File| -> Result<cap_std::fs::File, BuildError> {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        write_layout_tar(store, manifest, tags, &mut out)
            .map_err(|source| BuildError::Export { dest: path.to_owned(), source: Box::new(source) })?;
        out.into_inner().map_err(|error| host("write")(error.into_error()))
    };
    // A FIFO or a device is written to, not replaced.
    if dir.metadata(name).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        let file = dir.open_with(name, OpenOptions::new().write(true)).map_err(host("open"))?;
        return write(file).map(drop);
    }
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(format!(".{}.partial", std::process::id()));
    let file = dir.create(&partial).map_err(host("create"))?;
    let result = write(file).and_then(|file| {
        file.sync_data().map_err(host("sync"))?;
        dir.rename(&partial, dir, name).map_err(host("replace"))
    });
    if result.is_err() {
        // The failure that is reported is the first one.
        drop(dir.remove_file(&partial));
    }
    result
}
