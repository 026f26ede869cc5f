//! open in all its spellings.
//!
//! A file is opened through the descriptor that was checked, so nothing a guest does to names between check and open has an effect. The kernel alone
//! opens only what it may find by itself for reading, where neither policy nor permission bits nor a FIFO have a say.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{OFlags, ResolveFlags};
use wbuild_rootfs::raw::{self, Fresh};
use wbuild_rootfs::{S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK};

use super::Answer;
use super::attributes::Held;
use super::place::Spot;
use crate::dac::{NewKind, Want, may, owns};
use crate::observe::{End, Facts, Keeps};
use crate::permit::{Concern, Operation, Permit};
use crate::request::{OpenRequest, Opened, OpenedAccess, OpenedFile};
use crate::resolve::{Goal, Node, Place, Reached, Slash, Walker};
use crate::{At, Capability, Errno, Fault, LastLink, Monitor, Outcome, Subject};

/// `O_CREAT` races with other names of the guest's making: so often we look again.
const TRIES: usize = 64;

fn writes(flags: OFlags) -> bool {
    flags.intersects(OFlags::WRONLY | OFlags::RDWR)
}

fn access_of(flags: OFlags) -> OpenedAccess {
    if writes(flags) { OpenedAccess::Write } else { OpenedAccess::Read }
}

/// Linux's O_TMPFILE holds O_DIRECTORY's bit.
fn is_nameless(flags: OFlags) -> bool {
    flags.contains(OFlags::TMPFILE)
}

/// What whoever opens something so learns of it.
fn facts_of(flags: OFlags) -> Facts {
    // What it held is gone, and its size with it; a file without a name asks for its directory alone.
    if flags.contains(OFlags::TRUNC) || is_nameless(flags) {
        return Facts::ATTRIBUTES;
    }
    Facts::STAT.and(Facts::CONTENT).and(Facts::NAMES)
}

/// Opens an existing inode.
struct Open {
    held: Held,
    flags: OFlags,
}

impl Operation for Open {
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault> {
        let seen = monitor.seen(&self.held.node);
        let kind = u32::from(seen.stx_mode) & S_IFMT;
        let changes = writes(self.flags) || self.flags.contains(OFlags::TRUNC);
        match kind {
            S_IFLNK if !self.flags.contains(OFlags::DIRECTORY) => return Err(Errno::LOOP.into()),
            S_IFDIR if changes => return Err(Errno::ISDIR.into()),
            S_IFDIR => {}
            _ if self.flags.contains(OFlags::DIRECTORY) => return Err(Errno::NOTDIR.into()),
            _ => {}
        }
        let mut want = match self.flags.intersection(OFlags::RWMODE) {
            OFlags::WRONLY => Want::WRITE,
            OFlags::RDWR => Want::READ.and(Want::WRITE),
            _ => Want::READ,
        };
        if self.flags.contains(OFlags::TRUNC) {
            want = want.and(Want::WRITE);
        }
        may(subject.credentials, &seen, want)?;
        if changes && matches!(kind, S_IFREG) {
            self.held.writable()?;
        }
        if self.flags.contains(OFlags::NOATIME) && !owns(subject.credentials, &seen) {
            return Err(Errno::PERM.into());
        }
        // open(2): a socket's file cannot be opened.
        if kind == S_IFSOCK { Err(Errno::NXIO.into()) } else { Ok(()) }
    }

    fn concern(&self) -> Concern<'_> {
        if writes(self.flags) { self.held.concern() } else { Concern::Read(self.held.node.fd.as_fd()) }
    }
}

impl Permit<Open> {
    fn act(self, monitor: &Monitor, subject: &Subject<'_>) -> Result<Opened, Fault> {
        let Open { held, flags } = self.op;
        let seen = monitor.seen(&held.node);
        match u32::from(seen.stx_mode) & S_IFMT {
            S_IFREG | S_IFDIR => {}
            S_IFIFO => return Ok(Opened::Fifo(held.node.fd)),
            _ => return Ok(Opened::Device(seen)),
        }
        let fd = raw::reopen(monitor.root(), &held.inode(), flags)?;
        let access = access_of(flags);
        if !flags.contains(OFlags::WRONLY) {
            monitor.note_read(fd.as_fd())?;
        }
        // Writes themselves do not pass here, so what they would take from the mode goes when they become possible.
        let changes = access == OpenedAccess::Write || flags.contains(OFlags::TRUNC);
        if changes && !subject.credentials.can(Capability::FSETID) {
            raw::drop_setid(monitor.root(), &held.inode())?;
        }
        Ok(Opened::File(OpenedFile { fd, access }))
    }
}

