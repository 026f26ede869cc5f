//! Resource limits of other processes (prlimit(2)), which rustix can set but not read.
//!
//! Which limit means what to the broker is the broker's; here they are numbers.

use rustix::io::Errno;
use rustix::process::Pid;

use crate::outcome::outcome;

/// `RLIM_INFINITY`.
pub const INFINITY: u64 = u64::MAX;

/// A limit by the kernel's number (`RLIMIT_*`), the same on every architecture wbuild knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit(pub u32);

impl Limit {
    /// `RLIMIT_RSS`, without effect since Linux 2.4.30.
    pub const RSS: Self = Self(5);
    /// `RLIMIT_LOCKS`, without effect since Linux 2.4.25.
    pub const LOCKS: Self = Self(10);
}

/// A soft and a hard value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    /// What counts.
    pub soft: u64,
    /// What the soft value may be raised to.
    pub hard: u64,
}

/// Reads a limit of the process that `thread` belongs to; `None` is the caller.
///
/// # Errors
/// ESRCH, EPERM (another user's process), EINVAL (no such limit).
pub fn get(thread: Option<Pid>, limit: Limit) -> Result<Value, Errno> {
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: no new value is given; the kernel writes one `rlimit64`, to which the pointer leads.
    let done = unsafe { libc::prlimit64(raw(thread), limit.0, std::ptr::null(), &raw mut old) };
    outcome(done.into())?;
    Ok(Value { soft: old.rlim_cur, hard: old.rlim_max })
}

/// Sets a limit of the process that `thread` belongs to and returns the old value; `None` is the caller.
///
/// # Errors
/// ESRCH, EPERM (another user's process, or a hard value raised), EINVAL (no such limit, soft above hard).
pub fn set(thread: Option<Pid>, limit: Limit, value: Value) -> Result<Value, Errno> {
    let new = libc::rlimit64 { rlim_cur: value.soft, rlim_max: value.hard };
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel reads one `rlimit64` and writes another, to which the pointers lead.
    let done = unsafe { libc::prlimit64(raw(thread), limit.0, &raw const new, &raw mut old) };
    outcome(done.into())?;
    Ok(Value { soft: old.rlim_cur, hard: old.rlim_max })
}

fn raw(thread: Option<Pid>) -> libc::pid_t {
    thread.map_or(0, |t| t.as_raw_nonzero().get())
}
