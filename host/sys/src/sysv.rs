//! System V shared memory, semaphores and message queues, as far as the broker makes and removes them (sysvipc(7)).
//!
//! Which guest may use which object is the broker's business.

use rustix::io::Errno;

use crate::outcome::outcome;

/// A kind of object; each has ids of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A shared memory segment.
    Memory,
    /// A set of semaphores.
    Semaphores,
    /// A message queue.
    Queue,
}

/// Makes an object nobody finds by a key (`IPC_PRIVATE`). `size` is bytes for memory, a count for semaphores, nothing for a
/// queue; `flags` are the permission bits and `SHM_*`.
///
/// # Errors
/// EINVAL, ENOSPC, ENOMEM.
pub fn create(kind: Kind, size: u64, flags: u32) -> Result<i32, Errno> {
    let (size, flags) = (usize::try_from(size).map_err(|_| Errno::INVAL)?, flags.cast_signed());
    let id = match kind {
        // SAFETY: integers only.
        Kind::Memory => unsafe { libc::shmget(libc::IPC_PRIVATE, size, flags) },
        Kind::Semaphores => {
            let count = i32::try_from(size).map_err(|_| Errno::INVAL)?;
            // SAFETY: integers only.
            unsafe { libc::semget(libc::IPC_PRIVATE, count, flags) }
        }
        // SAFETY: integers only.
        Kind::Queue => unsafe { libc::msgget(libc::IPC_PRIVATE, flags) },
    };
    outcome(id.into())?;
    Ok(id)
}

/// Removes an object; memory goes with its last attachment.
///
/// # Errors
/// EINVAL when it is gone, EPERM when it is another user's.
pub fn remove(kind: Kind, id: i32) -> Result<(), Errno> {
    let done = match kind {
        // SAFETY: IPC_RMID takes no structure.
        Kind::Memory => unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) },
        // SAFETY: IPC_RMID takes no fourth argument.
        Kind::Semaphores => unsafe { libc::semctl(id, 0, libc::IPC_RMID) },
        // SAFETY: IPC_RMID takes no structure.
        Kind::Queue => unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) },
    };
    outcome(done.into()).map(drop)
}
