//! Sockets: the family, type and protocol decide who makes them; addresses that are paths are the broker's.

use super::{Action, Case, Row, continuing, deny_with, gate, int, int_bits, native, nr, when};
use crate::calls::socket;
use rustix::io::Errno;

const UNIX: u32 = 1;
const INET: u32 = 2;
const INET6: u32 = 10;
/// The families that reach other machines.
pub(crate) const INTERNET: [u32; 2] = [INET, INET6];
const NETLINK: u32 = 16;
/// `SOCK_TYPE_MASK`: the rest of the type argument is flags.
const TYPE: u32 = 0xf;
const STREAM: u32 = 1;
const DGRAM: u32 = 2;
const SEQPACKET: u32 = 5;
const TCP: u32 = 6;
const UDP: u32 = 17;
const ROUTE: u32 = 0;
const NO_FAMILY: Action =
    deny_with(Errno::AFNOSUPPORT, "only TCP, UDP, AF_UNIX and routing sockets exist in a step");
const NO_PROTOCOL: Action = deny_with(
    Errno::PROTONOSUPPORT,
    "the protocol would go past the network's rules (MPTCP, UDP-Lite, ICMP, ..)",
);

/// AF_UNIX sockets are the broker's: natively their paths would resolve in the pod's root.
const SOCKET: &[Case] = &[
    when(&[int(0, UNIX)], Action::Broker(socket::socket)),
    when(&[int(0, INET), int_bits(1, TYPE, STREAM), int(2, 0)], Action::Native),
    when(&[int(0, INET), int_bits(1, TYPE, STREAM), int(2, TCP)], Action::Native),
    when(&[int(0, INET), int_bits(1, TYPE, DGRAM), int(2, 0)], Action::Native),
    when(&[int(0, INET), int_bits(1, TYPE, DGRAM), int(2, UDP)], Action::Native),
    when(&[int(0, INET6), int_bits(1, TYPE, STREAM), int(2, 0)], Action::Native),
    when(&[int(0, INET6), int_bits(1, TYPE, STREAM), int(2, TCP)], Action::Native),
    when(&[int(0, INET6), int_bits(1, TYPE, DGRAM), int(2, 0)], Action::Native),
    when(&[int(0, INET6), int_bits(1, TYPE, DGRAM), int(2, UDP)], Action::Native),
    when(&[int(0, NETLINK), int(2, ROUTE)], Action::Native),
    // Go takes any other errno for a protocol (MPTCP) that may be there the next time.
    when(&[int(0, INET), int_bits(1, TYPE, STREAM)], NO_PROTOCOL),
    when(&[int(0, INET6), int_bits(1, TYPE, STREAM)], NO_PROTOCOL),
    when(&[int(0, INET), int_bits(1, TYPE, DGRAM)], NO_PROTOCOL),
    when(&[int(0, INET6), int_bits(1, TYPE, DGRAM)], NO_PROTOCOL),
];

/// A pair has no address. Datagram pairs are the broker's: sendmsg could still name a path with a real one.
const SOCKETPAIR: &[Case] = &[
    when(&[int(0, UNIX), int_bits(1, TYPE, STREAM)], Action::Native),
    when(&[int(0, UNIX), int_bits(1, TYPE, SEQPACKET)], Action::Native),
    when(&[int(0, UNIX), int_bits(1, TYPE, DGRAM)], Action::Broker(socket::datagram_pair)),
];

const GETSOCKOPT: &[Case] = &[
    when(&[int(1, 1), int(2, 17)], Action::Continuing(socket::peer_option)), // SOL_SOCKET, SO_PEERCRED
    when(&[int(1, 1), int(2, 59)], Action::Continuing(socket::peer_option)), // SO_PEERGROUPS
    when(&[int(1, 1), int(2, 77)], Action::Continuing(socket::peer_option)), // SO_PEERPIDFD
];

pub(super) const ROWS: &[Row] = &[
    gate("socket", nr(41, 198), SOCKET, NO_FAMILY),
    gate("socketpair", nr(53, 199), SOCKETPAIR, NO_FAMILY),
    continuing("bind", nr(49, 200), socket::bind),
    continuing("connect", nr(42, 203), socket::connect),
    continuing("getsockname", nr(51, 204), socket::getsockname),
    continuing("getpeername", nr(52, 205), socket::getpeername),
    native("sendto", nr(44, 206)),
    native("sendmsg", nr(46, 211)),
    native("sendmmsg", nr(307, 269)),
    gate("getsockopt", nr(55, 209), GETSOCKOPT, Action::Native),
    native("setsockopt", nr(54, 208)),
    continuing("listen", nr(50, 201), socket::listen),
    native("accept", nr(43, 202)),
    native("accept4", nr(288, 242)),
    native("shutdown", nr(48, 210)),
    native("recvfrom", nr(45, 207)),
    native("recvmsg", nr(47, 212)),
    native("recvmmsg", nr(299, 243)),
];
