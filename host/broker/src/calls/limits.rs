//! getrlimit, setrlimit, prlimit64 and uname: man 2 getrlimit, man 2 uname.
//!
//! Invariant: no guest reads or writes the limit that carries the tags, its own or another's, and none reaches a process
//! that is not of its step.

use rustix::io::Errno;
use rustix::process::Pid;
use wbuild_monitor::{Capability, Fault};
use wbuild_sys::limit::{self, Limit, Value};

use super::done;
use super::frame::{change, state};
use crate::call::{Call, Reply};
use crate::identity::State;

/// `RLIM_NLIMITS`.
const COUNT: u32 = 16;

/// getrlimit(resource, old).
///
/// # Errors
/// What the guest gets.
pub fn getrlimit(call: &mut Call<'_>) -> Result<Reply, Fault> {
    family(call, 0, call.uint(0), 0, call.arg(1))
}

/// setrlimit(resource, new).
///
/// # Errors
/// What the guest gets.
pub fn setrlimit(call: &mut Call<'_>) -> Result<Reply, Fault> {
    family(call, 0, call.uint(0), call.arg(1), 0)
}

/// prlimit64(pid, resource, new, old).
///
/// # Errors
/// What the guest gets.
pub fn prlimit64(call: &mut Call<'_>) -> Result<Reply, Fault> {
    family(call, call.int(0), call.uint(1), call.arg(2), call.arg(3))
}

fn family(call: &Call<'_>, pid: i32, resource: u32, new_at: u64, old_at: u64) -> Result<Reply, Fault> {
    if resource >= COUNT {
        return Err(Errno::INVAL.into());
    }
    let new = match new_at {
        0 => None,
        address => {
            let [soft, hard] = words(&call.read_array(address)?);
            if soft > hard {
                return Err(Errno::INVAL.into());
            }
            Some(Value { soft, hard })
        }
    };
    let target = target(call, pid)?;
    let old = if Limit(resource) == call.step().identities.carrier().limit() {
        faked(call, &target, new)?
    } else {
        let thread = Some(target.thread);
        match new {
            Some(new) => limit::set(thread, Limit(resource), new)?,
            None => limit::get(thread, Limit(resource))?,
        }
    };
    if old_at != 0 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&old.soft.to_ne_bytes());
        bytes[8..].copy_from_slice(&old.hard.to_ne_bytes());
        call.write(old_at, &bytes)?;
    }
    Ok(done(()))
}

fn words(bytes: &[u8; 16]) -> [u64; 2] {
    let [low, high] = [0, 8].map(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(word)
    });
    [low, high]
}

struct Target {
    thread: Pid,
    own: Own,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Yes,
    No,
}

/// The process meant: the caller, or one of its step that it may reach (`check_prlimit_permission`).
fn target(call: &Call<'_>, pid: i32) -> Result<Target, Fault> {
    let (tid, tgid) = (call.task().tid().cast_signed(), call.task().tgid().cast_signed());
    if pid == 0 || pid == tid || pid == tgid {
        return Ok(Target { thread: Pid::from_raw(tid).ok_or(Errno::SRCH)?, own: Own::Yes });
    }
    // No process has a negative number, and `Pid` refuses one by a panic.
    let thread = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let other = call.step().identities.of(thread).map_err(|_| Errno::SRCH)?;
    let (mine, theirs) = (state(call)?, &other.identity.credentials);
    let mine = &mine.identity.credentials;
    let same = [theirs.uid.effective, theirs.uid.saved, theirs.uid.real] == [mine.uid.real; 3]
        && [theirs.gid.effective, theirs.gid.saved, theirs.gid.real] == [mine.gid.real; 3];
    if same || mine.can(Capability::SYS_RESOURCE) {
        Ok(Target { thread, own: Own::No })
    } else {
        Err(Errno::PERM.into())
    }
}

/// The limit that carries the tag: what the process believes of it is in its state.
fn faked(call: &Call<'_>, target: &Target, new: Option<Value>) -> Result<Value, Fault> {
    match (new, target.own) {
        (None, Own::Yes) => Ok(state(call)?.locks),
        (None, Own::No) => Ok(call.step().identities.of(target.thread).map_err(|_| Errno::SRCH)?.locks),
        (Some(new), Own::Yes) => change(call, |state| {
            let raises = new.hard > state.locks.hard;
            if raises && !state.identity.credentials.can(Capability::SYS_RESOURCE) {
                return Err(Errno::PERM);
            }
            Ok((State { locks: new, ..state.clone() }, state.locks))
        }),
        // Nobody does this to another process, and to do it here would take a lock on a process that is not the caller.
        (Some(_), Own::No) => Err(Errno::PERM.into()),
    }
}

/// uname(buffer): the host's kernel with the step's host name.
///
/// # Errors
/// EFAULT.
pub fn uname(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let host = rustix::system::uname();
    let fields = [
        host.sysname().to_bytes(),
        call.step().views.hostname().as_bytes(),
        host.release().to_bytes(),
        host.version().to_bytes(),
        host.machine().to_bytes(),
        b"(none)",
    ];
    call.write(call.arg(0), &utsname(fields))?;
    Ok(done(()))
}

/// `struct new_utsname`: six fields of 65 bytes, each ending in a NUL.
fn utsname(fields: [&[u8]; 6]) -> [u8; 390] {
    const FIELD: usize = 65;
    let mut out = [0; 6 * FIELD];
    for (room, field) in out.chunks_exact_mut(FIELD).zip(fields) {
        let length = field.len().min(FIELD - 1);
        room[..length].copy_from_slice(&field[..length]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utsname_fields_end_in_a_nul() {
        let long = [b'x'; 100];
        let out = utsname([b"Linux", &long, b"6.18", b"#1", b"x86_64", b"(none)"]);
        assert_eq!(&out[..6], b"Linux\0");
        assert_eq!(out[65 + 63..65 + 65], *b"x\0");
        assert_eq!(&out[130..135], b"6.18\0");
    }
}
