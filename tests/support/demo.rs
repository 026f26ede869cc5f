//! The two demonstrations: what `cargo xtask demo` shows is what the tests then judge.

use crate::layout::Image;
use crate::pod::Pod;
use crate::registry::Registry;
use crate::session::{Caller, Output, Session};
use crate::workspace::{self, Scratch};
use crate::{base, image};
use anyhow::Result;
use std::path::Path;

/// An image that lies in a registry, and the copy of it that skopeo pulled and that has been verified.
#[derive(Debug)]
pub struct Pushed {
    /// The registry; it ends with this value.
    pub registry: Registry,
    /// The repository and tag in it.
    pub name: &'static str,
    /// The verified copy.
    pub image: Image,
    _pulled: Scratch,
}

/// `examples/busybox` as whoever runs this, from an OCI layout to the OCI layout `dir`, which must not exist yet.
pub fn quick(dir: &Path, output: Output) -> Result<Image> {
    let base = base::busybox()?;
    let caller = if workspace::is_root() { Caller::Root } else { Caller::Myself };
    let mut session = Session::new(caller)?;
    let context = session.share(&workspace::root().join("examples/busybox"))?;
    let layout = session.share(&base.layout)?;
    let (host, out) = session.out("image")?;
    session.build(
        output,
        &["--build-context", &format!("base=oci-layout://{layout}:{}", base.tag), "--build-arg", "BASE=base"],
        &["--tag", "demo/busybox:latest", "--output", &format!("type=oci,tar=false,dest={out}"), &context],
    )?;
    crate::command::run(crate::command::command("cp", ["-r".as_ref(), host.as_os_str(), dir.as_os_str()]))?
        .success()?;
    Image::verify(dir)
}

/// `examples/git` in the restricted pod: the Debian base from a registry, the image pushed to it.
pub fn git_in_pod(output: Output) -> Result<Pushed> {
    let base = base::debian()?;
    let registry = Registry::start()?;
    registry.seed(&base.layout, base.tag, "debian:bookworm-slim")?;
    let mut pod = Pod::new(&image::pod_rootfs()?)?;
    pod.volume("context", &workspace::root().join("examples/git"));
    let session = Session::new(Caller::Pod(Box::new(pod)))?;
    let name = "demo/git:latest";
    session.build(
        output,
        &["--push", "--tag", &registry.reference(name)],
        &["--build-arg", &format!("BASE={}", registry.reference("debian:bookworm-slim")), "/context"],
    )?;
    let pulled = Scratch::new("pulled")?;
    let layout = pulled.path().join("layout");
    registry.pull(name, &layout)?;
    Ok(Pushed { registry, name, image: Image::verify(&layout)?, _pulled: pulled })
}
