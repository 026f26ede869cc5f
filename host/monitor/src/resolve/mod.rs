//! Resolution: from a guest's path to an inode, or to a name in a directory.
//!
//! There are two ways. The kernel's own walk, confined by openat2 to the tree, serves subjects that may search every directory; it ends in EACCES
//! exactly where a path crosses into a view or a graft, and in nothing that has a side effect. Everything else, and everything it
//! does not finish, goes through the userspace walk (`walk`). What comes out is always a descriptor, and for a name that is made or
//! removed the descriptor of its directory: no path is looked up again after a check.

mod fast;
mod searchable;
mod walk;

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{ResolveFlags, Statx};
use wbuild_layer::RootPath;
use wbuild_rootfs::{GraftAccess, GraftId, InodeKey, Located, S_IFDIR, S_IFLNK, S_IFMT, Scope, raw, stat_fd};

pub(crate) use searchable::SearchCache;

use crate::observe::{End, Facts};
use crate::request::Outcome;
use crate::{At, Errno, Fault, LastLink, Monitor, Subject, ViewPath, Where};

/// An inode of the tree or of a graft.
#[derive(Debug)]
pub(crate) struct Node {
    /// `O_PATH`, or whatever descriptor a guest gave.
    pub(crate) fd: OwnedFd,
    /// The real stat.
    pub(crate) stat: Statx,
    pub(crate) origin: Origin,
}

/// What the way to an inode says about where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The kernel walked there from the tree's root: a graft would have stopped it.
    Tree,
    /// Nothing.
    Unknown,
}

impl Node {
    pub(crate) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let stat = stat_fd(fd.as_fd())?;
        Ok(Self { fd, stat, origin: Origin::Unknown })
    }

    pub(crate) fn key(&self) -> InodeKey {
        InodeKey::of(&self.stat)
    }

    fn kind(&self) -> u32 {
        u32::from(self.stat.stx_mode) & S_IFMT
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind() == S_IFDIR
    }

    pub(crate) fn is_link(&self) -> bool {
        self.kind() == S_IFLNK
    }
}

/// Where a node lies.
#[derive(Debug)]
pub(crate) enum Home {
    /// At this path of the tree.
    Tree(RootPath),
    /// In this graft.
    Graft(GraftId, GraftAccess),
}

impl Home {
    pub(crate) fn scope(&self) -> Scope {
        match self {
            Self::Tree(_) => Scope::Tree,
            Self::Graft(id, _) => Scope::Graft(*id),
        }
    }

    /// True if both are the tree, or the same graft: nothing is renamed or linked from one to another.
    pub(crate) fn is_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tree(_), Self::Tree(_)) => true,
            (Self::Graft(a, _), Self::Graft(b, _)) => a == b,
            _ => false,
        }
    }

    /// The directory `node` as the raw operations take it.
    pub(crate) fn dir<'a>(&'a self, node: &'a Node) -> raw::Dir<'a> {
        let path = match self {
            Self::Tree(path) => Some(path),
            Self::Graft(..) => None,
        };
        raw::Dir { fd: node.fd.as_fd(), path, scope: self.scope() }
    }

    /// EROFS where nothing may be changed.
    pub(crate) fn writable(&self) -> Result<(), Errno> {
        match self {
            Self::Graft(_, GraftAccess::ReadOnly) => Err(Errno::ROFS),
            Self::Graft(_, GraftAccess::ReadWrite) | Self::Tree(_) => Ok(()),
        }
    }
}

/// The last component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LastName {
    /// A proper name.
    Name(CString),
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// There is none: the path is the root itself.
    Root,
}

/// Whether a path ended in a slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slash {
    None,
    Trailing,
}

/// A name in a directory, existing or not.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: Node,
    pub(crate) last: LastName,
    pub(crate) slash: Slash,
}

impl Place {
    /// The proper name; otherwise the errno that the caller's operation has for `.`, `..` and the root.
    pub(crate) fn name(&self, otherwise: [Errno; 3]) -> Result<&CStr, Errno> {
        match &self.last {
            LastName::Name(name) => Ok(name),
            LastName::Dot => Err(otherwise[0]),
            LastName::DotDot => Err(otherwise[1]),
            LastName::Root => Err(otherwise[2]),
        }
    }
}

/// What a resolution is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// What the path leads to.
    Existing(LastLink),
    /// What it leads to, or the place where it could be made (`O_CREAT`).
    OrPlace(LastLink),
    /// The place alone: the last component is not looked up.
    Place,
}

