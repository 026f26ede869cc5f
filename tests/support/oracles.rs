//! Validators that nobody here wrote, from PyPI: installed once, at setup, into a directory of their own.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command::{self, command};
use crate::workspace;

/// A Python that has these packages.
pub fn python(packages: &[&str]) -> Result<PathBuf> {
    let name = format!("python-{}", packages.join("-"));
    let _lock = workspace::lock(&name)?;
    let dir = workspace::cache(&name)?;
    let python = dir.join("bin/python");
    let done = dir.join("done");
    if !done.exists() {
        let mut make = command("python3", ["-m", "venv", "--clear"]);
        make.arg(&dir);
        command::run(make)?.success()?;
        let mut install =
            command(&python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        install.args(packages);
        command::run(install)?.success()?;
        std::fs::write(&done, "").with_context(|| done.display().to_string())?;
    }
    Ok(python)
}
