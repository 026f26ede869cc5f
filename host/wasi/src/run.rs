//! Runs a module in this process, where a step's exec of one ended.
//!
//! The exit status is the module's; a trap is 134, as if it had been killed by SIGABRT under a shell; a module that cannot run at all is
//! 126, as for a program that is found and not executable. A write to a pipe that nobody reads kills, as it does natively.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use wasmtime::{Engine, Linker, Store, Trap, WasmBacktrace};
use wbuild_monitor::{ModuleKind, ModulePlan};

use crate::host::{Exited, Host, Started};
use crate::{engine, load, p1, p2};

/// It cannot be run.
const NOT_RUN: i32 = 126;
/// It trapped: 128 + SIGABRT.
const TRAPPED: i32 = 134;

/// Runs the module in whose place this program was executed and gives its exit status; `None` where it was started as itself.
#[must_use]
pub fn run_if_module() -> Option<i32> {
    let plan = wbuild_sys::process::exec_plan()?;
    let voice = Voice::new();
    let status = match read(&plan) {
        Ok(plan) => start(plan, &voice),
        Err(errno) => {
            voice.say(&format!("cannot read how to run a module: {errno}"));
            NOT_RUN
        }
    };
    Some(status)
}

fn read(file: &OwnedFd) -> Result<ModulePlan, Errno> {
    const MOST: u64 = 1 << 24;
    let size = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
    let mut bytes = vec![0; usize::try_from(size.min(MOST)).unwrap_or(0)];
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pread(file, &mut bytes[done..], done as u64)? {
            0 => break,
            some => done += some,
        }
    }
    postcard::from_bytes(&bytes).map_err(|_| Errno::NOEXEC)
}

fn start(plan: ModulePlan, voice: &Voice) -> i32 {
    let name = String::from_utf8_lossy(&plan.name).into_owned();
    // Rust's start-up ignores it; a module's writes are to end as a program's.
    if wbuild_sys::process::let_broken_pipes_kill().is_err() {
        voice.say(&format!("{name}: cannot reset a signal"));
        return NOT_RUN;
    }
    let arguments = std::env::args_os().map(|argument| argument.as_bytes().to_vec());
    let dropped = usize::from(!plan.prefix.is_empty());
    let arguments = plan.prefix.into_iter().chain(arguments.skip(dropped)).collect();
    let environment =
        std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()).collect();
    let started = Started { arguments, environment, rules: plan.rules, tool: plan.tool };
    let channel = plan.channel.and_then(inherited);
    let code = match plan.code {
        Ok(number) => inherited(number),
        Err(reason) => {
            voice.say(&format!("{name}: {reason}"));
            return NOT_RUN;
        }
    };
    let streams = [0, 1, 2].map(wbuild_sys::process::inherited);
    let (Some(code), [Ok(input), Ok(output), Ok(errors)]) = (code, streams) else {
        voice.say(&format!("{name}: a descriptor is missing"));
        return NOT_RUN;
    };
    let kind = plan.kind;
    let run = move || match kind {
        ModuleKind::Core => run_core(&started, code, [input, output, errors]),
        ModuleKind::Component => p2::run(&started, code, [input, output, errors], channel),
    };
    // The main thread's stack is the limit of whoever started it.
    let thread = std::thread::Builder::new().name("module".into()).stack_size(engine::THREAD_STACK);
    match thread.spawn(run).map(std::thread::JoinHandle::join) {
        Ok(Ok(ended)) => settle(&name, ended, voice),
        Ok(Err(_panicked)) => TRAPPED,
        Err(error) => {
            voice.say(&format!("{name}: no thread to run it: {error}"));
            NOT_RUN
        }
    }
}

/// A descriptor that the broker put here.
fn inherited(number: u32) -> Option<OwnedFd> {
    i32::try_from(number).ok().and_then(|fd| wbuild_sys::process::inherited(fd).ok())
}

/// How a module ended, with what is to be said about a limit it met.
pub(crate) struct Ended {
    pub(crate) result: wasmtime::Result<i32>,
    pub(crate) limit: Option<String>,
}

impl Ended {
    /// It was not started.
    pub(crate) fn early(error: wasmtime::Error) -> Self {
        Self { result: Err(error), limit: None }
    }
}

fn run_core(started: &Started, code: OwnedFd, streams: [OwnedFd; 3]) -> Ended {
    let prepared = || -> wasmtime::Result<_> {
        let engine: Engine = engine::engine(started.rules.metered())?;
        let module = load::module(&engine, code)?;
        let mut linker = Linker::new(&engine);
        p1::link(&mut linker)?;
        let mut store = Store::new(&engine, Host::new(started, streams));
        store.limiter(|host| &mut host.growth);
        if let Some(fuel) = started.rules.fuel {
            store.set_fuel(fuel)?;
        }
        Ok((store, linker, module))
    };
    let (mut store, linker, module) = match prepared() {
        Ok(prepared) => prepared,
        Err(error) => return Ended::early(error),
    };
    let run = |store: &mut Store<Host>| -> wasmtime::Result<i32> {
        let instance = linker.instantiate(&mut *store, &module)?;
        let main = instance.get_typed_func::<(), ()>(&mut *store, "_start").map_err(|_| {
            wasmtime::Error::msg("it is no command: it exports no function _start (a library, or a reactor?)")
        })?;
        main.call(&mut *store, ())?;
        Ok(0)
    };
    let result = run(&mut store);
    Ended { result, limit: store.data().growth.explanation() }
}

/// The exit status, once the user has been told what is to be told.
fn settle(name: &str, ended: Ended, voice: &Voice) -> i32 {
    let error = match ended.result {
        Ok(status) => return status,
        Err(error) => error,
    };
    if let Some(Exited(status)) = error.downcast_ref::<Exited>() {
        if let (true, Some(limit)) = (*status != 0, ended.limit) {
            voice.say(&format!("{name}: {limit}"));
        }
        return status & 0xff;
    }
    let limit = ended.limit.map(|limit| format!("; {limit}")).unwrap_or_default();
    let Some(trap) = error.downcast_ref::<Trap>() else {
        voice.say(&format!("{name}: cannot run: {}{limit}", chain(&error)));
        return NOT_RUN;
    };
    let reason = match trap {
        Trap::OutOfFuel => "it used up the fuel that the policy allows it".to_owned(),
        other => other.to_string(),
    };
    let mut text = format!("{name}: trap: {reason}{limit}");
    for (index, frame) in error
        .downcast_ref::<WasmBacktrace>()
        .map(WasmBacktrace::frames)
        .unwrap_or_default()
        .iter()
        .enumerate()
    {
        let function =
            frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), demangled);
        text.push_str(&format!("\n  {index}: {function}"));
    }
    voice.say(&text);
    TRAPPED
}

/// Rust's names as they are written, without the hash at their end; others as they are.
fn demangled(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

fn chain(error: &wasmtime::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Our own lines on the process's standard error, which the module may close.
struct Voice(Option<File>);

impl Voice {
    /// A copy of descriptor 2, if there is one.
    fn new() -> Self {
        Self(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3).ok().map(File::from))
    }

    fn say(&self, line: &str) {
        if let Some(mut file) = self.0.as_ref() {
            // Nobody is left to hear of a failure.
            drop(file.write_all(format!("wbuild: {line}\n").as_bytes()));
        }
    }
}
