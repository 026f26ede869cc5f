//! Attributes: chmod, chown, utimens, truncate; by path and by descriptor.

use std::os::fd::AsFd;

use rustix::fs::{Timestamps, UTIME_NOW, UTIME_OMIT};
use wbuild_rootfs::Scope;
use wbuild_rootfs::raw::{self, Inode};

use super::{Answer, done};
use crate::dac::{Want, kept_setgid, may, owns};
use crate::observe::{Facts, Keeps};
use crate::permit::{Concern, Operation, Permit};
use crate::resolve::{Home, Node, Origin};
use crate::{Capability, Errno, Fault, Monitor, Outcome, Subject, Where};

/// An inode whose attributes or content change, with where it lies.
pub(super) struct Held {
    pub(super) node: Node,
    home: Option<Home>,
}

impl Held {
    pub(super) fn inode(&self) -> Inode<'_> {
        let scope = self.home.as_ref().map_or(Scope::Tree, Home::scope);
        Inode { fd: self.node.fd.as_fd(), stat: &self.node.stat, scope }
    }

    pub(super) fn writable(&self) -> Result<(), Errno> {
        self.home.as_ref().map_or(Ok(()), Home::writable)
    }

    pub(super) fn concern(&self) -> Concern<'_> {
        Concern::Write(self.node.fd.as_fd(), None)
    }
}

impl Monitor {
    pub(super) fn held(&self, node: Node) -> Result<Held, Errno> {
        // Without a graft everything that is ours is the tree's. A removed file lies nowhere; a graft's source in memory has no name either.
        let nameless =
            self.root().own_links(&node.stat) == 0 && self.mounts().at_source(&node.key()).is_none();
        let home = if self.mounts().is_empty() || nameless || node.origin == Origin::Tree {
            None
        } else {
            Some(self.home(node.fd.as_fd()).map_err(|_| Errno::ACCESS)?)
        };
        Ok(Held { node, home })
    }
}

struct Chmod {
    held: Held,
    mode: u32,
}

impl Operation for Chmod {
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault> {
        self.held.writable()?;
        let seen = monitor.seen(&self.held.node);
        if owns(subject.credentials, &seen) { Ok(()) } else { Err(Errno::PERM.into()) }
    }

    fn concern(&self) -> Concern<'_> {
        self.held.concern()
    }
}

impl Permit<Chmod> {
    fn act(self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Errno> {
        let Chmod { held, mode } = self.op;
        let seen = monitor.seen(&held.node);
        let mode = kept_setgid(subject.credentials, seen.stx_gid, mode & 0o7777, 0o2000);
        raw::chmod(monitor.root(), &held.inode(), mode)
    }
}

struct Chown {
    held: Held,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Operation for Chown {
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault> {
        self.held.writable()?;
        let who = subject.credentials;
        if who.can(Capability::CHOWN) {
            return Ok(());
        }
        let seen = monitor.seen(&self.held.node);
        let owner = who.uid.fs == seen.stx_uid;
        let uid_stays = self.uid.is_none_or(|uid| owner && uid == seen.stx_uid);
        let gid_allowed = self.gid.is_none_or(|gid| owner && (who.in_group(gid) || gid == seen.stx_gid));
        if uid_stays && gid_allowed { Ok(()) } else { Err(Errno::PERM.into()) }
    }

    fn concern(&self) -> Concern<'_> {
        self.held.concern()
    }
}

impl Permit<Chown> {
    fn act(self, monitor: &Monitor) -> Result<(), Errno> {
        let Chown { held, uid, gid } = self.op;
        raw::chown(monitor.root(), &held.inode(), uid, gid)
    }
}

struct SetTimes<'a> {
    held: Held,
    times: &'a Timestamps,
}

impl Operation for SetTimes<'_> {
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault> {
        let nanos = [self.times.last_access.tv_nsec, self.times.last_modification.tv_nsec];
        let special = [UTIME_NOW, UTIME_OMIT];
        if nanos.iter().any(|n| !special.contains(n) && !(0..1_000_000_000).contains(n)) {
            return Err(Errno::INVAL.into());
        }
        self.held.writable()?;
        let seen = monitor.seen(&self.held.node);
        if owns(subject.credentials, &seen) {
            return Ok(());
        }
        if nanos.iter().all(|n| *n == UTIME_NOW) {
            return Ok(may(subject.credentials, &seen, Want::WRITE)?);
        }
        Err(Errno::PERM.into())
    }

    fn concern(&self) -> Concern<'_> {
        self.held.concern()
    }
}

