//! The command line of wbuild: arguments, wiring, progress, errors with hints, exit codes.
//!
//! Only this crate prints, reads the environment or HOME, and knows concrete engines and registries. A reader of its output
//! that goes away is no failure.

#![forbid(unsafe_code)]

mod args;
mod build;
mod cache;
mod doctor;
mod environment;
mod exit;
mod failure;
mod images;
mod interrupt;
mod location;
mod logging;
mod out;
mod policy;
mod progress;
mod registry;
mod terminal;
mod version;
mod wasm;
mod why;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::terminal::Paint;

/// Runs the program with the process's arguments and environment.
#[must_use]
pub fn main() -> ExitCode {
    // In a step, this program stands in the place of a wasm module that was executed; its arguments are the module's.
    if let Some(status) = wbuild_wasi::run_if_module() {
        return ExitCode::from(u8::try_from(status & 0xff).unwrap_or(Exit::Internal.code()));
    }
    let args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == wbuild_wasi::COMPILER_ARGUMENT) {
        let words: Vec<String> =
            args.iter().skip(2).map(|word| word.to_string_lossy().into_owned()).collect();
        return ExitCode::from(
            u8::try_from(wbuild_wasi::compiler_main(&words)).unwrap_or(Exit::Internal.code()),
        );
    }
    // The supervisor of a step is this same program; it is not for users and never reaches the argument parser.
    if args.get(1).is_some_and(|arg| arg == wbuild_native::SUPERVISOR_ARGUMENT) {
        return ExitCode::from(
            u8::try_from(wbuild_native::supervisor_main()).unwrap_or(Exit::Internal.code()),
        );
    }
    let environment = Environment::of_process();
    let result = match Cli::try_parse_from(args) {
        Ok(cli) => run(&cli, &environment),
        Err(error) => return usage(&error),
    };
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            let failure = failure.weighed();
            // A pipe that nobody reads has no reader for a message either.
            if failure.exit != Exit::Ok {
                let paint = Paint::for_stderr(&environment);
                drop(failure.render(&mut std::io::stderr().lock(), paint));
            }
            failure.exit.into()
        }
    }
}

fn run(cli: &Cli, environment: &Environment) -> Result<(), Failure> {
    logging::start(cli.debug, environment)?;
    match &cli.command {
        Command::Build(args) => build::run(args, environment),
        Command::Push(args) => images::push(args, environment),
        Command::Pull(args) => images::pull(args, environment),
        Command::Warm(args) => images::warm(args, environment),
        Command::Inspect(args) => images::inspect(args, environment),
        Command::Index(args) => images::index(args, environment),
        Command::Verify(args) => images::verify(args, environment),
        Command::Cache(args) => cache::run(args, environment),
        Command::Why(args) => why::run(args, environment),
        Command::Doctor(args) => doctor::run(args, environment),
        Command::Policy(args) => policy::run(args),
        Command::Version(args) => version::run(args),
        Command::Wasm(args) => wasm::run(args, environment),
    }
}

/// Shows help or what is wrong with the arguments: clap knows which goes to which stream.
fn usage(error: &clap::Error) -> ExitCode {
    drop(error.print());
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() }
}

/// The help of every subcommand, as the CLI reference shows it.
#[must_use]
pub fn reference() -> String {
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut text = root.render_long_help().to_string();
    for command in root.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        let name = command.get_name().to_owned();
        let help = command.clone().term_width(100).render_long_help();
        text.push_str(&format!("\n==== wbuild {name} ====\n\n{help}"));
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let help = below.clone().term_width(100).render_long_help();
            text.push_str(&format!("\n==== wbuild {name} {} ====\n\n{help}", below.get_name()));
        }
    }
    text
}