/// Makes a file and opens it.
struct Create {
    spot: Spot,
    fresh: Fresh,
    flags: OFlags,
}

impl Operation for Create {
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault> {
        monitor.may_make(subject, &self.spot, NewKind::Other)
    }

    fn concern(&self) -> Concern<'_> {
        let name = self.spot.name().ok().map(std::ffi::CStr::to_bytes);
        Concern::Write(self.spot.dir().fd.as_fd(), name)
    }
}

impl Permit<Create> {
    fn act(self, monitor: &Monitor) -> Result<OwnedFd, Errno> {
        let Create { spot, fresh, flags } = self.op;
        let dir = spot.home.dir(spot.dir());
        raw::create(monitor.root(), &dir, spot.name()?, flags.difference(OFlags::TRUNC), &fresh)
    }
}

/// Makes a file without a name.
struct CreateNameless {
    held: Held,
    fresh: Fresh,
    flags: OFlags,
}

impl Operation for CreateNameless {
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault> {
        if !self.held.node.is_directory() {
            return Err(Errno::NOTDIR.into());
        }
        self.held.writable()?;
        Ok(may(subject.credentials, &monitor.seen(&self.held.node), Want::NAMES)?)
    }

    fn concern(&self) -> Concern<'_> {
        self.held.concern()
    }
}

impl Permit<CreateNameless> {
    fn act(self, monitor: &Monitor) -> Result<OwnedFd, Errno> {
        let CreateNameless { held, fresh, flags } = self.op;
        let home = monitor.home(held.node.fd.as_fd())?;
        raw::create_nameless(monitor.root(), &home.dir(&held.node), flags, &fresh)
    }
}

/// Flags in contradiction (open(2), openat2(2)).
fn check_flags(request: &OpenRequest) -> Result<(), Errno> {
    let flags = request.flags;
    if is_nameless(flags) && (!writes(flags) || flags.contains(OFlags::CREATE)) {
        return Err(Errno::INVAL);
    }
    if flags.contains(OFlags::CREATE | OFlags::DIRECTORY) && !flags.contains(OFlags::PATH) {
        return Err(Errno::INVAL);
    }
    let both = ResolveFlags::BENEATH | ResolveFlags::IN_ROOT;
    if request.resolve.contains(both) { Err(Errno::INVAL) } else { Ok(()) }
}

