//! Memory of the caller itself.

use super::{Action, Case, Row, gate, int, native, nr, when};
use crate::calls::scheduling;

/// Pid 0 is the caller.
const OWN_PROCESS: &[Case] = &[when(&[int(0, 0)], Action::Native)];

pub(super) const ROWS: &[Row] = &[
    native("mmap", nr(9, 222)),
    native("mprotect", nr(10, 226)),
    native("munmap", nr(11, 215)),
    native("brk", nr(12, 214)),
    native("mremap", nr(25, 216)),
    native("msync", nr(26, 227)),
    native("mincore", nr(27, 232)),
    native("madvise", nr(28, 233)),
    native("mlock", nr(149, 228)),
    native("munlock", nr(150, 229)),
    native("mlockall", nr(151, 230)),
    native("munlockall", nr(152, 231)),
    native("mlock2", nr(325, 284)),
    native("memfd_create", nr(319, 279)),
    native("memfd_secret", nr(447, 447)),
    native("remap_file_pages", nr(216, 234)),
    native("mbind", nr(237, 235)),
    native("set_mempolicy", nr(238, 237)),
    native("get_mempolicy", nr(239, 236)),
    native("set_mempolicy_home_node", nr(450, 450)),
    gate("migrate_pages", nr(256, 238), OWN_PROCESS, Action::Continuing(scheduling::first_is_pid)),
    gate("move_pages", nr(279, 239), OWN_PROCESS, Action::Continuing(scheduling::first_is_pid)),
    native("pkey_mprotect", nr(329, 288)),
    native("pkey_alloc", nr(330, 289)),
    native("pkey_free", nr(331, 290)),
    native("map_shadow_stack", nr(453, 453)),
    native("mseal", nr(462, 462)),
    native("process_madvise", nr(440, 440)),
    native("process_mrelease", nr(448, 448)),
];
