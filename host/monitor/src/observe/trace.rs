//! From a question to observations: which paths of the tree it took to answer it.
//!
//! Where the path that was asked is the path that the kernel says the answer has, there was no link on the way, and the answer's path is all. Any
//! other question is walked once more here, over the tree as it is now, each link and each missing name on the way being an observation.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::ResolveFlags;
use wbuild_layer::RootPath;
use wbuild_rootfs::{Located, S_IFDIR, S_IFLNK, stat_fd};

use super::record::Keeps;
use super::{Facts, State, Taint, views};
use crate::resolve::{Goal, LastName, Node, Place, Reached};
use crate::{At, Base, Capability, Cwd, Errno, Fault, LastLink, Monitor, Subject, ViewKind};

/// Linux's MAXSYMLINKS.
const MOST_LINKS: usize = 40;

/// Where a question starts.
enum Start<'a> {
    Root,
    Fd(BorrowedFd<'a>),
    View,
}

/// Whether the same question has the same answer the next time, as long as no way changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Same,
    /// It went through a view: `/proc/self/fd/3` is another file each time.
    Other,
}

/// What a resolution ended in, as far as observations go.
pub(crate) enum End<'a> {
    /// At this file.
    Fd(BorrowedFd<'a>),
    /// At a name in a directory.
    Place(&'a Place),
    /// In a view.
    View(&'a crate::ViewPath),
    /// At something that is no file of the tree.
    Object,
    /// It failed.
    Failed(Errno),
    /// Where something was to be made, already the way there is missing: that the name itself is, would be so without a way and with one.
    NoWay,
}

impl<'a> End<'a> {
    pub(crate) fn of(result: &'a Result<Reached, Fault>, goal: Goal) -> Self {
        match result {
            Err(fault) if fault.errno() == Some(Errno::NOENT) && !matches!(goal, Goal::Existing(_)) => {
                Self::NoWay
            }
            Ok(Reached::Node(node)) => Self::Fd(node.fd.as_fd()),
            Ok(Reached::Place(place)) => Self::Place(place),
            Ok(Reached::View(place)) => Self::View(place),
            Ok(Reached::Object(_)) => Self::Object,
            Err(fault) => Self::Failed(fault.errno().unwrap_or(Errno::IO)),
        }
    }
}

fn start<'a>(subject: &Subject<'a>, at: At<'a>) -> Start<'a> {
    if at.path.is_absolute() {
        return Start::Root;
    }
    match at.base {
        Base::Root => Start::Root,
        Base::Dir(fd) => Start::Fd(fd),
        Base::View(_) => Start::View,
        Base::Cwd => match subject.cwd {
            Cwd::Dir(fd) => Start::Fd(fd),
            Cwd::View(_) => Start::View,
        },
    }
}

impl Monitor {
    /// Learns from the resolution of a path what was asked; `facts` of what it led to.
    pub(crate) fn learn(
        &self,
        subject: &Subject<'_>,
        at: At<'_>,
        last: LastLink,
        facts: Facts,
        end: &End<'_>,
    ) {
        let Some(observer) = self.observer() else { return };
        if let End::View(place) = end
            && facts.has(Facts::CONTENT)
            && views::taints(place)
        {
            observer.taint(Taint::Machine(place.to_guest_path()));
        }
        let start = start(subject, at);
        let base_key = match &start {
            Start::Root => self.root().key(),
            Start::View => return self.learn_from_view(at, facts, end),
            Start::Fd(fd) => match stat_fd(*fd) {
                Ok(stat) if stat.stx_nlink > 0 => wbuild_rootfs::InodeKey::of(&stat),
                // Removed: nothing can be found from there.
                _ => return,
            },
        };
        // Whether something is to be made there makes another question of it: its directory counts, too.
        let is_place = matches!(end, End::Place(_) | End::NoWay);
        let who = [last == LastLink::Follow, subject.credentials.can(Capability::DAC_OVERRIDE)];
        let asked = (base_key, at.path.as_bytes().to_vec(), who);
        if !is_place && observer.was_asked(&asked, facts) {
            return;
        }
        let base = match start {
            Start::Fd(fd) => match self.root().locate(fd) {
                Ok(Located::Tree(path)) => Some(path),
                _ => None,
            },
            _ => Some(RootPath::root()),
        };
        let again = match base {
            Some(base) => self.learn_from(subject, &base, at.path.as_bytes(), last, facts, end),
            None => self.learn_from_graft(at, facts, end),
        };
        match end {
            // Another asker may get further.
            End::Place(_) | End::NoWay | End::Failed(_) if !matches!(end, End::Failed(Errno::NOENT)) => {}
            _ if again == Again::Same => observer.asked(asked, facts),
            _ => {}
        }
    }

    /// As [`Monitor::learn`], for openat2, whose walk may start elsewhere and refuse links.
    pub(crate) fn learn_with(
        &self,
        subject: &Subject<'_>,
        at: At<'_>,
        last: LastLink,
        facts: Facts,
        end: &End<'_>,
        flags: ResolveFlags,
    ) {
        if flags.contains(ResolveFlags::IN_ROOT)
            && let Some(observer) = self.observer()
        {
            observer.taint(Taint::Magic(at.path.as_bytes().to_vec()));
        }
        self.learn(subject, at, last, facts, end);
    }

    fn learn_from(
        &self,
        subject: &Subject<'_>,
        base: &RootPath,
        path: &[u8],
        last: LastLink,
        facts: Facts,
        end: &End<'_>,
    ) -> Again {
        let Some(observer) = self.observer() else { return Again::Same };
        let plain = base.join(path).ok().filter(|_| !path.is_empty());
        match end {
            End::Fd(fd) => {
                let found = self.tree_path(*fd);
                let again = if found.is_some() && found == plain {
                    self.learn_way(subject, plain.as_ref());
                    Again::Same
                } else {
                    self.trace(subject, base, path, last)
                };
                match found {
                    Some(found) => observer.record(self.root(), &found, facts),
                    None => self.note_nameless(*fd, path, facts),
                }
                again
            }
            End::Place(place) => {
                self.learn_place(subject, base, path, place);
                Again::Same
            }
            End::Failed(Errno::NOENT) => {
                if let Some(plain) = &plain {
                    observer.record(self.root(), plain, Facts::KIND);
                    if matches!(observer.state_of(plain), Some(State::Absent)) {
                        self.learn_way(subject, Some(plain));
                        return Again::Same;
                    }
                }
                self.trace(subject, base, path, last)
            }
            End::Failed(_) | End::NoWay | End::View(_) | End::Object => self.trace(subject, base, path, last),
        }
    }

    /// A file of the tree that has lost its name may be opened through a descriptor that somebody kept.
    fn note_nameless(&self, fd: BorrowedFd<'_>, path: &[u8], facts: Facts) {
        let Some(observer) = self.observer() else { return };
        let nameless = stat_fd(fd).is_ok_and(|stat| self.is_ours(&stat) && self.root().own_links(&stat) == 0);
        if nameless && facts.has(Facts::CONTENT) {
            observer.taint(Taint::Magic(path.to_vec()));
        }
    }

    fn learn_place(&self, subject: &Subject<'_>, base: &RootPath, path: &[u8], place: &Place) {
        let Some(observer) = self.observer() else { return };
        let trimmed = &path[..path.len() - path.iter().rev().take_while(|b| **b == b'/').count()];
        let split = trimmed.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        let parent = &trimmed[..split];
        let Some(dir) = self.tree_path(place.dir.fd.as_fd()) else {
            self.trace(subject, base, path, LastLink::Follow);
            return;
        };
        if base.join(parent).ok().as_ref() == Some(&dir) {
            self.learn_way(subject, Some(&dir));
        } else {
            // Through links, or by a link in the last place that leads to where something is to be made.
            self.trace(subject, base, path, LastLink::Follow);
        }
        observer.record(self.root(), &dir, Facts::ATTRIBUTES);
        if let LastName::Name(name) = &place.last
            && let Ok(child) = dir.join(name.to_bytes())
        {
            observer.record(self.root(), &child, Facts::ATTRIBUTES);
        }
    }

    /// Who may not search everything depends on the modes of the directories on the way.
    fn learn_way(&self, subject: &Subject<'_>, path: Option<&RootPath>) {
        let Some(observer) = self.observer() else { return };
        if subject.credentials.can(Capability::DAC_OVERRIDE) {
            return;
        }
        let mut above = path.and_then(RootPath::parent);
        while let Some(dir) = above {
            observer.record(self.root(), &dir, Facts::ATTRIBUTES);
            above = dir.parent();
        }
    }

    fn learn_from_view(&self, at: At<'_>, facts: Facts, end: &End<'_>) {
        let Some(observer) = self.observer() else { return };
        if let End::Fd(fd) = end
            && let Some(path) = self.tree_path(*fd)
        {
            observer.record(self.root(), &path, facts);
            // The object itself, and not a way through it.
            if at.path.as_bytes().contains(&b'/') {
                observer.taint(Taint::Magic(at.path.as_bytes().to_vec()));
            }
        }
    }

    /// What a mount shows is none of the tree's; a way out of one is not followed here.
    fn learn_from_graft(&self, at: At<'_>, facts: Facts, end: &End<'_>) -> Again {
        let Some(observer) = self.observer() else { return Again::Same };
        let fd = match end {
            End::Fd(fd) => Some(*fd),
            End::Place(place) => Some(place.dir.fd.as_fd()),
            End::View(_) | End::Object | End::Failed(_) | End::NoWay => None,
        };
        let leaves = at.path.as_bytes().split(|b| *b == b'/').any(|name| name == b"..");
        if let Some(path) = fd.and_then(|fd| self.tree_path(fd)) {
            observer.record(self.root(), &path, facts);
            observer.taint(Taint::Magic(at.path.as_bytes().to_vec()));
        } else if leaves {
            observer.taint(Taint::Magic(at.path.as_bytes().to_vec()));
        }
        Again::Same
    }

    /// The path of what has a name in the tree.
    fn tree_path(&self, fd: BorrowedFd<'_>) -> Option<RootPath> {
        match self.root().locate(fd) {
            Ok(Located::Tree(path)) if stat_fd(fd).is_ok_and(|stat| stat.stx_nlink > 0) => Some(path),
            _ => None,
        }
    }

    /// Walks a path over the tree as it is and records what decides where it leads.
    fn trace(&self, subject: &Subject<'_>, base: &RootPath, path: &[u8], last: LastLink) -> Again {
        let Some(observer) = self.observer() else { return Again::Same };
        let pieces = |path: &[u8]| {
            path.split(|b| *b == b'/').map(<[u8]>::to_vec).filter(|p| !p.is_empty()).collect::<Vec<_>>()
        };
        let mut left: VecDeque<Vec<u8>> = pieces(path).into();
        let mut here = if path.starts_with(b"/") { RootPath::root() } else { base.clone() };
        let mut links = 0;
        while let Some(piece) = left.pop_front() {
            if !subject.credentials.can(Capability::DAC_OVERRIDE) {
                observer.record(self.root(), &here, Facts::ATTRIBUTES);
            }
            match piece.as_slice() {
                b"." => continue,
                b".." => {
                    here = here.parent().unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            if here.is_root() && ViewKind::named(&piece).is_some() && self.view_named(&piece).is_some() {
                self.trace_into_view(&piece, &left);
                return Again::Other;
            }
            let Ok(next) = here.join(&piece) else { return Again::Same };
            // What a mount shows stands in the key.
            let real = self.observe_stat(&next).map(|stat| wbuild_rootfs::InodeKey::of(&stat));
            if real.is_ok_and(|key| self.is_placeholder(&key)) {
                return Again::Same;
            }
            observer.record(self.root(), &next, Facts::KIND);
            // What stands there now, the step's own links included.
            let state = super::look(self.root(), &next, Facts::KIND);
            let Ok(State::There(seen)) = state else { return Again::Same };
            let follows = !left.is_empty() || last == LastLink::Follow || path.ends_with(b"/");
            match (seen.kind, seen.link) {
                (S_IFLNK, Some(text)) if follows => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Again::Same;
                    }
                    if text.starts_with(b"/") {
                        here = RootPath::root();
                    }
                    for piece in pieces(&text).into_iter().rev() {
                        left.push_front(piece);
                    }
                }
                (S_IFDIR, _) => here = next,
                _ if left.is_empty() => observer.record(self.root(), &next, Facts::ATTRIBUTES),
                _ => return Again::Same,
            }
        }
        observer.record(self.root(), &here, Facts::ATTRIBUTES);
        Again::Same
    }

    /// A link of a process's directory leads back into the tree: what lies behind it is not walked here.
    fn trace_into_view(&self, view: &[u8], left: &VecDeque<Vec<u8>>) {
        let Some(observer) = self.observer() else { return };
        let magic =
            left.iter().position(|piece| matches!(piece.as_slice(), b"cwd" | b"root" | b"fd" | b".."));
        // `fd/N` and `cwd` themselves are objects, which the answer names.
        let Some(at) = magic else { return };
        let behind = left.len() - at - 1;
        let own = if left[at] == b"fd" { 1 } else { 0 };
        if behind > own || left[at] == b".." {
            let mut path = vec![b'/'];
            path.extend_from_slice(view);
            for piece in left {
                path.push(b'/');
                path.extend_from_slice(piece);
            }
            observer.taint(Taint::Magic(path));
        }
    }

    /// As [`Monitor::learn`] for what a descriptor is open on.
    pub(crate) fn learn_of(&self, node: &Node, facts: Facts) {
        let Some(observer) = self.observer() else { return };
        match self.tree_path(node.fd.as_fd()) {
            Some(path) => observer.record(self.root(), &path, facts),
            None => self.note_nameless(node.fd.as_fd(), b"", facts),
        }
    }

    /// Before the content of a file changes, or becomes changeable.
    pub(crate) fn announce_content(&self, node: &Node, keeps: Keeps) -> Announced<'_> {
        let path = self.observer().and_then(|_| self.tree_path(node.fd.as_fd()));
        if let (Some(observer), Some(path)) = (self.observer(), &path) {
            observer.changes_content(self.root(), path, keeps);
        }
        Announced { monitor: self, path }
    }

    /// Before a file gets one more name, by which it can be changed from then on.
    pub(crate) fn announce_link(&self, node: &Node) {
        let Some(observer) = self.observer() else { return };
        if let Some(path) = self.tree_path(node.fd.as_fd()) {
            observer.moves(self.root(), &path);
        }
    }

    /// Before owner, mode, times or extended attributes change. All that the change hides is learnt here, so it may as well fail.
    pub(crate) fn announce_attributes(&self, node: &Node) {
        let Some(observer) = self.observer() else { return };
        if let Some(path) = self.tree_path(node.fd.as_fd()) {
            observer.changes_attributes(self.root(), &path);
        }
    }
}

/// A change that was announced.
#[must_use]
pub(crate) struct Announced<'a> {
    monitor: &'a Monitor,
    path: Option<RootPath>,
}

impl Announced<'_> {
    /// Hears how it went: where it failed, what was counted as the step's own may be the tree's still.
    pub(crate) fn done<T>(self, result: Result<T, Fault>) -> Result<T, Fault> {
        if let (Err(_), Some(observer), Some(path)) = (&result, self.monitor.observer(), self.path) {
            observer.failed(path);
        }
        result
    }
}
