//! Calls that name a path: every one is answered by the broker.

use super::{Action, Case, Row, broker, deny, gate, int, nr, when, x86};
use crate::calls::{access, cwd, inotify, links, names, open, owner, size, stat, times, xattr};
use crate::exec;
use rustix::io::Errno;

/// A stub asks for the plan of its exec by a directory descriptor that nobody has.
const OPENAT: &[Case] = &[when(&[int(0, exec::plan::DIRFD)], Action::Broker(exec::plan::deliver))];

pub(super) const ROWS: &[Row] = &[
    // Descriptors.
    broker("open", x86(2), open::open),
    broker("creat", x86(85), open::creat),
    gate("openat", nr(257, 56), OPENAT, Action::Broker(open::openat)),
    broker("openat2", nr(437, 437), open::openat2),
    // Attributes.
    broker("stat", x86(4), stat::stat),
    broker("lstat", x86(6), stat::lstat),
    broker("newfstatat", nr(262, 79), stat::newfstatat),
    broker("statx", nr(332, 291), stat::statx),
    broker("access", x86(21), access::access),
    broker("faccessat", nr(269, 48), access::faccessat),
    broker("faccessat2", nr(439, 439), access::faccessat2),
    broker("readlink", x86(89), links::readlink),
    broker("readlinkat", nr(267, 78), links::readlinkat),
    broker("chmod", x86(90), owner::chmod),
    broker("fchmodat", nr(268, 53), owner::fchmodat),
    broker("fchmodat2", nr(452, 452), owner::fchmodat2),
    broker("chown", x86(92), owner::chown),
    broker("lchown", x86(94), owner::lchown),
    broker("fchownat", nr(260, 54), owner::fchownat),
    broker("utime", x86(132), times::utime),
    broker("utimes", x86(235), times::utimes),
    broker("futimesat", x86(261), times::futimesat),
    broker("utimensat", nr(280, 88), times::utimensat),
    broker("truncate", nr(76, 45), size::truncate),
    broker("statfs", nr(137, 43), size::statfs),
    // Names.
    broker("mkdir", x86(83), names::mkdir),
    broker("mkdirat", nr(258, 34), names::mkdirat),
    broker("rmdir", x86(84), names::rmdir),
    broker("unlink", x86(87), names::unlink),
    broker("unlinkat", nr(263, 35), names::unlinkat),
    broker("rename", x86(82), names::rename),
    broker("renameat", nr(264, 38), names::renameat),
    broker("renameat2", nr(316, 276), names::renameat2),
    broker("link", x86(86), links::link),
    broker("linkat", nr(265, 37), links::linkat),
    broker("symlink", x86(88), links::symlink),
    broker("symlinkat", nr(266, 36), links::symlinkat),
    broker("mknod", x86(133), names::mknod),
    broker("mknodat", nr(259, 33), names::mknodat),
    // Working directory.
    broker("chdir", nr(80, 49), cwd::chdir),
    // Extended attributes.
    broker("setxattr", nr(188, 5), xattr::setxattr),
    broker("lsetxattr", nr(189, 6), xattr::lsetxattr),
    broker("getxattr", nr(191, 8), xattr::getxattr),
    broker("lgetxattr", nr(192, 9), xattr::lgetxattr),
    broker("listxattr", nr(194, 11), xattr::listxattr),
    broker("llistxattr", nr(195, 12), xattr::llistxattr),
    broker("removexattr", nr(197, 14), xattr::removexattr),
    broker("lremovexattr", nr(198, 15), xattr::lremovexattr),
    broker("setxattrat", nr(463, 463), xattr::setxattrat),
    broker("getxattrat", nr(464, 464), xattr::getxattrat),
    broker("listxattrat", nr(465, 465), xattr::listxattrat),
    broker("removexattrat", nr(466, 466), xattr::removexattrat),
    deny("file_getattr", nr(468, 468), Errno::OPNOTSUPP, "a captured tree has no inode flags"),
    deny("file_setattr", nr(469, 469), Errno::OPNOTSUPP, "a captured tree has no inode flags"),
    // Watches.
    broker("inotify_init", x86(253), inotify::init),
    broker("inotify_init1", nr(294, 26), inotify::init1),
    broker("inotify_add_watch", nr(254, 27), inotify::add_watch),
    deny("name_to_handle_at", nr(303, 264), Errno::OPNOTSUPP, "handles would name files past the resolver"),
];
