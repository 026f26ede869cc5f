//! capget, capset and the operations of prctl that concern privileges: man 2 capget, man 2 prctl.
//!
//! PR_SET_DUMPABLE succeeds and does nothing: a process that hid its memory would be blind to the broker.

use rustix::io::Errno;
use rustix::process::Pid;
use wbuild_monitor::{Capabilities, Fault};

use super::done;
use super::frame::{change, state};
use crate::call::{Call, Reply};
use crate::identity::{capability_set, prctl};

/// `_LINUX_CAPABILITY_VERSION_*` of linux/capability.h and how many words of each set go with it.
const VERSIONS: [(u32, usize); 3] = [(0x1998_0330, 1), (0x2007_1026, 2), (0x2008_0522, 2)];

/// The header of both calls: how many words the caller's version has, and the process it means.
struct Header {
    words: usize,
    pid: i32,
}

/// Reads the header; a version the kernel does not know is answered with the one it prefers, and EINVAL.
fn header(call: &Call<'_>) -> Result<Option<Header>, Fault> {
    let bytes: [u8; 8] = call.read_array(call.arg(0))?;
    let [version, pid] = [0, 4].map(|at| {
        let mut word = [0; 4];
        word.copy_from_slice(&bytes[at..at + 4]);
        u32::from_ne_bytes(word)
    });
    let Some((_, words)) = VERSIONS.into_iter().find(|(known, _)| *known == version) else {
        call.write(call.arg(0), &VERSIONS[2].0.to_ne_bytes())?;
        return Ok(None);
    };
    Ok(Some(Header { words, pid: pid.cast_signed() }))
}

/// capget(header, data).
///
/// # Errors
/// What the guest gets.
pub fn capget(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let probing = call.arg(1) == 0;
    let Some(header) = header(call)? else {
        // Asking for the preferred version is what a null pointer is for.
        return if probing { Ok(done(())) } else { Err(Errno::INVAL.into()) };
    };
    if probing {
        return Ok(done(()));
    }
    let pid = u32::try_from(header.pid).map_err(|_| Errno::INVAL)?;
    let identity = if pid == 0 || pid == call.task().tid() || pid == call.task().tgid() {
        state(call)?.identity.clone()
    } else {
        let other = Pid::from_raw(header.pid).ok_or(Errno::SRCH)?;
        let state = call.step().identities.of(other).map_err(|_| Errno::SRCH)?;
        state.identity.clone()
    };
    call.write(call.arg(1), &encode(&identity.credentials.capabilities, header.words))?;
    Ok(done(()))
}

/// capset(header, data).
///
/// # Errors
/// What the guest gets.
pub fn capset(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let header = header(call)?.ok_or(Errno::INVAL)?;
    let own = u32::try_from(header.pid).is_ok_and(|pid| pid == 0 || pid == call.task().tid());
    if !own {
        return Err(Errno::PERM.into());
    }
    let mut bytes = vec![0; header.words * 12];
    call.read(call.arg(1), &mut bytes)?;
    let [effective, permitted, inheritable] = decode(&bytes).map(capability_set);
    change(call, |state| {
        let new = state.identity.capset(effective, permitted, inheritable)?;
        Ok((state.with_identity(new), ()))
    })
    .map(done)
}

/// `struct __user_cap_data_struct`, once for the low words and once for the high ones.
fn encode(sets: &Capabilities, words: usize) -> Vec<u8> {
    let sets = [sets.effective.0, sets.permitted.0, sets.inheritable.0].map(u64::to_le_bytes);
    let mut out = Vec::new();
    for word in 0..words {
        for set in sets {
            let mut half = [0; 4];
            half.copy_from_slice(&set[word * 4..word * 4 + 4]);
            out.extend_from_slice(&u32::from_le_bytes(half).to_ne_bytes());
        }
    }
    out
}

fn decode(bytes: &[u8]) -> [u64; 3] {
    let mut sets = [0; 3];
    for (index, word) in bytes.as_chunks().0.iter().enumerate() {
        sets[index % 3] |= u64::from(u32::from_ne_bytes(*word)) << (32 * (index / 3));
    }
    sets
}

/// prctl(operation, ..) for the operations of [`crate::identity::prctl_option`].
///
/// # Errors
/// What the guest gets.
pub fn prctl_identity(call: &mut Call<'_>) -> Result<Reply, Fault> {
    // The operation is an int, its arguments are longs.
    let args = [call.uint(0).into(), call.arg(1), call.arg(2), call.arg(3), call.arg(4)];
    let (value, new) = prctl(&state(call)?.identity, args)?;
    if new.is_none() {
        return Ok(Reply::Value(value));
    }
    let value = change(call, |state| {
        let (value, new) = prctl(&state.identity, args)?;
        Ok((new.map_or_else(|| state.clone(), |new| state.with_identity(new)), value))
    })?;
    Ok(Reply::Value(value))
}

/// prctl(PR_GET_DUMPABLE).
///
/// # Errors
/// None.
pub fn prctl_get_dumpable(_call: &mut Call<'_>) -> Result<Reply, Fault> {
    Ok(Reply::Value(1))
}

/// prctl(PR_SET_DUMPABLE, value): believed, not done.
///
/// # Errors
/// EINVAL for anything but 0 and 1.
pub fn prctl_set_dumpable(call: &mut Call<'_>) -> Result<Reply, Fault> {
    if call.arg(1) > 1 { Err(Errno::INVAL.into()) } else { Ok(done(())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wbuild_monitor::CapabilitySet;

    #[test]
    fn the_data_is_what_libcap_reads() {
        let set = |bits| CapabilitySet(bits);
        let sets = Capabilities {
            effective: set(1),
            permitted: set(2 | 1 << 40),
            inheritable: set(4 | 1 << 32),
            ..Capabilities::default()
        };
        let words: Vec<u32> =
            encode(&sets, 2).as_chunks().0.iter().map(|word| u32::from_ne_bytes(*word)).collect();
        assert_eq!(words, [1, 2, 4, 0, 1 << 8, 1]);
        assert_eq!(decode(&encode(&sets, 2)), [1, 2 | 1 << 40, 4 | 1 << 32]);
        // Version 1 has the low words only.
        assert_eq!(decode(&encode(&sets, 1)), [1, 2, 4]);
    }
}
