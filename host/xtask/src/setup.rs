//! `cargo xtask setup`: the Debian packages of the tests, the demo and the benches, by apt.

use crate::process;
use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

/// What a package is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Compiling the workspace.
    Compiling,
    /// `demo --quick`.
    Quick,
    /// `demo`.
    Demo,
    /// `test` and `soak`.
    Tests,
    /// `bench`.
    Benches,
    /// `conformance`.
    Conformance,
}

/// Every use.
pub(crate) const ALL: &[For] =
    &[For::Compiling, For::Quick, For::Demo, For::Tests, For::Benches, For::Conformance];

/// Package, and why it is needed for these.
const PACKAGES: &[(&str, &[For], &str)] = &[
    ("gcc", &[For::Compiling], "links the host tools"),
    ("libc6-dev", &[For::Compiling], "the static C library of the wbuild binary"),
    ("busybox-static", &[For::Quick, For::Tests, For::Benches, For::Conformance], "the small base image"),
    ("runc", &[For::Demo, For::Tests, For::Benches, For::Conformance], "runs the restricted pod"),
    ("docker-registry", &[For::Demo, For::Tests, For::Benches, For::Conformance], "the registry on loopback"),
    ("skopeo", &[For::Demo, For::Tests, For::Benches, For::Conformance], "copies images to and from it"),
    ("umoci", &[For::Demo, For::Tests, For::Benches, For::Conformance], "unpacks images"),
    ("debootstrap", &[For::Demo, For::Tests, For::Benches, For::Conformance], "the Debian base image"),
    ("ca-certificates", &[For::Demo, For::Tests, For::Benches], "carried over into the Debian base image"),
    ("git", &[For::Tests], "tidy reads the list of committed files; the repository that a workload clones"),
    ("musl-tools", &[For::Tests, For::Benches], "the guest programs of the tests"),
    ("golang-go", &[For::Tests], "the static Go program of the workloads"),
    ("util-linux", &[For::Tests], "setpriv runs wbuild as an ordinary user; unshare holds the chroot oracle"),
    ("buildah", &[For::Benches], "the peer of the build bench"),
    ("zstd", &[For::Conformance], "compresses the base images of the suites"),
    ("xz-utils", &[For::Conformance], "compresses the base images of the suites"),
    ("proot", &[For::Benches], "the peer of the step bench"),
    ("strace", &[For::Benches], "counts what a build without a change does"),
];

/// Installs what is missing for these uses; needs root or sudo only when something is.
pub(crate) fn ensure(uses: &[For]) -> Result<()> {
    let missing = missing(uses)?;
    if missing.is_empty() {
        return Ok(());
    }
    println!("setup: installing {}", missing.join(" "));
    for (name, _, why) in PACKAGES.iter().filter(|(name, ..)| missing.contains(name)) {
        println!("setup: {name}: {why}");
    }
    apt(&["update"])?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(&missing);
    apt(&arguments)?;
    require(uses)
}

/// An error that names the packages missing for these uses and the command that installs them.
pub(crate) fn require(uses: &[For]) -> Result<()> {
    let missing = missing(uses)?;
    if !missing.is_empty() {
        bail!("missing Debian packages: {}; `cargo xtask setup` installs them", missing.join(" "));
    }
    Ok(())
}

fn missing(uses: &[For]) -> Result<Vec<&'static str>> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .output()
        .context("cannot start dpkg-query: the tasks expect a Debian machine")?;
    let installed = String::from_utf8_lossy(&output.stdout);
    let installed: std::collections::HashSet<&str> =
        installed.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    let needed = PACKAGES.iter().filter(|(_, needed, _)| needed.iter().any(|one| uses.contains(one)));
    Ok(needed.map(|(name, ..)| *name).filter(|name| !installed.contains(name)).collect())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = if wbuild_tests::workspace::is_root() {
        Command::new("apt-get")
    } else {
        let mut command = Command::new("sudo");
        command.arg("apt-get");
        command
    };
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    process::succeed(command)
}
