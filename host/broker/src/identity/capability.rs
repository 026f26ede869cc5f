//! What Linux does with sets of capabilities (capabilities(7)).
//!
//! The sets are those of the monitor; nothing here grants anything: the guest really has no capability at all.

use wbuild_monitor::{Capability, CapabilitySet};

/// `CAP_FS_SET` of linux/capability.h: what follows the filesystem uid. CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER,
/// FSETID, LINUX_IMMUTABLE, MKNOD and MAC_OVERRIDE.
pub(super) const FILE: CapabilitySet =
    CapabilitySet(1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 9 | 1 << 27 | 1 << 32);

/// The capability with this number, `None` for numbers the kernel does not know (`cap_valid`).
#[must_use]
pub fn capability(number: u64) -> Option<Capability> {
    u8::try_from(number).ok().filter(|n| *n <= Capability::LAST.0).map(Capability)
}

/// From a guest's bit mask; unknown bits are dropped, as `mk_kernel_cap` does.
#[must_use]
pub fn capability_set(bits: u64) -> CapabilitySet {
    CapabilitySet(bits & CapabilitySet::FULL.0)
}

/// The algebra of sets, which the rules are written in.
pub(super) trait Algebra: Sized {
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn within(self, other: Self) -> bool;
}

impl Algebra for CapabilitySet {
    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

/// The set of one.
pub(super) fn only(capability: Capability) -> CapabilitySet {
    CapabilitySet(1 << capability.0)
}
