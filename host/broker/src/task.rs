//! A guest task as the broker knows it: its ids and the descriptors through which it is reached.
//!
//! Invariant: a [`Task`] was opened while a notification of it stood, and is used again only after its pidfd
//! answered that the same task still lives; its /proc directory is bound to the task, not to the number.
//! Credentials and cwd are not here (identity/).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use wbuild_monitor::Fault;
use wbuild_sys::memory::{GuestMemory, ProcMem, ProcessVm};

/// One guest thread.
pub struct Task {
    tid: u32,
    tgid: u32,
    pidfd: Option<OwnedFd>,
    proc: OwnedFd,
    memory: Memory,
}

impl Task {
    /// Opens the thread `tid`; the caller then checks that the notification that named it still stands.
    pub(crate) fn open(tid: u32) -> Result<Self, Errno> {
        let path = format!("/proc/{tid}");
        let proc = rustix::fs::open(
            path.as_str(),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| if errno == Errno::NOENT { Errno::SRCH } else { errno })?;
        // Reading /proc/TID/status costs more than all the rest; most callers are the leaders of their processes.
        let tgid = if wbuild_sys::process::is_leader(tid) {
            tid
        } else {
            let status = read_small(&proc, "status")?;
            field(&status, b"Tgid:").and_then(|text| text.parse().ok()).ok_or(Errno::SRCH)?
        };
        let pidfd = wbuild_sys::process::pidfd_of_thread(tid).or_else(|_| {
            let pid = Pid::from_raw(tid.cast_signed()).filter(|_| tid == tgid).ok_or(Errno::INVAL)?;
            rustix::process::pidfd_open(pid, PidfdFlags::empty())
        });
        let memory = Memory::of(tid, &proc)?;
        Ok(Self { tid, tgid, pidfd: pidfd.ok(), proc, memory })
    }

    /// Readies a task that called before for its next call: a descriptor of /proc/TID/mem stands for the address space the
    /// task had when it was opened, and after vfork and exec that is the parent's, alive and wrong.
    pub(crate) fn renew(&self) -> Result<(), Errno> {
        if let Memory::File { proc, open } = &self.memory {
            *Memory::file(open) = open_memory(proc)?;
        }
        Ok(())
    }

    /// True while the task has not been reaped: its number is still its own.
    pub(crate) fn is_there(&self) -> bool {
        self.pidfd.as_ref().is_some_and(|pidfd| wbuild_sys::process::is_there(pidfd.as_fd()))
    }

    /// True if [`Task::is_there`] can tell.
    pub(crate) fn can_be_kept(&self) -> bool {
        self.pidfd.is_some()
    }

    /// True if a signal is pending that the thread does not block.
    pub(crate) fn has_signal_to_take(&self) -> bool {
        let Ok(status) = read_small(&self.proc, "status") else { return true };
        let set = |name: &[u8]| {
            field(&status, name).and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or_default()
        };
        (set(b"SigPnd:") | set(b"ShdPnd:")) & !set(b"SigBlk:") != 0
    }

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
        &self.memory
    }

    /// An `O_PATH` descriptor of the file behind the guest's descriptor `fd`.
    ///
    /// # Errors
    /// EBADF where the guest has no such descriptor.
    pub fn descriptor(&self, fd: i32) -> Result<OwnedFd, Fault> {
        self.reopen(fd, OFlags::PATH)
    }

    /// The open flags of the guest's descriptor `fd`, with `O_CLOEXEC`, as /proc/TID/fdinfo tells them.
    ///
    /// # Errors
    /// EBADF where the guest has no such descriptor.
    pub fn descriptor_flags(&self, fd: i32) -> Result<u64, Fault> {
        let info = self.descriptor_info(fd)?;
        let flags = field(&info, b"flags:").and_then(|text| u64::from_str_radix(text, 8).ok());
        Ok(flags.ok_or(Errno::BADF)?)
    }

    /// The start of /proc/TID/fdinfo of the guest's descriptor `fd`.
    ///
    /// # Errors
    /// EBADF where the guest has no such descriptor.
    pub fn descriptor_info(&self, fd: i32) -> Result<Vec<u8>, Fault> {
        if fd < 0 {
            return Err(Errno::BADF.into());
        }
        let info = read_small(&self.proc, &format!("fdinfo/{fd}"));
        Ok(info.map_err(|errno| if errno == Errno::NOENT { Errno::BADF } else { errno })?)
    }

    /// The real stat of what the task's descriptor `fd` is open on, without a copy of it.
    ///
    /// # Errors
    /// EBADF.
    pub fn descriptor_stat(&self, fd: i32) -> Result<Statx, Errno> {
        if fd < 0 {
            return Err(Errno::BADF);
        }
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        rustix::fs::statx(&self.proc, DescriptorName::new(fd).as_str(), AtFlags::NO_AUTOMOUNT, wanted)
            .map_err(|errno| if errno == Errno::NOENT { Errno::BADF } else { errno })
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
}

/// Reads a short file of /proc/TID.
fn read_small(proc: &OwnedFd, name: &str) -> Result<Vec<u8>, Errno> {
    let file = rustix::fs::openat(proc, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = vec![0; 4096];
    let length = rustix::io::read(&file, &mut text)?;
    text.truncate(length);
    Ok(text)
}

/// The value of a line of /proc/TID/status.
fn field<'a>(status: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let line = status.split(|byte| *byte == b'\n').find(|line| line.starts_with(name))?;
    std::str::from_utf8(&line[name.len()..]).ok().map(str::trim)
}

/// How this host lets us reach guest memory: found once, by trying.
enum Memory {
    Vm(ProcessVm),
    File { proc: OwnedFd, open: Mutex<ProcMem> },
}

impl Memory {
    fn of(tid: u32, proc: &OwnedFd) -> Result<Self, Errno> {
        /// Whether process_vm_readv is refused (containerd 1.6 does, and allows ptrace), once somebody tried.
        static REFUSED: OnceLock<bool> = OnceLock::new();
        let vm = ProcessVm::new(tid);
        // An address nobody has: EFAULT means that we may.
        let refused = || matches!(vm.read_some(1, &mut [0]), Err(Errno::PERM | Errno::NOSYS));
        if !*REFUSED.get_or_init(refused) {
            return Ok(Self::Vm(vm));
        }
        let open = Mutex::new(open_memory(proc)?);
        Ok(Self::File { proc: proc.try_clone().map_err(|_| Errno::MFILE)?, open })
    }

    fn file(open: &Mutex<ProcMem>) -> MutexGuard<'_, ProcMem> {
        open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_memory(proc: &OwnedFd) -> Result<ProcMem, Errno> {
    rustix::fs::openat(proc, "mem", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map(ProcMem::new)
}

impl GuestMemory for Memory {
    fn read_some(&self, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Vm(vm) => vm.read_some(address, buffer),
            Self::File { open, .. } => Self::file(open).read_some(address, buffer),
        }
    }

    fn write_some(&self, address: u64, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Self::Vm(vm) => vm.write_some(address, bytes),
            Self::File { open, .. } => Self::file(open).write_some(address, bytes),
        }
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
