//! Looking: stat, access, readlink, statfs, chdir, and descriptors for exec, inotify and unix sockets.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{OFlags, StatFs, Statx};
use wbuild_rootfs::raw;
use wbuild_rootfs::{S_IFMT, S_IFREG, S_IFSOCK};

use super::{Answer, done};
use crate::dac::{Want, may};
use crate::observe::Facts;
use crate::permit::{Concern, Operation, Permit};
use crate::request::{AccessAs, Executable};
use crate::resolve::Node;
use crate::{
    At, Base, Capabilities, CapabilitySet, Credentials, Errno, Fault, LastLink, Monitor, Outcome, Subject,
    Where,
};

/// Uses an inode in a way that needs a permission bit on it.
struct Use {
    node: Node,
    want: Want,
    kind: Used,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Used {
    AsDirectory,
    AsProgram,
    AsSocket,
    ForWatching,
}

impl Operation for Use {
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault> {
        let seen = monitor.seen(&self.node);
        let kind = u32::from(seen.stx_mode) & S_IFMT;
        match self.kind {
            Used::AsDirectory if !self.node.is_directory() => return Err(Errno::NOTDIR.into()),
            // execve(2): EACCES for what is no regular file.
            Used::AsProgram if kind != S_IFREG => return Err(Errno::ACCESS.into()),
            _ => {}
        }
        may(subject.credentials, &seen, self.want)?;
        // unix(7): ECONNREFUSED for what is no socket, after the permission.
        if self.kind == Used::AsSocket && kind != S_IFSOCK {
            return Err(Errno::CONNREFUSED.into());
        }
        Ok(())
    }

    fn concern(&self) -> Concern<'_> {
        let fd = self.node.fd.as_fd();
        match self.kind {
            Used::AsDirectory => Concern::Nothing,
            Used::AsProgram => Concern::Exec(fd),
            Used::ForWatching => Concern::Read(fd),
            Used::AsSocket => Concern::Write(fd, None),
        }
    }
}

impl Permit<Use> {
    fn fd(self) -> OwnedFd {
        self.op.node.fd
    }

    fn open_program(self, monitor: &Monitor) -> Result<Executable, Fault> {
        let Use { node, .. } = self.op;
        let held = monitor.held(node)?;
        let fd = raw::reopen(monitor.root(), &held.inode(), OFlags::RDONLY | OFlags::NONBLOCK)?;
        let path = monitor.path_of(held.node.fd.as_fd())?.unwrap_or_default();
        monitor.recorder().executed(fd.as_fd(), &path, &held.node.stat);
        let record = monitor.root().records().get(&held.node.stat);
        let file_capabilities = record.xattrs.get(b"security.capability".as_slice()).cloned();
        Ok(Executable { fd, stat: monitor.seen(&held.node), path, file_capabilities })
    }
}

impl Monitor {
    /// stat family, statx; fstat by `Where::Fd`. The answer is the guest's view: mode with file type, ids, device number.
    ///
    /// # Errors
    /// As Linux has them (man 2 stat).
    pub fn stat(&self, subject: &Subject<'_>, target: Where<'_>) -> Answer<Statx> {
        if let Where::Fd(fd) = target {
            // The commonest call of all: no descriptor is copied where the answer is the tree's. Whoever opened it has learnt what it tells.
            let mut stat = wbuild_rootfs::stat_fd(fd)?;
            if self.is_ours(&stat) {
                self.root().show(&mut stat);
                return Ok(Outcome::Done(stat));
            }
        }
        let node = done!(self.node(subject, target, Facts::STAT)?);
        Ok(Outcome::Done(self.seen(&node)))
    }

    /// fstat of what has this real stat: the guest's view of it if it is on the tree's own device; `None` otherwise, and then [`Monitor::stat`]
    /// answers. The caller knows that it is nothing of a view.
    #[must_use]
    pub fn stat_of_open(&self, mut real: Statx) -> Option<Statx> {
        if wbuild_rootfs::InodeKey::of(&real).device != self.root().key().device {
            return None;
        }
        self.root().show(&mut real);
        Some(real)
    }

    /// access family: `mode` is `R_OK | W_OK | X_OK` bits, 0 for existence.
    ///
    /// # Errors
    /// As Linux has them (man 2 access).
    pub fn access(&self, subject: &Subject<'_>, target: Where<'_>, mode: u32, who: AccessAs) -> Answer<()> {
        if mode & !7 != 0 {
            return Err(Errno::INVAL.into());
        }
        let real;
        let subject = match who {
            AccessAs::Effective => *subject,
            AccessAs::Real => {
                real = as_real(subject.credentials);
                Subject { credentials: &real, ..*subject }
            }
        };
        let node = done!(self.node(&subject, target, Facts::ATTRIBUTES)?);
        if mode & 2 != 0 && !self.mounts().is_empty() && self.root().own_links(&node.stat) > 0 {
            self.home(node.fd.as_fd())?.writable()?;
        }
        may(subject.credentials, &self.seen(&node), Want::bits(mode))?;
        Ok(Outcome::Done(()))
    }

