//! Attributes: what an existing inode pretends to be, its times and its length.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, OFlags, Timestamps};
use rustix::io::Errno;
use rustix::path::DecInt;

use super::own_copy::{Content, own_copy, successor};
use super::{Inode, reopen};
use crate::record::{InodeKey, Record, S_IFDIR, S_IFLNK, S_IFMT, real_directory_mode, real_file_mode};
use crate::root::Root;

impl Inode<'_> {
    fn kind(&self) -> u32 {
        u32::from(self.stat.stx_mode) & S_IFMT
    }

    fn permissions(&self) -> u32 {
        u32::from(self.stat.stx_mode) & 0o777
    }
}

/// Tells the journal and changes the record.
fn change(
    root: &Root,
    inode: &Inode<'_>,
    change: impl FnOnce(&mut Record) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let own = successor(root, inode)?;
    let inode = &own.as_ref().map_or(*inode, |own| own.inode(inode));
    root.touch_inode(inode.fd, inode.stat)?;
    root.records().update(inode.stat, inode.scope, inode.permissions(), change)
}

/// Sets the virtual permission bits (`0o7777`) and the real ones that go with them.
///
/// # Errors
/// EOPNOTSUPP on a symbolic link, as Linux answers.
pub fn chmod(root: &Root, inode: &Inode<'_>, mode: u32) -> Result<(), Errno> {
    if inode.kind() == S_IFLNK {
        return Err(Errno::OPNOTSUPP);
    }
    let own = successor(root, inode)?;
    let inode = &own.as_ref().map_or(*inode, |own| own.inode(inode));
    let device = root.records().with(inode.stat, |record| record.is_some_and(|r| r.special.is_some()));
    let real = match inode.kind() {
        _ if device => inode.permissions(),
        S_IFDIR => real_directory_mode(mode),
        _ => real_file_mode(mode),
    };
    root.touch_inode(inode.fd, inode.stat)?;
    let copied = if real == inode.permissions() { None } else { own_copy(root, inode, Content::Kept)? };
    let inode = &copied.as_ref().map_or(*inode, |copied| copied.inode(inode));
    if real != inode.permissions() {
        let own = DecInt::from_fd(inode.fd);
        rustix::fs::chmodat(root.own_fds(), own, Mode::from_raw_mode(real), AtFlags::empty())?;
    }
    root.records().update(inode.stat, inode.scope, real, |record| {
        record.mode = mode & 0o7777;
        Ok(())
    })?;
    note_shape(root, inode);
    Ok(())
}

/// After who may search a directory has changed.
fn note_shape(root: &Root, inode: &Inode<'_>) {
    if inode.kind() == S_IFDIR {
        root.reshaped();
    }
}

/// Takes the setuid bit away, and setgid where the group may execute: what Linux does on a write and on chown.
///
/// # Errors
/// procfs's, while the journal is told.
pub fn drop_setid(root: &Root, inode: &Inode<'_>) -> Result<(), Errno> {
    let has =
        root.records().with(inode.stat, |record| record.is_some_and(|r| without_setid(r.mode) != r.mode));
    if !has {
        return Ok(());
    }
    change(root, inode, |record| {
        record.mode = without_setid(record.mode);
        Ok(())
    })
}

fn without_setid(mode: u32) -> u32 {
    let mode = mode & !0o4000;
    if mode & 0o010 == 0 { mode } else { mode & !0o2000 }
}

/// Sets the virtual owner, group, or both. Setuid, setgid and file capabilities of anything but a directory go, as on Linux;
/// that holds also when neither id changes.
///
/// # Errors
/// procfs's, while the journal is told.
pub fn chown(root: &Root, inode: &Inode<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    let directory = inode.kind() == S_IFDIR;
    change(root, inode, |record| {
        record.uid = uid.unwrap_or(record.uid);
        record.gid = gid.unwrap_or(record.gid);
        if !directory {
            record.mode = without_setid(record.mode);
            record.xattrs.remove(b"security.capability".as_slice());
        }
        Ok(())
    })?;
    note_shape(root, inode);
    Ok(())
}

/// Sets access and modification time (`UTIME_NOW` and `UTIME_OMIT` as in utimensat); of a symbolic link itself.
///
/// # Errors
/// utimensat's.
pub fn set_times(root: &Root, inode: &Inode<'_>, times: &Timestamps) -> Result<(), Errno> {
    root.touch_inode(inode.fd, inode.stat)?;
    let own = own_copy(root, inode, Content::Kept)?;
    let inode = &own.as_ref().map_or(*inode, |own| own.inode(inode));
    if root.journal().is_recording() {
        root.journal().timed(InodeKey::of(inode.stat));
    }
    rustix::fs::utimensat(inode.fd, c"", times, AtFlags::EMPTY_PATH)
}

/// Cuts or extends a regular file.
///
/// # Errors
/// open's for writing and ftruncate's.
pub fn truncate(root: &Root, inode: &Inode<'_>, length: u64) -> Result<(), Errno> {
    let fd = reopen(root, inode, OFlags::WRONLY | OFlags::NONBLOCK)?;
    rustix::fs::ftruncate(fd.as_fd(), length)
}

/// What to do about an existing extended attribute (`XATTR_CREATE`, `XATTR_REPLACE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrWrite {
    /// Create or replace.
    Set,
    /// EEXIST if it is there.
    Create,
    /// ENODATA if it is not.
    Replace,
}

/// Records an extended attribute; nothing reaches the host's own.
///
/// # Errors
/// EEXIST and ENODATA as `how` says; ENOSPC past 64 KiB for one inode's names and values together.
pub fn set_xattr(
    root: &Root,
    inode: &Inode<'_>,
    name: &[u8],
    value: &[u8],
    how: XattrWrite,
) -> Result<(), Errno> {
    change(root, inode, |record| {
        match (how, record.xattrs.contains_key(name)) {
            (XattrWrite::Create, true) => return Err(Errno::EXIST),
            (XattrWrite::Replace, false) => return Err(Errno::NODATA),
            _ => {}
        }
        let others: usize =
            record.xattrs.iter().filter(|(n, _)| *n != name).map(|(n, v)| n.len() + v.len()).sum();
        if others + name.len() + value.len() > 1 << 16 {
            return Err(Errno::NOSPC);
        }
        record.xattrs.insert(name.to_vec(), value.to_vec());
        Ok(())
    })
}

/// Removes an extended attribute.
///
/// # Errors
/// ENODATA if it is not there.
pub fn remove_xattr(root: &Root, inode: &Inode<'_>, name: &[u8]) -> Result<(), Errno> {
    change(root, inode, |record| record.xattrs.remove(name).map(|_| ()).ok_or(Errno::NODATA))
}

/// The names of all extended attributes, in order.
#[must_use]
pub fn list_xattrs(root: &Root, inode: &Inode<'_>) -> Vec<Vec<u8>> {
    root.records()
        .with(inode.stat, |record| record.map(|r| r.xattrs.keys().cloned().collect()).unwrap_or_default())
}
