//! ptrace of a guest thread for the length of one redirected call (ptrace(2), PTRACE_SEIZE).
//!
//! Invariant: a [`Tracee`] belongs to the thread that seized it and is detached when dropped. Its waits take stops of this
//! thread's tracees only (`__WNOTHREAD`), so several threads trace at once; none of them may have children of its own.
//! A tracee that dies is reaped here: an unreaped one would hold up an exec of its siblings for ever.

use rustix::io::Errno;

use crate::arch::Registers;
use crate::outcome::outcome;

/// A seized thread.
#[derive(Debug)]
pub struct Tracee {
    tid: i32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Attached,
    Gone,
}

/// Why a tracee stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The stop asked for by [`Tracee::interrupt`], or a stop of its whole group.
    Event,
    /// It executed a new program; a thread that was not the leader is now the leader.
    Exec,
    /// It is about to take this signal (SIGTRAP after a single step).
    Signal(i32),
    /// It is gone.
    Gone,
}

/// A set of blocked signals as the kernel keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalMask(pub u64);

fn request(request: libc::c_uint, tid: i32, address: usize, data: usize) -> Result<libc::c_long, Errno> {
    // SAFETY: callers pass integers, or pointers to live buffers of the size the request names.
    let done = unsafe {
        libc::ptrace(
            request as _,
            tid,
            std::ptr::without_provenance_mut::<libc::c_void>(address),
            std::ptr::with_exposed_provenance_mut::<libc::c_void>(data),
        )
    };
    outcome(done)
}

impl Tracee {
    /// Seizes the thread `tid`; it runs on (or waits on) undisturbed. Execs will stop it.
    ///
    /// # Errors
    /// EPERM where the kernel's ptrace check fails; ESRCH when it is gone.
    pub fn seize(tid: u32) -> Result<Self, Errno> {
        let tid = tid.cast_signed();
        request(libc::PTRACE_SEIZE, tid, 0, libc::PTRACE_O_TRACEEXEC as usize)?;
        Ok(Self { tid, state: State::Attached })
    }

    /// The thread's id; after an exec of a thread that was not the leader, the leader's.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.tid.cast_unsigned()
    }

    /// Asks it to stop as soon as it leaves its call.
    ///
    /// # Errors
    /// ESRCH when it is gone.
    pub fn interrupt(&mut self) -> Result<(), Errno> {
        request(libc::PTRACE_INTERRUPT, self.tid, 0, 0).map(drop)
    }

    /// Waits for its next stop.
    ///
    /// # Errors
    /// What waitpid(2) answers.
    pub fn wait(&mut self) -> Result<Stop, Errno> {
        let mut status = 0;
        let pid = loop {
            // SAFETY: `status` is a live int; no other memory is involved.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
            match outcome(pid.into()) {
                Err(Errno::INTR) => {}
                Err(Errno::CHILD) => {
                    self.state = State::Gone;
                    return Ok(Stop::Gone);
                }
                Err(errno) => return Err(errno),
                Ok(_) => break pid,
            }
        };
        if !libc::WIFSTOPPED(status) {
            self.state = State::Gone;
            return Ok(Stop::Gone);
        }
        self.tid = pid;
        Ok(match status >> 16 {
            libc::PTRACE_EVENT_EXEC => Stop::Exec,
            0 => Stop::Signal(libc::WSTOPSIG(status)),
            _ => Stop::Event,
        })
    }

    /// Its registers, while it is stopped.
    ///
    /// # Errors
    /// ESRCH when it is gone.
    pub fn registers(&self) -> Result<Registers, Errno> {
        let mut registers = Registers::zeroed();
        let mut part = registers.io_vec();
        request(libc::PTRACE_GETREGSET, self.tid, NT_PRSTATUS, (&raw mut part).expose_provenance())?;
        Ok(registers)
    }

    /// Replaces its registers, while it is stopped.
    ///
    /// # Errors
    /// ESRCH when it is gone.
    pub fn set_registers(&mut self, registers: &Registers) -> Result<(), Errno> {
        let mut copy = *registers;
        let mut part = copy.io_vec();
        request(libc::PTRACE_SETREGSET, self.tid, NT_PRSTATUS, (&raw mut part).expose_provenance()).map(drop)
    }

    /// Its blocked signals, while it is stopped.
    ///
    /// # Errors
    /// ESRCH when it is gone.
    pub fn signal_mask(&self) -> Result<SignalMask, Errno> {
        let mut mask = 0_u64;
        request(PTRACE_GETSIGMASK, self.tid, size_of::<u64>(), (&raw mut mask).expose_provenance())?;
        Ok(SignalMask(mask))
    }

    /// Replaces its blocked signals, while it is stopped.
    ///
    /// # Errors
    /// ESRCH when it is gone.
    pub fn set_signal_mask(&mut self, mask: SignalMask) -> Result<(), Errno> {
        let mut mask = mask.0;
        request(PTRACE_SETSIGMASK, self.tid, size_of::<u64>(), (&raw mut mask).expose_provenance()).map(drop)
    }

    /// True once it is known to be gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// Lets it run on.
    ///
    /// # Errors
    /// ESRCH when it is gone.
    pub fn resume(&mut self) -> Result<(), Errno> {
        request(libc::PTRACE_CONT, self.tid, 0, 0).map(drop)
    }

    /// Lets it execute one instruction; a system call counts as one and stops it on the way out.
    ///
    /// # Errors
    /// ESRCH when it is gone.
    pub fn step(&mut self) -> Result<(), Errno> {
        request(libc::PTRACE_SINGLESTEP, self.tid, 0, 0).map(drop)
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if self.state == State::Attached && request(libc::PTRACE_DETACH, self.tid, 0, 0) == Err(Errno::SRCH) {
            // It is not stopped because it is dying: reap it, or its siblings' exec waits for us.
            let _gone_or_stopped = self.wait();
            if self.state == State::Attached {
                let _running_on = request(libc::PTRACE_DETACH, self.tid, 0, 0);
            }
        }
    }
}

/// `NT_PRSTATUS` of linux/elf.h: the general registers.
const NT_PRSTATUS: usize = 1;
/// linux/ptrace.h; libc does not name them for every target.
const PTRACE_GETSIGMASK: libc::c_uint = 0x420a;
const PTRACE_SETSIGMASK: libc::c_uint = 0x420b;
