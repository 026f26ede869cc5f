//! Calls on descriptors: metadata is answered by the broker, data flows natively.

use super::{Action, Case, Row, broker, continuing, deny_with, gate, int_among, native, nr, when, x86};
use crate::calls::{cwd, locks, owner, size, stat, sync, xattr};
use rustix::io::Errno;

/// The ioctl commands that concern the descriptor's own terminal, socket or data. Any other may change a file through
/// a read-only descriptor (FS_IOC_SETFLAGS, ENABLE_VERITY, ..) or type into a terminal (TIOCSTI).
const IOCTLS: &[Case] = &[
    when(&[int_among(1, TERMINAL)], Action::Native),
    when(&[int_among(1, SOCKET)], Action::Native),
    when(&[int_among(1, FILE)], Action::Native),
];

/// Locks of an open file description, and leases: both depend on who else has the file open.
const FCNTL: &[Case] = &[when(&[int_among(1, DESCRIPTION)], Action::Continuing(locks::when_alone))];
const DESCRIPTION: &[u32] = &[36, 37, 38, 1024]; // F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_SETLEASE

const TERMINAL: &[u32] = &[
    0x5401,
    0x5402,
    0x5403,
    0x5404, // TCGETS, TCSETS, TCSETSW, TCSETSF
    0x5405,
    0x5406,
    0x5407,
    0x5408, // TCGETA, TCSETA, TCSETAW, TCSETAF
    0x5409,
    0x540a,
    0x540b,
    0x5425, // TCSBRK, TCXONC, TCFLSH, TCSBRKP
    0x540c,
    0x540d,
    0x540e,
    0x5422, // TIOCEXCL, TIOCNXCL, TIOCSCTTY, TIOCNOTTY
    0x540f,
    0x5410,
    0x5429, // TIOCGPGRP, TIOCSPGRP, TIOCGSID
    0x5413,
    0x5414, // TIOCGWINSZ, TIOCSWINSZ
    0x5420,
    0x8004_5438, // TIOCPKT, TIOCGPKT
    0x802c_542a,
    0x402c_542b,
    0x402c_542c,
    0x402c_542d, // TCGETS2, TCSETS2, TCSETSW2, TCSETSF2
    0x8004_5430,
    0x4004_5431,
    0x8004_5439, // TIOCGPTN, TIOCSPTLCK, TIOCGPTLCK; not TIOCGPTPEER, which Landlock refuses: libc opens the name then
];

const SOCKET: &[u32] = &[
    0x8901, 0x8902, 0x8903, 0x8904, // FIOSETOWN, SIOCSPGRP, FIOGETOWN, SIOCGPGRP
    0x8905, 0x8906, 0x8907, // SIOCATMARK, SIOCGSTAMP, SIOCGSTAMPNS
    0x8910, 0x8912, 0x8913, 0x8915, // SIOCGIFNAME, SIOCGIFCONF, SIOCGIFFLAGS, SIOCGIFADDR
    0x8917, 0x8919, 0x891b, 0x891d, // SIOCGIFDSTADDR, SIOCGIFBRDADDR, SIOCGIFNETMASK, SIOCGIFMETRIC
    0x8921, 0x8927, 0x8933, 0x8942, // SIOCGIFMTU, SIOCGIFHWADDR, SIOCGIFINDEX, SIOCGIFTXQLEN
];

const FILE: &[u32] = &[
    0x5411,
    0x541b,
    0x5421,
    0x5460, // TIOCOUTQ and SIOCOUTQ, FIONREAD, FIONBIO, FIOQSIZE
    0x5450,
    0x5451,
    0x5452, // FIONCLEX, FIOCLEX, FIOASYNC
    0x4004_9409,
    0x4020_940d,
    0xc018_9436, // FICLONE, FICLONERANGE, FIDEDUPERANGE
    0xc020_660b,
    0x8008_6601,
    0x8008_7601,
    0x801c_581f, // FS_IOC_FIEMAP, GETFLAGS, GETVERSION, FSGETXATTR
    0x8004_5200, // RNDGETENTCNT
];

