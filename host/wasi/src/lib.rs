//! WASI programs as steps: wasmtime, and WASI over the calls that the broker answers.
//!
//! A module runs in a process of the step. Its exec is handed to wbuild's own binary (`host/broker/src/exec/module.rs`), which
//! finds in [`run_if_module`] that it is the engine of a module: it loads the compiled code that the broker gives it and links WASI
//! over its own system calls, so that the reference monitor answers them as any guest's. Streams, arguments, environment, working
//! directory, umask, signals and the exit status are the process's own.
//! Code is compiled outside the step, by a confined process ([`compiler_main`]), and kept in the store ([`CodeStore`]).
//!
//! Invariant: a flaw of the engine gives a module what a native program has, and no more.

#![deny(unsafe_code)]

mod clock;
mod code;
mod compiler;
mod directory;
mod engine;
mod host;
mod inspect;
mod load;
mod names;
mod p1;
mod p2;
mod random;
mod run;
mod step;

pub use code::CodeStore;
pub use compiler::{COMPILER_ARGUMENT, CompileError, compiler_main};
pub use inspect::{Inspection, inspect};
pub use run::run_if_module;
