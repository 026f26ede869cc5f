//! The userspace walk: component by component, over descriptors, through views and grafts.
//!
//! Each step opens one name in a directory that is already open, without following it, so no guest can redirect it outside: a link's text is
//! pushed onto what is left to walk, `..` never leaves the root, and a graft's `..` leads to where the graft stands. Search permission is
//! asked of every directory for the subject. The rules for slashes, links in the last place and limits are Linux's (man 7 path_resolution).

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use wbuild_rootfs::{InodeKey, Seat};

use super::{Goal, LastName, Node, Place, Reached, Slash, duplicate};
use crate::dac::{Want, may};
use crate::{At, Base, Cwd, Errno, Fault, LastLink, Monitor, Subject, ViewKind, ViewNode, ViewPath};

/// Linux's MAXSYMLINKS.
const MOST_LINKS: usize = 40;

/// Where the walk stands.
#[expect(clippy::large_enum_variant, reason = "one of them exists for each walk, on the stack")]
enum Here {
    Dir(Node),
    View(ViewPath),
    /// Something a magic link led to that is no directory: only the end of a path.
    Object(OwnedFd),
}

/// One thing left to walk.
#[derive(Debug)]
enum Piece {
    Name(Vec<u8>),
    Dot,
    DotDot,
}

struct Walk<'a, 's> {
    monitor: &'a Monitor,
    subject: &'a Subject<'s>,
    flags: ResolveFlags,
    /// The inode above which `..` does not go: the tree's root, or openat2's base.
    top: InodeKey,
    /// openat2's base, if absolute links start there.
    top_dir: Option<OwnedFd>,
    here: Here,
    /// Reversed: the next piece is the last.
    left: Vec<Piece>,
    slash: Slash,
    links: usize,
}

pub(super) fn reach(
    monitor: &Monitor,
    subject: &Subject<'_>,
    at: At<'_>,
    goal: Goal,
    flags: ResolveFlags,
) -> Result<Reached, Fault> {
    let confined = flags.intersects(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT);
    if flags.contains(ResolveFlags::BENEATH) && at.path.is_absolute() {
        return Err(Errno::XDEV.into());
    }
    let root_key = monitor.root().key();
    let from_root = at.path.is_absolute() && !flags.contains(ResolveFlags::IN_ROOT);
    let here = if from_root { at_root(monitor)? } else { base(monitor, subject, at.base)? };
    let top = match &here {
        Here::Dir(node) if confined => node.key(),
        _ => root_key,
    };
    let top_dir = match &here {
        Here::Dir(node) if confined => Some(duplicate(node.fd.as_fd())?),
        _ => None,
    };
    let left = Vec::new();
    let mut walk = Walk { monitor, subject, flags, top, top_dir, here, left, slash: Slash::None, links: 0 };
    walk.push(at.path.as_bytes());
    walk.run(goal)
}

fn at_root(monitor: &Monitor) -> Result<Here, Errno> {
    Ok(Here::Dir(Node::new(duplicate(monitor.root().fd())?)?))
}

fn base(monitor: &Monitor, subject: &Subject<'_>, base: Base<'_>) -> Result<Here, Fault> {
    let fd = match base {
        Base::Root => return Ok(at_root(monitor)?),
        Base::View(place) => return Ok(Here::View(place.clone())),
        Base::Cwd => match subject.cwd {
            Cwd::View(place) => return Ok(Here::View(place.clone())),
            Cwd::Dir(fd) => fd,
        },
        Base::Dir(fd) => fd,
    };
    let node = Node::new(duplicate(fd)?)?;
    if !node.is_directory() {
        return Err(Errno::NOTDIR.into());
    }
    // A directory that is neither in the tree nor in a graft is no place a guest can start from.
    if !monitor.is_ours(&node.stat) || monitor.home(node.fd.as_fd()).is_err() {
        return Err(Errno::ACCESS.into());
    }
    Ok(Here::Dir(node))
}

impl Walk<'_, '_> {
    /// Puts a path's components in front of what is left.
    fn push(&mut self, path: &[u8]) {
        if self.left.is_empty() && path.ends_with(b"/") {
            self.slash = Slash::Trailing;
        }
        let pieces = path.split(|b| *b == b'/').filter(|c| !c.is_empty()).map(|c| match c {
            b"." => Piece::Dot,
            b".." => Piece::DotDot,
            name => Piece::Name(name.to_vec()),
        });
        let from = self.left.len();
        self.left.extend(pieces);
        self.left[from..].reverse();
    }

    fn run(mut self, goal: Goal) -> Result<Reached, Fault> {
        while let Some(piece) = self.left.pop() {
            let last = self.left.is_empty();
            if last && goal == Goal::Place {
                return self.end_at_place(piece);
            }
            match piece {
                Piece::Dot => self.search()?,
                Piece::DotDot => self.up()?,
                Piece::Name(name) => {
                    if let Some(reached) = self.step(name, last, goal)? {
                        return Ok(reached);
                    }
                }
            }
        }
        if goal == Goal::Place {
            return match self.here {
                Here::Dir(dir) => Ok(Reached::Place(Place { dir, last: LastName::Root, slash: self.slash })),
                Here::View(place) => Ok(Reached::View(place)),
                Here::Object(fd) => Ok(Reached::Object(fd)),
            };
        }
        match self.here {
            Here::Dir(node) => Ok(Reached::Node(node)),
            Here::View(place) => Ok(Reached::View(place)),
            Here::Object(fd) => Ok(Reached::Object(fd)),
        }
    }

