//! `wbuild-fuzz [--seconds N] [NAME..]`: runs targets side by side, all without a name; `cargo xtask soak fuzz` starts it.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool talks to its terminal")]

use std::process::ExitCode;
use std::time::Duration;

use wbuild_fuzz::{TARGETS, run};

fn main() -> ExitCode {
    let mut seconds = 600;
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--seconds" {
            match arguments.next().and_then(|text| text.parse().ok()) {
                Some(given) => seconds = given,
                None => return usage(),
            }
        } else {
            names.push(argument);
        }
    }
    if names.iter().any(|name| !TARGETS.iter().any(|target| target.name == name)) {
        return usage();
    }
    let chosen =
        TARGETS.iter().filter(|target| names.is_empty() || names.iter().any(|name| name == target.name));
    let mut failed = false;
    std::thread::scope(|scope| {
        let running: Vec<_> = chosen
            .map(|target| scope.spawn(move || (target.name, run(target, Duration::from_secs(seconds)))))
            .collect();
        for handle in running {
            match handle.join() {
                Ok((name, Ok(report))) => println!("{name}: {report}, no finding"),
                Ok((name, Err(finding))) => {
                    println!("{name}: {finding}");
                    failed = true;
                }
                Err(_) => failed = true,
            }
        }
    });
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn usage() -> ExitCode {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    eprintln!("usage: wbuild-fuzz [--seconds N] [NAME..], NAME one of {}", names.join(", "));
    ExitCode::from(2)
}
