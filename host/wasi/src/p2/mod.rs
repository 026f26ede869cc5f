//! WASI 0.2 for components: wasmtime's own cli, io and (refusing) sockets, and over them wbuild's files, clocks and random numbers.
//!
//! The file system is the one of preview 1 in another form (files.rs); so are the clocks and the random numbers. A component gets no socket:
//! every call of wasi:sockets is refused, as no address is allowed.

mod files;
mod streams;
mod timers;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::cli::{InputFile, OutputFile};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::bindings::sync::Command;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, I32Exit, WasiCtx, WasiCtxView, WasiView};

use crate::clock::{Clock, nanoseconds};
use crate::host::{Exited, Growth, Started};
use crate::random::Random;
use crate::run::Ended;
use crate::step::{Step, View};
use crate::{engine, load, step};

/// The host side of a component.
pub(crate) struct Host {
    context: WasiCtx,
    table: ResourceTable,
    clock: Shared,
    random: Numbers,
    growth: Growth,
    step: Step,
}

impl Host {
    /// What `wbuild:step` works on.
    pub(crate) fn step(&mut self) -> View<'_> {
        View { step: &mut self.step, table: &mut self.table }
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.context, table: &mut self.table }
    }
}

/// One clock for wasmtime's clocks and the files' times.
#[derive(Clone)]
struct Shared(Arc<Mutex<Clock>>);

impl Shared {
    fn with<T>(&self, read: impl FnOnce(&mut Clock) -> T) -> T {
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HostWallClock for Shared {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        self.with(|clock| clock.wall())
    }
}

impl HostMonotonicClock for Shared {
    fn resolution(&self) -> u64 {
        nanoseconds(Duration::from_micros(1))
    }

    fn now(&self) -> u64 {
        self.with(Clock::monotonic)
    }
}

/// wasi:random over the module's own source.
pub(crate) struct Numbers(Random);

/// At most this many random bytes are given at once.
const RANDOM: u64 = 64 << 20;

impl Numbers {
    fn bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        let length = usize::try_from(length.min(RANDOM)).unwrap_or(0);
        let mut bytes = vec![0; length];
        self.0.fill(&mut bytes)?;
        Ok(bytes)
    }
}

impl random::Host for Numbers {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        if length > RANDOM {
            return Err(wasmtime::Error::msg("more random bytes at once than 64 MiB"));
        }
        self.bytes(length)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.0.next()?)
    }
}

impl insecure::Host for Numbers {
    fn get_insecure_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        random::Host::get_random_bytes(self, length)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.0.next()?)
    }
}

impl insecure_seed::Host for Numbers {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.0.next()?, self.0.next()?))
    }
}

struct HasNumbers;

impl HasData for HasNumbers {
    type Data<'a> = &'a mut Numbers;
}

fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    // What is ours takes the place of what was linked.
    linker.allow_shadowing(true);
    files::link(linker)?;
    timers::link(linker)?;
    step::link(linker)?;
    random::add_to_linker::<Host, HasNumbers>(linker, |host| &mut host.random)?;
    insecure::add_to_linker::<Host, HasNumbers>(linker, |host| &mut host.random)?;
    insecure_seed::add_to_linker::<Host, HasNumbers>(linker, |host| &mut host.random)
}

fn host(started: &Started, [input, output, errors]: [OwnedFd; 3], channel: Option<OwnedFd>) -> Host {
    let clock = Shared(Arc::new(Mutex::new(started.clock())));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut builder = WasiCtx::builder();
    for argument in &started.arguments {
        builder.arg(text(argument));
    }
    for entry in &started.environment {
        let entry = text(entry);
        if let Some((name, value)) = entry.split_once('=') {
            builder.env(name, value);
        }
    }
    if let Ok(cwd) = rustix::process::getcwd(Vec::new()) {
        builder.initial_cwd(text(cwd.as_bytes()));
    }
    let step = Step::new(started.tool.clone(), channel, errors.try_clone().ok().map(File::from));
    builder.stdin(InputFile::new(File::from(input)));
    builder.stdout(OutputFile::new(File::from(output))).stderr(OutputFile::new(File::from(errors)));
    builder.wall_clock(clock.clone()).monotonic_clock(clock.clone());
    Host {
        context: builder.build(),
        table: ResourceTable::new(),
        clock,
        random: Numbers(started.random()),
        growth: Growth::new(started.rules.memory),
        step,
    }
}

/// Runs a component.
pub(crate) fn run(
    started: &Started,
    code: OwnedFd,
    streams: [OwnedFd; 3],
    channel: Option<OwnedFd>,
) -> Ended {
    let prepared = || -> wasmtime::Result<_> {
        let engine: Engine = engine::engine(started.rules.metered())?;
        let component = load::component(&engine, code)?;
        let mut linker = Linker::new(&engine);
        link(&mut linker)?;
        let mut store = Store::new(&engine, host(started, streams, channel));
        store.limiter(|host| &mut host.growth);
        if let Some(fuel) = started.rules.fuel {
            store.set_fuel(fuel)?;
        }
        Ok((store, linker, component))
    };
    let (mut store, linker, component) = match prepared() {
        Ok(prepared) => prepared,
        Err(error) => return Ended::early(error),
    };
    let run = |store: &mut Store<Host>| -> wasmtime::Result<i32> {
        let command = Command::instantiate(&mut *store, &component, &linker)?;
        match command.wasi_cli_run().call_run(&mut *store)? {
            Ok(()) => Ok(store.data_mut().step().settle()),
            Err(()) => Ok(1),
        }
    };
    let result = run(&mut store).map_err(|error| match error.downcast_ref::<I32Exit>() {
        Some(I32Exit(status)) => Exited(*status).into(),
        None => error,
    });
    Ended { result, limit: store.data().growth.explanation() }
}
