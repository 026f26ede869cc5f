//! The mount table: grafts over places of a tree, for the length of a step.
//!
//! At each graft's place stands a placeholder in the tree: what was there, or something empty made for it. Its real mode is 000 while the graft is there, so
//! that a kernel walk by the tree's unprivileged owner ends in EACCES at it; a userspace walk knows it by its inode. Placeholders never reach the
//! journal: they are made before it starts and removed before it is read, and the directories around them keep their times.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, Statx};
use rustix::io::Errno;
use rustix::path::DecInt;
use wbuild_layer::RootPath;

use crate::collect::set_mtime;
use crate::journal::mtime;
use crate::raw::{Content, Inode, own_copy};
use crate::record::{GraftId, InodeKey, Record, S_IFDIR, S_IFMT, S_IFREG, Scope};
use crate::root::{Located, Root, stat_at, stat_fd};

/// Whether a graft can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraftAccess {
    /// Writes answer EROFS.
    ReadOnly,
    /// Writes go to the source.
    ReadWrite,
}

/// One graft.
#[derive(Debug)]
pub struct Graft {
    id: GraftId,
    source: OwnedFd,
    source_key: InodeKey,
    source_prefix: Vec<u8>,
    /// Nothing that an open could block on was there when it was grafted: it is a regular file or an empty directory.
    is_plain: bool,
    access: GraftAccess,
    seat: Seat,
}

/// Where a graft appears.
#[derive(Debug)]
pub enum Seat {
    /// Over a name in a directory of the tree or of another graft.
    Tree(TreeSeat),
    /// At this absolute guest path in a view (`/dev/shm`): the view's directory has no inode.
    View(Vec<u8>),
}

/// A name in a directory over which a graft appears.
#[derive(Debug)]
pub struct TreeSeat {
    parent: OwnedFd,
    name: CString,
    placeholder: OwnedFd,
    placeholder_key: InodeKey,
    made: Made,
}

impl TreeSeat {
    /// The directory (`O_PATH`).
    #[must_use]
    pub fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &CStr {
        &self.name
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// It stood there; these were its real permission bits.
    Found(u32),
    /// It was made for the graft.
    Created,
}

impl Graft {
    /// Which one it is.
    #[must_use]
    pub fn id(&self) -> GraftId {
        self.id
    }

    /// What appears there (`O_PATH`).
    #[must_use]
    pub fn source(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    /// The inode of its root.
    #[must_use]
    pub fn source_key(&self) -> InodeKey {
        self.source_key
    }

    /// Whether it can be written.
    #[must_use]
    pub fn access(&self) -> GraftAccess {
        self.access
    }

    /// Where it appears.
    #[must_use]
    pub fn seat(&self) -> &Seat {
        &self.seat
    }
}

/// All grafts of a step, in mount order.
#[derive(Debug, Default)]
pub struct MountTable {
    grafts: Vec<Graft>,
    places: HashMap<InodeKey, usize>,
    sources: HashMap<InodeKey, usize>,
    /// Directories made on the way to a placeholder, outermost first.
    ways: Vec<(OwnedFd, CString, InodeKey)>,
}

impl MountTable {
    /// True if nothing is grafted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.grafts.is_empty()
    }

    /// The graft whose placeholder this inode is.
    #[must_use]
    pub fn at_place(&self, key: &InodeKey) -> Option<&Graft> {
        self.places.get(key).map(|index| &self.grafts[*index])
    }

    /// The graft at this absolute guest path in a view; the last one, if there are several.
    #[must_use]
    pub fn in_view(&self, path: &[u8]) -> Option<&Graft> {
        self.grafts.iter().rev().find(|graft| matches!(&graft.seat, Seat::View(seat) if seat == path))
    }

    /// The graft whose source's root this inode is.
    #[must_use]
    pub fn at_source(&self, key: &InodeKey) -> Option<&Graft> {
        self.sources.get(key).map(|index| &self.grafts[*index])
    }

