//! Calls that name a path: every one is answered by the broker.

use super::{Action, Case, Row, broker, deny, gate, int, nr, pending, when, x86};
use crate::exec;
use rustix::io::Errno;

/// A stub asks for the plan of its exec by a directory descriptor that nobody has.
const OPENAT: &[Case] = &[when(&[int(0, exec::plan::DIRFD)], Action::Broker(exec::plan::deliver))];

pub(super) const ROWS: &[Row] = &[
    // Descriptors.
    broker("open", x86(2), pending),
    broker("creat", x86(85), pending),
    gate("openat", nr(257, 56), OPENAT, Action::Broker(pending)),
    broker("openat2", nr(437, 437), pending),
    // Attributes.
    broker("stat", x86(4), pending),
    broker("lstat", x86(6), pending),
    broker("newfstatat", nr(262, 79), pending),
    broker("statx", nr(332, 291), pending),
    broker("access", x86(21), pending),
    broker("faccessat", nr(269, 48), pending),
    broker("faccessat2", nr(439, 439), pending),
    broker("readlink", x86(89), pending),
    broker("readlinkat", nr(267, 78), pending),
    broker("chmod", x86(90), pending),
    broker("fchmodat", nr(268, 53), pending),
    broker("fchmodat2", nr(452, 452), pending),
    broker("chown", x86(92), pending),
    broker("lchown", x86(94), pending),
    broker("fchownat", nr(260, 54), pending),
    broker("utime", x86(132), pending),
    broker("utimes", x86(235), pending),
    broker("futimesat", x86(261), pending),
    broker("utimensat", nr(280, 88), pending),
    broker("truncate", nr(76, 45), pending),
    broker("statfs", nr(137, 43), pending),
    // Names.
    broker("mkdir", x86(83), pending),
    broker("mkdirat", nr(258, 34), pending),
    broker("rmdir", x86(84), pending),
    broker("unlink", x86(87), pending),
    broker("unlinkat", nr(263, 35), pending),
    broker("rename", x86(82), pending),
    broker("renameat", nr(264, 38), pending),
    broker("renameat2", nr(316, 276), pending),
    broker("link", x86(86), pending),
    broker("linkat", nr(265, 37), pending),
    broker("symlink", x86(88), pending),
    broker("symlinkat", nr(266, 36), pending),
    broker("mknod", x86(133), pending),
    broker("mknodat", nr(259, 33), pending),
    // Working directory.
    broker("chdir", nr(80, 49), pending),
    // Extended attributes.
    broker("setxattr", nr(188, 5), pending),
    broker("lsetxattr", nr(189, 6), pending),
    broker("getxattr", nr(191, 8), pending),
    broker("lgetxattr", nr(192, 9), pending),
    broker("listxattr", nr(194, 11), pending),
    broker("llistxattr", nr(195, 12), pending),
    broker("removexattr", nr(197, 14), pending),
    broker("lremovexattr", nr(198, 15), pending),
    broker("setxattrat", nr(463, 463), pending),
    broker("getxattrat", nr(464, 464), pending),
    broker("listxattrat", nr(465, 465), pending),
    broker("removexattrat", nr(466, 466), pending),
    broker("file_getattr", nr(468, 468), pending),
    broker("file_setattr", nr(469, 469), pending),
    // Watches.
    broker("inotify_init", x86(253), pending),
    broker("inotify_init1", nr(294, 26), pending),
    broker("inotify_add_watch", nr(254, 27), pending),
    deny("name_to_handle_at", nr(303, 264), Errno::OPNOTSUPP, "handles would name files past the resolver"),
];
