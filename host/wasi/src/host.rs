//! What a module has of its host besides files: its arguments, its clocks, its limits, and how it ended.

use std::os::fd::OwnedFd;

use wasmtime::ResourceLimiter;
use wbuild_monitor::{Determinism, ModuleRules, ToolContext};

use crate::clock::Clock;
use crate::names::{Cwd, Directory};
use crate::p1::table::{Entry, Table};
use crate::random::Random;

/// The frozen clock where the step has no `SOURCE_DATE_EPOCH`: 1980-01-01, the first day that a zip archive can name.
const FROZEN: u64 = 315_532_800;

/// The host side of a core module.
pub(crate) struct Host {
    pub(crate) arguments: Vec<Vec<u8>>,
    pub(crate) environment: Vec<Vec<u8>>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) table: Table,
    pub(crate) growth: Growth,
}

/// What a process was started with.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) arguments: Vec<Vec<u8>>,
    pub(crate) environment: Vec<Vec<u8>>,
    pub(crate) rules: ModuleRules,
    /// What a component may ask about its step.
    pub(crate) tool: ToolContext,
}

/// A module ended itself with this status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("exit status {0}")]
pub(crate) struct Exited(pub(crate) i32);

impl Started {
    /// Its clocks: the machine's, or frozen at the step's `SOURCE_DATE_EPOCH`.
    pub(crate) fn clock(&self) -> Clock {
        match self.rules.clock {
            Determinism::Real => Clock::Real,
            Determinism::Fixed => {
                let asked =
                    self.environment.iter().find_map(|entry| entry.strip_prefix(b"SOURCE_DATE_EPOCH="));
                let asked = asked.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
                Clock::Frozen { wall: asked.unwrap_or(FROZEN), monotonic: 0 }
            }
        }
    }

    /// Its random numbers.
    pub(crate) fn random(&self) -> Random {
        match self.rules.random {
            Determinism::Real => Random::Real,
            Determinism::Fixed => Random::seeded(self.arguments.iter().map(Vec::as_slice)),
        }
    }
}

impl Host {
    /// Of a core module with these standard streams.
    pub(crate) fn new(started: &Started, streams: [OwnedFd; 3]) -> Self {
        let mut table = Table::default();
        for fd in streams {
            // The first four fit: the table is empty.
            let _stream = table.insert(Entry::File { fd, rights: u64::from(u32::MAX >> 2) });
        }
        let _given =
            table.insert(Entry::Directory { directory: Directory::Given(Cwd::of_process()), entries: None });
        Self {
            arguments: started.arguments.clone(),
            environment: started.environment.clone(),
            clock: started.clock(),
            random: started.random(),
            table,
            growth: Growth::new(started.rules.memory),
        }
    }
}

/// What a module's memories and tables may come to.
#[derive(Debug)]
pub(crate) struct Growth {
    memory: Option<u64>,
    used: u64,
    /// A limit was met.
    pub(crate) refused: Option<Refused>,
}

/// A limit that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Bytes of all memories.
    Memory(u64),
    /// Elements of one table.
    Table,
}

impl Growth {
    /// At most this many bytes of memory, and what one process can address in any case.
    pub(crate) fn new(memory: Option<u64>) -> Self {
        Self { memory, used: 0, refused: None }
    }

    /// The sentence about a limit that was met.
    pub(crate) fn explanation(&self) -> Option<String> {
        Some(match self.refused? {
            Refused::Memory(limit) => {
                format!("it asked for more than the {limit} bytes of memory that the policy allows it")
            }
            Refused::Table => format!("it asked for a table of more than {TABLE} elements"),
        })
    }
}

/// Elements of one table: ten million functions.
const TABLE: usize = 10_000_000;

impl ResourceLimiter for Growth {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = self.used.saturating_add((desired - current.min(desired)) as u64);
        if let Some(limit) = self.memory
            && more > limit
        {
            self.refused = Some(Refused::Memory(limit));
            return Ok(false);
        }
        self.used = more;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > TABLE {
            self.refused = Some(Refused::Table);
            return Ok(false);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_together_are_limited() {
        let mut growth = Growth::new(Some(100));
        assert!(growth.memory_growing(0, 60, None).unwrap());
        assert!(!growth.memory_growing(0, 41, None).unwrap());
        assert_eq!(growth.refused, Some(Refused::Memory(100)));
        assert!(growth.memory_growing(60, 100, None).unwrap());
        assert!(!growth.table_growing(0, TABLE + 1, None).unwrap());
    }

    #[test]
    fn the_clock_is_frozen_at_the_steps_epoch() {
        let started = |environment: &[&[u8]]| Started {
            arguments: vec![],
            environment: environment.iter().map(|entry| entry.to_vec()).collect(),
            rules: ModuleRules::default(),
            tool: ToolContext::default(),
        };
        assert_eq!(started(&[b"SOURCE_DATE_EPOCH=12"]).clock().wall().as_secs(), 12);
        assert_eq!(started(&[b"SOURCE_DATE_EPOCH=x"]).clock().wall().as_secs(), FROZEN);
        assert_eq!(started(&[]).clock().wall().as_secs(), FROZEN);
    }
}
