//! Loads compiled code. The one file outside sys and stub with `unsafe`: wasmtime cannot prove that the bytes are its own.

#![expect(unsafe_code, reason = "wasmtime's loading of compiled code is unsafe by declaration")]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// A core module.
///
/// # Errors
/// The code is of another engine, or cannot be read.
pub(crate) fn module(engine: &Engine, code: OwnedFd) -> wasmtime::Result<Module> {
    let mut file = File::from(code);
    // SAFETY: the descriptor came from the broker, which has it from wbuild: code that wbuild's own compiler wrote into the store and whose
    // digest it checked. Only the store's owner can write it; a process of a step cannot open it for writing.
    match unsafe { Module::deserialize_open_file(engine, file.try_clone()?) } {
        Ok(module) => Ok(module),
        // A store on a volume that is mounted noexec cannot be mapped as code.
        // SAFETY: the same bytes.
        Err(_) => unsafe { Module::deserialize(engine, read(&mut file)?) },
    }
}

/// A component.
///
/// # Errors
/// As [`module`].
pub(crate) fn component(engine: &Engine, code: OwnedFd) -> wasmtime::Result<Component> {
    let code = read(&mut File::from(code))?;
    // SAFETY: as for a core module.
    unsafe { Component::deserialize(engine, code) }
}

fn read(file: &mut File) -> std::io::Result<Vec<u8>> {
    use std::io::Seek;
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
