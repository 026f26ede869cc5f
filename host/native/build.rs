//! Compiles the loader stub (host/stub) as a freestanding executable and hands its bytes to the crate.
//!
//! The stub is one rustc call with the same compiler and no dependency: a cargo package of its own would need a
//! target without an operating system to be installed.

use std::path::Path;
use std::process::Command;

const SOURCES: [&str; 7] =
    ["main.rs", "image.rs", "kernel.rs", "plan.rs", "stack.rs", "x86_64.rs", "aarch64.rs"];

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let stub = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../stub/src");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", stub.join(source).display());
    }
    let out = Path::new(&variable("OUT_DIR")).join("stub");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.arg(stub.join("main.rs")).arg("-o").arg(&out);
    rustc.args(["--edition", "2024", "--crate-name", "wbuild_stub", "--crate-type", "bin"]);
    rustc.args(["--target", &variable("TARGET")]);
    for flag in [
        "panic=abort",
        "opt-level=s",
        "codegen-units=1",
        "relocation-model=pic",
        "strip=symbols",
        "target-feature=+crt-static",
        "link-arg=-nostartfiles",
        "link-arg=-nostdlib",
        "link-arg=-Wl,--build-id=none,--gc-sections,-z,noexecstack,-z,separate-code",
    ] {
        rustc.args(["-C", flag]);
    }
    // The bytes must not depend on where the sources lie: the stub is part of wbuild's own image.
    rustc.arg(format!("--remap-path-prefix={}=stub", stub.display()));
    let status = rustc.status().unwrap_or_else(|error| panic!("cannot run rustc for the stub: {error}"));
    assert!(status.success(), "rustc cannot compile the stub");
}
