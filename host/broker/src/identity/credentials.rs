//! Linux's exact rules for becoming somebody else.
//!
//! Every function is pure: the old identity in, the new one or the errno out. The rules are those of kernel/sys.c,
//! kernel/groups.c, kernel/capability.c and security/commoncap.c of Linux 6.18, seen from the initial user
//! namespace. Nothing here changes what the host lets the process do.

use rustix::io::Errno;
use wbuild_monitor::{Capabilities, Capability, CapabilitySet, Credentials, Ids};

use super::capability::{Algebra, FILE, capability, only};

/// Everything the kernel keeps in `struct cred`, as far as a guest can see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Ids, groups (sorted) and capability sets.
    pub credentials: Credentials,
    /// Securebits.
    pub securebits: SecureBits,
    /// PR_SET_NO_NEW_PRIVS as the guest sees it (really it is always set).
    pub no_new_privs: bool,
}

/// The securebits of a process (linux/securebits.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SecureBits(u32);

impl SecureBits {
    /// uid 0 gives no capabilities at exec.
    pub const NO_ROOT: u32 = 1 << 0;
    /// Changes of uid leave the capability sets alone.
    pub const NO_SETUID_FIXUP: u32 = 1 << 2;
    /// Capabilities survive the loss of the last uid 0; an exec clears the bit.
    pub const KEEP_CAPS: u32 = 1 << 4;
    /// The ambient set cannot grow.
    pub const NO_CAP_AMBIENT_RAISE: u32 = 1 << 6;
    /// Advice to interpreters, free for everybody: EXEC_RESTRICT_FILE and EXEC_DENY_INTERACTIVE.
    const UNPRIVILEGED: u32 = 1 << 8 | 1 << 10;
    const ALL: u32 = 0x555;
    const LOCKS: u32 = Self::ALL << 1;

    /// The raw mask, as PR_GET_SECUREBITS answers it.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }

    /// True if any bit of `mask` is set.
    #[must_use]
    pub fn has(self, mask: u32) -> bool {
        self.0 & mask != 0
    }
}

/// Whether the caller has CAP_SETUID or CAP_SETGID, as the kind of id needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Any,
    Own,
}

fn triple(ids: Ids) -> [u32; 3] {
    [ids.real, ids.effective, ids.saved]
}

/// setuid(2), setgid(2).
fn set(old: Ids, id: u32, right: Right) -> Result<Ids, Errno> {
    match right {
        Right::Any => Ok(Ids::all(id)),
        Right::Own if id == old.real || id == old.saved => Ok(Ids { effective: id, fs: id, ..old }),
        Right::Own => Err(Errno::PERM),
    }
}

/// setreuid(2), setregid(2).
fn set_real_effective(
    old: Ids,
    real: Option<u32>,
    effective: Option<u32>,
    right: Right,
) -> Result<Ids, Errno> {
    let mut new = old;
    if let Some(real) = real {
        if right == Right::Own && real != old.real && real != old.effective {
            return Err(Errno::PERM);
        }
        new.real = real;
    }
    if let Some(effective) = effective {
        if right == Right::Own && !triple(old).contains(&effective) {
            return Err(Errno::PERM);
        }
        new.effective = effective;
    }
    if real.is_some() || effective.is_some_and(|e| e != old.real) {
        new.saved = new.effective;
    }
    new.fs = new.effective;
    Ok(new)
}

/// setresuid(2), setresgid(2).
fn set_all(old: Ids, wanted: [Option<u32>; 3], right: Right) -> Result<Ids, Errno> {
    let [real, effective, saved] = wanted;
    // Linux takes this way out before it looks at rights, and leaves the filesystem id alone on it.
    let no_change = real.is_none_or(|r| r == old.real)
        && effective.is_none_or(|e| e == old.effective && e == old.fs)
        && saved.is_none_or(|s| s == old.saved);
    if no_change {
        return Ok(old);
    }
    let foreign = wanted.iter().flatten().any(|id| !triple(old).contains(id));
    if foreign && right == Right::Own {
        return Err(Errno::PERM);
    }
    let effective = effective.unwrap_or(old.effective);
    let (real, saved) = (real.unwrap_or(old.real), saved.unwrap_or(old.saved));
    Ok(Ids { real, effective, saved, fs: effective })
}

/// setfsuid(2), setfsgid(2): what is not allowed changes nothing and is no error.
fn set_filesystem(old: Ids, id: u32, right: Right) -> Ids {
    let own = triple(old).contains(&id) || id == old.fs;
    if id != u32::MAX && (own || right == Right::Any) { Ids { fs: id, ..old } } else { old }
}

/// `NGROUPS_MAX` of linux/limits.h.
pub const GROUPS_MAX: usize = 65536;

impl Identity {
    /// The first process of a step.
    #[must_use]
    pub fn of_step(uid: u32, gid: u32, mut groups: Vec<u32>) -> Self {
        groups.sort_unstable();
        let credentials = Credentials::initial(uid, gid, groups);
        Self { credentials, securebits: SecureBits::default(), no_new_privs: false }
    }

