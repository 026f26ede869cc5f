//! The checks that are not tests: formatting, lints, tidy.

use crate::{docs, guest, process, tidy};
use anyhow::Result;

/// A check and its name.
type Check = (&'static str, fn() -> Result<()>);

/// A check's name and its result, in the order in which they ran; a failing one does not stop the others.
pub(crate) fn all() -> Vec<(&'static str, Result<()>)> {
    let checks: [Check; 5] = [
        ("tidy", tidy::run),
        ("fmt", fmt),
        ("clippy", clippy),
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
