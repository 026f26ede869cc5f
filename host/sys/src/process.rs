//! Making processes and ending them: what the supervisor, the reaper and the first guest process need.
//!
//! Invariant: [`fork`] works in single-threaded processes only, and checks it: what it returns into is then an ordinary
//! process in which any code may run.

use std::ffi::{CStr, CString};
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::outcome::outcome;

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// The parent, with the child's id.
    Parent(Pid),
    /// The child.
    Child,
}

/// Forks this process, which must have one thread.
///
/// # Errors
/// EBUSY when it has more threads; EAGAIN at a limit of processes.
pub fn fork() -> Result<Forked, Errno> {
    if threads()? != 1 {
        return Err(Errno::BUSY);
    }
    // SAFETY: this process has one thread, so no lock is held by a thread that the child lacks.
    let pid = unsafe { libc::fork() };
    outcome(pid.into())?;
    Ok(Pid::from_raw(pid).map_or(Forked::Child, Forked::Parent))
}

/// How many threads this process has: the links of /proc/self/task, less `.`, `..` and the like.
fn threads() -> Result<u64, Errno> {
    // Of statx, for the count in struct stat is as wide as the architecture likes.
    let wanted = rustix::fs::StatxFlags::NLINK;
    let stat = rustix::fs::statx(rustix::fs::CWD, "/proc/self/task", rustix::fs::AtFlags::empty(), wanted)?;
    Ok(u64::from(stat.stx_nlink).saturating_sub(2))
}

/// Executes `path` in this process; returns only on failure.
#[must_use]
pub fn execve(path: &CStr, argv: &[CString], envp: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: the path is NUL-terminated, both vectors hold NUL-terminated strings and end with NULL, and all of it
    // outlives the call.
    let failed = unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    outcome(failed.into()).err().unwrap_or(Errno::NOEXEC)
}

/// The parent of every process that /proc shows, by id.
///
/// # Errors
/// /proc cannot be listed.
pub fn parents() -> Result<std::collections::HashMap<i32, i32>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty())?;
    let mut parents = std::collections::HashMap::new();
    for entry in rustix::fs::Dir::read_from(&proc)? {
        let Some(pid) = entry?.file_name().to_str().ok().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = parent_of(&proc, pid) {
            parents.insert(pid, parent);
        }
    }
    Ok(parents)
}

/// Field 4 of /proc/PID/stat; `None` when it is gone.
fn parent_of(proc: &OwnedFd, pid: i32) -> Option<i32> {
    let name = format!("{pid}/stat");
    let file =
        rustix::fs::openat(proc, name.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0; 1024];
    let length = rustix::io::read(&file, &mut text).ok()?;
    // The name of the program stands in parentheses and may hold any byte; the last one ends it.
    let rest = text[..length].iter().rposition(|byte| *byte == b')').map(|end| &text[end + 1..length])?;
    std::str::from_utf8(rest).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Ends this process at once, without running destructors or exit handlers: for forked children.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; nothing is left to be unsound.
    unsafe { libc::_exit(code) }
}

/// SIGKILLs every process this one may signal, but itself: `kill(-1, SIGKILL)`. In a Landlock domain with the signal scope
/// these are the processes it and its children started.
///
/// # Errors
/// ESRCH when there is none; EPERM when there are only others'.
pub fn kill_all_reachable() -> Result<(), Errno> {
    // SAFETY: integers only.
    outcome(unsafe { libc::kill(-1, libc::SIGKILL) }.into()).map(drop)
}

/// Gives every signal its default action again and unblocks all, as a new program expects it.
///
/// # Errors
/// None in practice: the arguments are constant.
pub fn reset_signals() -> Result<(), Errno> {
    for signal in (1..=64).filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP | 32 | 33)) {
        // SAFETY: SIG_DFL is no function; the C library's own signals 32 and 33 are left alone.
        let before = unsafe { libc::signal(signal, libc::SIG_DFL) };
        if before == libc::SIG_ERR {
            return Err(Errno::INVAL);
        }
    }
    // SAFETY: a signal set is plain integers, for which all zeroes is the empty set.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer leads to a live set; no old set is asked for.
    outcome(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) }.into())
        .map(drop)
}

