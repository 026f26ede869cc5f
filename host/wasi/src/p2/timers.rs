//! wasi:clocks/monotonic-clock: readings of the component's own clock, and waits after which that clock has moved on.

use std::time::Duration;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::{Host, Shared};
use crate::clock::Clock;

/// The clock of a component, and where its waits are kept.
pub(crate) struct Timers<'a> {
    table: &'a mut ResourceTable,
    clock: Shared,
}

struct HasTimers;

impl HasData for HasTimers {
    type Data<'a> = Timers<'a>;
}

/// A wait.
struct Wait {
    /// What is left of it.
    left: Duration,
    clock: Shared,
}

#[async_trait::async_trait]
impl Pollable for Wait {
    async fn ready(&mut self) {
        tokio::time::sleep(self.left).await;
        let waited = std::mem::take(&mut self.left);
        self.clock.with(|clock| clock.pass(waited));
    }
}

/// Links the interface.
///
/// # Errors
/// A name that stands twice.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    monotonic_clock::add_to_linker::<Host, HasTimers>(linker, |host| Timers {
        table: &mut host.table,
        clock: host.clock.clone(),
    })
}

impl monotonic_clock::Host for Timers<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.clock.with(Clock::monotonic))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1000)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let now = self.clock.with(Clock::monotonic);
        self.subscribe_duration(when.saturating_sub(now))
    }

    fn subscribe_duration(&mut self, nanoseconds: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let wait = Wait { left: Duration::from_nanos(nanoseconds), clock: self.clock.clone() };
        let wait = self.table.push(wait)?;
        subscribe(self.table, wait)
    }
}
