//! Names: making, removing and moving them, and opening what they lead to.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Statx};
use rustix::io::Errno;
use rustix::path::DecInt;
use wbuild_layer::RootPath;

use super::own_copy::{Content, own_copy, successor};
use super::{Dir, Fresh, Inode};
use crate::links::PrefixMove;
use crate::record::{InodeKey, Record, S_IFDIR, S_IFMT, Special, real_directory_mode, real_file_mode};
use crate::root::{Located, Root, stat_at, stat_fd};
use crate::sharing::Left;

/// Makes a socket at a name in a directory.
pub type Bind<'a> = dyn FnMut(BorrowedFd<'_>, &[u8]) -> Result<(), Errno> + 'a;

fn is_directory(stat: &Statx) -> bool {
    u32::from(stat.stx_mode) & S_IFMT == S_IFDIR
}

/// Tells the journal that `name` in `dir` is about to change; answers its path.
fn touch(root: &Root, dir: &Dir<'_>, name: &CStr) -> Result<Option<RootPath>, Errno> {
    let path = dir.child(name.to_bytes())?;
    if let (Some(parent), Some(path)) = (dir.path, &path) {
        root.touch_names(dir.fd, parent)?;
        root.touch_at(dir.fd, name, path)?;
    }
    Ok(path)
}

/// Sets the real permission bits where a umask or an inherited setgid bit made others, and records the rest.
fn record_new(
    root: &Root,
    dir: &Dir<'_>,
    name: &CStr,
    real: Option<u32>,
    record: Record,
) -> Result<(), Errno> {
    let mut stat = stat_at(dir.fd, name)?;
    if let Some(real) = real
        && u32::from(stat.stx_mode) & 0o777 != real
    {
        rustix::fs::chmodat(dir.fd, name, Mode::from_raw_mode(real), AtFlags::empty())?;
        stat.stx_mode = with_permissions(stat.stx_mode, real);
    }
    root.records().set(&stat, Record { scope: dir.scope, ..record });
    root.give_at(dir.fd, name)
}

fn with_permissions(mode: u16, permissions: u32) -> u16 {
    (mode & 0o170_000) | u16::try_from(permissions & 0o777).unwrap_or(0)
}

fn fresh_record(fresh: &Fresh) -> Record {
    Record { uid: fresh.uid, gid: fresh.gid, mode: fresh.mode & 0o7777, ..Record::default() }
}

/// Makes a directory.
///
/// # Errors
/// mkdirat's.
pub fn make_dir(root: &Root, dir: &Dir<'_>, name: &CStr, fresh: &Fresh) -> Result<(), Errno> {
    let _guard = root.guard_name(name.to_bytes());
    touch(root, dir, name)?;
    let real = real_directory_mode(fresh.mode);
    rustix::fs::mkdirat(dir.fd, name, Mode::from_raw_mode(real))?;
    record_new(root, dir, name, Some(real), fresh_record(fresh))
}

/// Makes a regular file that is not there yet and opens it with `flags` (access mode, `O_APPEND`, ..).
///
/// # Errors
/// openat's with `O_CREAT | O_EXCL`.
pub fn create(
    root: &Root,
    dir: &Dir<'_>,
    name: &CStr,
    flags: OFlags,
    fresh: &Fresh,
) -> Result<OwnedFd, Errno> {
    let _guard = root.guard_name(name.to_bytes());
    touch(root, dir, name)?;
    let real = real_file_mode(fresh.mode);
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir.fd, name, flags, Mode::from_raw_mode(real))?;
    record_open(root, &fd, dir, real, fresh)?;
    Ok(fd)
}

/// Makes a file without a name (`O_TMPFILE`); [`link`] can give it one.
///
/// # Errors
/// openat's with `O_TMPFILE`.
pub fn create_nameless(root: &Root, dir: &Dir<'_>, flags: OFlags, fresh: &Fresh) -> Result<OwnedFd, Errno> {
    let real = real_file_mode(fresh.mode);
    let flags = flags | OFlags::TMPFILE | OFlags::CLOEXEC;
    // The directory may be open O_PATH only: "." opens it anew.
    let fd = rustix::fs::openat(dir.fd, c".", flags, Mode::from_raw_mode(real))?;
    let stat = record_open(root, &fd, dir, real, fresh)?;
    root.records().set_nameless(&stat);
    Ok(fd)
}

