//! System V shared memory, semaphores and message queues (man 7 sysvipc).
//!
//! The *get calls are the broker's; calls on an id stand in registers and go on in the kernel once the id is known to be
//! the step's own. Listing by index (`SHM_STAT` and its like) would show other steps' and is refused.

use rustix::io::Errno;
use wbuild_monitor::Fault;
use wbuild_sys::sysv::Kind;

use crate::call::{Call, Reply};

const IPC_RMID: i32 = 0;
const IPC_INFO: i32 = 3;
/// `IPC_64`, which old C libraries add to a command.
const IPC_64: i32 = 0x100;

/// shmget(key, size, flags).
///
/// # Errors
/// What the guest gets.
pub fn shmget(call: &mut Call<'_>) -> Result<Reply, Fault> {
    get(call, Kind::Memory, call.arg(1), call.uint(2))
}

/// semget(key, count, flags).
///
/// # Errors
/// What the guest gets.
pub fn semget(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let count = u64::try_from(call.int(1)).map_err(|_| Errno::INVAL)?;
    get(call, Kind::Semaphores, count, call.uint(2))
}

/// msgget(key, flags).
///
/// # Errors
/// What the guest gets.
pub fn msgget(call: &mut Call<'_>) -> Result<Reply, Fault> {
    get(call, Kind::Queue, 0, call.uint(1))
}

fn get(call: &Call<'_>, kind: Kind, size: u64, flags: u32) -> Result<Reply, Fault> {
    let id = call.step().sysv.get(kind, call.int(0), size, flags)?;
    Ok(Reply::Value(id.into()))
}

/// shmat(id, ..).
///
/// # Errors
/// EINVAL for an id that is not the step's.
pub fn shmat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    on_own(call, Kind::Memory)
}

/// semop(id, ..) and semtimedop(id, ..).
///
/// # Errors
/// EINVAL for an id that is not the step's.
pub fn semop(call: &mut Call<'_>) -> Result<Reply, Fault> {
    on_own(call, Kind::Semaphores)
}

/// msgsnd(id, ..) and msgrcv(id, ..).
///
/// # Errors
/// EINVAL for an id that is not the step's.
pub fn message(call: &mut Call<'_>) -> Result<Reply, Fault> {
    on_own(call, Kind::Queue)
}

/// shmctl(id, command, ..).
///
/// # Errors
/// EINVAL for an id that is not the step's.
pub fn shmctl(call: &mut Call<'_>) -> Result<Reply, Fault> {
    control(call, Kind::Memory, call.int(1))
}

/// semctl(id, number, command, ..).
///
/// # Errors
/// EINVAL for an id that is not the step's.
pub fn semctl(call: &mut Call<'_>) -> Result<Reply, Fault> {
    control(call, Kind::Semaphores, call.int(2))
}

/// msgctl(id, command, ..).
///
/// # Errors
/// EINVAL for an id that is not the step's.
pub fn msgctl(call: &mut Call<'_>) -> Result<Reply, Fault> {
    control(call, Kind::Queue, call.int(1))
}

fn control(call: &Call<'_>, kind: Kind, command: i32) -> Result<Reply, Fault> {
    // *_STAT, *_INFO and *_STAT_ANY of linux/{shm,sem,msg}.h take an index of the whole machine in place of an id.
    let lists = match kind {
        Kind::Memory => 13..=15,
        Kind::Semaphores => 18..=20,
        Kind::Queue => 11..=13,
    };
    match command & !IPC_64 {
        IPC_INFO => return Ok(Reply::Continue),
        listing if lists.contains(&listing) => return Err(Errno::INVAL.into()),
        IPC_RMID => call.step().sysv.forget(kind, call.int(0)),
        _ => {}
    }
    on_own(call, kind)
}

fn on_own(call: &Call<'_>, kind: Kind) -> Result<Reply, Fault> {
    if call.step().sysv.has(kind, call.int(0)) { Ok(Reply::Continue) } else { Err(Errno::INVAL.into()) }
}
