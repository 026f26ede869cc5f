//! `cargo xtask demo`: the two builds of README.md on this machine, shown on the terminal.

use crate::process;
use crate::setup::{self, For};
use anyhow::{Context, Result};
use std::process::Command;
use wbuild_tests::demo;
use wbuild_tests::layout::Image;
use wbuild_tests::session::Output;
use wbuild_tests::workspace::{self, Profile};

/// A busybox image as whoever runs this, without a registry.
pub(crate) fn quick() -> Result<()> {
    setup::ensure(&[For::Compiling, For::Quick])?;
    let dir = workspace::target().join("demo-quick");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    workspace::built()?;
    let image = demo::quick(&dir, Output::Terminal)?;
    show(&image)?;
    println!("OCI layout: {}", dir.display());
    Ok(())
}

/// git on Debian, inside the restricted pod, pushed to a registry on loopback.
pub(crate) fn pod() -> Result<()> {
    setup::ensure(&[For::Compiling, For::Demo])?;
    if !workspace::is_root() {
        return as_root();
    }
    workspace::built()?;
    println!("demo: the Debian base image, then wbuild's own image as the pod's root");
    let pushed = demo::git_in_pod(Output::Terminal)?;
    show(&pushed.image)?;
    println!("pushed, pulled by skopeo and verified: {}", pushed.registry.reference(pushed.name));
    Ok(())
}

/// The pod is started by root: this program again, through sudo, with what has been compiled as the caller.
fn as_root() -> Result<()> {
    let artifacts = workspace::artifacts(Profile::Dev)?;
    let me = std::env::current_exe().context("cannot find this program")?;
    let mut sudo = Command::new("sudo");
    sudo.arg("env").arg(format!("WBUILD_BIN={}", artifacts.wbuild.display()));
    sudo.arg(format!("WBUILD_STUB={}", artifacts.stub.display())).arg(me).arg("demo");
    process::succeed(sudo)
}

fn show(image: &Image) -> Result<()> {
    println!("image {}", image.digest);
    for layer in image.layers()? {
        println!("  layer {}  {} bytes", layer.digest, layer.size);
    }
    Ok(())
}
