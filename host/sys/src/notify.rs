//! seccomp user notification (seccomp_unotify(2)): the filter's listener, notifications and answers.
//!
//! Invariant: a [`Listener`] answers only what it received; the kernel rejects a second answer (ENOENT).
//! What to answer is the broker's business.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::outcome::outcome;

/// One trapped call, as the kernel told it. `args` are raw registers.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    /// The kernel's id of the notification; answers name it.
    pub id: u64,
    /// The thread, in our pid namespace.
    pub tid: u32,
    /// The call's number.
    pub nr: u32,
    /// The address after the system call instruction.
    pub instruction_pointer: u64,
    /// The six argument registers.
    pub args: [u64; 6],
}

/// A descriptor installed in the guest: how it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherit {
    /// It survives exec.
    AcrossExec,
    /// It closes on exec.
    No,
}

/// The error that makes the guest's call restart whatever its handlers say (ERESTARTNOINTR of linux/errno.h).
pub const ERESTARTNOINTR: i32 = 513;
/// The error that makes the guest's call restart, or answer EINTR, as SA_RESTART says (ERESTARTSYS).
pub const ERESTARTSYS: i32 = 512;

/// The listener of one filter.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

/// linux/seccomp.h: `SECCOMP_USER_NOTIF_FLAG_CONTINUE`, `SECCOMP_ADDFD_FLAG_SETFD` and `_SEND`, all 32 bits wide there.
const FLAG_CONTINUE: u32 = 1;
const ADDFD_SETFD: u32 = 1;
const ADDFD_SEND: u32 = 2;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` of linux/seccomp.h.
const FD_SYNC_WAKE_UP: u64 = 1;

impl Listener {
    /// Takes a descriptor that `seccomp(.., SECCOMP_FILTER_FLAG_NEW_LISTENER, ..)` returned.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Asks for same-CPU wake-ups (Linux 6.6).
    ///
    /// # Errors
    /// EINVAL on older kernels.
    pub fn wake_synchronously(&self) -> Result<(), Errno> {
        // SAFETY: this request takes its flags by value; no memory is shared.
        let set =
            unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, FD_SYNC_WAKE_UP) };
        outcome(set.into()).map(drop)
    }

    /// Waits for the next notification.
    ///
    /// # Errors
    /// ENOENT when the guest was interrupted between its trap and this call (try again); EINTR; an error of its
    /// own when every user of the filter is gone is not given by all kernels: poll for HUP.
    pub fn receive(&self) -> Result<Notice, Errno> {
        // SAFETY: the structure is plain integers, for which all zeroes is a value; the kernel demands zeroes.
        let mut notif: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the request writes one `seccomp_notif`, to which the pointer leads, and keeps nothing.
        let received =
            unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notif) };
        outcome(received.into())?;
        Ok(Notice {
            id: notif.id,
            tid: notif.pid,
            nr: notif.data.nr.cast_unsigned(),
            instruction_pointer: notif.data.instruction_pointer,
            args: notif.data.args,
        })
    }

    /// True once every process under the filter is gone.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        let mut poll = [rustix::event::PollFd::new(&self.fd, rustix::event::PollFlags::empty())];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut poll, Some(&now)), Ok(1..))
            && poll[0].revents().contains(rustix::event::PollFlags::HUP)
    }

    /// True while the guest still waits for the answer to `id`.
    #[must_use]
    pub fn is_valid(&self, id: u64) -> bool {
        // SAFETY: the request reads one u64, to which the pointer leads, and keeps nothing.
        let valid =
            unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) };
        valid == 0
    }

    /// Answers with a value.
    ///
    /// # Errors
    /// ENOENT when the guest no longer waits.
    pub fn send_value(&self, id: u64, value: i64) -> Result<(), Errno> {
        self.send(&libc::seccomp_notif_resp { id, val: value, error: 0, flags: 0 })
    }

    /// Answers with an errno.
    ///
    /// # Errors
    /// ENOENT when the guest no longer waits.
    pub fn send_errno(&self, id: u64, errno: Errno) -> Result<(), Errno> {
        self.send_raw_error(id, errno.raw_os_error())
    }

    /// Answers with one of the kernel's internal errors, e.g. [`ERESTARTSYS`].
    ///
    /// # Errors
    /// ENOENT when the guest no longer waits.
    pub fn send_raw_error(&self, id: u64, error: i32) -> Result<(), Errno> {
        self.send(&libc::seccomp_notif_resp { id, val: 0, error: -error, flags: 0 })
    }

    /// Lets the kernel run the call.
    ///
    /// # Errors
    /// ENOENT when the guest no longer waits.
    pub fn send_continue(&self, id: u64) -> Result<(), Errno> {
        self.send(&libc::seccomp_notif_resp { id, val: 0, error: 0, flags: FLAG_CONTINUE })
    }

    fn send(&self, response: &libc::seccomp_notif_resp) -> Result<(), Errno> {
        // SAFETY: the request reads one `seccomp_notif_resp`, to which the pointer leads, and keeps nothing.
        let sent = unsafe {
            libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, std::ptr::from_ref(response))
        };
        outcome(sent.into()).map(drop)
    }

    /// Installs a copy of `file` at the guest's lowest free number and answers with that number, at once.
    ///
    /// # Errors
    /// ENOENT when the guest no longer waits; EMFILE at the guest's limit; EBADF for an `O_PATH` descriptor.
    pub fn add_and_send(&self, id: u64, file: BorrowedFd<'_>, inherit: Inherit) -> Result<u32, Errno> {
        self.add_raw(id, file, 0, ADDFD_SEND, inherit)
    }

    /// Installs a copy of `file` at the guest's lowest free number and returns it; the guest still waits.
    ///
    /// # Errors
    /// As [`Listener::add_and_send`].
    pub fn add(&self, id: u64, file: BorrowedFd<'_>, inherit: Inherit) -> Result<u32, Errno> {
        self.add_raw(id, file, 0, 0, inherit)
    }

    /// Installs a copy of `file` at the guest's number `at`, replacing what is there; the guest still waits.
    ///
    /// # Errors
    /// As [`Listener::add_and_send`].
    pub fn add_at(&self, id: u64, file: BorrowedFd<'_>, at: u32, inherit: Inherit) -> Result<u32, Errno> {
        self.add_raw(id, file, at, ADDFD_SETFD, inherit)
    }

    fn add_raw(
        &self,
        id: u64,
        file: BorrowedFd<'_>,
        at: u32,
        flags: u32,
        inherit: Inherit,
    ) -> Result<u32, Errno> {
        let newfd_flags = match inherit {
            Inherit::AcrossExec => 0,
            Inherit::No => libc::O_CLOEXEC.cast_unsigned(),
        };
        let srcfd = file.as_raw_fd().cast_unsigned();
        let request = libc::seccomp_notif_addfd { id, flags, srcfd, newfd: at, newfd_flags };
        // SAFETY: the request reads one `seccomp_notif_addfd`, to which the pointer leads, and keeps nothing.
        let added =
            unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const request) };
        u32::try_from(outcome(added.into())?).map_err(|_| Errno::BADF)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
