//! One trapped call on its way through a handler: its arguments, its task, the step, and the answer.
//!
//! Invariant: guest memory is read through [`Call`] only, and each read is followed by a check that the
//! notification still stands, so bytes never come from a process that reused the id.
//! This module resolves nothing and decides nothing; that is the families' (calls/) and the monitor's work.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use wbuild_monitor::{Fault, GuestPath};
use wbuild_sys::notify::{Listener, Notice};

use crate::step::Step;
use crate::task::Task;

/// `AT_FDCWD` of linux/fcntl.h.
pub const AT_FDCWD: i32 = -100;

/// A function that answers one row of the table. It reads each argument once.
pub type Handler = fn(&mut Call<'_>) -> Result<Reply, Fault>;

/// Work that may block, run on the job pool: a blocking system call in it answers EINTR when the guest has a
/// signal to take, and then the guest's call restarts (ERESTARTSYS) as it would natively.
pub type Job = Box<dyn FnOnce(&mut Call<'_>) -> Result<Reply, Fault> + Send>;

/// What the guest gets.
pub enum Reply {
    /// The call returns this value.
    Value(i64),
    /// The call returns a new descriptor. The broker's own copy is closed just after the guest runs on; locks and execs wait
    /// for that (calls/locks.rs). For files, directories, handles and sockets.
    Fd(OwnedFd, FdFlags),
    /// The call returns a new descriptor, and the broker's copy is closed before the guest runs on, which costs a second
    /// wake-up. For the ends of FIFOs, terminals and the like, whose peers notice a close.
    FdClosedFirst(OwnedFd, FdFlags),
    /// Runs the rest on the job pool because it may block; the receiver goes on.
    Blocking(Job),
    /// The guest was redirected by other means (exec) and its notification is already answered.
    Answered,
    /// The kernel runs the call as it stands. Only a row made by [`crate::table::continuing`] may answer this;
    /// anywhere else it ends the step. Never for anything that names a path.
    Continue,
}

/// Whether the new descriptor closes on exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FdFlags {
    /// It survives exec.
    Inherit,
    /// `O_CLOEXEC`.
    CloseOnExec,
}

impl FdFlags {
    /// From a flag word that holds `O_CLOEXEC` (the same bit for SOCK_CLOEXEC, IN_CLOEXEC, ..).
    #[must_use]
    pub fn from_open_flags(flags: u64) -> Self {
        if flags & u64::from(rustix::fs::OFlags::CLOEXEC.bits()) == 0 {
            Self::Inherit
        } else {
            Self::CloseOnExec
        }
    }
}

/// One trapped call. Arguments are read by position, guest memory by address.
pub struct Call<'a> {
    notice: Notice,
    task: &'a Task,
    step: &'a Step,
    listener: &'a Listener,
}

impl<'a> Call<'a> {
    pub(crate) fn new(notice: Notice, task: &'a Task, step: &'a Step, listener: &'a Listener) -> Self {
        Self { notice, task, step, listener }
    }

    /// The caller.
    #[must_use]
    pub fn task(&self) -> &'a Task {
        self.task
    }

    /// What the whole step shares: the monitor, the identities, the exec engine.
    #[must_use]
    pub fn step(&self) -> &'a Step {
        self.step
    }

    pub(crate) fn notice(&self) -> &Notice {
        &self.notice
    }

    pub(crate) fn listener(&self) -> &'a Listener {
        self.listener
    }

    /// True if the guest's descriptor `fd` closes on exec.
    ///
    /// # Errors
    /// EBADF where the guest has no such descriptor.
    pub fn closes_on_exec(&self, fd: i32) -> Result<bool, Fault> {
        let flags = self.task.descriptor_flags(fd)?;
        Ok(flags & u64::from(rustix::fs::OFlags::CLOEXEC.bits()) != 0)
    }

    /// The call's number on this architecture.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.notice.nr
    }

    /// Argument `index` (0..=5) as the whole register.
    #[must_use]
    pub fn arg(&self, index: usize) -> u64 {
        self.notice.args[index]
    }

    /// Argument `index` as a C `int`: the low 32 bits, as the kernel takes it.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the kernel ignores the high half of an int argument"
    )]
    pub fn int(&self, index: usize) -> i32 {
        self.notice.args[index] as i32
    }

    /// Argument `index` as a C `unsigned int`.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the kernel ignores the high half of an int argument"
    )]
    pub fn uint(&self, index: usize) -> u32 {
        self.notice.args[index] as u32
    }

    /// Reads the NUL-terminated path at argument `index`, without its NUL.
    ///
    /// # Errors
    /// EFAULT; ENAMETOOLONG at `PATH_MAX` bytes without a NUL.
    pub fn path(&self, index: usize) -> Result<GuestPath, Fault> {
        GuestPath::new(self.string(self.arg(index), GuestPath::MAX)?.ok_or(Errno::NAMETOOLONG)?)
    }

    /// Reads a NUL-terminated string of less than `limit` bytes at `address`; `None` if there is no NUL in them.
    ///
    /// # Errors
    /// EFAULT.
    pub fn string(&self, address: u64, limit: usize) -> Result<Option<Vec<u8>>, Fault> {
        let string = self.task.memory().read_string(address, limit).map_err(Fault::Errno);
        self.still_asked()?;
        string
    }

    /// Fills `buffer` from `address`.
    ///
    /// # Errors
    /// EFAULT where not all of it is readable.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        let read = self.task.memory().read(address, buffer).map_err(Fault::Errno);
        self.still_asked()?;
        read
    }

    /// Reads `N` bytes at `address` (a structure, decoded by the caller with `from_ne_bytes`).
    ///
    /// # Errors
    /// EFAULT.
    pub fn read_array<const N: usize>(&self, address: u64) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes all of `bytes` at `address`.
    ///
    /// # Errors
    /// EFAULT where not all of it is writable.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.still_asked()?;
        self.task.memory().write(address, bytes).map_err(Fault::Errno)
    }

    /// Checks that the guest still waits for this answer (it may have been killed, its id reused).
    ///
    /// # Errors
    /// EINTR, which nobody will read.
    pub fn still_asked(&self) -> Result<(), Fault> {
        if self.listener.is_valid(self.notice.id) { Ok(()) } else { Err(Fault::Errno(Errno::INTR)) }
    }
}
