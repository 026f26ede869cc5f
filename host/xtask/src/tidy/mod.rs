//! `cargo xtask tidy`: the rules of the house that neither rustc nor clippy can hold.
//!
//! A rule reads the committed files (`git ls-files`) or `cargo metadata` and adds findings; it repairs nothing.

mod arrows;
mod hosts;
mod source;

use crate::process;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// What one rule found, and whether it fails the run.
#[derive(Default)]
pub(crate) struct Findings {
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl Findings {
    fn error(&mut self, text: String) {
        self.errors.push(text);
    }

    fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }
}

/// A committed text file.
struct File {
    /// Relative to the workspace's root.
    path: PathBuf,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }
}

pub(crate) fn run() -> Result<()> {
    let files = committed_text()?;
    let mut findings = Findings::default();
    arrows::check(&mut findings)?;
    source::check(&files, &mut findings)?;
    hosts::check(&files, &mut findings);
    for warning in &findings.warnings {
        println!("tidy: warning: {warning}");
    }
    for error in &findings.errors {
        println!("tidy: {error}");
    }
    if !findings.errors.is_empty() {
        bail!("{} findings", findings.errors.len());
    }
    println!("tidy: {} files, {} warnings", files.len(), findings.warnings.len());
    Ok(())
}

/// Every file that git tracks and that is text; a tracked file that was deleted on disk is left out.
fn committed_text() -> Result<Vec<File>> {
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "-z"]).current_dir(process::workspace());
    let listed = process::output(git)?;
    let mut files = Vec::new();
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        let absolute = process::workspace().join(name);
        if !absolute.is_file() {
            continue;
        }
        let bytes = std::fs::read(&absolute).with_context(|| format!("cannot read {name}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: Path::new(name).to_path_buf(), text });
        }
    }
    if files.is_empty() {
        bail!("git lists no file");
    }
    Ok(files)
}
