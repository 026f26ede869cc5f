//! `cargo xtask`: the project's own tasks, one file per task.
//!
//! A task that needs a tool which is not there fails and names it; nothing is skipped in silence.
//! Not here: what the end-to-end tests need (the pod, base images, registries) is the library of `tests/`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool talks to its terminal")]
#![expect(clippy::disallowed_methods, reason = "works on the developer's checkout, not on a captured tree")]

mod args;
mod bench;
mod check;
mod conformance;
mod demo;
mod docs;
mod guest;
mod image;
mod process;
mod setup;
mod suite;
mod suites;
mod tidy;
mod workloads;

use clap::Parser;

fn main() -> std::process::ExitCode {
    match args::Xtask::parse().run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