pub(super) const ROWS: &[Row] = &[
    // Metadata lives in the records.
    broker("fstat", nr(5, 80), stat::fstat),
    broker("fchmod", nr(91, 52), owner::fchmod),
    broker("fchown", nr(93, 55), owner::fchown),
    broker("fsetxattr", nr(190, 7), xattr::fsetxattr),
    broker("fgetxattr", nr(193, 10), xattr::fgetxattr),
    broker("flistxattr", nr(196, 13), xattr::flistxattr),
    broker("fremovexattr", nr(199, 16), xattr::fremovexattr),
    broker("fstatfs", nr(138, 44), size::fstatfs),
    broker("fchdir", nr(81, 50), cwd::fchdir),
    broker("getcwd", nr(79, 17), cwd::getcwd),
    // Data.
    native("read", nr(0, 63)),
    native("write", nr(1, 64)),
    native("close", nr(3, 57)),
    native("lseek", nr(8, 62)),
    native("pread64", nr(17, 67)),
    native("pwrite64", nr(18, 68)),
    native("readv", nr(19, 65)),
    native("writev", nr(20, 66)),
    native("preadv", nr(295, 69)),
    native("pwritev", nr(296, 70)),
    native("preadv2", nr(327, 286)),
    native("pwritev2", nr(328, 287)),
    native("sendfile", nr(40, 71)),
    native("splice", nr(275, 76)),
    native("tee", nr(276, 77)),
    native("vmsplice", nr(278, 75)),
    native("copy_file_range", nr(326, 285)),
    native("readahead", nr(187, 213)),
    native("fadvise64", nr(221, 223)),
    // The tree is scratch: nothing of it has to reach a disk.
    continuing("sync_file_range", nr(277, 84), sync::sync_file_range),
    continuing("fsync", nr(74, 82), sync::fsync),
    continuing("fdatasync", nr(75, 83), sync::fsync),
    continuing("sync", nr(162, 81), sync::sync),
    continuing("syncfs", nr(306, 267), sync::syncfs),
    native("ftruncate", nr(77, 46)),
    native("fallocate", nr(285, 47)),
    native("getdents", x86(78)),
    native("getdents64", nr(217, 61)),
    continuing("flock", nr(73, 32), locks::when_alone),
    native("cachestat", nr(451, 451)),
    // Tables of descriptors.
    native("dup", nr(32, 23)),
    native("dup2", x86(33)),
    native("dup3", nr(292, 24)),
    native("pipe", x86(22)),
    native("pipe2", nr(293, 59)),
    native("close_range", nr(436, 436)),
    native("inotify_rm_watch", nr(255, 28)),
    gate("fcntl", nr(72, 25), FCNTL, Action::Native),
    gate("ioctl", nr(16, 29), IOCTLS, deny_with(Errno::NOTTY, "the command is on no list")),
    // Waiting.
    native("poll", x86(7)),
    native("ppoll", nr(271, 73)),
    native("select", x86(23)),
    native("pselect6", nr(270, 72)),
    native("epoll_create", x86(213)),
    native("epoll_create1", nr(291, 20)),
    native("epoll_ctl", nr(233, 21)),
    native("epoll_wait", x86(232)),
    native("epoll_pwait", nr(281, 22)),
    native("epoll_pwait2", nr(441, 441)),
    native("eventfd", x86(284)),
    native("eventfd2", nr(290, 19)),
    native("signalfd", x86(282)),
    native("signalfd4", nr(289, 74)),
    native("timerfd_create", nr(283, 85)),
    native("timerfd_settime", nr(286, 86)),
    native("timerfd_gettime", nr(287, 87)),
    // Classic asynchronous I/O works on descriptors the guest already has.
    native("io_setup", nr(206, 0)),
    native("io_destroy", nr(207, 1)),
    native("io_getevents", nr(208, 4)),
    native("io_submit", nr(209, 2)),
    native("io_cancel", nr(210, 3)),
    native("io_pgetevents", nr(333, 292)),
];
