//! The states of a step's processes, interned, found by tag, changed under a lock and collected when dead.
//!
//! Invariant: between reading a tag and writing the next one of the same process nobody else changes it, and a state
//! that a live process is tagged with is in the table.
//!
//! Lock order: `gate`, then one of `stripes`, then `table`.
//!
//! Deliberately not here: ids for single threads. A thread that changes its ids changes those of its process, which
//! is what every libc does with the raw calls anyway.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::fs::{Dir, SeekFrom};
use rustix::io::Errno;
use rustix::process::Pid;

use super::state::State;
use super::tag::{Carrier, Index, StepId, Tag, TagError};

/// States are collected when there are this many, or twice as many as the last collection left.
const COLLECT_AT: usize = 256;
/// Thread groups share this many locks.
const STRIPES: usize = 64;

/// All states of one step.
#[derive(Debug)]
pub struct Identities {
    step: StepId,
    carrier: Carrier,
    /// A readable descriptor of /proc, for collections.
    proc: OwnedFd,
    /// Held shared by whoever changes a tag, alone by a collection.
    gate: RwLock<()>,
    stripes: [Mutex<()>; STRIPES],
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    by_value: HashMap<Arc<State>, u32>,
    scan: u64,
    collect_at: usize,
}

#[derive(Debug)]
struct Slot {
    state: Arc<State>,
    /// The last scan that met a process with this state, or the one before which it was made.
    seen: AtomicU64,
}

/// A guest thread with its process, as the supervisor numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Thread id.
    pub tid: Pid,
    /// Thread group id: the process.
    pub tgid: Pid,
}

impl Identities {
    /// A table for one step. `proc` is a readable descriptor of a procfs that shows the step's processes.
    #[must_use]
    pub fn new(step: StepId, carrier: Carrier, proc: OwnedFd) -> Self {
        Self {
            step,
            carrier,
            proc,
            gate: RwLock::default(),
            stripes: std::array::from_fn(|_| Mutex::default()),
            table: RwLock::new(Table { collect_at: COLLECT_AT, ..Table::default() }),
        }
    }

    /// The step whose processes these are.
    #[must_use]
    pub fn step(&self) -> StepId {
        self.step
    }

    /// The limit that carries the tags.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// Enters `state` and gives its tag; the caller sets it as the soft value of the carrying limit of the step's
    /// first process before that process runs.
    #[must_use]
    pub fn enter(&self, state: State) -> Tag {
        Tag { step: self.step, index: self.write_table().intern(state) }
    }

    /// The state of the process that `thread` belongs to: one prlimit(2) and a shared lock.
    ///
    /// # Errors
    /// [`TagError`] for a process that is gone or not of this step.
    pub fn of(&self, thread: Pid) -> Result<Arc<State>, TagError> {
        let tag = self.carrier.read(thread)?;
        self.state(thread, tag)
    }

    fn state(&self, thread: Pid, tag: Tag) -> Result<Arc<State>, TagError> {
        let foreign = || TagError::Foreign(thread.as_raw_nonzero().get());
        if tag.step != self.step {
            return Err(foreign());
        }
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let slot = table.slots.get(tag.index.0 as usize).and_then(Option::as_ref);
        slot.map(|s| s.state.clone()).ok_or_else(foreign)
    }

    /// Replaces the state of a process by what `next` makes of it, atomically for the process.
    ///
    /// # Errors
    /// The errno `next` answers, with the state unchanged; or the reason why there is no state.
    pub fn change<T>(
        &self,
        thread: Thread,
        next: impl FnOnce(&State) -> Result<(State, T), Errno>,
    ) -> Result<T, ChangeError> {
        self.collect_when_due();
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let _mine = self.lock_process(thread.tgid);
        let old = self.of(thread.tid)?;
        let (new, answer) = next(&old).map_err(ChangeError::Refused)?;
        if new != *old {
            self.carrier.write(thread.tid, self.enter(new))?;
        }
        Ok(answer)
    }

    fn lock_process(&self, process: Pid) -> MutexGuard<'_, ()> {
        let stripe = process.as_raw_nonzero().get().unsigned_abs() as usize % STRIPES;
        self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_table(&self) -> std::sync::RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many states there are now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.read().unwrap_or_else(PoisonError::into_inner).by_value.len()
    }

    /// True before the first state is entered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn collect_when_due(&self) {
        let due = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            table.by_value.len() >= table.collect_at
        };
        if due {
            self.collect();
        }
    }

    /// Drops the states no process has. No tag changes meanwhile, so only forks and exits race with the scan: a
    /// child has a higher pid than the scan has reached, or its parent is still there to be met. Where pids wrap
    /// around neither need be so, which is why a state must be missed by two scans.
    pub fn collect(&self) {
        let _closed = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.write_table().scan += 1;
        if let Err(error) = self.mark() {
            tracing::warn!(%error, "states not collected: cannot list processes");
            self.write_table().collect_at *= 2;
            return;
        }
        self.write_table().sweep();
    }

    fn mark(&self) -> Result<(), Errno> {
        rustix::fs::seek(&self.proc, SeekFrom::Start(0))?;
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        for entry in Dir::read_from(&self.proc)? {
            let entry = entry?;
            let name = entry.file_name().to_str().ok();
            let Some(pid) = name.and_then(|n| n.parse().ok()).and_then(Pid::from_raw) else { continue };
            // Processes of others, and those that are just gone, have no tag of ours.
            let Ok(tag) = self.carrier.read(pid) else { continue };
            if tag.step == self.step
                && let Some(slot) = table.slots.get(tag.index.0 as usize).and_then(Option::as_ref)
            {
                slot.seen.store(table.scan, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

impl Table {
    fn intern(&mut self, state: State) -> Index {
        if let Some(index) = self.by_value.get(&state) {
            let slot = self.slots.get(*index as usize).and_then(Option::as_ref);
            if let Some(slot) = slot {
                slot.seen.store(self.scan, Ordering::Relaxed);
            }
            return Index(*index);
        }
        let state = Arc::new(state);
        let slot = Some(Slot { state: state.clone(), seen: AtomicU64::new(self.scan) });
        let index = if let Some(index) = self.free.pop() {
            self.slots[index as usize] = slot;
            index
        } else {
            self.slots.push(slot);
            u32::try_from(self.slots.len() - 1)
                .unwrap_or_else(|_| unreachable!("2^32 states need 2^32 descriptors"))
        };
        self.by_value.insert(state, index);
        Index(index)
    }

    fn sweep(&mut self) {
        let scan = self.scan;
        for (index, place) in (0u32..).zip(self.slots.iter_mut()) {
            if place.as_ref().is_some_and(|slot| slot.seen.load(Ordering::Relaxed) + 2 <= scan)
                && let Some(dead) = place.take()
            {
                self.by_value.remove(&dead.state);
                self.free.push(index);
            }
        }
        self.collect_at = COLLECT_AT.max(self.by_value.len() * 2);
    }
}

/// Why a state did not change.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The guest is answered this errno.
    #[error("refused: {0}")]
    Refused(Errno),
    /// There is no state to change.
    #[error(transparent)]
    Tag(#[from] TagError),
}

#[cfg(test)]
mod tests;
