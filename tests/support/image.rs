//! wbuild's own image: built by wbuild from `examples/image/Dockerfile`, and unpacked as the pod's root.

use crate::command::{self, command};
use crate::session::{Caller, Session};
use crate::workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Builds the image of the wbuild binary `binary` with that binary and writes it as the OCI layout `layout`.
pub fn build(binary: &Path, layout: &Path) -> Result<()> {
    let mut session = Session::new(Caller::Root)?;
    let context = workspace::Scratch::new("image")?;
    fs::copy(binary, context.path().join("wbuild")).with_context(|| binary.display().to_string())?;
    fs::copy(workspace::root().join("examples/image/Dockerfile"), context.path().join("Dockerfile"))?;
    let _ = (&mut session, layout);
    anyhow::bail!("the stub")
}

/// The root directory of the pod that runs the binary under test: its image, unpacked by umoci; needs root.
pub fn pod_rootfs() -> Result<PathBuf> {
    let dir = workspace::cache("pod")?;
    let _lock = workspace::lock("pod")?;
    let binary = workspace::wbuild()?;
    let layout = dir.join("layout");
    build(&binary, &layout)?;
    let mut unpack = command("umoci", ["raw", "unpack", "--image"]);
    unpack.arg(format!("{}:latest", layout.display())).arg(dir.join("rootfs"));
    command::run(unpack)?.success()?;
    Ok(dir.join("rootfs"))
}
