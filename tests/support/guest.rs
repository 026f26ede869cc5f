//! Small programs of our own that run as guests: compiled here, statically by musl-gcc unless said otherwise.

use crate::command::{self, command};
use crate::workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// Compiles `tests/guests/NAME.c` into a static program; a newer source is compiled again.
pub fn program(name: &str) -> Result<PathBuf> {
    let source = workspace::root().join(format!("tests/guests/{name}.c"));
    let dir = workspace::cache("guests")?;
    fs::create_dir_all(&dir)?;
    let _lock = workspace::lock("guests")?;
    let program = dir.join(name);
    let modified = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified());
    let written = modified(&source).with_context(|| source.display().to_string())?;
    if !modified(&program).is_ok_and(|compiled| compiled > written) {
        let mut compile = command("musl-gcc", ["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]);
        compile.arg(&program).arg(&source);
        command::run(compile)?.success()?;
    }
    Ok(program)
}
