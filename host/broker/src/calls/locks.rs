//! flock, and the commands of fcntl that depend on who else has a file open: man 2 flock, man 2 fcntl.
//!
//! A read-only descriptor is installed and answered in one step, so the broker's copy of it is closed a moment after the
//! guest runs on. Locks of the kind that belong to an open file description would outlive the guest's close by that
//! moment; so whoever locks waits until every copy is closed that the broker had then. Writable descriptors never linger.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use wbuild_monitor::Fault;

use crate::call::{Call, Reply};

/// The broker's copies of descriptors that guests have already been given.
#[derive(Debug, Default)]
pub struct Lingering(RwLock<()>);

impl Lingering {
    /// To be held from before a descriptor is given until the broker's copy is closed.
    pub(crate) fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the copies that linger now are closed.
    fn wait(&self) {
        drop(self.0.write().unwrap_or_else(PoisonError::into_inner));
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
