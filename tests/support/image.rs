//! wbuild's own image: built by wbuild from `examples/image/Dockerfile`, and unpacked as the pod's root.

use crate::command::{self, command};
use crate::layout;
use crate::session::{Caller, Session};
use crate::workspace::{self, Artifacts, Scratch};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Builds the image of `artifacts` with the binary in it, as root without any RUN step, and writes it as the OCI
/// layout `dir`, which must not exist yet.
pub fn build(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let context = Scratch::new("image")?;
    let dockerfile = workspace::root().join("examples/image/Dockerfile");
    let files = [(&artifacts.wbuild, "wbuild"), (&artifacts.stub, "stub"), (&dockerfile, "Dockerfile")];
    for (source, name) in files {
        fs::copy(source, context.path().join(name)).with_context(|| source.display().to_string())?;
    }
    let scratch = context.path().join("tree/scratch");
    fs::create_dir_all(&scratch)?;
    fs::set_permissions(&scratch, fs::Permissions::from_mode(0o1777))?;
    let caller = if workspace::is_root() { Caller::Root } else { Caller::Myself };
    let mut session = Session::with_binary(caller, &artifacts.wbuild)?;
    let seen = session.share(context.path())?;
    let (host, out) = session.out("image")?;
    session.succeed(&[
        "build",
        "--tag",
        "wbuild:latest",
        "--output",
        &format!("type=oci,tar=false,dest={out}"),
        &seen,
    ])?;
    let mut copy = command("cp", ["-r"]);
    copy.arg(&host).arg(dir);
    command::run(copy)?.success().map(|_| ())
}

/// The root directory of the pod that runs the artifacts under test: their image, unpacked by umoci; needs root. It
/// stays in the cache and is made again when the binary or the stub has changed.
pub fn pod_rootfs() -> Result<PathBuf> {
    let artifacts = workspace::built()?;
    let _lock = workspace::lock("pod")?;
    let mut key = String::new();
    for path in [&artifacts.wbuild, &artifacts.stub] {
        let file = fs::File::open(path).with_context(|| path.display().to_string())?;
        key.push_str(&layout::digest(file)?.0["sha256:".len()..][..16]);
    }
    let dir = workspace::cache("pod")?.join(key);
    remove_old(&workspace::cache("pod")?)?;
    let rootfs = dir.join("rootfs");
    if rootfs.exists() {
        return Ok(rootfs);
    }
    let making = dir.with_extension("new");
    if making.exists() {
        fs::remove_dir_all(&making)?;
    }
    fs::create_dir_all(&making)?;
    build(&artifacts, &making.join("layout"))?;
    let mut unpack = command("umoci", ["raw", "unpack", "--image"]);
    unpack.arg(format!("{}:latest", making.join("layout").display())).arg(making.join("rootfs"));
    command::run(unpack)?.success()?;
    fs::rename(&making, &dir)?;
    Ok(rootfs)
}

/// Images of binaries that nobody has run for a day are removed: each build of wbuild makes a new one.
fn remove_old(images: &Path) -> Result<()> {
    if !images.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(images)? {
        let entry = entry?;
        if entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age > Duration::from_secs(24 * 60 * 60)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
