//! What a handler needs to know of its caller: the state, the subject the monitor sees, names and descriptors.
//!
//! Invariant: every descriptor of a guest is translated here (handles, views) before anything looks at it, and every
//! argument is read once. Nothing is resolved here: that is the monitor's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use wbuild_monitor::{
    At, Base, Broken, Fault, GuestPath, LastLink, Monitor, Outcome, Subject, ViewPath, Where,
};

use crate::call::Call;
use crate::identity::{ChangeError, State, TagError, Thread};
use crate::step::Step;
use crate::task::Task;
use crate::views::Caller;

/// `AT_FDCWD` of linux/fcntl.h.
pub(crate) const AT_FDCWD: i32 = -100;

/// `AT_*` of linux/fcntl.h.
pub(crate) mod at_flag {
    pub(in crate::calls) const SYMLINK_NOFOLLOW: u32 = 0x100;
    pub(in crate::calls) const REMOVEDIR: u32 = 0x200;
    pub(in crate::calls) const EACCESS: u32 = 0x200;
    pub(in crate::calls) const SYMLINK_FOLLOW: u32 = 0x400;
    pub(in crate::calls) const NO_AUTOMOUNT: u32 = 0x800;
    pub(in crate::calls) const EMPTY_PATH: u32 = 0x1000;
    pub(in crate::calls) const STATX_SYNC_TYPE: u32 = 0x6000;
}

/// One call's caller.
pub(crate) struct Frame<'a> {
    pub(crate) step: &'a Step,
    pub(crate) task: &'a Task,
    pub(crate) state: Arc<State>,
}

/// Where a descriptor or the start of a path is.
pub(crate) enum Start {
    Cwd,
    Dir(Held),
    View(ViewPath),
}

/// Our copy of a guest's descriptor.
pub(crate) enum Held {
    Copy(OwnedFd),
    Handle(Arc<OwnedFd>),
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Copy(fd) => fd.as_fd(),
            Self::Handle(fd) => fd.as_fd(),
        }
    }
}

/// A path with its start.
pub(crate) struct Name {
    start: Start,
    pub(crate) path: GuestPath,
}

impl Name {
    pub(crate) fn at(&self) -> At<'_> {
        let base = match &self.start {
            Start::Cwd => Base::Cwd,
            Start::Dir(held) => Base::Dir(held.as_fd()),
            Start::View(place) => Base::View(place),
        };
        At { base, path: &self.path }
    }
}

/// What a call is aimed at.
pub(crate) enum Aim {
    Path(Name, LastLink),
    Fd(Held),
    View(ViewPath),
}

/// Whether an empty path means the descriptor itself (`AT_EMPTY_PATH`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum EmptyPath {
    Refused,
    Allowed,
}

impl EmptyPath {
    pub(crate) fn from_flags(flags: u32) -> Self {
        if flags & at_flag::EMPTY_PATH == 0 { Self::Refused } else { Self::Allowed }
    }
}

/// The last link as `AT_SYMLINK_NOFOLLOW` says.
pub(crate) fn no_follow(flags: u32) -> LastLink {
    if flags & at_flag::SYMLINK_NOFOLLOW == 0 { LastLink::Follow } else { LastLink::NoFollow }
}

impl<'a> Frame<'a> {
    pub(crate) fn of(call: &Call<'a>) -> Result<Self, Fault> {
        let (step, task) = (call.step(), call.task());
        let state = step.identities.of(thread(task)?.tid).map_err(|error| lost(call, error))?;
        Ok(Self { step, task, state })
    }