    fn right(&self, needed: Capability) -> Right {
        if self.credentials.can(needed) { Right::Any } else { Right::Own }
    }

    /// setuid(2).
    ///
    /// # Errors
    /// EINVAL for -1, EPERM for an id that is not the caller's own without CAP_SETUID.
    pub fn setuid(&self, uid: u32) -> Result<Self, Errno> {
        if uid == u32::MAX {
            return Err(Errno::INVAL);
        }
        Ok(self.with_user(set(self.credentials.uid, uid, self.right(Capability::SETUID))?))
    }

    /// setreuid(2); `None` is -1.
    ///
    /// # Errors
    /// EPERM.
    pub fn setreuid(&self, real: Option<u32>, effective: Option<u32>) -> Result<Self, Errno> {
        let right = self.right(Capability::SETUID);
        Ok(self.with_user(set_real_effective(self.credentials.uid, real, effective, right)?))
    }

    /// setresuid(2): real, effective, saved; `None` is -1.
    ///
    /// # Errors
    /// EPERM.
    pub fn setresuid(&self, wanted: [Option<u32>; 3]) -> Result<Self, Errno> {
        Ok(self.with_user(set_all(self.credentials.uid, wanted, self.right(Capability::SETUID))?))
    }

    /// setfsuid(2); the caller answers the old id in any case.
    #[must_use]
    pub fn setfsuid(&self, uid: u32) -> Self {
        let old = self.credentials.uid.fs;
        let ids = set_filesystem(self.credentials.uid, uid, self.right(Capability::SETUID));
        let mut sets = self.credentials.capabilities;
        if !self.securebits.has(SecureBits::NO_SETUID_FIXUP) {
            if old == 0 && ids.fs != 0 {
                sets.effective = sets.effective.minus(FILE);
            }
            if old != 0 && ids.fs == 0 {
                sets.effective = sets.effective.or(sets.permitted.and(FILE));
            }
        }
        let mut new = self.with_sets(sets);
        new.credentials.uid = ids;
        new
    }

    /// setgid(2).
    ///
    /// # Errors
    /// EINVAL for -1, EPERM for an id that is not the caller's own without CAP_SETGID.
    pub fn setgid(&self, gid: u32) -> Result<Self, Errno> {
        if gid == u32::MAX {
            return Err(Errno::INVAL);
        }
        Ok(self.with_group(set(self.credentials.gid, gid, self.right(Capability::SETGID))?))
    }

    /// setregid(2); `None` is -1.
    ///
    /// # Errors
    /// EPERM.
    pub fn setregid(&self, real: Option<u32>, effective: Option<u32>) -> Result<Self, Errno> {
        let right = self.right(Capability::SETGID);
        Ok(self.with_group(set_real_effective(self.credentials.gid, real, effective, right)?))
    }

    /// setresgid(2): real, effective, saved; `None` is -1.
    ///
    /// # Errors
    /// EPERM.
    pub fn setresgid(&self, wanted: [Option<u32>; 3]) -> Result<Self, Errno> {
        Ok(self.with_group(set_all(self.credentials.gid, wanted, self.right(Capability::SETGID))?))
    }

    /// setfsgid(2); the caller answers the old id in any case.
    #[must_use]
    pub fn setfsgid(&self, gid: u32) -> Self {
        self.with_group(set_filesystem(self.credentials.gid, gid, self.right(Capability::SETGID)))
    }

    /// Whether setgroups(2) is allowed at all; Linux asks before it looks at the list.
    ///
    /// # Errors
    /// EPERM without CAP_SETGID.
    pub fn may_setgroups(&self) -> Result<(), Errno> {
        if self.credentials.can(Capability::SETGID) { Ok(()) } else { Err(Errno::PERM) }
    }

    /// setgroups(2).
    ///
    /// # Errors
    /// EPERM without CAP_SETGID, EINVAL for too many groups or the id -1.
    pub fn setgroups(&self, mut groups: Vec<u32>) -> Result<Self, Errno> {
        self.may_setgroups()?;
        if groups.len() > GROUPS_MAX || groups.contains(&u32::MAX) {
            return Err(Errno::INVAL);
        }
        groups.sort_unstable();
        let mut new = self.clone();
        new.credentials.groups = groups;
        Ok(new)
    }

    /// capset(2) (`cap_capset`): new effective, permitted and inheritable sets.
    ///
    /// # Errors
    /// EPERM where the rules of capset(2) are broken.
    pub fn capset(
        &self,
        effective: CapabilitySet,
        permitted: CapabilitySet,
        inheritable: CapabilitySet,
    ) -> Result<Self, Errno> {
        let old = self.credentials.capabilities;
        let limited = !self.credentials.can(Capability::SETPCAP);
        let allowed = (!limited || inheritable.within(old.inheritable.or(old.permitted)))
            && inheritable.within(old.inheritable.or(old.bounding))
            && permitted.within(old.permitted)
            && effective.within(permitted);
        if !allowed {
            return Err(Errno::PERM);
        }
        let ambient = old.ambient.and(permitted).and(inheritable);
        let bounding = old.bounding;
        Ok(self.with_sets(Capabilities { effective, permitted, inheritable, bounding, ambient }))
    }