    /// readlink, readlinkat; an empty path reads the link that the base descriptor is open on.
    ///
    /// # Errors
    /// As Linux has them (man 2 readlink).
    pub fn read_link(&self, subject: &Subject<'_>, at: At<'_>) -> Answer<Vec<u8>> {
        let target = match at.base {
            Base::Dir(fd) if at.path.is_empty() => Where::Fd(fd),
            _ => Where::Path(at, LastLink::NoFollow),
        };
        let node = done!(self.node(subject, target, Facts::KIND)?);
        if !node.is_link() {
            let errno = if matches!(target, Where::Fd(_)) { Errno::NOENT } else { Errno::INVAL };
            return Err(errno.into());
        }
        let text = rustix::fs::readlinkat(&node.fd, c"", Vec::with_capacity(256))?;
        Ok(Outcome::Done(text.into_bytes()))
    }

    /// statfs, fstatfs: of the host's filesystem.
    ///
    /// # Errors
    /// As Linux has them (man 2 statfs).
    pub fn stat_fs(&self, subject: &Subject<'_>, target: Where<'_>) -> Answer<StatFs> {
        let node = done!(self.node(subject, target, Facts::KIND)?);
        Ok(Outcome::Done(rustix::fs::fstatfs(&node.fd)?))
    }

    /// chdir, fchdir: the `O_PATH` descriptor of the new working directory, or the place of one in a view (whose being a directory the caller asks
    /// its views).
    ///
    /// # Errors
    /// As Linux has them (man 2 chdir).
    pub fn chdir(&self, subject: &Subject<'_>, target: Where<'_>) -> Answer<OwnedFd> {
        let node = done!(self.node(subject, target, Facts::ATTRIBUTES)?);
        let permit = self.permit(subject, Use { node, want: Want::SEARCH, kind: Used::AsDirectory })?;
        let fd = permit.fd();
        match target {
            Where::Path(..) => Ok(Outcome::Done(fd)),
            // The guest's descriptor may be a real one: a working directory is O_PATH.
            Where::Fd(_) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                Ok(Outcome::Done(rustix::fs::openat(&fd, c".", flags, rustix::fs::Mode::empty())?))
            }
        }
    }

    /// Resolves and checks a program for exec: regular file, virtual x bit, policy's `exec.native`. Whether it is ELF or a script is the caller's
    /// to read.
    ///
    /// # Errors
    /// As Linux has them (man 2 execve); EACCES where policy denies it.
    pub fn exec(&self, subject: &Subject<'_>, target: Where<'_>) -> Answer<Executable> {
        let node = done!(self.node(subject, target, Facts::STAT.and(Facts::CONTENT))?);
        if node.is_link() {
            return Err(Errno::LOOP.into());
        }
        let permit = self.permit(subject, Use { node, want: Want::EXECUTE, kind: Used::AsProgram })?;
        Ok(Outcome::Done(permit.open_program(self)?))
    }

    /// inotify_add_watch: an `O_PATH` descriptor of what may be read.
    ///
    /// # Errors
    /// As Linux has them (man 2 inotify_add_watch).
    pub fn watch(&self, subject: &Subject<'_>, target: Where<'_>) -> Answer<OwnedFd> {
        let node = done!(self.node(subject, target, Facts::STAT.and(Facts::NAMES))?);
        let permit = self.permit(subject, Use { node, want: Want::READ, kind: Used::ForWatching })?;
        Ok(Outcome::Done(permit.fd()))
    }

    /// connect or send to an AF_UNIX path: an `O_PATH` descriptor of the socket file, write permission checked.
    ///
    /// # Errors
    /// As Linux has them (man 7 unix).
    pub fn connect_socket(&self, subject: &Subject<'_>, at: At<'_>) -> Answer<OwnedFd> {
        let node = done!(self.node(subject, Where::Path(at, LastLink::Follow), Facts::ATTRIBUTES)?);
        let permit = self.permit(subject, Use { node, want: Want::WRITE, kind: Used::AsSocket })?;
        Ok(Outcome::Done(permit.fd()))
    }
}

/// The credentials that access(2) checks: the real ids, and of the capabilities what the real user would have.
fn as_real(who: &Credentials) -> Credentials {
    let mut real = who.clone();
    real.uid.fs = who.uid.real;
    real.gid.fs = who.gid.real;
    let effective = if who.uid.real == 0 { who.capabilities.permitted } else { CapabilitySet::EMPTY };
    real.capabilities = Capabilities { effective, ..who.capabilities };
    real
}
