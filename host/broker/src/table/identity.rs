//! Who the caller is: all of it virtual.

use super::{Action, Case, Row, broker, gate, int, nr, pending, when};

/// What prctl says of capabilities and of privileges is virtual; DUMPABLE must not blind the broker.
const PRCTL: &[Case] = &[
    when(&[int(0, 3)], Action::Broker(pending)),  // PR_GET_DUMPABLE
    when(&[int(0, 4)], Action::Broker(pending)),  // PR_SET_DUMPABLE
    when(&[int(0, 7)], Action::Broker(pending)),  // PR_GET_KEEPCAPS
    when(&[int(0, 8)], Action::Broker(pending)),  // PR_SET_KEEPCAPS
    when(&[int(0, 23)], Action::Broker(pending)), // PR_CAPBSET_READ
    when(&[int(0, 24)], Action::Broker(pending)), // PR_CAPBSET_DROP
    when(&[int(0, 27)], Action::Broker(pending)), // PR_GET_SECUREBITS
    when(&[int(0, 28)], Action::Broker(pending)), // PR_SET_SECUREBITS
    when(&[int(0, 38)], Action::Broker(pending)), // PR_SET_NO_NEW_PRIVS
    when(&[int(0, 39)], Action::Broker(pending)), // PR_GET_NO_NEW_PRIVS
    when(&[int(0, 47)], Action::Broker(pending)), // PR_CAP_AMBIENT
];

pub(super) const ROWS: &[Row] = &[
    broker("getuid", nr(102, 174), pending),
    broker("getgid", nr(104, 176), pending),
    broker("geteuid", nr(107, 175), pending),
    broker("getegid", nr(108, 177), pending),
    broker("getresuid", nr(118, 148), pending),
    broker("getresgid", nr(120, 150), pending),
    broker("getgroups", nr(115, 158), pending),
    broker("setuid", nr(105, 146), pending),
    broker("setgid", nr(106, 144), pending),
    broker("setreuid", nr(113, 145), pending),
    broker("setregid", nr(114, 143), pending),
    broker("setresuid", nr(117, 147), pending),
    broker("setresgid", nr(119, 149), pending),
    broker("setfsuid", nr(122, 151), pending),
    broker("setfsgid", nr(123, 152), pending),
    broker("setgroups", nr(116, 159), pending),
    broker("capget", nr(125, 90), pending),
    broker("capset", nr(126, 91), pending),
    broker("umask", nr(95, 166), pending),
    gate("prctl", nr(157, 167), PRCTL, Action::Native),
];
