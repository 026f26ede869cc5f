//! Who the caller is: all of it virtual.

use super::{Action, Case, Row, broker, gate, int, nr, when};
use crate::calls::{cwd, ids, privilege};

/// What prctl says of capabilities and of privileges is virtual; DUMPABLE must not blind the broker.
const PRCTL: &[Case] = &[
    when(&[int(0, 3)], Action::Broker(privilege::prctl_get_dumpable)), // PR_GET_DUMPABLE
    when(&[int(0, 4)], Action::Broker(privilege::prctl_set_dumpable)), // PR_SET_DUMPABLE
    when(&[int(0, 7)], Action::Broker(privilege::prctl_identity)),     // PR_GET_KEEPCAPS
    when(&[int(0, 8)], Action::Broker(privilege::prctl_identity)),     // PR_SET_KEEPCAPS
    when(&[int(0, 23)], Action::Broker(privilege::prctl_identity)),    // PR_CAPBSET_READ
    when(&[int(0, 24)], Action::Broker(privilege::prctl_identity)),    // PR_CAPBSET_DROP
    when(&[int(0, 27)], Action::Broker(privilege::prctl_identity)),    // PR_GET_SECUREBITS
    when(&[int(0, 28)], Action::Broker(privilege::prctl_identity)),    // PR_SET_SECUREBITS
    when(&[int(0, 38)], Action::Broker(privilege::prctl_identity)),    // PR_SET_NO_NEW_PRIVS
    when(&[int(0, 39)], Action::Broker(privilege::prctl_identity)),    // PR_GET_NO_NEW_PRIVS
    when(&[int(0, 47)], Action::Broker(privilege::prctl_identity)),    // PR_CAP_AMBIENT
];

pub(super) const ROWS: &[Row] = &[
    broker("getuid", nr(102, 174), ids::getuid),
    broker("getgid", nr(104, 176), ids::getgid),
    broker("geteuid", nr(107, 175), ids::geteuid),
    broker("getegid", nr(108, 177), ids::getegid),
    broker("getresuid", nr(118, 148), ids::getresuid),
    broker("getresgid", nr(120, 150), ids::getresgid),
    broker("getgroups", nr(115, 158), ids::getgroups),
    broker("setuid", nr(105, 146), ids::setuid),
    broker("setgid", nr(106, 144), ids::setgid),
    broker("setreuid", nr(113, 145), ids::setreuid),
    broker("setregid", nr(114, 143), ids::setregid),
    broker("setresuid", nr(117, 147), ids::setresuid),
    broker("setresgid", nr(119, 149), ids::setresgid),
    broker("setfsuid", nr(122, 151), ids::setfsuid),
    broker("setfsgid", nr(123, 152), ids::setfsgid),
    broker("setgroups", nr(116, 159), ids::setgroups),
    broker("capget", nr(125, 90), privilege::capget),
    broker("capset", nr(126, 91), privilege::capset),
    broker("umask", nr(95, 166), cwd::umask),
    gate("prctl", nr(157, 167), PRCTL, Action::Native),
];
