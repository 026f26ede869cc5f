//! What an exec does to credentials (fs/exec.c `bprm_fill_uid`, security/commoncap.c `cap_bprm_creds_from_file`).
//!
//! The file's set-id bits and capabilities are the virtual ones of its metadata record. They change only how later
//! calls are answered: the process gains nothing on the host.

use rustix::io::Errno;
use wbuild_monitor::{Capabilities, CapabilitySet, Ids};

use super::capability::{Algebra, capability_set};
use super::credentials::{Identity, SecureBits};

/// What an exec reads from the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecFile {
    /// Virtual permission bits with set-id bits.
    pub mode: u32,
    /// Virtual owner.
    pub uid: u32,
    /// Virtual group.
    pub gid: u32,
    /// `security.capability`, decoded.
    pub capabilities: Option<FileCapabilities>,
}

/// A `security.capability` attribute (linux/capability.h `vfs_cap_data`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCapabilities {
    /// Given if the bounding set has them.
    pub permitted: CapabilitySet,
    /// Given if the process's inheritable set has them.
    pub inheritable: CapabilitySet,
    /// Whether what is given is effective at once.
    pub effective: bool,
}

/// The identity after an exec, and whether the loader must distrust its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The new identity.
    pub identity: Identity,
    /// AT_SECURE.
    pub secure: bool,
}

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;

impl FileCapabilities {
    /// Whether setxattr(2) takes this value: revisions 2 and 3 in their sizes (`validheader` of security/commoncap.c).
    #[must_use]
    pub fn may_be_set(value: &[u8]) -> bool {
        matches!((value.len(), value.get(3)), (20, Some(2)) | (24, Some(3)))
    }

    /// Decodes the attribute's value: revisions 2 and 3 (only for the namespace whose root is uid 0), and 1.
    /// `None` for a value Linux would ignore or that belongs to another namespace.
    ///
    /// # Errors
    /// EINVAL for a malformed value, as exec answers it.
    pub fn decode(value: &[u8]) -> Result<Option<Self>, Errno> {
        const REVISION_MASK: u32 = 0xff00_0000;
        const EFFECTIVE: u32 = 1;
        let word = |at: usize| -> Option<u32> {
            let bytes = value.get(at * 4..at * 4 + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let magic = word(0).ok_or(Errno::INVAL)?;
        let words = match (magic & REVISION_MASK, value.len()) {
            (0x0100_0000, 12) => 1,
            (0x0200_0000, 20) => 2,
            (0x0300_0000, 24) => {
                // A root other than ours: the attribute counts for its own user namespace only.
                if word(5) != Some(0) {
                    return Ok(None);
                }
                2
            }
            _ => return Err(Errno::INVAL),
        };
        let set = |first: usize| {
            let low = u64::from(word(first).unwrap_or(0));
            let high = if words == 2 { u64::from(word(first + 2).unwrap_or(0)) } else { 0 };
            capability_set(low | high << 32)
        };
        Ok(Some(Self { permitted: set(1), inheritable: set(2), effective: magic & EFFECTIVE != 0 }))
    }
}

impl Identity {
    /// The identity after the exec of `file`.
    ///
    /// # Errors
    /// EPERM where the file's capabilities are marked effective and the bounding set lacks some of them.
    pub fn exec(&self, file: &ExecFile) -> Result<Transition, Errno> {
        let old = &self.credentials;
        let held = old.capabilities;
        let (mut user, mut group) = (old.uid, old.gid);
        if !self.no_new_privs {
            if file.mode & SET_UID != 0 {
                user.effective = file.uid;
            }
            // Without the group's x bit S_ISGID used to mean mandatory locking.
            if file.mode & (SET_GID | GROUP_EXECUTE) == SET_GID | GROUP_EXECUTE {
                group.effective = file.gid;
            }
        }

        let (mut permitted, effective) = self.given_by(file.capabilities, user)?;
        // Since Linux 6.16 the effective ids count here, not the real ones.
        let changed = user.effective != old.uid.effective || !old.in_group(group.effective);
        if (changed || !permitted.within(held.permitted)) && self.no_new_privs {
            user.effective = user.real;
            group.effective = group.real;
            permitted = permitted.and(held.permitted);
        }
        let user = Ids { saved: user.effective, fs: user.effective, ..user };
        let group = Ids { saved: group.effective, fs: group.effective, ..group };

        let set_id = user.effective != old.uid.real || group.effective != old.gid.real;
        let cancelled = set_id || file.capabilities.is_some();
        let ambient = if cancelled { CapabilitySet::EMPTY } else { held.ambient };
        let permitted = permitted.or(ambient);
        let effective_set = if effective { permitted } else { ambient };
        let secure = changed || set_id || (user.real != 0 && (effective || !permitted.within(ambient)));

        let mut identity =
            self.with_sets(Capabilities { effective: effective_set, permitted, ambient, ..held });
        identity.credentials.uid = user;
        identity.credentials.gid = group;
        identity.clear_keep_caps();
        Ok(Transition { identity, secure })
    }

    /// The permitted set that the file or being root gives, and whether it is effective at once (`get_file_caps`,
    /// then `handle_privileged_root`).
    fn given_by(&self, file: Option<FileCapabilities>, user: Ids) -> Result<(CapabilitySet, bool), Errno> {
        let held = self.credentials.capabilities;
        let (mut permitted, mut effective) = (CapabilitySet::EMPTY, false);
        if let Some(file) = file {
            permitted = held.bounding.and(file.permitted).or(held.inheritable.and(file.inheritable));
            effective = file.effective;
            if effective && !file.permitted.within(permitted) {
                return Err(Errno::PERM);
            }
        }
        // A set-uid root file with capabilities gives just these to an ordinary user.
        let file_decides = file.is_some() && user.effective == 0 && user.real != 0;
        if !self.securebits.has(SecureBits::NO_ROOT) && !file_decides {
            if user.effective == 0 || user.real == 0 {
                permitted = held.bounding.or(held.inheritable);
            }
            if user.effective == 0 {
                effective = true;
            }
        }
        Ok((permitted, effective))
    }
}

#[cfg(test)]
mod tests;
