//! A file that appears when it is complete.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use cap_std::fs::{Dir, File, OpenOptions};

use crate::error::BuildError;

/// Writes the file `name` of `dir`, which the user knows as `path`, in place of what is there.
pub(super) fn write(
    dir: &Dir,
    name: &Path,
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let host = |action| {
        let path = path.to_owned();
        move |source: io::Error| BuildError::Host { action, path, source }
    };
    let fill = |file: File| -> Result<File, BuildError> {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        content(&mut out)?;
        out.into_inner().map_err(|error| host("write")(error.into_error()))
    };
    // A FIFO or a device is written to, not replaced.
    if dir.metadata(name).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        let file = dir.open_with(name, OpenOptions::new().write(true)).map_err(host("open"))?;
        return fill(file).map(drop);
    }
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(format!(".{}.partial", std::process::id()));
    let file = dir.create(&partial).map_err(host("create"))?;
    let result = fill(file).and_then(|file| {
        file.sync_data().map_err(host("sync"))?;
        dir.rename(&partial, dir, name).map_err(host("replace"))
    });
    if result.is_err() {
        // The failure that is reported is the first one.
        drop(dir.remove_file(&partial));
    }
    result
}
