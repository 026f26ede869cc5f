//! flock, and the commands of fcntl that depend on who else has a file open: man 2 flock, man 2 fcntl.
//!
//! A descriptor of a file is installed and answered in one step, so the broker's copy of it is closed a moment after the
//! guest runs on. Locks that belong to an open file description would outlive the guest's close by that moment, and a
//! program just written would be ETXTBSY; so whoever locks or executes waits until every copy is closed that the broker
//! had then. inotify tells of closes as they happen, so nothing lingers from the moment a step uses it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use wbuild_monitor::Fault;

use crate::call::{Call, Reply};

/// The broker's copies of descriptors that guests have already been given.
#[derive(Debug, Default)]
pub struct Lingering {
    copies: RwLock<()>,
    watched: AtomicBool,
}

impl Lingering {
    /// To be held from before a descriptor is given until the broker's copy is closed; `None` where it must not linger.
    pub(crate) fn hold(&self) -> Option<RwLockReadGuard<'_, ()>> {
        let held = self.copies.read().unwrap_or_else(PoisonError::into_inner);
        // Looked at while it is held: `end` waits for holders that have not seen its mark.
        if self.watched.load(Ordering::SeqCst) { None } else { Some(held) }
    }

    /// From now on nothing lingers.
    pub(crate) fn end(&self) {
        self.watched.store(true, Ordering::SeqCst);
        self.wait();
    }

    /// Waits until the copies that linger now are closed. Not by who holds one.
    pub(crate) fn wait(&self) {
        drop(self.copies.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// flock(fd, operation), and the commands of fcntl that the table names: the kernel's, once nothing lingers.
///
/// # Errors
/// None.
pub fn when_alone(call: &mut Call<'_>) -> Result<Reply, Fault> {
    call.step().lingering.wait();
    Ok(Reply::Continue)
}