    pub(crate) fn views(&self) -> Caller<'_> {
        Caller { step: self.step, task: self.task, state: &self.state }
    }

    /// Asks the monitor on behalf of the caller.
    pub(crate) fn ask<T>(
        &self,
        operation: impl FnOnce(&Monitor, &Subject<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let views = self.views();
        let subject = Subject {
            credentials: &self.state.identity.credentials,
            umask: self.state.umask,
            cwd: self.state.cwd.as_monitor(),
            views: &views,
        };
        operation(&self.step.monitor, &subject)
    }

    /// [`Frame::ask`] about what a call is aimed at; a place in a view is answered as such.
    pub(crate) fn ask_about<T>(
        &self,
        aim: &Aim,
        operation: impl FnOnce(&Monitor, &Subject<'_>, Where<'_>) -> Result<Outcome<T>, Fault>,
    ) -> Result<Outcome<T>, Fault> {
        match aim {
            Aim::Path(name, last) => {
                self.ask(|monitor, subject| operation(monitor, subject, Where::Path(name.at(), *last)))
            }
            Aim::Fd(held) => {
                self.ask(|monitor, subject| operation(monitor, subject, Where::Fd(held.as_fd())))
            }
            Aim::View(place) => Ok(Outcome::View(place.clone())),
        }
    }

    /// What the guest's descriptor `fd` is open on.
    pub(crate) fn descriptor(&self, fd: i32) -> Result<Start, Fault> {
        let copy = self.task.descriptor(fd)?;
        let held = match self.step.handles.real(copy.as_fd())? {
            Some(real) => Held::Handle(real),
            None => Held::Copy(copy),
        };
        Ok(match self.step.views.locate(held.as_fd())? {
            Some(place) => Start::View(place),
            None => Start::Dir(held),
        })
    }

    /// What an f* call on `fd` is aimed at.
    pub(crate) fn aim_fd(&self, fd: i32) -> Result<Aim, Fault> {
        Ok(match self.descriptor(fd)? {
            Start::Dir(held) => Aim::Fd(held),
            Start::View(place) => Aim::View(place),
            Start::Cwd => return Err(Errno::BADF.into()),
        })
    }

    /// What an f* call on `fd` is aimed at, for calls that Linux refuses on `O_PATH` descriptors (fchmod, fsetxattr, ..).
    pub(crate) fn aim_open_fd(&self, fd: i32) -> Result<Aim, Fault> {
        match self.aim_fd(fd)? {
            Aim::Fd(Held::Handle(_)) => Err(Errno::BADF.into()),
            aim => Ok(aim),
        }
    }

    /// A path that must not be empty, starting at `dirfd`.
    pub(crate) fn name(&self, dirfd: i32, path: GuestPath) -> Result<Name, Fault> {
        // getname() comes before the descriptor is looked at.
        if path.is_empty() {
            return Err(Errno::NOENT.into());
        }
        let start =
            if path.is_absolute() || dirfd == AT_FDCWD { Start::Cwd } else { self.descriptor(dirfd)? };
        Ok(Name { start, path })
    }

    /// A path that must not be empty and starts at `dirfd` even if it is absolute.
    pub(super) fn name_beneath(&self, dirfd: i32, path: GuestPath) -> Result<Name, Fault> {
        if path.is_empty() {
            return Err(Errno::NOENT.into());
        }
        let start = if dirfd == AT_FDCWD { Start::Cwd } else { self.descriptor(dirfd)? };
        Ok(Name { start, path })
    }

    /// The empty path at the guest's descriptor `fd`, for readlinkat; the inner `Err` is a place in a view.
    pub(crate) fn descriptor_name(&self, fd: i32) -> Result<Result<Name, ViewPath>, Fault> {
        Ok(match self.descriptor(fd)? {
            Start::View(place) => Err(place),
            start => Ok(Name { start, path: GuestPath::new(Vec::new())? }),
        })
    }

    /// What an *at call is aimed at.
    pub(crate) fn aim(
        &self,
        dirfd: i32,
        path: GuestPath,
        last: LastLink,
        empty: EmptyPath,
    ) -> Result<Aim, Fault> {
        if !path.is_empty() || empty == EmptyPath::Refused {
            return Ok(Aim::Path(self.name(dirfd, path)?, last));
        }
        if dirfd == AT_FDCWD {
            return Ok(Aim::Path(Name { start: Start::Cwd, path: GuestPath::new(*b".")? }, LastLink::Follow));
        }
        self.aim_fd(dirfd)
    }

    /// Replaces the caller's state by what `next` makes of it.
    pub(crate) fn change<T>(
        &self,
        call: &Call<'_>,
        next: impl FnOnce(&State) -> Result<(State, T), Errno>,
    ) -> Result<T, Fault> {
        change(call, next)
    }
}

/// Replaces the caller's state by what `next` makes of it.
pub(crate) fn change<T>(
    call: &Call<'_>,
    next: impl FnOnce(&State) -> Result<(State, T), Errno>,
) -> Result<T, Fault> {
    call.step().identities.change(thread(call.task())?, next).map_err(|error| match error {
        ChangeError::Refused(errno) => Fault::Errno(errno),
        ChangeError::Tag(error) => lost(call, error),
    })
}

/// The caller's state.
pub(crate) fn state(call: &Call<'_>) -> Result<Arc<State>, Fault> {
    call.step().identities.of(thread(call.task())?.tid).map_err(|error| lost(call, error))
}

fn thread(task: &Task) -> Result<Thread, Fault> {
    use rustix::process::Pid;
    let pid = |number: u32| Pid::from_raw(number.cast_signed()).ok_or(Errno::SRCH);
    Ok(Thread { tid: pid(task.tid())?, tgid: pid(task.tgid())? })
}

/// A caller without a state: either it is gone, and nobody reads the answer, or the sandbox is broken.
fn lost(call: &Call<'_>, error: TagError) -> Fault {
    match call.still_asked() {
        Ok(()) => Broken::new("a process of the step has no identity", error).into(),
        Err(gone) => gone,
    }
}
