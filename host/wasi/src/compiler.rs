//! The compiler of modules: a process of its own, which knows nothing but the module.
//!
//! Hostile modules are compiled by it, so it has no file, no network name to resolve and no credential: it is confined by Landlock, reads the
//! module from standard input and writes code to standard output. Its memory and its time are limited.

use std::io::{Read, Write};

use rustix::process::{Resource, Rlimit};
use wbuild_monitor::{Metered, ModuleKind};
use wbuild_sys::landlock::{Ruleset, Scopes};

use crate::engine;

/// The first argument by which the binary knows that it is a compiler; the kind of module and of code follow.
pub const COMPILER_ARGUMENT: &str = "__compile-module";

/// Bytes of memory: several times what the largest known module (75 MB) needs.
const MEMORY: u64 = 12 << 30;
/// Seconds of processor time.
const TIME: u64 = 3600;

/// Why a module has no code.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The process could not be confined.
    #[error("cannot confine the compiler: {0}")]
    Confine(#[source] rustix::io::Errno),
    /// The module could not be read, or the code not written.
    #[error("cannot read the module or write its code: {0}")]
    Io(#[from] std::io::Error),
    /// The module is malformed, or uses what is not supported.
    #[error("{0}")]
    Module(String),
}

/// What a module is compiled to.
pub(crate) fn words(kind: ModuleKind, metered: Metered) -> [&'static str; 2] {
    let kind = match kind {
        ModuleKind::Core => "core",
        ModuleKind::Component => "component",
    };
    let metered = match metered {
        Metered::No => "plain",
        Metered::Fuel => "fuel",
    };
    [kind, metered]
}

/// Compiles `module`.
///
/// # Errors
/// [`CompileError::Module`].
pub(crate) fn compile(module: &[u8], kind: ModuleKind, metered: Metered) -> Result<Vec<u8>, CompileError> {
    let refused = |error: wasmtime::Error| {
        let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
        CompileError::Module(causes.join(": "))
    };
    let engine = engine::engine(metered).map_err(refused)?;
    match kind {
        ModuleKind::Core => engine.precompile_module(module),
        ModuleKind::Component => engine.precompile_component(module),
    }
    .map_err(refused)
}

/// Runs as the compiler; its exit code. Called before the process has threads.
#[must_use]
pub fn compiler_main(arguments: &[String]) -> i32 {
    let [kind, metered] = arguments else { return 2 };
    let kind = if kind == "component" { ModuleKind::Component } else { ModuleKind::Core };
    let metered = if metered == "fuel" { Metered::Fuel } else { Metered::No };
    match work(kind, metered) {
        Ok(()) => 0,
        Err(error) => {
            drop(write!(std::io::stderr().lock(), "{error}"));
            1
        }
    }
}

fn work(kind: ModuleKind, metered: Metered) -> Result<(), CompileError> {
    confine().map_err(CompileError::Confine)?;
    let mut module = Vec::new();
    std::io::stdin().lock().read_to_end(&mut module)?;
    let code = compile(&module, kind, metered)?;
    let mut out = std::io::stdout().lock();
    out.write_all(&code)?;
    Ok(out.flush()?)
}

fn confine() -> Result<(), rustix::io::Errno> {
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    for (resource, limit) in [(Resource::Data, MEMORY), (Resource::Cpu, TIME)] {
        let before = rustix::process::getrlimit(resource);
        let limit = Some(before.maximum.map_or(limit, |maximum| maximum.min(limit)));
        rustix::process::setrlimit(resource, Rlimit { current: limit, maximum: limit })?;
    }
    rustix::thread::set_no_new_privs(true)?;
    if wbuild_sys::landlock::abi() >= 1 {
        Ruleset::new(Scopes::ABSTRACT_SOCKETS_AND_SIGNALS)?.restrict_self()?;
    }
    Ok(())
}
