//! One captured rootfs on disk and in memory.
//!
//! `<tree>/fs` is the guest's root, `<tree>/records` the persisted metadata. One step owns a tree at a time; within it, any number of
//! threads work through `&Root`. The directory is not renamed while it is open. Nothing here follows a link or trusts a path
//! that a guest could change: the tree is reached through its descriptor only.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;
use rustix::path::DecInt;
use wbuild_layer::RootPath;

use crate::check::Snapshot;
use crate::journal::{Before, Journal, Touch};
use crate::links::Links;
use crate::record::{InodeKey, Record, Records};
use crate::sharing::{Left, Sharing};
use crate::whereabouts::Whereabouts;
use crate::{JournalCheck, RootError};

/// Who owns the files of a tree on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Whoever runs this process (the normal, unprivileged case; also a supervisor under the scratch uid).
    Caller,
    /// wbuild runs as root and gives every file it creates to this unprivileged user, as whom the steps run.
    Scratch {
        /// Host uid.
        uid: u32,
        /// Host gid.
        gid: u32,
    },
}

/// Where a descriptor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// At this path of the tree.
    Tree(RootPath),
    /// Elsewhere: what `/proc/self/fd` says.
    Outside(Vec<u8>),
}

/// The names of the directories that the broker makes up, with their virtual modes.
pub const VIEWS: [(&str, u32); 3] = [("proc", 0o555), ("dev", 0o755), ("sys", 0o555)];

const GUARDS: usize = 64;

/// What every stat here asks for.
pub(crate) const STATX: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// See the module.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    pub(crate) dir: OwnedFd,
    tree: OwnedFd,
    own_fds: OwnedFd,
    prefix: Vec<u8>,
    key: InodeKey,
    owner: Owner,
    records: Records,
    links: Links,
    sharing: Sharing,
    journal: Journal,
    fifos: AtomicBool,
    shape: AtomicU64,
    whereabouts: Whereabouts,
    guards: [Mutex<()>; GUARDS],
    pub(crate) walked: Mutex<Option<Snapshot>>,
}

fn host<T>(action: &'static str, path: &Path, result: Result<T, Errno>) -> Result<T, RootError> {
    result.map_err(|source| RootError::Host { action, path: path.to_owned(), source })
}