/// Who walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walker {
    /// The kernel where it can.
    Either,
    /// Userspace.
    Own,
}

/// What a resolution led to.
#[derive(Debug)]
pub(crate) enum Reached {
    Node(Node),
    Place(Place),
    View(ViewPath),
    Object(OwnedFd),
}

impl Monitor {
    /// Resolves a path; `flags` are openat2's, empty for every other call.
    pub(crate) fn reach(
        &self,
        subject: &Subject<'_>,
        at: At<'_>,
        goal: Goal,
        flags: ResolveFlags,
    ) -> Result<Reached, Fault> {
        if at.path.is_empty() {
            return Err(Errno::NOENT.into());
        }
        self.reach_by(subject, at, goal, flags, Walker::Either)
    }

    /// As [`Monitor::reach`], by the walk that is wanted.
    pub(crate) fn reach_by(
        &self,
        subject: &Subject<'_>,
        at: At<'_>,
        goal: Goal,
        flags: ResolveFlags,
        walker: Walker,
    ) -> Result<Reached, Fault> {
        if flags.is_empty()
            && walker == Walker::Either
            && let Some(reached) = self.reach_fast(subject, at, goal)?
        {
            return Ok(reached);
        }
        walk::reach(self, subject, at, goal, flags)
    }

    /// Resolves what an operation on an existing object is aimed at, which learns `facts` of it.
    pub(crate) fn node(
        &self,
        subject: &Subject<'_>,
        target: Where<'_>,
        facts: Facts,
    ) -> Result<Outcome<Node>, Fault> {
        match target {
            Where::Path(at, last) => {
                let goal = Goal::Existing(last);
                let reached = self.reach(subject, at, goal, ResolveFlags::empty());
                self.learn(subject, at, last, facts, &End::of(&reached, goal));
                match reached? {
                    Reached::Node(node) => Ok(Outcome::Done(node)),
                    Reached::View(place) => Ok(Outcome::View(place)),
                    Reached::Object(fd) => Ok(Outcome::Object(fd)),
                    Reached::Place(_) => Err(Errno::NOENT.into()),
                }
            }
            Where::Fd(fd) => {
                let fd = duplicate(fd)?;
                let node = Node::new(fd)?;
                if !self.is_ours(&node.stat) {
                    return Ok(Outcome::Object(node.fd));
                }
                self.learn_of(&node, facts);
                Ok(Outcome::Done(node))
            }
        }
    }

    /// Resolves the place of a name that is made or removed.
    pub(crate) fn place(&self, subject: &Subject<'_>, at: At<'_>) -> Result<Outcome<Place>, Fault> {
        let reached = self.reach(subject, at, Goal::Place, ResolveFlags::empty());
        self.learn(subject, at, LastLink::NoFollow, Facts::KIND, &End::of(&reached, Goal::Place));
        match reached? {
            Reached::Place(place) => Ok(Outcome::Done(place)),
            Reached::View(place) => Ok(Outcome::View(place)),
            Reached::Object(fd) => Ok(Outcome::Object(fd)),
            Reached::Node(_) => Err(Errno::EXIST.into()),
        }
    }

    /// True if an inode with this stat can be the tree's or a graft's, by its device: pipes, sockets and memfds have their own.
    pub(crate) fn is_ours(&self, stat: &Statx) -> bool {
        let device = InodeKey::of(stat).device;
        device == self.root().key().device || self.mounts().has_device(device)
    }

    /// Where an inode lies; ENXIO for one that lies nowhere in a guest's world.
    pub(crate) fn home(&self, fd: BorrowedFd<'_>) -> Result<Home, Errno> {
        self.home_at(self.root().locate(fd)?)
    }

    /// As [`Monitor::home`], for the directory of a name that is made or removed: which it is was asked before, mostly.
    pub(crate) fn home_of(&self, directory: &Node) -> Result<Home, Errno> {
        self.home_at(self.root().locate_known(directory.fd.as_fd(), &directory.stat)?)
    }

    fn home_at(&self, located: Located) -> Result<Home, Errno> {
        match located {
            Located::Tree(path) => Ok(Home::Tree(path)),
            Located::Outside(text) => match self.mounts().holding(&text) {
                Some((graft, _)) => Ok(Home::Graft(graft.id(), graft.access())),
                None => Err(Errno::NXIO),
            },
        }
    }
}

/// A duplicate of a borrowed descriptor.
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3)
}
