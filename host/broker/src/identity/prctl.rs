//! The prctl(2) operations that concern who a process is (`cap_task_prctl`, and PR_*_NO_NEW_PRIVS).

use rustix::io::Errno;

use super::capability::capability;
use super::credentials::{Identity, SecureBits};

/// `PR_*` of linux/prctl.h.
pub mod option {
    #![expect(missing_docs, reason = "the kernel's own names")]
    pub const GET_KEEPCAPS: u64 = 7;
    pub const SET_KEEPCAPS: u64 = 8;
    pub const CAPBSET_READ: u64 = 23;
    pub const CAPBSET_DROP: u64 = 24;
    pub const GET_SECUREBITS: u64 = 27;
    pub const SET_SECUREBITS: u64 = 28;
    pub const SET_NO_NEW_PRIVS: u64 = 38;
    pub const GET_NO_NEW_PRIVS: u64 = 39;
    pub const CAP_AMBIENT: u64 = 47;
}

const AMBIENT_IS_SET: u64 = 1;
const AMBIENT_RAISE: u64 = 2;
const AMBIENT_LOWER: u64 = 3;
const AMBIENT_CLEAR_ALL: u64 = 4;

/// Answers one of [`option`]: the value, and the new identity where it changes.
///
/// # Errors
/// What Linux answers; EINVAL for an operation that is none of [`option`].
pub fn prctl(old: &Identity, args: [u64; 5]) -> Result<(i64, Option<Identity>), Errno> {
    let [operation, first, rest @ ..] = args;
    let sets = old.credentials.capabilities;
    let changed = |new| Ok((0, Some(new)));
    let value = |value: i64| Ok((value, None));
    match operation {
        option::GET_KEEPCAPS => value(i64::from(old.securebits.has(SecureBits::KEEP_CAPS))),
        option::SET_KEEPCAPS => changed(old.set_keep_caps(first)?),
        option::CAPBSET_READ => value(i64::from(sets.bounding.has(capability(first).ok_or(Errno::INVAL)?))),
        option::CAPBSET_DROP => changed(old.drop_bounding(first)?),
        option::GET_SECUREBITS => value(i64::from(old.securebits.bits())),
        option::SET_SECUREBITS => changed(old.set_securebits(first)?),
        option::SET_NO_NEW_PRIVS if first == 1 && rest == [0; 3] => {
            changed(Identity { no_new_privs: true, ..old.clone() })
        }
        option::GET_NO_NEW_PRIVS if first == 0 && rest == [0; 3] => value(i64::from(old.no_new_privs)),
        option::CAP_AMBIENT => ambient(old, first, rest),
        _ => Err(Errno::INVAL),
    }
}

fn ambient(old: &Identity, operation: u64, args: [u64; 3]) -> Result<(i64, Option<Identity>), Errno> {
    let [number, rest @ ..] = args;
    if rest != [0; 2] {
        return Err(Errno::INVAL);
    }
    if operation == AMBIENT_CLEAR_ALL {
        return if number == 0 { Ok((0, Some(old.clear_ambient()))) } else { Err(Errno::INVAL) };
    }
    let named = capability(number).ok_or(Errno::INVAL)?;
    match operation {
        AMBIENT_IS_SET => Ok((i64::from(old.credentials.capabilities.ambient.has(named)), None)),
        AMBIENT_RAISE => Ok((0, Some(old.raise_ambient(named)?))),
        AMBIENT_LOWER => Ok((0, Some(old.lower_ambient(named)))),
        _ => Err(Errno::INVAL),
    }
}
