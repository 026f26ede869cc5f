//! Scheduling of another process, by pid: sched_setaffinity, setpriority, ioprio_set and their like.
//!
//! Invariant: a guest changes nothing about a process that is not of its step (the host sees the supervisor, the reaper
//! and other steps as the same user). The pid stands in a register, so the kernel may run the call as it is checked.
//! Calls on the caller itself (pid 0) never come here.

use rustix::io::Errno;
use rustix::process::Pid;
use wbuild_monitor::Fault;

use crate::call::{Call, Reply};

/// A call whose first argument is a pid (sched_setaffinity, sched_setscheduler, migrate_pages, ..).
///
/// # Errors
/// ESRCH for a process that is not of the step.
pub fn first_is_pid(call: &mut Call<'_>) -> Result<Reply, Fault> {
    go_on_within_step(call, call.int(0))
}

/// setpriority(which, who, ..) and ioprio_set(which, who, ..) on one process.
///
/// # Errors
/// ESRCH for a process that is not of the step.
pub fn second_is_pid(call: &mut Call<'_>) -> Result<Reply, Fault> {
    go_on_within_step(call, call.int(1))
}

fn go_on_within_step(call: &Call<'_>, pid: i32) -> Result<Reply, Fault> {
    if pid < 0 {
        return Err(Errno::INVAL.into());
    }
    if let Some(pid) = Pid::from_raw(pid) {
        call.step().identities.of(pid).map_err(|_| Errno::SRCH)?;
    }
    Ok(Reply::Continue)
}
