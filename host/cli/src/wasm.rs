//! `wbuild wasm`: what a module is, and its code before a build needs it.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;

use wbuild_monitor::{Metered, ModuleCompiler, ModuleKind, ModuleRequest};
use wbuild_wasi::{CodeStore, Inspection};

use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::location;
use crate::out::stdout_failure;

/// Compile WASI programs ahead of a build, and look at them
#[derive(Debug, clap::Args)]
pub(crate) struct WasmArgs {
    /// What to do.
    #[command(subcommand)]
    command: WasmCommand,
}

/// What is done with a module.
#[derive(Debug, clap::Subcommand)]
enum WasmCommand {
    /// Compile a module into the store, where builds find its code
    Compile(ModuleArgs),
    /// Show what a module imports and exports, and what keeps it from being a command
    Inspect(ModuleArgs),
}

/// A module and the store.
#[derive(Debug, clap::Args)]
struct ModuleArgs {
    /// The module or component
    file: PathBuf,

    /// Where the store lies [default: $WBUILD_ROOT, /scratch, or the cache directory]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// Compiles or shows a module.
///
/// # Errors
/// The file is no module that can be compiled (exit 1); the store cannot be opened (exit 8).
pub(crate) fn run(args: &WasmArgs, environment: &Environment) -> Result<(), Failure> {
    let (WasmCommand::Compile(module) | WasmCommand::Inspect(module)) = &args.command;
    let shown = module.file.display();
    let failed = |reason: &dyn std::fmt::Display| Failure::new(Exit::Step, format!("{shown}: {reason}"));
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file =
        rustix::fs::open(&module.file, flags, rustix::fs::Mode::empty()).map_err(|errno| failed(&errno))?;
    let mut head = [0; 8];
    let read = rustix::io::pread(&file, &mut head, 0).map_err(|errno| failed(&errno))?;
    let kind = ModuleKind::of(&head[..read])
        .ok_or_else(|| failed(&"it is no wasm module of a version that is known"))?;
    let root = location::find(module.root.as_deref(), environment)?;
    let codes = CodeStore::new(crate::build::open_store(&root)?, "/proc/self/exe".into());
    let request = ModuleRequest {
        module: file.as_fd(),
        kind,
        name: &shown.to_string(),
        metered: Metered::No,
        // Nobody is left to hear of a failure.
        tell: &|line| drop(writeln!(std::io::stderr().lock(), "{line}")),
        abandoned: &|| false,
    };
    let code = codes.code(&request).map_err(|reason| failed(&reason))?;
    let text = match &args.command {
        WasmCommand::Compile(_) => format!("the code of {shown} is in the store\n"),
        WasmCommand::Inspect(_) => show(&wbuild_wasi::inspect(kind, code).map_err(|error| failed(&error))?),
    };
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(stdout_failure)
}

fn show(module: &Inspection) -> String {
    let kind = match module.kind {
        ModuleKind::Core => "core module (WASI preview 1)",
        ModuleKind::Component => "component (WASI 0.2)",
    };
    let list = |title: &str, lines: &[String]| {
        let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
        if lines.is_empty() { format!("{title}: none\n") } else { format!("{title}:\n{lines}") }
    };
    let verdict = match module.obstacles.as_slice() {
        [] => "command: yes\n".to_owned(),
        obstacles => list("command: no", obstacles),
    };
    format!("{kind}\n{}{}{verdict}", list("imports", &module.imports), list("exports", &module.exports))
}