fn record_open(root: &Root, fd: &OwnedFd, dir: &Dir<'_>, real: u32, fresh: &Fresh) -> Result<Statx, Errno> {
    let mut stat = stat_fd(fd.as_fd())?;
    if u32::from(stat.stx_mode) & 0o777 != real {
        rustix::fs::fchmod(fd, Mode::from_raw_mode(real))?;
        stat.stx_mode = with_permissions(stat.stx_mode, real);
    }
    root.records().set(&stat, Record { scope: dir.scope, ..fresh_record(fresh) });
    root.give(fd.as_fd())?;
    Ok(stat)
}

/// Opens an existing inode anew with `flags`, exactly that inode whatever happened to its names. For writing it is put into the
/// journal first. Links and `O_PATH` are not for here, nor FIFOs unless `O_NONBLOCK` is set: it may block.
///
/// # Errors
/// open's.
pub fn reopen(root: &Root, inode: &Inode<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    if flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC) {
        root.touch_inode(inode.fd, inode.stat)?;
        let content = if flags.contains(OFlags::TRUNC) { Content::Dropped } else { Content::Kept };
        if let Some(own) = own_copy(root, inode, content)? {
            return open_again(root, own.fd.as_fd(), flags);
        }
    }
    open_again(root, inode.fd, flags)
}

fn open_again(root: &Root, fd: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    // The name in our own /proc/self/fd is itself a link.
    let flags = flags.difference(OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW) | OFlags::CLOEXEC;
    rustix::fs::openat(root.own_fds(), DecInt::from_fd(fd), flags, Mode::empty())
}

/// Makes a device: an empty file in reality, which nobody can open (real mode 000).
///
/// # Errors
/// openat's with `O_CREAT | O_EXCL`.
pub fn make_node(
    root: &Root,
    dir: &Dir<'_>,
    name: &CStr,
    special: Special,
    fresh: &Fresh,
) -> Result<(), Errno> {
    let _guard = root.guard_name(name.to_bytes());
    touch(root, dir, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir.fd, name, flags, Mode::empty())?;
    let stat = stat_fd(fd.as_fd())?;
    let record = Record { special: Some(special), scope: dir.scope, ..fresh_record(fresh) };
    root.records().set(&stat, record);
    root.give(fd.as_fd())
}

/// Makes a FIFO.
///
/// # Errors
/// mknodat's.
pub fn make_fifo(root: &Root, dir: &Dir<'_>, name: &CStr, fresh: &Fresh) -> Result<(), Errno> {
    let _guard = root.guard_name(name.to_bytes());
    touch(root, dir, name)?;
    root.set_holds_fifos();
    let real = real_file_mode(fresh.mode);
    rustix::fs::mknodat(dir.fd, name, FileType::Fifo, Mode::from_raw_mode(real), 0)?;
    record_new(root, dir, name, Some(real), fresh_record(fresh))
}

/// Lets `bind` make a socket at the name and records it.
///
/// # Errors
/// `bind`'s.
pub fn bind_socket(
    root: &Root,
    dir: &Dir<'_>,
    name: &CStr,
    fresh: &Fresh,
    bind: &mut Bind<'_>,
) -> Result<(), Errno> {
    let _guard = root.guard_name(name.to_bytes());
    touch(root, dir, name)?;
    bind(dir.fd, name.to_bytes())?;
    record_new(root, dir, name, Some(real_file_mode(fresh.mode)), fresh_record(fresh))
}

/// Makes an unbound socket at a name: what [`bind_socket`] needs for mknod.
///
/// # Errors
/// mknodat's.
pub fn make_socket(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    rustix::fs::mknodat(dir, name, FileType::Socket, Mode::from_raw_mode(0o755), 0)
}

/// Makes a symbolic link.
///
/// # Errors
/// symlinkat's.
pub fn symlink(root: &Root, dir: &Dir<'_>, name: &CStr, text: &CStr, fresh: &Fresh) -> Result<(), Errno> {
    let _guard = root.guard_name(name.to_bytes());
    touch(root, dir, name)?;
    rustix::fs::symlinkat(text, dir.fd, name)?;
    record_new(root, dir, name, None, Record { mode: 0o777, ..fresh_record(fresh) })
}

/// Removes a name that is no directory.
///
/// # Errors
/// unlinkat's.
pub fn unlink(root: &Root, dir: &Dir<'_>, name: &CStr) -> Result<(), Errno> {
    remove(root, dir, name, AtFlags::empty())
}

/// Removes an empty directory.
///
/// # Errors
/// unlinkat's with `AT_REMOVEDIR`.
pub fn remove_dir(root: &Root, dir: &Dir<'_>, name: &CStr) -> Result<(), Errno> {
    remove(root, dir, name, AtFlags::REMOVEDIR)
}

