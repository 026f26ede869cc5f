//! `cargo xtask setup`: the Debian packages of the tests, the demo and the benches, by apt.

use crate::process;
use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

/// Package, and what uses it.
const PACKAGES: &[(&str, &str)] = &[
    ("gcc", "links the host tools and compiles the guest programs of the tests"),
    ("libc6-dev", "the static C library of the wbuild binary"),
    ("make", "the C project of the step bench"),
    ("musl-tools", "the static musl program of the workloads"),
    ("golang-go", "the static Go program of the workloads"),
    ("git", "tidy reads the list of committed files; the repository that a workload clones"),
    ("runc", "runs the restricted pod"),
    ("docker-registry", "the registry on loopback"),
    ("skopeo", "pulls and copies images, as an oracle"),
    ("umoci", "unpacks images, as an oracle"),
    ("buildah", "the peer of the build bench"),
    ("proot", "the peer of the step bench"),
    ("busybox-static", "the small base image"),
    ("debootstrap", "the Debian base image"),
    ("ca-certificates", "carried over into the Debian base image"),
    ("util-linux", "setpriv runs wbuild as an ordinary user"),
];

/// Installs what is missing; needs root or sudo only when something is.
pub(crate) fn run() -> Result<()> {
    let missing = missing()?;
    if missing.is_empty() {
        println!("setup: all {} packages are installed", PACKAGES.len());
        return Ok(());
    }
    for (name, why) in PACKAGES.iter().filter(|(name, _)| missing.contains(name)) {
        println!("setup: {name}: {why}");
    }
    apt(&["update"])?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(&missing);
    apt(&arguments)?;
    let still = self::missing()?;
    if !still.is_empty() {
        bail!("apt-get succeeded and these are still missing: {}", still.join(" "));
    }
    Ok(())
}

/// An error that names the missing packages and the command that installs them.
pub(crate) fn require() -> Result<()> {
    let missing = missing()?;
    if !missing.is_empty() {
        bail!("missing Debian packages: {}; `cargo xtask setup` installs them", missing.join(" "));
    }
    Ok(())
}

fn missing() -> Result<Vec<&'static str>> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .output()
        .context("cannot start dpkg-query: the tasks expect a Debian machine")?;
    let installed = String::from_utf8_lossy(&output.stdout);
    let installed: std::collections::HashSet<&str> =
        installed.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    Ok(PACKAGES.iter().map(|(name, _)| *name).filter(|name| !installed.contains(name)).collect())
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
