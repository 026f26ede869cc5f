//! `cargo xtask image DIR`: wbuild's own image, built by the release binary that goes into it.

use crate::setup::{self, For};
use anyhow::{Result, ensure};
use std::path::Path;
use wbuild_tests::layout::Image;
use wbuild_tests::workspace::{self, Profile};

/// Writes the OCI layout `dir` with the tag `latest`.
pub(crate) fn run(dir: &Path) -> Result<()> {
    ensure!(!dir.exists(), "{} exists already", dir.display());
    setup::ensure(&[For::Compiling])?;
    let artifacts = workspace::artifacts(Profile::Release)?;
    wbuild_tests::image::build(&artifacts, dir)?;
    let image = Image::verify(dir)?;
    println!("image {} in {}, tag latest", image.digest, dir.display());
    Ok(())
}