/// Makes SIGUSR1 interrupt blocking calls of a thread and do nothing else.
///
/// # Errors
/// None in practice: the arguments are constant.
pub fn let_usr1_interrupt() -> Result<(), Errno> {
    extern "C" fn nothing(_signal: libc::c_int) {}
    // SAFETY: the structure is plain integers and pointers, for which all zeroes is a value: no flags (no
    // SA_RESTART), nothing blocked.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler is async-signal-safe, it does nothing; the pointer leads to a live structure.
    outcome(unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) }.into())
        .map(drop)
}

/// Sends SIGUSR1 to a thread of this process.
///
/// # Errors
/// ESRCH when it is gone.
pub fn interrupt_thread(tid: Pid) -> Result<(), Errno> {
    let tgid = rustix::process::getpid();
    // SAFETY: integers only.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_tgkill,
            tgid.as_raw_nonzero().get(),
            tid.as_raw_nonzero().get(),
            libc::SIGUSR1,
        )
    };
    outcome(sent).map(drop)
}

/// True if the thread is the leader of its process.
#[must_use]
pub fn is_leader(tid: u32) -> bool {
    // SAFETY: signal 0 is only a check.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, tid.cast_signed(), tid.cast_signed(), 0) };
    sent == 0
}

/// A pidfd of one thread (`PIDFD_THREAD`, Linux 6.9).
///
/// # Errors
/// EINVAL on older kernels; ESRCH when it is gone.
pub fn pidfd_of_thread(tid: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, tid.cast_signed(), libc::PIDFD_THREAD) };
    let fd = i32::try_from(outcome(fd)?).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// True while the thread or process of a pidfd has not been reaped.
#[must_use]
pub fn is_there(pidfd: std::os::fd::BorrowedFd<'_>) -> bool {
    use std::os::fd::AsRawFd;
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: signal 0 is only a check; no siginfo is given.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), 0, no_info, 0_u32) };
    outcome(sent) != Err(Errno::SRCH)
}

/// Makes every descriptor from 3 up close on exec: whatever this process was started with stays in it.
///
/// # Errors
/// ENOSYS before Linux 5.11.
pub fn keep_inherited_descriptors_out_of_children() -> Result<(), Errno> {
    // SAFETY: integers only; no descriptor is closed in this process.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    outcome(done).map(drop)
}

/// Takes over the descriptor `fd`, which this process was started with.
///
/// # Errors
/// EBADF when it is not open.
pub fn inherited(fd: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD only looks.
    outcome(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into())?;
    // SAFETY: it is open; the caller is the start of a program, before anything else could own it. A second call
    // for the same number is a bug that closes it twice, not memory unsafety.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the broker tells this process about the exec that made it, where that was the exec of another file in whose place this program
/// stands: a memfd. `None` where it was executed as itself, on a host or in a step.
#[must_use]
pub fn exec_plan() -> Option<OwnedFd> {
    // SAFETY: the path is a constant with its NUL. The kernel has no such directory descriptor; only a broker answers.
    let fd = unsafe { libc::openat(plan::PLAN_DIRFD, c"".as_ptr(), libc::O_CLOEXEC) };
    // SAFETY: it was made for this call, so nobody else owns it.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(dead_code, unreachable_pub, reason = "the file is the stub's too, where it is a whole interface")]
#[path = "../../stub/src/plan.rs"]
mod plan;

/// Lets SIGPIPE end this process, as it does unless a program asks otherwise; Rust's start-up does.
///
/// # Errors
/// None in practice: the arguments are constant.
pub fn let_broken_pipes_kill() -> Result<(), Errno> {
    // SAFETY: SIG_DFL is no function.
    if unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) } == libc::SIG_ERR {
        Err(Errno::INVAL)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_does_not_fork() {
        let (tell, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        assert_eq!(fork(), Err(Errno::BUSY));
        drop(tell);
        assert!(other.join().unwrap().is_err());
    }

    #[test]
    fn only_the_first_thread_is_a_leader() {
        let id = |tid: Pid| tid.as_raw_nonzero().get().cast_unsigned();
        assert!(is_leader(id(rustix::process::getpid())));
        let other = std::thread::spawn(move || is_leader(id(rustix::thread::gettid())));
        assert!(!other.join().unwrap());
    }

    #[test]
    fn the_parents_of_this_process_are_known() {
        let parents = parents().unwrap();
        let me = rustix::process::getpid().as_raw_nonzero().get();
        assert_eq!(
            parents.get(&me).copied(),
            rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get())
        );
    }
}
