//! The reaper: the guest's parent and subreaper, which ends a step for good.
//!
//! Invariant: it exits only when every process of the step is gone, and it starts ending them as soon as the first guest
//! process ends or the supervisor's pipe is closed, by intent or by the supervisor's death.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};

use crate::confine::{self, SignalScope};
use crate::fences::Fence;
use crate::guest::Embryo;
use crate::wire::{self, ExitStatus, Reaped};

/// How often orphans are reaped while nothing else happens.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// The reaper's ends.
pub(crate) struct Ends {
    /// Readable (at its end) when the step is to end.
    pub(crate) life: OwnedFd,
    /// Where the end of the step is told.
    pub(crate) report: UnixStream,
}

/// Runs as the reaper; its exit code.
pub(crate) fn run(ends: &Ends, embryo: &Embryo<'_>) -> i32 {
    match reap(ends, embryo) {
        Ok(reaped) => i32::from(wire::send(&ends.report, &reaped, &[]).is_err()),
        Err(errno) => errno.raw_os_error(),
    }
}

fn reap(ends: &Ends, embryo: &Embryo<'_>) -> Result<Reaped, Errno> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let scope = confine::reaper(embryo.fences)?;
    let guest = match wbuild_sys::process::fork()? {
        wbuild_sys::process::Forked::Parent(pid) => pid,
        wbuild_sys::process::Forked::Child => crate::guest::run(embryo),
    };
    let pidfd = rustix::process::pidfd_open(guest, PidfdFlags::empty())?;
    let mut exit = None;
    let mut tally = Tally { guest, exit: &mut exit, others: 0 };
    while tally.exit.is_none() && !told_to_end(&ends.life, &pidfd)? {
        tally.collect(WaitOptions::NOHANG)?;
    }
    tally.others = 0;
    if embryo.fences.stands(&Fence::End) {
        end_all(&mut tally, scope)?;
    }
    let killed = tally.others;
    Ok(Reaped { exit: exit.unwrap_or(ExitStatus::Signal(Signal::KILL.as_raw())), killed })
}

/// Waits a tick; true once the supervisor's end of the pipe is closed.
fn told_to_end(life: &OwnedFd, guest: &OwnedFd) -> Result<bool, Errno> {
    let mut polled = [PollFd::new(life, PollFlags::IN), PollFd::new(guest, PollFlags::IN)];
    match rustix::event::poll(&mut polled, Some(&TICK)) {
        Ok(_) | Err(Errno::INTR) => Ok(!polled[0].revents().is_empty()),
        Err(errno) => Err(errno),
    }
}

/// Kills and reaps until there is no child left. What forks meanwhile is met by the next round; a process that takes a
/// fatal signal cannot finish a fork.
fn end_all(tally: &mut Tally<'_>, scope: SignalScope) -> Result<(), Errno> {
    loop {
        match scope {
            SignalScope::Step => match wbuild_sys::process::kill_all_reachable() {
                Ok(()) | Err(Errno::SRCH | Errno::PERM) => {}
                Err(errno) => return Err(errno),
            },
            SignalScope::Everything => kill_descendants()?,
        }
        if tally.collect(WaitOptions::empty())? == Children::None {
            return Ok(());
        }
    }
}

/// SIGKILLs every process whose line of parents leads to this one: where Landlock cannot confine `kill(-1)`.
fn kill_descendants() -> Result<(), Errno> {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    let parents = wbuild_sys::process::parents()?;
    let is_ours = |mut pid: i32| {
        // No line of parents is longer than the list.
        for _ in 0..=parents.len() {
            match parents.get(&pid) {
                Some(parent) if *parent == me => return true,
                Some(parent) => pid = *parent,
                None => return false,
            }
        }
        false
    };
    for pid in parents.keys().copied().filter(|pid| is_ours(*pid)).filter_map(Pid::from_raw) {
        match rustix::process::kill_process(pid, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// What was reaped.
struct Tally<'a> {
    guest: Pid,
    exit: &'a mut Option<ExitStatus>,
    others: u32,
}

/// Whether children are left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Children {
    Some,
    None,
}

impl Tally<'_> {
    /// Reaps what is dead; with no NOHANG, at least one child.
    fn collect(&mut self, mut options: WaitOptions) -> Result<Children, Errno> {
        loop {
            match rustix::process::wait(options) {
                Ok(Some((pid, status))) => {
                    if pid == self.guest {
                        *self.exit = Some(exit_status(status));
                    } else {
                        self.others += 1;
                    }
                    options = WaitOptions::NOHANG;
                }
                Ok(None) => return Ok(Children::Some),
                Err(Errno::CHILD) => return Ok(Children::None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, Some(signal)) => ExitStatus::Signal(signal),
        (None, None) => ExitStatus::Signal(Signal::KILL.as_raw()),
    }
}
