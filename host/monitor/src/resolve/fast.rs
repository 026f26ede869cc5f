//! The kernel's own walk: for subjects that may search every directory, and for others as far as it meets no link.
//!
//! `None` means "not decided here": nothing was done, and the userspace walk answers. An error is final only where both walks must agree on it.
//! A process with the host's CAP_DAC_OVERRIDE never comes here: it would walk into the placeholders.

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use wbuild_rootfs::{InodeKey, Located, stat_fd};

use super::{Goal, LastName, Node, Origin, Place, Reached, Slash};
use crate::dac::{Want, may};
use crate::{At, Base, Capability, Cwd, Errno, Fault, LastLink, Monitor, Subject};

/// Where a fast lookup starts.
#[derive(Clone, Copy)]
enum Start<'a> {
    /// Absolute.
    Root,
    /// Beneath a directory that is the tree's or a graft's.
    Beneath(BorrowedFd<'a>),
}

impl Monitor {
    /// True if the kernel may walk for this subject without a further question.
    pub(crate) fn kernel_walks_for(&self, subject: &Subject<'_>) -> bool {
        self.kernel_walks() && subject.credentials.can(Capability::DAC_OVERRIDE)
    }

    fn start<'a>(&'a self, subject: &Subject<'a>, at: At<'a>) -> Option<Start<'a>> {
        if at.path.is_absolute() {
            return Some(Start::Root);
        }
        match at.base {
            Base::Root => Some(Start::Root),
            Base::View(_) => None,
            Base::Cwd => match subject.cwd {
                Cwd::Dir(fd) => Some(Start::Beneath(fd)),
                Cwd::View(_) => None,
            },
            Base::Dir(fd) => {
                let stat = stat_fd(fd).ok()?;
                self.is_ours(&stat).then_some(Start::Beneath(fd))
            }
        }
    }

    /// Opens a path with the kernel's walk; `None` where that does not decide.
    fn kernel_open(
        &self,
        start: Start<'_>,
        path: &std::ffi::CStr,
        flags: OFlags,
    ) -> Option<Result<OwnedFd, Errno>> {
        let flags = flags | OFlags::CLOEXEC;
        let in_root = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let result = match start {
            Start::Root => rustix::fs::openat2(self.root().fd(), path, flags, Mode::empty(), in_root),
            Start::Beneath(base) => {
                let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
                match rustix::fs::openat2(base, path, flags, Mode::empty(), beneath) {
                    // A link, or a step above the base: the absolute path decides, if the base is the tree's.
                    Err(Errno::LOOP | Errno::XDEV) => {
                        let absolute = self.absolute(base, path)?;
                        rustix::fs::openat2(self.root().fd(), &*absolute, flags, Mode::empty(), in_root)
                    }
                    other => other,
                }
            }
        };
        match result {
            // At a placeholder; a loop that only views can solve; a rename that raced.
            Err(Errno::ACCESS | Errno::LOOP | Errno::XDEV | Errno::AGAIN | Errno::INTR) => None,
            other => Some(other),
        }
    }

    /// Opens a path (`O_PATH`) for any subject: where it may not search everything, links and `..` are left to the userspace walk and
    /// every directory on the way is asked about.
    fn look(
        &self,
        subject: &Subject<'_>,
        start: Start<'_>,
        path: &std::ffi::CStr,
        flags: OFlags,
    ) -> Option<Result<OwnedFd, Errno>> {
        let flags = flags | OFlags::PATH;
        if self.kernel_walks_for(subject) {
            return self.kernel_open(start, path, flags);
        }
        let text = path.to_bytes();
        if text.split(|b| *b == b'/').any(|component| component == b"..") {
            return None;
        }
        let shape = self.root().shape();
        let (base, confined) = match start {
            Start::Root => (self.root().fd(), ResolveFlags::IN_ROOT),
            Start::Beneath(base) => (base, ResolveFlags::BENEATH),
        };
        let how = confined | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let result = rustix::fs::openat2(base, path, flags | OFlags::CLOEXEC, Mode::empty(), how);
        if !matches!(result, Ok(_) | Err(Errno::NOENT)) {
            return None;
        }
        let stat = stat_fd(base).ok()?;
        self.may_search_to(subject, shape, (base, &stat), text).then_some(result)
    }

    fn absolute(&self, base: BorrowedFd<'_>, path: &std::ffi::CStr) -> Option<CString> {
        // A removed directory has no absolute path.
        if stat_fd(base).ok()?.stx_nlink == 0 {
            return None;
        }
        let Located::Tree(dir) = self.root().locate(base).ok()? else { return None };
        let mut text = Vec::with_capacity(dir.as_bytes().len() + path.count_bytes() + 2);
        text.push(b'/');
        text.extend_from_slice(dir.as_bytes());
        text.push(b'/');
        text.extend_from_slice(path.to_bytes());
        CString::new(text).ok()
    }

    /// Opens for reading in one call what the kernel can find and open by itself; only for a subject, a policy and a tree for which that
    /// is all there is to it.
    pub(crate) fn open_fast(
        &self,
        subject: &Subject<'_>,
        at: At<'_>,
        flags: OFlags,
    ) -> Option<Result<OwnedFd, Errno>> {
        if !self.kernel_walks_for(subject) || at.path.is_empty() {
            return None;
        }
        let start = self.start(subject, at)?;
        self.kernel_open(start, at.path.as_c_str(), flags)
    }

    /// As [`Monitor::reach`], where the kernel can.
    pub(super) fn reach_fast(
        &self,
        subject: &Subject<'_>,
        at: At<'_>,
        goal: Goal,
    ) -> Result<Option<Reached>, Fault> {
        if !self.kernel_walks() {
            return Ok(None);
        }
        let Some(start) = self.start(subject, at) else { return Ok(None) };
        match goal {
            Goal::Existing(last) => {
                let found = self.existing(subject, start, at, last)?;
                Ok(found.map(Reached::Node))
            }
            Goal::OrPlace(last) => match self.existing(subject, start, at, last) {
                Ok(found) => Ok(found.map(Reached::Node)),
                Err(Errno::NOENT) => {
                    // What may stand there all the same is a dangling link: then the file cannot be made, and open walks again.
                    Ok(self.place_fast(subject, start, at)?.map(Reached::Place))
                }
                // Perhaps a link whose text ends in a slash, for which open has its own answer.
                Err(Errno::NOTDIR) => Ok(None),
                Err(errno) => Err(errno.into()),
            },
            Goal::Place => Ok(self.place_fast(subject, start, at)?.map(Reached::Place)),
        }
    }

    fn existing(
        &self,
        subject: &Subject<'_>,
        start: Start<'_>,
        at: At<'_>,
        last: LastLink,
    ) -> Result<Option<Node>, Errno> {
        let nofollow = if last == LastLink::NoFollow { OFlags::NOFOLLOW } else { OFlags::empty() };
        match self.look(subject, start, at.path.as_c_str(), nofollow) {
            None => Ok(None),
            Some(result) => {
                let origin = if matches!(start, Start::Root) { Origin::Tree } else { Origin::Unknown };
                let node = Node { origin, ..Node::new(result?)? };
                Ok((!self.is_placeholder(&node.key())).then_some(node))
            }
        }
    }

    fn place_fast(
        &self,
        subject: &Subject<'_>,
        start: Start<'_>,
        at: At<'_>,
    ) -> Result<Option<Place>, Errno> {
        let path = at.path.as_bytes();
        let trimmed = path.len() - path.iter().rev().take_while(|b| **b == b'/').count();
        let slash = if trimmed < path.len() { Slash::Trailing } else { Slash::None };
        let path = &path[..trimmed];
        let split = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        let (parent, name) = path.split_at(split);
        if matches!(name, b"" | b"." | b"..") {
            return Ok(None);
        }
        let parent = if parent.is_empty() { b".".as_slice() } else { parent };
        let (Ok(parent), Ok(name)) = (CString::new(parent), CString::new(name)) else {
            return Err(Errno::INVAL);
        };
        let Some(opened) = self.look(subject, start, &parent, OFlags::DIRECTORY) else { return Ok(None) };
        let dir = Node::new(opened?)?;
        // Where the directory itself may not be searched, the userspace walk says so.
        let searchable = may(subject.credentials, &self.seen(&dir), Want::SEARCH).is_ok();
        if !searchable || self.is_placeholder(&dir.key()) {
            return Ok(None);
        }
        if dir.key() == self.root().key() && crate::ViewKind::named(name.as_bytes()).is_some() {
            return Ok(None);
        }
        Ok(Some(Place { dir, last: LastName::Name(name), slash }))
    }

    /// True if the kernel's walk must not be believed about this inode: something else appears there.
    pub(crate) fn is_placeholder(&self, key: &InodeKey) -> bool {
        self.view_keys().contains(key) || self.mounts().at_place(key).is_some()
    }
}
