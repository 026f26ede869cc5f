//! Small programs of our own that run as guests: compiled here, statically by musl-gcc unless said otherwise.

use crate::command::{self, command};
use crate::workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Compiles `tests/guests/NAME.c`, which may include `NAME/*.h`, into a static program; a newer source is compiled again.
pub fn program(name: &str) -> Result<PathBuf> {
    compiled(name, name, &["-static"])
}

/// The same program, but started by musl's loader, which a tree needs at `/lib/ld-musl-x86_64.so.1`: [`musl`].
pub fn dynamic_program(name: &str) -> Result<PathBuf> {
    compiled(name, &format!("{name}-dynamic"), &[])
}

/// musl's C library, which is also its loader.
pub fn musl() -> Result<PathBuf> {
    fs::canonicalize("/lib/ld-musl-x86_64.so.1").context("musl is not installed")
}

fn compiled(name: &str, to: &str, how: &[&str]) -> Result<PathBuf> {
    let source = workspace::root().join(format!("tests/guests/{name}.c"));
    let headers = source.with_extension("");
    let dir = workspace::cache("guests")?;
    fs::create_dir_all(&dir)?;
    let _lock = workspace::lock("guests")?;
    let program = dir.join(to);
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let mut written = modified(&source).with_context(|| source.display().to_string())?;
    for header in headers.read_dir().into_iter().flatten() {
        written = written.max(modified(&header?.path())?);
    }
    if !modified(&program).is_ok_and(|compiled| compiled > written) {
        let mut compile = command("musl-gcc", ["-O1", "-Wall", "-Wextra", "-Werror", "-o"]);
        compile.arg(&program).arg(&source).args(how);
        command::run(compile)?.success()?;
    }
    Ok(program)
}