    fn end_at_place(mut self, piece: Piece) -> Result<Reached, Fault> {
        self.search()?;
        let last = match piece {
            Piece::Dot => LastName::Dot,
            Piece::DotDot => LastName::DotDot,
            Piece::Name(name) => LastName::Name(CString::new(name).map_err(|_| Errno::INVAL)?),
        };
        match self.here {
            Here::Object(_) => Err(Errno::NOTDIR.into()),
            Here::View(place) => Ok(Reached::View(match last {
                LastName::Name(name) => below(&place, name.as_bytes()),
                _ => place,
            })),
            Here::Dir(dir) => {
                if let LastName::Name(name) = &last
                    && let Some(kind) = view_at(self.monitor, &dir, name.as_bytes())
                {
                    return Ok(Reached::View(ViewPath { kind, rest: Vec::new() }));
                }
                Ok(Reached::Place(Place { dir, last, slash: self.slash }))
            }
        }
    }

    /// Asks for search permission on the directory the walk stands in.
    fn search(&mut self) -> Result<(), Fault> {
        match &self.here {
            Here::Dir(node) if !node.is_directory() => Err(Errno::NOTDIR.into()),
            Here::Dir(node) => {
                let mut seen = node.stat;
                self.monitor.root().show(&mut seen);
                Ok(may(self.subject.credentials, &seen, Want::SEARCH)?)
            }
            // Where a view may be searched is the broker's answer to each name.
            Here::View(_) => Ok(()),
            Here::Object(_) => Err(Errno::NOTDIR.into()),
        }
    }

