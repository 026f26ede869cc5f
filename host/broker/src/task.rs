//! A guest task as the broker knows it: its ids and the descriptors through which it is reached.
//!
//! Invariant: a [`Task`] was opened while a notification of it stood, and is used again only after its pidfd
//! answered that the same task still lives; its /proc directory is bound to the task, not to the number.
//! Credentials and cwd are not here (identity/).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use wbuild_monitor::Fault;
use wbuild_sys::memory::GuestMemory;

/// One guest thread.
pub struct Task {
    tid: u32,
    tgid: u32,
    pidfd: Option<OwnedFd>,
    proc: OwnedFd,
    memory: Box<dyn GuestMemory>,
}

impl Task {
    /// The thread's id.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.tid
    }

    /// The process's id.
    #[must_use]
    pub fn tgid(&self) -> u32 {
        self.tgid
    }

    /// The descriptor of /proc/TID; every file of it is opened beneath it.
    #[must_use]
    pub fn proc(&self) -> BorrowedFd<'_> {
        self.proc.as_fd()
    }

    /// The guest's memory; handlers use [`crate::Call::read`] and its like, which also check the notification.
    #[must_use]
    pub fn memory(&self) -> &dyn GuestMemory {
        self.memory.as_ref()
    }

    /// An `O_PATH` descriptor of the file behind the guest's descriptor `fd`.
    ///
    /// # Errors
    /// EBADF where the guest has no such descriptor.
    pub fn descriptor(&self, fd: i32) -> Result<OwnedFd, Fault> {
        self.reopen(fd, OFlags::PATH)
    }

    /// The file behind the guest's descriptor `fd`, opened anew with `flags` through /proc/TID/fd/N.
    ///
    /// # Errors
    /// EBADF where the guest has no such descriptor, else what the open answers.
    pub fn reopen(&self, fd: i32, flags: OFlags) -> Result<OwnedFd, Fault> {
        if fd < 0 {
            return Err(Fault::Errno(Errno::BADF));
        }
        let name = DescriptorName::new(fd);
        match rustix::fs::openat(&self.proc, name.as_str(), flags | OFlags::CLOEXEC, Mode::empty()) {
            Ok(opened) => Ok(opened),
            Err(Errno::NOENT) => Err(Fault::Errno(Errno::BADF)),
            Err(errno) => Err(Fault::Errno(errno)),
        }
    }

    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }
}

/// `fd/N` without an allocation.
struct DescriptorName {
    bytes: [u8; 16],
    start: usize,
}

impl DescriptorName {
    fn new(fd: i32) -> Self {
        let mut name = Self { bytes: [0; 16], start: 16 };
        let mut rest = fd.unsigned_abs();
        loop {
            name.push(b'0' + u8::try_from(rest % 10).unwrap_or(0));
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        for byte in [b'/', b'd', b'f'] {
            name.push(byte);
        }
        name
    }

    fn push(&mut self, byte: u8) {
        self.start -= 1;
        self.bytes[self.start] = byte;
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.start..]).unwrap_or_default()
    }
}