fn remove(root: &Root, dir: &Dir<'_>, name: &CStr, flags: AtFlags) -> Result<(), Errno> {
    let _guard = root.guard_name(name.to_bytes());
    let stat = stat_at(dir.fd, name)?;
    let path = touch(root, dir, name)?;
    rustix::fs::unlinkat(dir.fd, name, flags)?;
    if is_directory(&stat) {
        root.reshaped();
    }
    name_removed(root, &stat, path.as_ref());
    Ok(())
}

/// One name of the inode, `path`, is gone; `stat` is older than that.
fn name_removed(root: &Root, stat: &Statx, path: Option<&RootPath>) {
    let key = InodeKey::of(stat);
    // Two of its names may go at once: whoever is second has to see it.
    let _alone = root.sharing().may_hold(stat).then(|| root.sharing().alone());
    if root.own_links(stat) <= 1 || is_directory(stat) {
        if root.is_shared(stat) {
            root.sharing().leave(stat, Left::Removed);
        }
        root.journal().gone(key);
        root.records().set_nameless(stat);
        root.links().forget(&key);
    } else if let Some(path) = path {
        root.links().remove(&key, path);
    }
}

/// Renames, with renameat2's flags. Both directories are of the tree, or both of one graft.
///
/// # Errors
/// renameat2's; EXDEV between tree and graft.
pub fn rename(
    root: &Root,
    from: (&Dir<'_>, &CStr),
    to: (&Dir<'_>, &CStr),
    flags: RenameFlags,
) -> Result<(), Errno> {
    if from.0.scope != to.0.scope {
        return Err(Errno::XDEV);
    }
    let _guards = root.guard_names([from.1.to_bytes(), to.1.to_bytes()]);
    let source = stat_at(from.0.fd, from.1)?;
    let target = match stat_at(to.0.fd, to.1) {
        Ok(stat) => Some(stat),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(errno),
    };
    let source_path = touch(root, from.0, from.1)?;
    let target_path = touch(root, to.0, to.1)?;
    rustix::fs::renameat_with(from.0.fd, from.1, to.0.fd, to.1, flags)?;
    if is_directory(&source) || target.as_ref().is_some_and(is_directory) {
        root.reshaped();
    }

    let key = InodeKey::of(&source);
    if target.as_ref().is_some_and(|target| InodeKey::of(target) == key) {
        // Two names of one inode: the kernel does nothing (rename(2)).
        return Ok(());
    }
    let exchanged = flags.contains(RenameFlags::EXCHANGE);
    if let (Some(target), false) = (&target, exchanged) {
        name_removed(root, target, target_path.as_ref());
    }
    let (Some(from), Some(to)) = (source_path, target_path) else { return Ok(()) };
    if is_directory(&source) {
        root.journal().moved(key);
    }
    match target.filter(|_| exchanged) {
        Some(target) => {
            if is_directory(&target) {
                root.journal().moved(InodeKey::of(&target));
            }
            root.links().move_prefix(&from, &to, PrefixMove::Exchanged);
        }
        None if is_directory(&source) => root.links().move_prefix(&from, &to, PrefixMove::To),
        None => root.links().rename(&key, &from, &to),
    }
    Ok(())
}

/// Gives an inode one more name, or a nameless file its first.
///
/// # Errors
/// linkat's; EXDEV between tree and graft.
pub fn link(root: &Root, inode: &Inode<'_>, dir: &Dir<'_>, name: &CStr) -> Result<(), Errno> {
    if inode.scope != dir.scope {
        return Err(Errno::XDEV);
    }
    let own = successor(root, inode)?;
    let inode = &own.as_ref().map_or(*inode, |own| own.inode(inode));
    let _guard = root.guard_name(name.to_bytes());
    let _alone = root.sharing().may_hold(inode.stat).then(|| root.sharing().alone());
    let path = touch(root, dir, name)?;
    let links = root.own_links(inode.stat);
    let first = match root.locate(inode.fd)? {
        Located::Tree(path) if links > 0 => Some(path),
        _ => None,
    };
    let own = DecInt::from_fd(inode.fd);
    rustix::fs::linkat(root.own_fds(), own, dir.fd, name, AtFlags::SYMLINK_FOLLOW)?;
    if links == 0 {
        root.sharing().rejoin(inode.stat);
        root.records().set_named(inode.stat);
    } else if let Some(path) = path {
        root.links().add(InodeKey::of(inode.stat), first, path);
    }
    Ok(())
}