    /// The innermost graft that a host path (as `/proc/self/fd` prints it) lies in, and the rest of the path, without a leading slash.
    #[must_use]
    pub fn holding<'p>(&self, host_path: &'p [u8]) -> Option<(&Graft, &'p [u8])> {
        self.grafts
            .iter()
            .filter_map(|graft| {
                let rest = host_path.strip_prefix(graft.source_prefix.as_slice())?;
                match rest.first() {
                    None => Some((graft, rest)),
                    Some(b'/') => Some((graft, &rest[1..])),
                    Some(_) => None,
                }
            })
            .max_by_key(|(graft, _)| graft.source_prefix.len())
    }

    /// True if no open in a graft could block when it was grafted (FIFOs that a guest makes later are known to the root).
    #[must_use]
    pub fn are_free_of_fifos(&self) -> bool {
        self.grafts.iter().all(|graft| graft.is_plain)
    }

    /// Says of a graft that no open in it can block: whoever made its source knows.
    pub fn is_free_of_fifos(&mut self, id: GraftId) {
        if let Some(graft) = self.grafts.iter_mut().find(|graft| graft.id == id) {
            graft.is_plain = true;
        }
    }

    /// True if this device carries a graft's source.
    #[must_use]
    pub fn has_device(&self, device: (u32, u32)) -> bool {
        self.grafts.iter().any(|graft| graft.source_key.device == device)
    }

    /// Makes a directory on the way to a graft's place, virtual 0:0 0755; removed with the grafts if it is empty then.
    ///
    /// # Errors
    /// The host's.
    pub fn make_way(&mut self, root: &Root, parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let before = stat_fd(parent)?;
        make_placeholder(root, parent, name, S_IFDIR)?;
        set_mtime(parent, mtime(&before))?;
        let key = InodeKey::of(&stat_at(parent, name)?);
        self.ways.push((parent.try_clone_to_owned().map_err(io_errno)?, name.to_owned(), key));
        Ok(())
    }

