//! Copying up: a shared inode's place is taken by a copy that is this tree's alone.
//!
//! The copy is made beside the tree, where no guest sees it, and then renamed over every name the inode has here, each atomically. The
//! journal learns that the copy is the same file, so that a copy nobody writes to is no change. Descriptors that were open on
//! the shared inode keep reading it, as on overlayfs.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::path::DecInt;
use wbuild_layer::RootPath;

use super::Inode;
use crate::collect::set_mtime;
use crate::journal::mtime;
use crate::record::{InodeKey, Scope, birth};
use crate::root::{Located, Root, stat_at, stat_fd};
use crate::sharing::Left;

/// Names can move between looking them up and guarding them: so often we look again, and then nothing moves.
const TRIES: usize = 4;

/// Whether what the file holds is wanted in the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// It is.
    Kept,
    /// It is about to be cut to nothing.
    Dropped,
}

/// The inode that stands for a shared one in this tree.
#[derive(Debug)]
pub struct Own {
    /// `O_PATH` or better.
    pub fd: OwnedFd,
    /// Its real stat.
    pub stat: Statx,
}

impl Own {
    /// It, in place of `instead`.
    #[must_use]
    pub fn inode(&self, instead: &Inode<'_>) -> Inode<'_> {
        Inode { fd: self.fd.as_fd(), stat: &self.stat, scope: instead.scope }
    }
}

/// The copy that took this inode's place earlier, if one did and it still stands where it was put.
pub(super) fn successor(root: &Root, inode: &Inode<'_>) -> Result<Option<Own>, Errno> {
    if !root.sharing().may_hold(inode.stat) {
        return Ok(None);
    }
    let Some(Left::Copied(key, path)) = root.sharing().left_as(inode.stat) else { return Ok(None) };
    let Some(found) = root.find(&path)? else { return Ok(None) };
    Ok((InodeKey::of(&found.stat) == key).then_some(Own { fd: found.fd, stat: found.stat }))
}

/// Before content, times or real permission bits of an inode change: the inode to change instead, or `None` if it is this tree's alone.
///
/// # Errors
/// The host's; EBUSY if its names keep moving.
pub fn own_copy(root: &Root, inode: &Inode<'_>, content: Content) -> Result<Option<Own>, Errno> {
    if inode.scope != Scope::Tree || !root.sharing().may_hold(inode.stat) {
        return Ok(None);
    }
    for attempt in 0..=TRIES {
        let everything = (attempt == TRIES).then(|| root.guard_every_name());
        if let Some(left) = root.sharing().left_as(inode.stat) {
            if let (Left::Copied(..), Some(own)) = (&left, successor(root, inode)?) {
                return Ok(Some(own));
            }
            return nameless_copy(root, inode, content).map(Some);
        }
        let names = names_of(root, inode)?;
        let last_names: Vec<&[u8]> = names.iter().filter_map(RootPath::file_name).collect();
        let _guards = everything.is_none().then(|| root.guard_all(&last_names));
        let _alone = root.sharing().alone();
        // A name that came or went since we looked is not guarded, and may be on its way out: the count would be wrong.
        if root.sharing().left_as(inode.stat).is_some() || names_of(root, inode)? != names {
            continue;
        }
        let stat = stat_fd(inode.fd)?;
        if birth(&stat) == birth(inode.stat) && !root.is_shared(&stat) {
            return Ok(None);
        }
        if let Some(places) = places(root, &names, &stat)? {
            return replace(root, inode, &stat, &places, content).map(Some);
        }
    }
    Err(Errno::BUSY)
}

/// All names of an inode of the tree.
fn names_of(root: &Root, inode: &Inode<'_>) -> Result<Vec<RootPath>, Errno> {
    let names = root.links().names(&InodeKey::of(inode.stat));
    if !names.is_empty() {
        return Ok(names);
    }
    match root.locate(inode.fd)? {
        Located::Tree(path) => Ok(vec![path]),
        // It was opened in the tree: whatever this is, it is not written to.
        Located::Outside(_) => Err(Errno::BUSY),
    }
}

/// A name of the inode, in a directory that is open.
struct Place<'a> {
    dir: OwnedFd,
    name: CString,
    path: &'a RootPath,
}

