//! What this host offers to a sandbox, found by trying it (sandbox.md section 1), for `wbuild doctor`.
//!
//! Invariant: a probe changes nothing but a child process of its own, which is gone when the probe returns.
//! What a missing mechanism means to a user is said here, because it is a property of the mechanism.

use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use crate::landlock;
use crate::limit::{self, Limit};
use crate::memory::{GuestMemory, ProcessVm};
use crate::process::{Forked, exit_now, fork};
use crate::ptrace::{Stop, Tracee};

/// How much depends on what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Steps run, with less.
    Weak,
    /// No step can run.
    Missing,
}

/// One mechanism.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The mechanism, in the kernel's own terms.
    pub mechanism: &'static str,
    /// Whether that is enough.
    pub verdict: Verdict,
    /// What was found: a version, a level, an errno.
    pub found: String,
    /// What it means where it is not good, and what to do.
    pub meaning: &'static str,
}

/// Tries everything; the calling process must have one thread.
#[must_use]
pub fn all() -> Vec<Finding> {
    vec![
        kernel(),
        notification(),
        tracing(),
        yama(),
        memory(),
        resolver(),
        pidfd(),
        landlock_level(),
        carrier(),
    ]
}

fn finding(
    mechanism: &'static str,
    result: Result<(), Errno>,
    otherwise: Verdict,
    meaning: &'static str,
) -> Finding {
    match result {
        Ok(()) => Finding { mechanism, verdict: Verdict::Good, found: "works".to_owned(), meaning },
        Err(errno) => Finding { mechanism, verdict: otherwise, found: errno.to_string(), meaning },
    }
}

fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let verdict = if version >= (5, 14) { Verdict::Good } else { Verdict::Missing };
    let meaning =
        "Linux 5.14 is the first whose user notification can install a descriptor and answer at once";
    Finding { mechanism: "Linux", verdict, found: release, meaning }
}

/// Runs `child` in a forked process and gives its exit code as an errno.
fn in_child(child: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    match fork()? {
        Forked::Child => exit_now(child().err().map_or(0, Errno::raw_os_error)),
        Forked::Parent(pid) => match rustix::process::waitpid(Some(pid), WaitOptions::empty())? {
            Some((_, status)) => match status.exit_status() {
                Some(0) => Ok(()),
                Some(code) => Err(Errno::from_raw_os_error(code)),
                None => Err(Errno::INTR),
            },
            None => Err(Errno::CHILD),
        },
    }
}

fn notification() -> Finding {
    /// `BPF_RET | BPF_K` with `SECCOMP_RET_ALLOW`.
    const ALLOW_ALL: [(u16, u8, u8, u32); 1] = [(6, 0, 0, 0x7fff_0000)];
    let result = in_child(|| {
        rustix::thread::set_no_new_privs(true)?;
        crate::seccomp::install(&ALLOW_ALL).map(drop)
    });
    let meaning = match result {
        Err(Errno::BUSY) => {
            "wbuild already runs under a filter with a listener (inside a step, or under a tracer): run it outside"
        }
        _ => {
            "the seccomp profile must allow the call seccomp, and the kernel user notification (gVisor has none)"
        }
    };
    finding("seccomp user notification", result, Verdict::Missing, meaning)
}

/// A child that does nothing until it is killed.
struct Sleeper(Pid);

impl Sleeper {
    fn start() -> Result<Self, Errno> {
        match fork()? {
            Forked::Parent(pid) => Ok(Self(pid)),
            Forked::Child => loop {
                std::thread::sleep(std::time::Duration::from_secs(60));
            },
        }
    }

    fn tid(&self) -> u32 {
        self.0.as_raw_nonzero().get().unsigned_abs()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It is our own child and not reaped: both succeed.
        let _killed = rustix::process::kill_process(self.0, Signal::KILL);
        let _reaped = rustix::process::waitpid(Some(self.0), WaitOptions::empty());
    }
}