impl Permit<SetTimes<'_>> {
    fn act(self, monitor: &Monitor) -> Result<(), Errno> {
        raw::set_times(monitor.root(), &self.op.held.inode(), self.op.times)
    }
}

struct Truncate {
    held: Held,
    length: u64,
    by: By,
}

/// How a file was named: a descriptor that can write needs no permission again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Path,
    Descriptor,
}

impl Operation for Truncate {
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault> {
        let seen = monitor.seen(&self.held.node);
        if self.held.node.is_directory() {
            return Err(Errno::ISDIR.into());
        }
        if u32::from(seen.stx_mode) & wbuild_rootfs::S_IFMT != wbuild_rootfs::S_IFREG {
            return Err(Errno::INVAL.into());
        }
        self.held.writable()?;
        match self.by {
            By::Path => Ok(may(subject.credentials, &seen, Want::WRITE)?),
            By::Descriptor => Ok(()),
        }
    }

    fn concern(&self) -> Concern<'_> {
        self.held.concern()
    }
}

impl Permit<Truncate> {
    fn act(self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Errno> {
        let Truncate { held, length, .. } = self.op;
        raw::truncate(monitor.root(), &held.inode(), length)?;
        if subject.credentials.can(Capability::FSETID) {
            return Ok(());
        }
        raw::drop_setid(monitor.root(), &held.inode())
    }
}

impl Monitor {
    /// chmod, fchmod, fchmodat, fchmodat2.
    ///
    /// # Errors
    /// As Linux has them (man 2 chmod); EOPNOTSUPP on a symbolic link.
    pub fn chmod(&self, subject: &Subject<'_>, target: Where<'_>, mode: u32) -> Answer<()> {
        let held = self.held(done!(self.node(subject, target, Facts::KIND)?))?;
        let permit = self.permit(subject, Chmod { held, mode })?;
        self.announce_attributes(&permit.op.held.node);
        permit.act(self, subject)?;
        Ok(Outcome::Done(()))
    }

    /// chown family; `None` leaves an id alone (the guest's -1).
    ///
    /// # Errors
    /// As Linux has them (man 2 chown).
    pub fn chown(
        &self,
        subject: &Subject<'_>,
        target: Where<'_>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Answer<()> {
        let held = self.held(done!(self.node(subject, target, Facts::KIND)?))?;
        let permit = self.permit(subject, Chown { held, uid, gid })?;
        self.announce_attributes(&permit.op.held.node);
        permit.act(self)?;
        Ok(Outcome::Done(()))
    }

    /// utimensat and its elders: `UTIME_NOW` and `UTIME_OMIT` stand in the nanoseconds.
    ///
    /// # Errors
    /// As Linux has them (man 2 utimensat).
    pub fn set_times(&self, subject: &Subject<'_>, target: Where<'_>, times: &Timestamps) -> Answer<()> {
        // Linux answers this before it looks at the path.
        let omit = UTIME_OMIT;
        if times.last_access.tv_nsec == omit && times.last_modification.tv_nsec == omit {
            return Ok(Outcome::Done(()));
        }
        let held = self.held(done!(self.node(subject, target, Facts::KIND)?))?;
        let permit = self.permit(subject, SetTimes { held, times })?;
        self.announce_attributes(&permit.op.held.node);
        permit.act(self)?;
        Ok(Outcome::Done(()))
    }

    /// truncate. With `Where::Fd` the guest's descriptor must have been opened for writing: the caller has seen that.
    ///
    /// # Errors
    /// As Linux has them (man 2 truncate).
    pub fn truncate(&self, subject: &Subject<'_>, target: Where<'_>, length: u64) -> Answer<()> {
        let by = if matches!(target, Where::Fd(_)) { By::Descriptor } else { By::Path };
        let held = self.held(done!(self.node(subject, target, Facts::KIND)?))?;
        let permit = self.permit(subject, Truncate { held, length, by })?;
        let keeps = if length == 0 { Keeps::Nothing } else { Keeps::Content };
        let announced = self.announce_content(&permit.op.held.node, keeps);
        announced.done(permit.act(self, subject).map_err(Fault::from))?;
        Ok(Outcome::Done(()))
    }
}
