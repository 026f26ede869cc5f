//! User and group ids: man 2 getuid, setuid, setreuid, setresuid, setfsuid, getgroups and their group twins.

use rustix::io::Errno;
use wbuild_monitor::{Fault, Ids};

use super::done;
use super::frame::{change, state};
use crate::call::{Call, Reply};
use crate::identity::{GROUPS_MAX, Identity};

/// An id that is -1 is left alone.
fn optional(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

macro_rules! gets {
    ($($spelling:ident: $kind:ident.$which:ident;)*) => {$(
        #[doc = concat!(stringify!($spelling), "().")]
        ///
        /// # Errors
        /// None that a guest sees.
        pub fn $spelling(call: &mut Call<'_>) -> Result<Reply, Fault> {
            Ok(Reply::Value(state(call)?.identity.credentials.$kind.$which.into()))
        }
    )*};
}

gets! {
    getuid: uid.real;
    geteuid: uid.effective;
    getgid: gid.real;
    getegid: gid.effective;
}

/// getresuid(real, effective, saved).
///
/// # Errors
/// EFAULT.
pub fn getresuid(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let ids = state(call)?.identity.credentials.uid;
    write_three(call, ids)
}

/// getresgid(real, effective, saved).
///
/// # Errors
/// EFAULT.
pub fn getresgid(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let ids = state(call)?.identity.credentials.gid;
    write_three(call, ids)
}

fn write_three(call: &Call<'_>, ids: Ids) -> Result<Reply, Fault> {
    for (index, id) in [ids.real, ids.effective, ids.saved].into_iter().enumerate() {
        call.write(call.arg(index), &id.to_ne_bytes())?;
    }
    Ok(done(()))
}

/// Becomes what `next` makes of the caller's identity.
fn become_(call: &Call<'_>, next: impl FnOnce(&Identity) -> Result<Identity, Errno>) -> Result<Reply, Fault> {
    change(call, |state| Ok((state.with_identity(next(&state.identity)?), ()))).map(done)
}

/// setuid(uid).
///
/// # Errors
/// What the guest gets.
pub fn setuid(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let id = call.uint(0);
    become_(call, |old| old.setuid(id))
}

/// setgid(gid).
///
/// # Errors
/// What the guest gets.
pub fn setgid(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let id = call.uint(0);
    become_(call, |old| old.setgid(id))
}

/// setreuid(real, effective).
///
/// # Errors
/// What the guest gets.
pub fn setreuid(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let [real, effective] = [0, 1].map(|index| optional(call.uint(index)));
    become_(call, |old| old.setreuid(real, effective))
}

/// setregid(real, effective).
///
/// # Errors
/// What the guest gets.
pub fn setregid(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let [real, effective] = [0, 1].map(|index| optional(call.uint(index)));
    become_(call, |old| old.setregid(real, effective))
}

/// setresuid(real, effective, saved).
///
/// # Errors
/// What the guest gets.
pub fn setresuid(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let wanted = [0, 1, 2].map(|index| optional(call.uint(index)));
    become_(call, |old| old.setresuid(wanted))
}

/// setresgid(real, effective, saved).
///
/// # Errors
/// What the guest gets.
pub fn setresgid(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let wanted = [0, 1, 2].map(|index| optional(call.uint(index)));
    become_(call, |old| old.setresgid(wanted))
}

/// setfsuid(uid): answers the old id, whatever happens.
///
/// # Errors
/// None that a guest sees.
pub fn setfsuid(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let id = call.uint(0);
    let old = change(call, |state| {
        let old = state.identity.credentials.uid.fs;
        Ok((state.with_identity(state.identity.setfsuid(id)), old))
    })?;
    Ok(Reply::Value(old.into()))
}

/// setfsgid(gid): answers the old id, whatever happens.
///
/// # Errors
/// None that a guest sees.
pub fn setfsgid(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let id = call.uint(0);
    let old = change(call, |state| {
        let old = state.identity.credentials.gid.fs;
        Ok((state.with_identity(state.identity.setfsgid(id)), old))
    })?;
    Ok(Reply::Value(old.into()))
}

/// getgroups(size, list).
///
/// # Errors
/// EINVAL where the list is too short, EFAULT.
pub fn getgroups(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let room = usize::try_from(call.int(0)).map_err(|_| Errno::INVAL)?;
    let state = state(call)?;
    let groups = &state.identity.credentials.groups;
    if room != 0 {
        if groups.len() > room {
            return Err(Errno::INVAL.into());
        }
        let bytes: Vec<u8> = groups.iter().flat_map(|group| group.to_ne_bytes()).collect();
        call.write(call.arg(1), &bytes)?;
    }
    Ok(Reply::Value(groups.len() as i64))
}

/// setgroups(size, list).
///
/// # Errors
/// What the guest gets.
pub fn setgroups(call: &mut Call<'_>) -> Result<Reply, Fault> {
    state(call)?.identity.may_setgroups()?;
    let count = usize::try_from(call.uint(0)).ok().filter(|n| *n <= GROUPS_MAX).ok_or(Errno::INVAL)?;
    let mut bytes = vec![0; count * 4];
    call.read(call.arg(1), &mut bytes)?;
    let groups: Vec<u32> = bytes.as_chunks().0.iter().map(|group| u32::from_ne_bytes(*group)).collect();
    become_(call, |old| old.setgroups(groups))
}
