//! The guest side: checks of the SDK and of the tool that is its template, and the targets that tools are compiled for.
//!
//! Both stand outside the workspace, as they do for a tool's author. Their tests run natively, on the SDK's mock.

use crate::process;
use anyhow::{Context, Result};
use std::process::Command;

/// The packages, from the workspace's root.
const PACKAGES: [&str; 2] = ["guest-sdk", "examples/wasm-tool"];

/// Formatting, lints and tests of both.
pub(crate) fn check() -> Result<()> {
    let target = process::workspace().join("target/guest");
    for package in PACKAGES {
        let manifest = format!("--manifest-path={package}/Cargo.toml");
        process::succeed(process::cargo(&["fmt", &manifest, "--check"]))?;
        // A tool's files are its own affair: the workspace's rule about std::fs is none of it.
        let lints = ["--", "-D", "warnings", "-A", "clippy::disallowed-methods"];
        let clippy =
            [&["clippy", &manifest, "--locked", "--all-targets", "--quiet"], lints.as_slice()].concat();
        for task in [clippy.as_slice(), &["test", &manifest, "--locked", "--quiet"]] {
            let mut command = process::cargo(task);
            command.env("CARGO_TARGET_DIR", &target);
            process::succeed(command)?;
        }
    }
    Ok(())
}

/// Adds the targets to the toolchain, and compiles the template for one of them.
pub(crate) fn toolchain() -> Result<()> {
    let mut command = Command::new("rustup");
    command.args(["target", "add", "wasm32-wasip1", "wasm32-wasip2"]);
    process::succeed(command).context("the targets of WebAssembly cannot be added to this toolchain")?;
    let mut command = process::cargo(&[
        "build",
        "--manifest-path=examples/wasm-tool/Cargo.toml",
        "--locked",
        "--release",
        "--target=wasm32-wasip2",
    ]);
    let target = process::workspace().join("target/guest");
    command.env("CARGO_TARGET_DIR", &target);
    process::succeed(command)?;
    println!("compiled {}", target.join("wasm32-wasip2/release/pages.wasm").display());
    Ok(())
}