    fn up(&mut self) -> Result<(), Fault> {
        self.search()?;
        let next = match &self.here {
            Here::Object(_) => return Err(Errno::NOTDIR.into()),
            Here::View(place) if place.rest.is_empty() => {
                self.crossing()?;
                at_root(self.monitor)?
            }
            Here::View(place) => {
                let end = place.rest.iter().rposition(|b| *b == b'/').unwrap_or(0);
                Here::View(ViewPath { kind: place.kind, rest: place.rest[..end].to_vec() })
            }
            Here::Dir(node) if node.key() == self.top => {
                if self.flags.contains(ResolveFlags::BENEATH) {
                    return Err(Errno::XDEV.into());
                }
                return Ok(());
            }
            Here::Dir(node) if node.key() == self.monitor.root().key() => return Ok(()),
            Here::Dir(node) => match self.monitor.mounts().at_source(&node.key()) {
                Some(graft) => {
                    self.crossing()?;
                    match graft.seat() {
                        Seat::Tree(seat) => Here::Dir(Node::new(duplicate(seat.parent())?)?),
                        Seat::View(path) => Here::View(above_in_view(path)?),
                    }
                }
                None => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let above = rustix::fs::openat(&node.fd, c"..", flags, Mode::empty())?;
                    Here::Dir(Node::new(above)?)
                }
            },
        };
        self.here = next;
        Ok(())
    }

    /// The walk leaves one filesystem for another.
    fn crossing(&self) -> Result<(), Errno> {
        if self.flags.contains(ResolveFlags::NO_XDEV) { Err(Errno::XDEV) } else { Ok(()) }
    }

    /// Takes one step to a name; `Some` if the walk ends there.
    fn step(&mut self, name: Vec<u8>, last: bool, goal: Goal) -> Result<Option<Reached>, Fault> {
        self.search()?;
        match &self.here {
            Here::Object(_) => Err(Errno::NOTDIR.into()),
            Here::View(place) => {
                let place = below(place, &name);
                if let Some(graft) = self.monitor.mounts().in_view(&place.to_guest_path()) {
                    self.crossing()?;
                    self.here = Here::Dir(Node::new(duplicate(graft.source())?)?);
                    return Ok(None);
                }
                self.step_in_view(place, last, goal)
            }
            Here::Dir(dir) => {
                if let Some(kind) = view_at(self.monitor, dir, &name) {
                    self.crossing()?;
                    self.here = Here::View(ViewPath { kind, rest: Vec::new() });
                    return Ok(None);
                }
                self.step_in_tree(name, last, goal)
            }
        }
    }

    fn follows(&self, last: bool, goal: Goal) -> bool {
        !last
            || self.slash == Slash::Trailing
            || matches!(goal, Goal::Existing(LastLink::Follow) | Goal::OrPlace(LastLink::Follow))
    }

    fn step_in_tree(&mut self, name: Vec<u8>, last: bool, goal: Goal) -> Result<Option<Reached>, Fault> {
        let Here::Dir(dir) = &self.here else { return Err(Errno::NOTDIR.into()) };
        // O_CREAT through a link whose text ends in a slash: Linux sees it before it looks the name up.
        if last && self.slash == Slash::Trailing && matches!(goal, Goal::OrPlace(_)) {
            return Err(Errno::ISDIR.into());
        }
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&dir.fd, &*name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) if last && matches!(goal, Goal::OrPlace(_)) => {
                let dir = Node { fd: duplicate(dir.fd.as_fd())?, ..*dir };
                let last = LastName::Name(name);
                return Ok(Some(Reached::Place(Place { dir, last, slash: self.slash })));
            }
            Err(errno) => return Err(errno.into()),
        };
        let mut node = Node::new(fd)?;
        if let Some(graft) = self.monitor.mounts().at_place(&node.key()) {
            self.crossing()?;
            node = Node::new(duplicate(graft.source())?)?;
        }
        if node.is_link() && self.follows(last, goal) {
            let text = rustix::fs::readlinkat(&node.fd, c"", Vec::new())?;
            self.follow(text.as_bytes())?;
            return Ok(None);
        }
        if !node.is_directory() && (!last || self.slash == Slash::Trailing) {
            return Err(Errno::NOTDIR.into());
        }
        self.here = Here::Dir(node);
        Ok(None)
    }

    fn follow(&mut self, text: &[u8]) -> Result<(), Fault> {
        self.links += 1;
        if self.links > MOST_LINKS || self.flags.contains(ResolveFlags::NO_SYMLINKS) {
            return Err(Errno::LOOP.into());
        }
        if text.is_empty() {
            return Err(Errno::NOENT.into());
        }
        if text.starts_with(b"/") {
            if self.flags.contains(ResolveFlags::BENEATH) {
                return Err(Errno::XDEV.into());
            }
            self.here = match &self.top_dir {
                Some(top) => Here::Dir(Node::new(duplicate(top.as_fd())?)?),
                None => at_root(self.monitor)?,
            };
        }
        self.push(text);
        Ok(())
    }

    fn step_in_view(&mut self, place: ViewPath, last: bool, goal: Goal) -> Result<Option<Reached>, Fault> {
        let node = match self.subject.views.node(&place) {
            Ok(node) => node,
            // What happens at a name that is not there is for the broker to say.
            Err(Fault::Errno(Errno::NOENT)) if last && matches!(goal, Goal::OrPlace(_)) => {
                return Ok(Some(Reached::View(place)));
            }
            Err(fault) => return Err(fault),
        };
        let follow = self.follows(last, goal);
        match node {
            ViewNode::Directory => self.here = Here::View(place),
            ViewNode::Leaf if last && self.slash == Slash::None => return Ok(Some(Reached::View(place))),
            ViewNode::Leaf => return Err(Errno::NOTDIR.into()),
            ViewNode::Link(_) | ViewNode::Object(_) | ViewNode::Elsewhere(_) if !follow => {
                return Ok(Some(Reached::View(place)));
            }
            ViewNode::Link(text) => self.follow(&text)?,
            ViewNode::Elsewhere(other) => {
                self.magic()?;
                self.here = Here::View(other);
            }
            ViewNode::Object(fd) => {
                self.magic()?;
                let node = Node::new(fd)?;
                let ours = self.monitor.is_ours(&node.stat) && self.monitor.home(node.fd.as_fd()).is_ok();
                if !node.is_directory() && (!last || self.slash == Slash::Trailing) {
                    return Err(Errno::NOTDIR.into());
                }
                self.here = if ours { Here::Dir(node) } else { Here::Object(node.fd) };
            }
        }
        Ok(None)
    }

    fn magic(&mut self) -> Result<(), Errno> {
        self.links += 1;
        let refused = ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        if self.links > MOST_LINKS || self.flags.intersects(refused) {
            return Err(Errno::LOOP);
        }
        if self.flags.intersects(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT) {
            Err(Errno::XDEV)
        } else {
            Ok(())
        }
    }
}

fn view_at(monitor: &Monitor, dir: &Node, name: &[u8]) -> Option<ViewKind> {
    if dir.key() != monitor.root().key() {
        return None;
    }
    monitor.view_named(name)
}

/// The view directory in which something stands at this absolute guest path.
fn above_in_view(path: &[u8]) -> Result<ViewPath, Errno> {
    let mut parts = path.splitn(3, |b| *b == b'/').skip(1);
    let kind = parts.next().and_then(ViewKind::named).ok_or(Errno::NOENT)?;
    let rest = parts.next().unwrap_or_default();
    let end = rest.iter().rposition(|b| *b == b'/').unwrap_or(0);
    Ok(ViewPath { kind, rest: rest[..end].to_vec() })
}

fn below(place: &ViewPath, name: &[u8]) -> ViewPath {
    let mut rest = place.rest.clone();
    if !rest.is_empty() {
        rest.push(b'/');
    }
    rest.extend_from_slice(name);
    ViewPath { kind: place.kind, rest }
}