    /// PR_CAPBSET_DROP.
    ///
    /// # Errors
    /// EPERM without CAP_SETPCAP, then EINVAL for an unknown capability.
    pub fn drop_bounding(&self, number: u64) -> Result<Self, Errno> {
        if !self.credentials.can(Capability::SETPCAP) {
            return Err(Errno::PERM);
        }
        let dropped = only(capability(number).ok_or(Errno::INVAL)?);
        let old = self.credentials.capabilities;
        Ok(self.with_sets(Capabilities { bounding: old.bounding.minus(dropped), ..old }))
    }

    /// PR_SET_KEEPCAPS.
    ///
    /// # Errors
    /// EINVAL for anything but 0 and 1, EPERM if the bit is locked.
    pub fn set_keep_caps(&self, value: u64) -> Result<Self, Errno> {
        if value > 1 {
            return Err(Errno::INVAL);
        }
        if self.securebits.has(SecureBits::KEEP_CAPS << 1) {
            return Err(Errno::PERM);
        }
        let cleared = self.securebits.0 & !SecureBits::KEEP_CAPS;
        let bits = if value == 1 { cleared | SecureBits::KEEP_CAPS } else { cleared };
        Ok(Self { securebits: SecureBits(bits), ..self.clone() })
    }

    /// PR_SET_SECUREBITS.
    ///
    /// # Errors
    /// EPERM for locked or unknown bits, and without CAP_SETPCAP for all but the unprivileged bits.
    pub fn set_securebits(&self, value: u64) -> Result<Self, Errno> {
        let wanted = u32::try_from(value).map_err(|_| Errno::PERM)?;
        let old = self.securebits.0;
        let changed = old ^ wanted;
        let locked = ((old & SecureBits::LOCKS) >> 1) & changed != 0;
        let unlocks = old & SecureBits::LOCKS & !wanted != 0;
        let unknown = wanted & !(SecureBits::ALL | SecureBits::LOCKS) != 0;
        if locked || unlocks || unknown {
            return Err(Errno::PERM);
        }
        let free = SecureBits::UNPRIVILEGED | SecureBits::UNPRIVILEGED << 1;
        // Linux refuses a change of nothing too when the caller is not privileged.
        if !self.credentials.can(Capability::SETPCAP) && (changed == 0 || changed & !free != 0) {
            return Err(Errno::PERM);
        }
        Ok(Self { securebits: SecureBits(wanted), ..self.clone() })
    }

    /// PR_CAP_AMBIENT_CLEAR_ALL.
    #[must_use]
    pub fn clear_ambient(&self) -> Self {
        let old = self.credentials.capabilities;
        self.with_sets(Capabilities { ambient: CapabilitySet::EMPTY, ..old })
    }

    /// PR_CAP_AMBIENT_LOWER.
    #[must_use]
    pub fn lower_ambient(&self, lowered: Capability) -> Self {
        let old = self.credentials.capabilities;
        self.with_sets(Capabilities { ambient: old.ambient.minus(only(lowered)), ..old })
    }

    /// PR_CAP_AMBIENT_RAISE.
    ///
    /// # Errors
    /// EPERM unless permitted and inheritable have it and securebits allow it.
    pub fn raise_ambient(&self, raised: Capability) -> Result<Self, Errno> {
        let old = self.credentials.capabilities;
        let held = old.permitted.has(raised) && old.inheritable.has(raised);
        if !held || self.securebits.has(SecureBits::NO_CAP_AMBIENT_RAISE) {
            return Err(Errno::PERM);
        }
        Ok(self.with_sets(Capabilities { ambient: old.ambient.or(only(raised)), ..old }))
    }

    fn with_group(&self, gid: Ids) -> Self {
        let mut new = self.clone();
        new.credentials.gid = gid;
        new
    }

    pub(super) fn with_sets(&self, capabilities: Capabilities) -> Self {
        let mut new = self.clone();
        new.credentials.capabilities = capabilities;
        new
    }

    pub(super) fn clear_keep_caps(&mut self) {
        self.securebits.0 &= !SecureBits::KEEP_CAPS;
    }

    /// The new user ids with what they do to the capability sets (`cap_emulate_setxuid`).
    fn with_user(&self, new: Ids) -> Self {
        let old = self.credentials.uid;
        let mut sets = self.credentials.capabilities;
        if !self.securebits.has(SecureBits::NO_SETUID_FIXUP) {
            if triple(old).contains(&0) && !triple(new).contains(&0) {
                if !self.securebits.has(SecureBits::KEEP_CAPS) {
                    sets.permitted = CapabilitySet::EMPTY;
                    sets.effective = CapabilitySet::EMPTY;
                }
                sets.ambient = CapabilitySet::EMPTY;
            }
            if old.effective == 0 && new.effective != 0 {
                sets.effective = CapabilitySet::EMPTY;
            }
            if old.effective != 0 && new.effective == 0 {
                sets.effective = sets.permitted;
            }
        }
        let mut identity = self.with_sets(sets);
        identity.credentials.uid = new;
        identity
    }
}

#[cfg(test)]
mod tests;