/// All names of the inode; `None` if one of them does not lead to it any more.
fn places<'a>(root: &Root, names: &'a [RootPath], stat: &Statx) -> Result<Option<Vec<Place<'a>>>, Errno> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut places = Vec::new();
    for path in names {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        let dir = match rustix::fs::openat2(root.fd(), parent.as_path(), flags, Mode::empty(), how) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        match stat_at(dir.as_fd(), name.as_c_str()) {
            Ok(at) if InodeKey::of(&at) == InodeKey::of(stat) => places.push(Place { dir, name, path }),
            Ok(_) | Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
    Ok(Some(places))
}

fn replace(
    root: &Root,
    inode: &Inode<'_>,
    stat: &Statx,
    places: &[Place<'_>],
    content: Content,
) -> Result<Own, Errno> {
    let draft = Draft::new(root);
    let copy = draft.create(stat)?;
    let filled = fill(root, inode.fd, &copy, stat, content).and_then(|()| root.give(copy.as_fd()));
    if let Err(errno) = filled {
        draft.remove();
        return Err(errno);
    }
    let copied = stat_fd(copy.as_fd())?;
    root.records().set(&copied, root.records().get(stat));
    for (index, place) in places.iter().enumerate() {
        if let Some(parent) = place.path.parent() {
            root.touch_names(place.dir.as_fd(), &parent)?;
        }
        let before = stat_fd(place.dir.as_fd())?;
        if index + 1 < places.len() {
            draft.link(&copy, index + 1)?;
        }
        rustix::fs::renameat(&root.dir, draft.name(index), &place.dir, place.name.as_c_str())?;
        set_mtime(place.dir.as_fd(), mtime(&before))?;
    }
    // Its status change time is known only now.
    let copied = stat_fd(copy.as_fd())?;
    let (old, new) = (InodeKey::of(stat), InodeKey::of(&copied));
    root.links().replace(old, std::collections::BTreeSet::new());
    if places.len() > 1 {
        root.links().replace(new, places.iter().map(|place| place.path.clone()).collect());
    }
    root.journal().replaced(old, &copied);
    root.records().set_nameless(stat);
    if let Some(first) = places.first() {
        root.sharing().leave(stat, Left::Copied(new, first.path.clone()));
    }
    Ok(Own { fd: copy, stat: copied })
}

/// What has no name in this tree any more, but may have one in another, is copied to a file without a name.
fn nameless_copy(root: &Root, inode: &Inode<'_>, content: Content) -> Result<Own, Errno> {
    let stat = stat_fd(inode.fd)?;
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(u32::from(stat.stx_mode) & 0o777);
    let dir = root.dir.as_fd();
    let copy = rustix::fs::openat(dir, c".", flags, mode)?;
    fill(root, inode.fd, &copy, &stat, content)?;
    root.give(copy.as_fd())?;
    let copied = stat_fd(copy.as_fd())?;
    root.records().set(&copied, root.records().get(&stat));
    root.records().set_nameless(&copied);
    Ok(Own { fd: copy, stat: copied })
}

/// Names beside the tree for a copy on its way.
struct Draft<'a> {
    root: &'a Root,
    number: u64,
}

impl<'a> Draft<'a> {
    fn new(root: &'a Root) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { root, number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// Two in turn: the one that is renamed next, and the one it is linked from.
    fn name(&self, index: usize) -> String {
        format!("copy-{}-{}", self.number, index % 2)
    }

    fn create(&self, stat: &Statx) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let permissions = Mode::from_raw_mode(u32::from(stat.stx_mode) & 0o777);
        let copy = rustix::fs::openat(&self.root.dir, self.name(0), flags, permissions)?;
        rustix::fs::fchmod(&copy, permissions)?;
        Ok(copy)
    }

    /// Gives the copy one more name.
    fn link(&self, copy: &OwnedFd, index: usize) -> Result<(), Errno> {
        let (fds, dir) = (self.root.own_fds(), &self.root.dir);
        rustix::fs::linkat(fds, DecInt::from_fd(copy), dir, self.name(index), AtFlags::SYMLINK_FOLLOW)
    }

    fn remove(&self) {
        // The tree is removed as a whole: a draft that stays is only in the way of nobody.
        let _gone = rustix::fs::unlinkat(&self.root.dir, self.name(0), AtFlags::empty());
    }
}

fn fill(
    root: &Root,
    from: BorrowedFd<'_>,
    to: &OwnedFd,
    stat: &Statx,
    content: Content,
) -> Result<(), Errno> {
    if content == Content::Kept && stat.stx_size > 0 {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let source = rustix::fs::openat(root.own_fds(), DecInt::from_fd(from), flags, Mode::empty())?;
        copy_content(&source, to, stat.stx_size)?;
    }
    let time = |t: rustix::fs::StatxTimestamp| Timespec { tv_sec: t.tv_sec, tv_nsec: t.tv_nsec.into() };
    let times = Timestamps { last_access: time(stat.stx_atime), last_modification: time(stat.stx_mtime) };
    rustix::fs::futimens(to, &times)
}

/// Copies what a regular file holds, by reflink where the filesystem can.
pub(crate) fn copy_content(from: &OwnedFd, to: &OwnedFd, size: u64) -> Result<(), Errno> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let mut rest = size;
    while rest > 0 {
        let most = usize::try_from(rest.min(1 << 30)).unwrap_or(1 << 30);
        match rustix::fs::copy_file_range(from, None, to, None, most) {
            // Cut meanwhile: nobody writes to a shared inode, so this is its end.
            Ok(0) => return Ok(()),
            Ok(copied) => rest -= copied as u64,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
