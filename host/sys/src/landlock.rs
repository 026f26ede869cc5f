//! Landlock rulesets (landlock(7)) by raw calls: file rights beneath directories, and scopes.
//!
//! Invariant: rights and scopes the kernel does not know are left out of what is handled, so a ruleset is as strict as
//! the kernel allows; [`abi`] says how strict that is.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::outcome::outcome;

/// Rights on files (linux/landlock.h `LANDLOCK_ACCESS_FS_*`), as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights(u64);

impl Rights {
    /// Execute a file.
    pub const EXECUTE: Self = Self(1);
    /// Open a file for writing.
    pub const WRITE_FILE: Self = Self(1 << 1);
    /// Open a file for reading.
    pub const READ_FILE: Self = Self(1 << 2);
    /// Open or list a directory.
    pub const READ_DIR: Self = Self(1 << 3);
    /// ioctl commands of devices (ABI 5).
    pub const IOCTL_DEV: Self = Self(1 << 15);
    /// Everything this module knows, up to ABI 5.
    pub const ALL: Self = Self((1 << 16) - 1);
    /// What may be granted on a file that is no directory.
    pub const FILE: Self = Self(1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15);

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What ABI level `abi` handles.
    const fn known_at(abi: u32) -> Self {
        let bits = match abi {
            0 => 0,
            1 => 13,
            2 => 14,
            3 | 4 => 15,
            _ => 16,
        };
        Self((1 << bits) - 1)
    }
}

/// What a domain's processes may not reach outside it (ABI 6), as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u64);

impl Scopes {
    /// None.
    pub const NONE: Self = Self(0);
    /// Abstract unix sockets made outside, and processes outside by signals.
    pub const ABSTRACT_SOCKETS_AND_SIGNALS: Self = Self(3);
}

#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

/// The kernel's ABI level; 0 where there is no Landlock or it is off.
#[must_use]
pub fn abi() -> u32 {
    let none = std::ptr::null::<RulesetAttr>();
    // SAFETY: with the version flag the kernel takes no structure.
    let level =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, CREATE_RULESET_VERSION) };
    outcome(level).ok().and_then(|level| u32::try_from(level).ok()).unwrap_or(0)
}

/// A ruleset being built: everything it handles is denied but what is allowed.
#[derive(Debug)]
pub struct Ruleset {
    fd: OwnedFd,
    handled: Rights,
}

impl Ruleset {
    /// An empty ruleset that handles all file rights this kernel knows, and these scopes where it knows them.
    ///
    /// # Errors
    /// ENOSYS or EOPNOTSUPP where there is no Landlock.
    pub fn new(scopes: Scopes) -> Result<Self, Errno> {
        let level = abi();
        let handled = Rights::ALL.and(Rights::known_at(level));
        let scoped = if level >= 6 { scopes.0 } else { 0 };
        let attr = RulesetAttr { handled_access_fs: handled.0, handled_access_net: 0, scoped };
        Self::create(&attr, handled)
    }

    /// A ruleset with scopes and no file rights.
    ///
    /// # Errors
    /// EINVAL below ABI 6, ENOSYS or EOPNOTSUPP where there is no Landlock.
    pub fn scopes_only(scopes: Scopes) -> Result<Self, Errno> {
        let attr = RulesetAttr { handled_access_fs: 0, handled_access_net: 0, scoped: scopes.0 };
        Self::create(&attr, Rights(0))
    }

    fn create(attr: &RulesetAttr, handled: Rights) -> Result<Self, Errno> {
        // Kernels before a field's introduction accept a longer structure as long as the rest is zero.
        // SAFETY: the pointer leads to one structure of the given size; the kernel copies it.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                std::ptr::from_ref(attr),
                size_of::<RulesetAttr>(),
                0_u32,
            )
        };
        let fd = i32::try_from(outcome(fd)?).map_err(|_| Errno::BADF)?;
        // SAFETY: the kernel returned a new descriptor that nobody else owns.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, handled })
    }

    /// Allows `rights` (those that are handled) on the file or beneath the directory `at`.
    ///
    /// # Errors
    /// EINVAL when directory rights are given for a file; EBADFD for files of internal filesystems.
    pub fn allow(&mut self, at: BorrowedFd<'_>, rights: Rights) -> Result<(), Errno> {
        let attr = PathBeneathAttr { allowed_access: rights.and(self.handled).0, parent_fd: at.as_raw_fd() };
        // SAFETY: the pointer leads to one structure of the type the rule names; the kernel copies it.
        let added = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.fd.as_raw_fd(),
                RULE_PATH_BENEATH,
                std::ptr::from_ref(&attr),
                0_u32,
            )
        };
        outcome(added).map(drop)
    }

    /// Puts the calling thread, and what it starts from now on, under the ruleset for good. The thread must have
    /// no_new_privs.
    ///
    /// # Errors
    /// EPERM without no_new_privs; E2BIG at 16 nested domains.
    pub fn restrict_self(self) -> Result<(), Errno> {
        // SAFETY: integers only.
        let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.fd.as_raw_fd(), 0_u32) };
        outcome(done).map(drop)
    }
}
