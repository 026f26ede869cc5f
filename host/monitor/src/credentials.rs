//! Virtual credentials: who a guest process believes to be.
//!
//! Immutable values, made to be interned by the broker; how calls change them (setuid, capset, exec) is the broker's.

/// Real, effective, saved and filesystem id of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ids {
    /// Who started it.
    pub real: u32,
    /// Whose rights it has.
    pub effective: u32,
    /// What it may switch back to.
    pub saved: u32,
    /// Whose rights it has on files.
    pub fs: u32,
}

impl Ids {
    /// All four the same.
    #[must_use]
    pub fn all(id: u32) -> Self {
        Self { real: id, effective: id, saved: id, fs: id }
    }
}

/// A Linux capability by its number (capability.h); those the monitor asks for have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capability(pub u8);

impl Capability {
    /// CAP_CHOWN
    pub const CHOWN: Self = Self(0);
    /// CAP_DAC_OVERRIDE
    pub const DAC_OVERRIDE: Self = Self(1);
    /// CAP_DAC_READ_SEARCH
    pub const DAC_READ_SEARCH: Self = Self(2);
    /// CAP_FOWNER
    pub const FOWNER: Self = Self(3);
    /// CAP_FSETID
    pub const FSETID: Self = Self(4);
    /// CAP_KILL
    pub const KILL: Self = Self(5);
    /// CAP_SETGID
    pub const SETGID: Self = Self(6);
    /// CAP_SETUID
    pub const SETUID: Self = Self(7);
    /// CAP_SETPCAP
    pub const SETPCAP: Self = Self(8);
    /// CAP_SYS_CHROOT
    pub const SYS_CHROOT: Self = Self(18);
    /// CAP_SYS_ADMIN
    pub const SYS_ADMIN: Self = Self(21);
    /// CAP_SYS_RESOURCE
    pub const SYS_RESOURCE: Self = Self(24);
    /// CAP_MKNOD
    pub const MKNOD: Self = Self(27);
    /// CAP_SETFCAP
    pub const SETFCAP: Self = Self(31);
    /// The highest that Linux 6.x knows (CAP_CHECKPOINT_RESTORE).
    pub const LAST: Self = Self(40);
}

/// A set of Linux capabilities, one bit each by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct CapabilitySet(pub u64);

impl CapabilitySet {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// All that Linux 6.x knows.
    pub const FULL: Self = Self((1 << (Capability::LAST.0 + 1)) - 1);
    /// What container engines give a container's root by default (containers/common, moby: 14 of them), which is what
    /// install scripts expect to see.
    pub const CONTAINER: Self = Self(0xa804_25fb);

    /// True if `capability` is in the set.
    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }
}

/// The five sets of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Capabilities {
    /// What is asked when it acts.
    pub effective: CapabilitySet,
    /// What it may put into the effective set.
    pub permitted: CapabilitySet,
    /// What exec may keep.
    pub inheritable: CapabilitySet,
    /// The limit of what exec can give.
    pub bounding: CapabilitySet,
    /// What exec keeps without file capabilities.
    pub ambient: CapabilitySet,
}

/// Who a guest process is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// User ids.
    pub uid: Ids,
    /// Group ids.
    pub gid: Ids,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Capability sets.
    pub capabilities: Capabilities,
}

impl Credentials {
    /// The credentials a step's first process has: a root user with a container's capabilities, any other with none.
    #[must_use]
    pub fn initial(uid: u32, gid: u32, groups: Vec<u32>) -> Self {
        let full = CapabilitySet::CONTAINER;
        let held = if uid == 0 { full } else { CapabilitySet::EMPTY };
        let capabilities = Capabilities {
            effective: held,
            permitted: held,
            inheritable: CapabilitySet::EMPTY,
            bounding: full,
            ambient: CapabilitySet::EMPTY,
        };
        Self { uid: Ids::all(uid), gid: Ids::all(gid), groups, capabilities }
    }

    /// The builder's own: root with every capability, so that whatever an image holds can be copied.
    #[must_use]
    pub fn builder() -> Self {
        let full = CapabilitySet::FULL;
        let capabilities = Capabilities { effective: full, permitted: full, ..Capabilities::default() };
        Self { uid: Ids::all(0), gid: Ids::all(0), groups: Vec::new(), capabilities }
    }

    /// True if `capability` is in the effective set.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.effective.has(capability)
    }

    /// True if files of this group are treated as the group's: the filesystem gid or a supplementary group.
    #[must_use]
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid.fs == gid || self.groups.contains(&gid)
    }
}