impl Monitor {
    /// open, openat, openat2, creat.
    ///
    /// # Errors
    /// As Linux has them (man 2 open).
    pub fn open(&self, subject: &Subject<'_>, at: At<'_>, request: &OpenRequest) -> Answer<Opened> {
        check_flags(request)?;
        let flags = request.flags;
        let last = if flags.contains(OFlags::NOFOLLOW) { LastLink::NoFollow } else { LastLink::Follow };
        if flags.contains(OFlags::PATH) {
            return self.open_path(subject, at, request, last);
        }
        let nameless = is_nameless(flags);
        let reads = !writes(flags) && !flags.intersects(OFlags::TRUNC | OFlags::CREATE) && !nameless;
        if reads
            && request.resolve.is_empty()
            && !self.policy().restricts_reads()
            && !self.root().may_hold_fifos()
            && self.mounts().are_free_of_fifos()
            && let Some(fd) = self.open_fast(subject, at, flags | OFlags::NOCTTY)
        {
            let end = fd.as_ref().map_or_else(|errno| End::Failed(*errno), |fd| End::Fd(fd.as_fd()));
            self.learn(subject, at, last, facts_of(flags), &end);
            let fd = fd?;
            self.note_read(fd.as_fd())?;
            return Ok(Outcome::Done(Opened::File(OpenedFile { fd, access: OpenedAccess::Read })));
        }
        if flags.contains(OFlags::CREATE) && at.path.as_bytes().ends_with(b"/") {
            // Linux sees the slash before it looks the name up, but after the way there.
            let reached = self.reach(subject, at, Goal::Place, request.resolve);
            self.learn(subject, at, last, Facts::KIND, &End::of(&reached, Goal::Place));
            return match reached? {
                Reached::View(place) => Ok(Outcome::View(place)),
                _ => Err(Errno::ISDIR.into()),
            };
        }
        let goal = match flags.contains(OFlags::CREATE) {
            // Whatever stands there is in the way.
            true if flags.contains(OFlags::EXCL) => Goal::Place,
            true => Goal::OrPlace(last),
            false => Goal::Existing(last),
        };
        if at.path.is_empty() {
            return Err(Errno::NOENT.into());
        }
        let mut walker = Walker::Either;
        for _ in 0..TRIES {
            let reached = self.reach_by(subject, at, goal, request.resolve, walker);
            let end = End::of(&reached, goal);
            self.learn_with(subject, at, last, facts_of(flags), &end, request.resolve);
            match reached? {
                Reached::View(place) => return Ok(Outcome::View(place)),
                Reached::Object(fd) => return Ok(Outcome::Object(fd)),
                Reached::Node(_) if flags.contains(OFlags::CREATE | OFlags::EXCL) => {
                    return Err(Errno::EXIST.into());
                }
                Reached::Node(node) if nameless => return self.open_nameless(subject, node, request),
                Reached::Node(node) => {
                    if flags.contains(OFlags::CREATE) && node.is_directory() {
                        return Err(Errno::ISDIR.into());
                    }
                    let held = self.held(node)?;
                    let permit = self.permit(subject, Open { held, flags })?;
                    let changes = writes(flags) || flags.contains(OFlags::TRUNC);
                    let opened = if changes {
                        let keeps =
                            if flags.contains(OFlags::TRUNC) { Keeps::Nothing } else { Keeps::Content };
                        let announced = self.announce_content(&permit.op.held.node, keeps);
                        announced.done(permit.act(self, subject))
                    } else {
                        permit.act(self, subject)
                    };
                    return Ok(Outcome::Done(opened?));
                }
                Reached::Place(place) => match self.create(subject, place, request) {
                    // Made by somebody else since we looked, which O_CREAT alone does not mind; or a dangling link, which the kernel's walk
                    // does not tell from nothing.
                    Err(Fault::Errno(Errno::EXIST)) if !flags.contains(OFlags::EXCL) => walker = Walker::Own,
                    other => return other.map(Outcome::Done),
                },
            }
        }
        Err(Errno::EXIST.into())
    }

    fn create(&self, subject: &Subject<'_>, place: Place, request: &OpenRequest) -> Result<Opened, Fault> {
        if place.slash == Slash::Trailing {
            return Err(Errno::ISDIR.into());
        }
        let directory = if request.flags.contains(OFlags::EXCL) { Errno::EXIST } else { Errno::ISDIR };
        let spot = self.spot(place, [directory; 3])?;
        let fresh = self.fresh(subject, spot.dir(), request.mode & 0o7777, NewKind::Other);
        let path = self.path_of_spot(&spot);
        let fd = self.permit(subject, Create { spot, fresh, flags: request.flags })?.act(self)?;
        self.note_own(path);
        Ok(Opened::File(OpenedFile { fd, access: access_of(request.flags) }))
    }

    fn open_nameless(&self, subject: &Subject<'_>, node: Node, request: &OpenRequest) -> Answer<Opened> {
        let fresh = self.fresh(subject, &node, request.mode & 0o7777, NewKind::Other);
        let held = self.held(node)?;
        let op = CreateNameless { held, fresh, flags: request.flags };
        let fd = self.permit(subject, op)?.act(self)?;
        Ok(Outcome::Done(Opened::File(OpenedFile { fd, access: OpenedAccess::Write })))
    }

    /// `O_PATH` asks for no permission on the object itself.
    fn open_path(
        &self,
        subject: &Subject<'_>,
        at: At<'_>,
        request: &OpenRequest,
        last: LastLink,
    ) -> Answer<Opened> {
        let goal = Goal::Existing(last);
        let reached = self.reach(subject, at, goal, request.resolve);
        self.learn_with(subject, at, last, Facts::STAT, &End::of(&reached, goal), request.resolve);
        let node = match reached? {
            Reached::Node(node) => node,
            Reached::View(place) => return Ok(Outcome::View(place)),
            Reached::Object(fd) => return Ok(Outcome::Object(fd)),
            Reached::Place(_) => return Err(Errno::NOENT.into()),
        };
        if request.flags.contains(OFlags::DIRECTORY) && !node.is_directory() {
            return Err(Errno::NOTDIR.into());
        }
        Ok(Outcome::Done(Opened::Path(node.fd)))
    }
}