    /// Grafts `source` (`O_PATH`) over `name` in `parent` (`O_PATH`, a directory of the tree or of an earlier graft), which is made if it is absent.
    ///
    /// # Errors
    /// ENOTDIR and EISDIR if what stands there is of another type than the source; the host's.
    pub fn graft(
        &mut self,
        root: &Root,
        parent: BorrowedFd<'_>,
        name: &CStr,
        source: OwnedFd,
        access: GraftAccess,
    ) -> Result<GraftId, Errno> {
        let source_stat = stat_fd(source.as_fd())?;
        let kind = u32::from(source_stat.stx_mode) & S_IFMT;
        let made = match stat_at(parent, name) {
            Ok(stat) => Made::Found(u32::from(stat.stx_mode) & 0o777),
            Err(Errno::NOENT) => {
                let before = stat_fd(parent)?;
                make_placeholder(root, parent, name, kind)?;
                set_mtime(parent, mtime(&before))?;
                Made::Created
            }
            Err(errno) => return Err(errno),
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let placeholder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        let mut stat = stat_fd(placeholder.as_fd())?;
        let found = Inode { fd: placeholder.as_fd(), stat: &stat, scope: Scope::Tree };
        let own = own_copy(root, &found, Content::Kept)?;
        let placeholder = match own {
            Some(own) => {
                stat = own.stat;
                own.fd
            }
            None => placeholder,
        };
        match (u32::from(stat.stx_mode) & S_IFMT == S_IFDIR, kind == S_IFDIR) {
            (true, false) => return Err(Errno::ISDIR),
            (false, true) => return Err(Errno::NOTDIR),
            _ => {}
        }
        set_real(root, &placeholder, &stat, 0)?;
        self.places.insert(InodeKey::of(&stat), self.grafts.len());
        let seat = TreeSeat {
            parent: parent.try_clone_to_owned().map_err(io_errno)?,
            name: name.to_owned(),
            placeholder,
            placeholder_key: InodeKey::of(&stat),
            made,
        };
        self.add(root, source, &source_stat, access, Seat::Tree(seat))
    }

    /// Grafts `source` (`O_PATH`) at an absolute guest path in a view; the view must show that there is something.
    ///
    /// # Errors
    /// The host's.
    pub fn graft_in_view(
        &mut self,
        root: &Root,
        path: Vec<u8>,
        source: OwnedFd,
        access: GraftAccess,
    ) -> Result<GraftId, Errno> {
        let stat = stat_fd(source.as_fd())?;
        self.add(root, source, &stat, access, Seat::View(path))
    }

    fn add(
        &mut self,
        root: &Root,
        source: OwnedFd,
        stat: &Statx,
        access: GraftAccess,
        seat: Seat,
    ) -> Result<GraftId, Errno> {
        let source_key = InodeKey::of(stat);
        self.sources.entry(source_key).or_insert(self.grafts.len());
        let own = DecInt::from_fd(&source);
        let source_prefix = rustix::fs::readlinkat(root.own_fds(), own, Vec::new())?.into_bytes();
        let is_plain = match u32::from(stat.stx_mode) & S_IFMT {
            S_IFREG => true,
            S_IFDIR => crate::walk::names(source.as_fd())?.is_empty(),
            _ => false,
        };
        let id = GraftId(u32::try_from(self.grafts.len()).map_err(|_| Errno::NOSPC)?);
        self.grafts.push(Graft { id, source, source_key, source_prefix, is_plain, access, seat });
        Ok(id)
    }

    /// Takes all grafts off and removes what was made for them. Before the journal is read.
    ///
    /// # Errors
    /// The host's.
    pub fn clear(&mut self, root: &Root) -> Result<(), Errno> {
        for graft in self.grafts.drain(..).rev() {
            let Seat::Tree(seat) = graft.seat else { continue };
            let stat = stat_fd(seat.placeholder.as_fd())?;
            match seat.made {
                Made::Found(real) => set_real(root, &seat.placeholder, &stat, real)?,
                // A guest cannot rename it, but may have renamed a directory around it: the descriptors still lead there.
                Made::Created => {
                    remove_placeholder(root, seat.parent.as_fd(), &seat.name, seat.placeholder_key)?;
                }
            }
        }
        for (parent, name, key) in self.ways.drain(..).rev() {
            let stat = match stat_at(parent.as_fd(), &name) {
                Ok(stat) => Some(stat),
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(errno),
            };
            if stat.is_some_and(|stat| InodeKey::of(&stat) == key) {
                match remove_placeholder(root, parent.as_fd(), &name, key) {
                    Ok(()) => continue,
                    // The step put something into it: then it belongs to the step's changes.
                    Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
            }
            // Kept, or renamed by the step: either way nothing stood there when the step began.
            note_absent(root, parent.as_fd(), &name)?;
        }
        self.places.clear();
        self.sources.clear();
        Ok(())
    }
}

fn io_errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn make_placeholder(root: &Root, parent: BorrowedFd<'_>, name: &CStr, kind: u32) -> Result<(), Errno> {
    if kind == S_IFDIR {
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(0o755), AtFlags::empty())?;
    } else {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644))?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o644))?;
    }
    let stat = stat_at(parent, name)?;
    root.records().set(&stat, Record::implied(&stat));
    root.give_at(parent, name)
}

/// Sets the real permission bits and keeps the virtual ones.
fn set_real(root: &Root, fd: &OwnedFd, stat: &Statx, real: u32) -> Result<(), Errno> {
    let record = root.records().get(stat);
    rustix::fs::chmodat(root.own_fds(), DecInt::from_fd(fd), Mode::from_raw_mode(real), AtFlags::empty())?;
    let mut after = *stat;
    after.stx_mode = (stat.stx_mode & 0o170_000) | u16::try_from(real & 0o777).unwrap_or(0);
    root.records().set(&after, record);
    Ok(())
}

fn remove_placeholder(root: &Root, parent: BorrowedFd<'_>, name: &CStr, key: InodeKey) -> Result<(), Errno> {
    let around = stat_fd(parent)?;
    let stat = match stat_at(parent, name) {
        Ok(stat) if InodeKey::of(&stat) == key => stat,
        Ok(_) | Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let directory = u32::from(stat.stx_mode) & S_IFMT == S_IFDIR;
    let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    rustix::fs::unlinkat(parent, name, flags)?;
    root.records().set_nameless(&stat);
    set_mtime(parent, mtime(&around))
}

fn note_absent(root: &Root, parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    if let Located::Tree(path) = root.locate(parent)? {
        let path: RootPath = path.join(name.to_bytes()).map_err(|_| Errno::INVAL)?;
        root.journal().was_absent(&path);
    }
    Ok(())
}
