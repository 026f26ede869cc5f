//! What a module is, without running it: its kind, what it imports and exports, and what it would need.

use std::os::fd::OwnedFd;

use wasmtime::component::Component;
use wasmtime::{ExternType, Module};
use wbuild_monitor::{Metered, ModuleKind};

use crate::compiler::CompileError;
use crate::{engine, load};

/// What is known of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Core module or component.
    pub kind: ModuleKind,
    /// `module name` of each import of a core module, the interface of each of a component; sorted.
    pub imports: Vec<String>,
    /// Exports; sorted.
    pub exports: Vec<String>,
    /// Why wbuild could not run it as a command; empty if it can.
    pub obstacles: Vec<String>,
}

/// Looks at a module by the code that was compiled from it, so that nothing hostile is parsed here.
///
/// # Errors
/// The code is of another engine.
pub fn inspect(kind: ModuleKind, code: OwnedFd) -> Result<Inspection, CompileError> {
    let refused = |error: wasmtime::Error| {
        let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
        CompileError::Module(causes.join(": "))
    };
    let engine = engine::engine(Metered::No).map_err(refused)?;
    Ok(match kind {
        ModuleKind::Core => core(&load::module(&engine, code).map_err(refused)?),
        ModuleKind::Component => component(&engine, &load::component(&engine, code).map_err(refused)?),
    })
}

fn core(module: &Module) -> Inspection {
    let foreign = module.imports().filter(|import| import.module() != "wasi_snapshot_preview1");
    let mut obstacles: Vec<String> = foreign
        .map(|import| format!("nobody provides its import {} {}", import.module(), import.name()))
        .collect();
    if !matches!(module.get_export("_start"), Some(ExternType::Func(_))) {
        obstacles.push("it exports no function _start, so it is no command".into());
    }
    if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
        obstacles.push("it exports no memory".into());
    }
    let imports = module.imports().map(|import| format!("{} {}", import.module(), import.name())).collect();
    let exports = module.exports().map(|export| export.name().to_owned()).collect();
    sorted(ModuleKind::Core, imports, exports, obstacles)
}

fn component(engine: &wasmtime::Engine, component: &Component) -> Inspection {
    let kind = component.component_type();
    let imports: Vec<String> = kind.imports(engine).map(|(name, _)| name.to_owned()).collect();
    let exports: Vec<String> = kind.exports(engine).map(|(name, _)| name.to_owned()).collect();
    // wasi:sockets is there too: the standard libraries import it whether or not a tool uses it, and its calls are refused.
    let known =
        ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
    let step = |name: &str| name.starts_with("wbuild:step/") && name.contains("@0.1.");
    let foreign =
        imports.iter().filter(|name| !step(name) && !known.iter().any(|prefix| name.starts_with(prefix)));
    let mut obstacles: Vec<String> =
        foreign.map(|name| format!("nobody provides its import {name}")).collect();
    if !exports.iter().any(|name| name.starts_with("wasi:cli/run@0.2.")) {
        obstacles.push("it does not export wasi:cli/run, so it is no command".into());
    }
    obstacles.sort();
    sorted(ModuleKind::Component, imports, exports, obstacles)
}

fn sorted(
    kind: ModuleKind,
    mut imports: Vec<String>,
    mut exports: Vec<String>,
    obstacles: Vec<String>,
) -> Inspection {
    imports.sort();
    exports.sort();
    Inspection { kind, imports, exports, obstacles }
}