fn tracing() -> Finding {
    let stop_and_look = || {
        let sleeper = Sleeper::start()?;
        let mut tracee = Tracee::seize(sleeper.tid())?;
        tracee.interrupt()?;
        while tracee.wait()? != Stop::Event {
            tracee.resume()?;
        }
        tracee.registers().map(drop)
    };
    let meaning = "exec in a step needs ptrace of wbuild's own descendants: the seccomp profile or the security module denies it";
    finding("ptrace of descendants", stop_and_look(), Verdict::Missing, meaning)
}

fn yama() -> Finding {
    let mechanism = "Yama ptrace scope";
    let good =
        |found: &str| Finding { mechanism, verdict: Verdict::Good, found: found.to_owned(), meaning: "" };
    let path = "/proc/sys/kernel/yama/ptrace_scope";
    let Ok(file) = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
        return good("not there");
    };
    let mut text = [0; 8];
    let length = rustix::io::read(&file, &mut text).unwrap_or(0);
    match String::from_utf8_lossy(&text[..length]).trim() {
        scope @ ("0" | "1") => good(scope),
        scope => Finding {
            mechanism,
            verdict: Verdict::Missing,
            found: scope.to_owned(),
            meaning: "scope 2 and 3 forbid ptrace of one's own children; set kernel.yama.ptrace_scope to 0 or 1",
        },
    }
}

fn memory() -> Finding {
    let read = || {
        let sleeper = Sleeper::start()?;
        // Any object of ours: a forked child has it at the same address.
        let here = &raw const ALL_ONES as u64;
        let mut byte = [0];
        ProcessVm::new(sleeper.tid()).read(here, &mut byte)?;
        if byte == [ALL_ONES] { Ok(()) } else { Err(Errno::IO) }
    };
    let meaning = "guest memory is read through /proc/PID/mem instead, which costs more per call";
    finding("process_vm_readv", read(), Verdict::Weak, meaning)
}

static ALL_ONES: u8 = 0xff;

fn resolver() -> Finding {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat2(CWD, "/", flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    let meaning = "paths are confined by openat2 (Linux 5.6); the seccomp profile must allow it";
    finding("openat2", opened.map(drop), Verdict::Missing, meaning)
}

fn pidfd() -> Finding {
    let opened = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
    let result = opened.map(|fd| drop(fd.as_fd().try_clone_to_owned()));
    finding("pidfd_open", result, Verdict::Missing, "the end of a step is watched by pidfd (Linux 5.3)")
}

fn landlock_level() -> Finding {
    let abi = landlock::abi();
    let verdict = if abi >= 6 { Verdict::Good } else { Verdict::Weak };
    let found = if abi == 0 { "not there".to_owned() } else { format!("ABI {abi}") };
    let meaning =
        "the kernel's own fence behind the broker is weaker or missing; ABI 6 (Linux 6.12) has all of it";
    Finding { mechanism: "Landlock", verdict, found, meaning }
}

fn carrier() -> Finding {
    let unlimited = [Limit::LOCKS, Limit::RSS]
        .into_iter()
        .any(|which| limit::get(None, which).is_ok_and(|value| value.hard == limit::INFINITY));
    let result = if unlimited { Ok(()) } else { Err(Errno::PERM) };
    let meaning =
        "RLIMIT_LOCKS or RLIMIT_RSS, which Linux ignores, must be unlimited: it carries who a process is";
    finding("an unlimited unused rlimit", result, Verdict::Missing, meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Under the test harness there are threads, so what forks says so; the rest must work wherever the suite runs.
    #[test]
    fn what_needs_no_child_is_found_here() {
        for finding in [kernel(), resolver(), pidfd(), carrier(), yama()] {
            assert_eq!(finding.verdict, Verdict::Good, "{finding:?}");
        }
    }

    #[test]
    fn a_failed_probe_names_its_errno() {
        let denied = finding("x", Err(Errno::PERM), Verdict::Missing, "why");
        assert_eq!(denied.verdict, Verdict::Missing);
        assert!(denied.found.contains("not permitted"), "{}", denied.found);
    }
}
