//! The tasks that asked before, so that their /proc directories are opened once.
//!
//! Invariant: a cached task is used only while its pidfd says that it has not been reaped, so its number cannot have
//! been given to another; without a pidfd of threads (before Linux 6.9) only leaders are cached.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rustix::io::Errno;
use wbuild_sys::notify::{Listener, Notice};

use crate::task::Task;

/// Above this many, the dead ones are dropped; each holds two descriptors.
const SWEEP_AT: usize = 256;
/// At most this part of the descriptors this process may have goes to tasks.
const SHARE: u64 = 8;

/// See the module.
pub(super) struct Tasks {
    known: RwLock<HashMap<u32, Arc<Task>>>,
    sweep_at: usize,
}

impl Default for Tasks {
    fn default() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let share = usize::try_from(limit / SHARE).unwrap_or(SWEEP_AT);
        Self { known: RwLock::default(), sweep_at: share.clamp(1, SWEEP_AT) }
    }
}

impl Tasks {
    /// The task that sent `notice`.
    pub(super) fn of(&self, notice: &Notice, listener: &Listener) -> Result<Arc<Task>, Errno> {
        let cached = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&notice.tid).cloned();
        if let Some(task) = cached.filter(|task| task.is_there()) {
            task.renew()?;
            return Ok(task);
        }
        let task = Arc::new(Task::open(notice.tid)?);
        if !listener.is_valid(notice.id) {
            // It died while we looked; its number may already be another's.
            return Err(Errno::SRCH);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.sweep_at {
            known.retain(|_, task| task.is_there());
            if known.len() >= self.sweep_at {
                known.clear();
            }
        }
        if task.can_be_kept() {
            known.insert(notice.tid, Arc::clone(&task));
        }
        Ok(task)
    }
}