impl Root {
    /// Makes the directory `path` (its parent exists) with an empty tree: a root directory 0:0 0755 and the three placeholders of the
    /// views. Nothing is persisted yet.
    ///
    /// # Errors
    /// The directory exists or cannot be made.
    pub fn create(path: &Path, owner: Owner) -> Result<Self, RootError> {
        host("create", path, rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)))?;
        let fs = path.join("fs");
        host("create", &fs, rustix::fs::mkdir(&fs, Mode::from_raw_mode(0o755)))?;
        host("set the mode of", &fs, rustix::fs::chmod(&fs, Mode::from_raw_mode(0o755)))?;
        let root = Self::attach(path, owner)?;
        for fd in [root.dir.as_fd(), root.tree.as_fd()] {
            host("give away", path, root.give(fd))?;
        }
        for (name, mode) in VIEWS {
            let made = root.make_view(name, mode);
            host("create", &fs.join(name), made)?;
        }
        Ok(root)
    }

    /// Opens a tree that [`Root::persist`] has left.
    ///
    /// # Errors
    /// It is not there, or its records are not readable.
    pub fn open(path: &Path, owner: Owner) -> Result<Self, RootError> {
        let root = Self::attach(path, owner)?;
        crate::persist::load(&root)?;
        Ok(root)
    }

    /// Writes the records and the hard-link index beside the tree (temporary file and rename; no fsync: a tree is scratch data).
    ///
    /// # Errors
    /// The host's.
    pub fn persist(&self) -> Result<(), RootError> {
        crate::persist::save(self)
    }

    fn attach(path: &Path, owner: Owner) -> Result<Self, RootError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let dir = host("open", path, rustix::fs::open(path, flags, Mode::empty()))?;
        let fs = path.join("fs");
        let tree = host("open", &fs, rustix::fs::openat(&dir, "fs", flags, Mode::empty()))?;
        let proc_path = Path::new("/proc/self/fd");
        let own_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own_fds = host("open", proc_path, rustix::fs::open(proc_path, own_flags, Mode::empty()))?;
        let mut prefix =
            host("locate", &fs, rustix::fs::readlinkat(&own_fds, DecInt::from_fd(&tree), Vec::new()))?
                .into_bytes();
        if prefix == b"/" {
            prefix.clear();
        }
        let stat = host("stat", &fs, stat_fd(tree.as_fd()))?;
        Ok(Self {
            path: path.to_owned(),
            dir,
            tree,
            own_fds,
            prefix,
            key: InodeKey::of(&stat),
            owner,
            records: Records::default(),
            links: Links::default(),
            sharing: Sharing::default(),
            journal: Journal::default(),
            fifos: AtomicBool::new(false),
            shape: AtomicU64::new(0),
            whereabouts: Whereabouts::default(),
            guards: std::array::from_fn(|_| Mutex::new(())),
            walked: Mutex::new(None),
        })
    }

    fn make_view(&self, name: &str, mode: u32) -> Result<(), Errno> {
        rustix::fs::mkdirat(&self.tree, name, Mode::from_raw_mode(0o755))?;
        rustix::fs::chmodat(&self.tree, name, Mode::from_raw_mode(0o755), AtFlags::empty())?;
        let stat = stat_at(self.tree.as_fd(), name)?;
        self.records.set(&stat, Record { mode, ..Record::default() });
        self.give_at(self.tree.as_fd(), name)
    }

    /// Starts the journal of a step.
    ///
    /// # Errors
    /// The walk's, if the journal is to be checked.
    pub fn begin(&self, check: JournalCheck) -> Result<(), RootError> {
        let walked = match check {
            JournalCheck::Off => None,
            JournalCheck::FullWalk => Some(Snapshot::take(self)?),
        };
        *self.walked.lock().unwrap_or_else(PoisonError::into_inner) = walked;
        self.journal.start();
        Ok(())
    }

    /// Closes the views to the kernel's own path walk: their placeholders, made if they are absent, get the real mode 000, so that a
    /// walk by their unprivileged owner ends in EACCES exactly there. Before a RUN step begins.
    ///
    /// # Errors
    /// The host's.
    pub fn close_views(&self) -> Result<(), RootError> {
        self.set_views(Mode::empty())
    }

    /// Opens the placeholders of the views again, for the builder and for unpacking onto a tree that a step has used.
    ///
    /// # Errors
    /// The host's.
    pub fn open_views(&self) -> Result<(), RootError> {
        self.set_views(Mode::from_raw_mode(0o755))
    }

    fn set_views(&self, real: Mode) -> Result<(), RootError> {
        for (name, mode) in VIEWS {
            let inside = |source| RootError::Inside {
                action: "prepare",
                path: RootPath::new(name).unwrap_or_default(),
                source,
            };
            let stat = match stat_at(self.tree.as_fd(), name) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => {
                    self.make_view(name, mode).map_err(inside)?;
                    stat_at(self.tree.as_fd(), name).map_err(inside)?
                }
                Err(errno) => return Err(inside(errno)),
            };
            // An image may have something else than a directory there; the view hides it all the same.
            if u32::from(stat.stx_mode) & crate::record::S_IFMT != crate::record::S_IFDIR {
                continue;
            }
            let record = self.records.get(&stat);
            rustix::fs::chmodat(&self.tree, name, real, AtFlags::empty()).map_err(inside)?;
            let mut after = stat;
            after.stx_mode = (stat.stx_mode & 0o170_000) | u16::try_from(real.as_raw_mode()).unwrap_or(0);
            self.records.set(&after, record);
        }
        Ok(())
    }

    /// The guest's root directory (`O_PATH`).
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.tree.as_fd()
    }

    /// The tree's directory on the host, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The guest's root directory as the kernel prints it (what `/proc/PID/maps` would show); no slash at its end.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The inode of the guest's root directory.
    #[must_use]
    pub fn key(&self) -> InodeKey {
        self.key
    }

    /// Who owns what is created.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The metadata records.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The hard-link index.
    #[must_use]
    pub fn links(&self) -> &Links {
        &self.links
    }

    pub(crate) fn sharing(&self) -> &Sharing {
        &self.sharing
    }

    /// How many names of this tree lead to the inode of a real stat.
    #[must_use]
    pub fn own_links(&self, stat: &Statx) -> u32 {
        if !self.sharing.may_hold(stat) {
            return stat.stx_nlink;
        }
        match self.sharing.left_as(stat) {
            Some(Left::Removed) => 0,
            Some(Left::Copied(..)) => 1,
            None => u32::try_from(self.links.names(&InodeKey::of(stat)).len()).unwrap_or(u32::MAX).max(1),
        }
    }

    /// True if another tree has names of this inode, too: then it must not be changed. `stat` is of now.
    pub(crate) fn is_shared(&self, stat: &Statx) -> bool {
        self.sharing.may_hold(stat) && stat.stx_nlink > self.own_links(stat)
    }

    /// Corrects the link count of a real stat to this tree's.
    pub fn count_links(&self, stat: &mut Statx) {
        stat.stx_nlink = self.own_links(stat);
    }

    /// Writes the guest's view of an inode over its real stat.
    pub fn show(&self, stat: &mut Statx) {
        self.count_links(stat);
        self.records.show(stat);
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// By how many bytes the files that were touched have grown since the step began; counted no further than `enough`. Files that are
    /// open and have lost their names are not counted.
    #[must_use]
    pub fn growth(&self, enough: u64) -> u64 {
        let mut inodes = std::collections::HashSet::new();
        let mut sum = 0;
        for (path, before) in self.journal.touched() {
            // What is gone holds nothing; what cannot be looked at now is looked at the next time.
            let Ok(Some(fd)) = self.open_path(&path) else { continue };
            let Ok(stat) = stat_fd(fd.as_fd()) else { continue };
            if u32::from(stat.stx_mode) & crate::record::S_IFMT == crate::record::S_IFREG
                && inodes.insert(InodeKey::of(&stat))
            {
                // A hole takes no room.
                sum += stat.stx_size.min(stat.stx_blocks * 512).saturating_sub(before);
            }
            if sum > enough {
                break;
            }
        }
        sum
    }

    /// This process's `/proc/self/fd` (`O_PATH`): a name in it reopens one of our descriptors exactly.
    #[must_use]
    pub fn own_fds(&self) -> BorrowedFd<'_> {
        self.own_fds.as_fd()
    }

    /// True if a FIFO may stand in the tree, so that an open could block.
    #[must_use]
    pub fn may_hold_fifos(&self) -> bool {
        self.fifos.load(Ordering::Acquire)
    }

    /// A number that is another one after each change of what a directory's path leads to or of who may search it: what was learnt about
    /// directories by path holds while it stays.
    #[must_use]
    pub fn shape(&self) -> u64 {
        self.shape.load(Ordering::Acquire)
    }

    pub(crate) fn whereabouts(&self) -> &Whereabouts {
        &self.whereabouts
    }

    /// Says that such a change was made.
    pub(crate) fn reshaped(&self) {
        self.shape.fetch_add(1, Ordering::AcqRel);
    }

    /// Says so, before the first is made.
    pub(crate) fn set_holds_fifos(&self) {
        self.fifos.store(true, Ordering::Release);
    }

    /// Held while a name is made, removed or replaced in any directory: between making an inode and recording it, nothing else can be put
    /// in its place, since all names change through this crate. One of 64 by the name; two are taken in index order.
    pub(crate) fn guard_names<'a>(&'a self, names: [&[u8]; 2]) -> [Option<MutexGuard<'a, ()>>; 2] {
        let [a, b] = names.map(guard_index);
        let lock = |at: usize| self.guards[at].lock().unwrap_or_else(PoisonError::into_inner);
        let first = lock(a.min(b));
        let second = (a != b).then(|| lock(a.max(b)));
        [Some(first), second]
    }

    /// As [`Root::guard_names`], for any number of names.
    pub(crate) fn guard_all(&self, names: &[&[u8]]) -> Vec<MutexGuard<'_, ()>> {
        let mut indexes: Vec<usize> = names.iter().map(|name| guard_index(name)).collect();
        indexes.sort_unstable();
        indexes.dedup();
        indexes.into_iter().map(|at| self.guards[at].lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// As [`Root::guard_names`], for every name there could be.
    pub(crate) fn guard_every_name(&self) -> Vec<MutexGuard<'_, ()>> {
        self.guards.iter().map(|guard| guard.lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// As [`Root::guard_names`], for one name.
    pub(crate) fn guard_name(&self, name: &[u8]) -> [Option<MutexGuard<'_, ()>>; 2] {
        self.guard_names([name, name])
    }

    /// Where a descriptor of ours lies now. A removed file's path ends in ` (deleted)`, as the kernel prints it.
    ///
    /// # Errors
    /// procfs's.
    pub fn locate(&self, fd: BorrowedFd<'_>) -> Result<Located, Errno> {
        let buffer = Vec::with_capacity(256);
        let text = rustix::fs::readlinkat(&self.own_fds, DecInt::from_fd(fd), buffer)?.into_bytes();
        Ok(self.located(text))
    }

    /// Where that is what the kernel calls `text`.
    #[must_use]
    pub fn located(&self, text: Vec<u8>) -> Located {
        match text.strip_prefix(self.prefix.as_slice()) {
            Some(rest) if rest.is_empty() || rest[0] == b'/' => match RootPath::new(rest) {
                Ok(path) => Located::Tree(path),
                Err(_) => Located::Outside(text),
            },
            _ => Located::Outside(text),
        }
    }

    /// Gives an inode to the tree's owner.
    pub(crate) fn give(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.give_with(fd, c"", AtFlags::EMPTY_PATH)
    }

    /// Gives what stands at a name to the tree's owner; a link itself, not what it leads to.
    pub(crate) fn give_at(&self, parent: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<(), Errno> {
        self.give_with(parent, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn give_with(
        &self,
        fd: BorrowedFd<'_>,
        name: impl rustix::path::Arg,
        flags: AtFlags,
    ) -> Result<(), Errno> {
        match self.owner {
            Owner::Caller => Ok(()),
            Owner::Scratch { uid, gid } => rustix::fs::chownat(
                fd,
                name,
                Some(rustix::fs::Uid::from_raw(uid)),
                Some(rustix::fs::Gid::from_raw(gid)),
                flags,
            ),
        }
    }

    /// Opens what stands at a path of the tree (`O_PATH`, no link followed anywhere); `None` if nothing does.
    pub(crate) fn open_path(&self, path: &RootPath) -> Result<Option<OwnedFd>, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            return match rustix::fs::openat2(&self.tree, path.as_path(), flags, Mode::empty(), how) {
                Ok(fd) => Ok(Some(fd)),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
                // A rename raced with a `..`, which a canonical path has not; the kernel may still say so.
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(errno) => Err(errno),
            };
        }
    }

    /// Before `name` in `parent`, which is `path`, is changed: records what stands there.
    pub(crate) fn touch_at(
        &self,
        parent: BorrowedFd<'_>,
        name: impl rustix::path::Arg,
        path: &RootPath,
    ) -> Result<(), Errno> {
        if !self.journal.is_recording() || self.journal.has(path, Touch::Itself) {
            return Ok(());
        }
        let before = match stat_at(parent, name) {
            Ok(stat) => Some(self.before(&stat)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno),
        };
        self.journal.touch(path, before, Touch::Itself);
        Ok(())
    }

    /// Before a name is made or removed in the directory `path`: records its times.
    pub(crate) fn touch_names(&self, dir: BorrowedFd<'_>, path: &RootPath) -> Result<(), Errno> {
        if !self.journal.is_recording() || self.journal.has(path, Touch::NamesWithin) {
            return Ok(());
        }
        let stat = stat_fd(dir)?;
        self.journal.touch(path, Some(self.before(&stat)), Touch::NamesWithin);
        Ok(())
    }

    /// Before the inode behind `fd` is changed: records it at every name it has in the tree.
    pub(crate) fn touch_inode(&self, fd: BorrowedFd<'_>, stat: &Statx) -> Result<(), Errno> {
        if !self.journal.is_recording() || self.own_links(stat) == 0 {
            return Ok(());
        }
        let mut names = self.links.names(&InodeKey::of(stat));
        if names.is_empty() {
            match self.locate(fd)? {
                Located::Tree(path) => names.push(path),
                Located::Outside(_) => return Ok(()),
            }
        }
        for path in names {
            if self.journal.has(&path, Touch::Itself) {
                continue;
            }
            let before = match self.open_path(&path)? {
                Some(found) => Some(self.before(&stat_fd(found.as_fd())?)),
                None => None,
            };
            self.journal.touch(&path, before, Touch::Itself);
        }
        Ok(())
    }

    fn before(&self, stat: &Statx) -> Before {
        Before::new(stat, self.records.get(stat))
    }
}

fn guard_index(name: &[u8]) -> usize {
    name.iter().fold(0_usize, |h, b| h.wrapping_mul(31).wrapping_add(usize::from(*b))) % GUARDS
}

/// The real stat behind a descriptor.
///
/// # Errors
/// The kernel's.
pub fn stat_fd(fd: BorrowedFd<'_>) -> Result<Statx, Errno> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, STATX)
}

/// The real stat of a name in a directory; of a link itself.
///
/// # Errors
/// The kernel's.
pub fn stat_at(parent: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<Statx, Errno> {
    rustix::fs::statx(parent, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, STATX)
}
