//! Discretionary access control over virtual owners and modes, as Linux has it (man 7 path_resolution, capabilities).
//!
//! Pure: every stat here is a guest's view, after [`wbuild_rootfs::Records::show`].

use rustix::fs::Statx;
use wbuild_rootfs::{S_IFDIR, S_IFMT};

use crate::{Capability, Credentials, Errno};

/// What is wanted of an inode: read, write, execute (search) bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want(u32);

impl Want {
    pub(crate) const READ: Self = Self(4);
    pub(crate) const WRITE: Self = Self(2);
    pub(crate) const EXECUTE: Self = Self(1);
    pub(crate) const SEARCH: Self = Self(1);
    /// What making or removing a name asks of the directory.
    pub(crate) const NAMES: Self = Self(3);

    pub(crate) fn bits(bits: u32) -> Self {
        Self(bits & 7)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

fn mode(stat: &Statx) -> u32 {
    u32::from(stat.stx_mode)
}

fn is_directory(stat: &Statx) -> bool {
    mode(stat) & S_IFMT == S_IFDIR
}

/// EACCES unless the credentials grant what is wanted.
pub(crate) fn may(who: &Credentials, stat: &Statx, want: Want) -> Result<(), Errno> {
    let shift = if who.uid.fs == stat.stx_uid {
        6
    } else if who.in_group(stat.stx_gid) {
        3
    } else {
        0
    };
    if (mode(stat) >> shift) & want.0 == want.0 {
        return Ok(());
    }
    let executable = is_directory(stat) || mode(stat) & 0o111 != 0;
    if who.can(Capability::DAC_OVERRIDE) && (want.0 & 1 == 0 || executable) {
        return Ok(());
    }
    let readable = if is_directory(stat) { 5 } else { 4 };
    if who.can(Capability::DAC_READ_SEARCH) && want.0 & !readable == 0 {
        return Ok(());
    }
    Err(Errno::ACCESS)
}

/// True if the credentials own the inode, or may act as if.
pub(crate) fn owns(who: &Credentials, stat: &Statx) -> bool {
    who.uid.fs == stat.stx_uid || who.can(Capability::FOWNER)
}

/// EPERM unless a name of `victim` may be removed from the directory `dir` as far as its sticky bit is concerned.
pub(crate) fn may_take_from(who: &Credentials, dir: &Statx, victim: &Statx) -> Result<(), Errno> {
    if mode(dir) & 0o1000 == 0 || who.uid.fs == dir.stx_uid || owns(who, victim) {
        return Ok(());
    }
    Err(Errno::PERM)
}

/// Group and permission bits of something new in `dir`; `asked` has the umask applied.
pub(crate) fn inherit(who: &Credentials, dir: &Statx, asked: u32, directory: NewKind) -> (u32, u32) {
    let setgid = mode(dir) & 0o2000 != 0;
    let gid = if setgid { dir.stx_gid } else { who.gid.fs };
    let bits = match directory {
        NewKind::Directory if setgid => asked | 0o2000,
        NewKind::Directory => asked,
        NewKind::Other => kept_setgid(who, gid, asked, 0o2010),
    };
    (gid, bits)
}

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewKind {
    Directory,
    Other,
}

/// `asked` without setgid where Linux takes it from somebody outside the group; `bits` are those that must be set for that.
pub(crate) fn kept_setgid(who: &Credentials, gid: u32, asked: u32, bits: u32) -> u32 {
    if asked & bits == bits && !who.in_group(gid) && !who.can(Capability::FSETID) {
        asked & !0o2000
    } else {
        asked
    }
}
