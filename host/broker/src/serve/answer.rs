//! The one answer of one notification.
//!
//! Invariant: dropping an [`Answer`] that was not given answers EIO. A guest that is gone (ENOENT) needs none.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use wbuild_sys::notify::{ERESTARTSYS, Inherit, Listener};

use crate::call::FdFlags;
use crate::calls::locks::Lingering;

/// See the module.
pub(super) struct Answer<'a> {
    listener: &'a Listener,
    id: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Owed,
    Given,
}

/// An answer that another thread will give.
pub(super) struct Deferred {
    id: u64,
}

impl Deferred {
    /// The debt of the notification `id`.
    pub(super) fn of(id: u64) -> Self {
        Self { id }
    }

    /// Takes the debt over again.
    pub(super) fn resume(self, listener: &Listener) -> Answer<'_> {
        Answer::new(listener, self.id)
    }
}

impl<'a> Answer<'a> {
    pub(super) fn new(listener: &'a Listener, id: u64) -> Self {
        Self { listener, id, state: State::Owed }
    }

    /// Leaves the debt to whoever resumes it.
    pub(super) fn defer(mut self) -> Deferred {
        self.state = State::Given;
        Deferred { id: self.id }
    }

    /// The guest was answered by other means.
    pub(super) fn already_given(mut self) {
        self.state = State::Given;
    }

    pub(super) fn value(mut self, value: i64) {
        self.state = State::Given;
        expect_gone(self.listener.send_value(self.id, value));
    }

    pub(super) fn errno(mut self, errno: Errno) {
        self.state = State::Given;
        expect_gone(self.listener.send_errno(self.id, errno));
    }

    /// The call restarts once the guest has taken its signal, or ends with EINTR, as its handler's SA_RESTART says.
    pub(super) fn restart(mut self) {
        self.state = State::Given;
        expect_gone(self.listener.send_raw_error(self.id, ERESTARTSYS));
    }

    pub(super) fn go_on(mut self) {
        self.state = State::Given;
        expect_gone(self.listener.send_continue(self.id));
    }

    pub(super) fn descriptor(self, fd: OwnedFd, flags: FdFlags, lingering: &Lingering) {
        let Some(_held) = lingering.hold() else { return self.descriptor_closed_first(fd, flags) };
        match self.listener.add_and_send(self.id, fd.as_fd(), inherit(flags)) {
            Ok(_) => self.already_given(),
            Err(errno) => self.errno(errno),
        }
        drop(fd);
    }

    pub(super) fn descriptor_closed_first(self, fd: OwnedFd, flags: FdFlags) {
        match self.listener.add(self.id, fd.as_fd(), inherit(flags)) {
            Ok(number) => {
                drop(fd);
                self.value(number.into());
            }
            Err(errno) => self.errno(errno),
        }
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        if self.state == State::Owed {
            expect_gone(self.listener.send_errno(self.id, Errno::IO));
        }
    }
}

fn inherit(flags: FdFlags) -> Inherit {
    match flags {
        FdFlags::Inherit => Inherit::AcrossExec,
        FdFlags::CloseOnExec => Inherit::No,
    }
}

/// The only error an answer meets in practice is a guest that no longer waits for it.
fn expect_gone(sent: Result<(), Errno>) {
    if let Err(errno) = sent
        && errno != Errno::NOENT
    {
        tracing::error!(%errno, "a notification could not be answered");
    }
}
