//! The checks that are not tests: formatting, lints, tidy, and whether what knows an architecture compiles for the other one.

use crate::{docs, guest, process, tidy};
use anyhow::{Context, Result};
use std::process::Command;

/// A check and its name.
type Check = (&'static str, fn() -> Result<()>);

/// A check's name and its result, in the order in which they ran; a failing one does not stop the others.
pub(crate) fn all() -> Vec<(&'static str, Result<()>)> {
    let checks: [Check; 6] = [
        ("tidy", tidy::run),
        ("fmt", fmt),
        ("clippy", clippy),
        ("arm64", arm64),
        ("docs", docs::check),
        ("guest-sdk", guest::check),
    ];
    checks
        .into_iter()
        .map(|(name, check)| {
            println!("== {name}");
            let result = check();
            if let Err(error) = &result {
                println!("{name}: {error:#}");
            }
            (name, result)
        })
        .collect()
}

fn fmt() -> Result<()> {
    process::succeed(process::cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    process::succeed(process::cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

/// What differs by architecture: the numbers of calls, registers, and the stub.
const ARM64: &str = "aarch64-unknown-linux-gnu";

/// Compiles the broker, what it stands on, and the stub for arm64. Nothing is linked, so C sources of dependencies may go through the
/// compiler of this machine.
fn arm64() -> Result<()> {
    let mut add = Command::new("rustup");
    add.args(["target", "add", ARM64]);
    process::succeed(add).with_context(|| format!("the target {ARM64} cannot be added to this toolchain"))?;
    let mut check = process::cargo(&["check", "--locked", "--quiet", "--target", ARM64]);
    check.args(["--package", "wbuild-broker", "--package", "wbuild-sys"]);
    check.env("CC_aarch64_unknown_linux_gnu", "cc").env("AR_aarch64_unknown_linux_gnu", "ar");
    process::succeed(check)?;
    let out = process::workspace().join("target").join(ARM64);
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut stub = Command::new("rustc");
    stub.current_dir(process::workspace()).args([
        "host/stub/src/main.rs",
        "--edition=2024",
        "--crate-type=bin",
    ]);
    stub.args(["--crate-name=wbuild_stub", "--emit=obj", "-Cpanic=abort", "--target", ARM64, "--out-dir"]);
    stub.arg(out);
    process::succeed(stub)
}
