//! Makes a guest thread, stopped in execve, execute a descriptor instead (sandbox.md section 4, steps 2 to 4).
//!
//! Invariant: the path argument becomes the empty string that ends the guest's own path, so nothing is written into memory
//! that a vfork parent or other threads share. The tracer stays attached until the kernel says that the new program
//! stands or that the exec failed; signals stay blocked meanwhile, so that no handler sees the borrowed registers.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::io::Errno;
use rustix::process::Pid;
use wbuild_monitor::{Broken, Fault};
use wbuild_sys::arch::Registers;
use wbuild_sys::notify::{ERESTARTNOINTR, Inherit};
use wbuild_sys::ptrace::{SignalMask, Stop, Tracee};

use super::plan::Plan;
use super::program::{Found, Way};
use crate::call::{Call, Reply};
use crate::calls::frame::Frame;
use crate::identity::{ChangeError, PlanId, State, Thread, Transition};
use crate::table;

/// What happens once the new program stands.
struct Afterwards {
    transition: Option<Transition>,
    /// What /proc/PID/exe is.
    exe: PlanId,
    plan: Option<Plan>,
    /// What the kernel must have executed: its device and inode.
    file: (u64, u64),
}

/// Starts `found`. `empty` is the address of an empty string in guest memory, `vectors` the argument positions of argv
/// and envp.
pub(super) fn start(
    call: &Call<'_>,
    frame: &Frame<'_>,
    found: Found,
    empty: u64,
    vectors: [usize; 2],
) -> Result<Reply, Fault> {
    let transition = match found.way {
        // The program itself is executed later, by the stub, and changes credentials then.
        Way::Reexec => None,
        _ => Some(frame.state.identity.exec(&found.exec_file()?)?),
    };
    let exe = match found.way {
        Way::Loader | Way::Module(_) => call.step().exec.remember_exe(found.program.fd.as_fd())?,
        _ => PlanId::default(),
    };
    let (file, plan) = prepare(call, found, transition.as_ref())?;
    let number = call.listener().add(call.notice().id, file.as_fd(), Inherit::No)?;
    let stat = rustix::fs::fstat(&file)?;
    drop(file);
    let afterwards = Afterwards { transition, exe, plan, file: (stat.st_dev, stat.st_ino) };
    redirect(call, number, empty, vectors, afterwards)
}

/// The file to execute and what the stub will be told.
fn prepare(
    call: &Call<'_>,
    found: Found,
    transition: Option<&Transition>,
) -> Result<(OwnedFd, Option<Plan>), Fault> {
    let stub =
        || call.step().exec.stub.try_clone().map_err(|error| Broken::new("cannot copy the stub", error));
    let way = found.way;
    let Found { program, interpreter, name, prefix, .. } = found;
    let interpreter = interpreter.map(|interpreter| interpreter.fd);
    let plan =
        |program| Plan { way, program, interpreter, name, prefix, credentials: transition.map(Into::into) };
    Ok(match way {
        Way::Direct => (program.fd, None),
        Way::Planted => (program.fd, Some(plan(None))),
        Way::Loader => (stub()?, Some(plan(Some(program.fd)))),
        Way::Reexec => (stub()?, Some(plan(None))),
        Way::Module(_) => {
            let modules = call.step().exec.modules.as_ref().ok_or(Errno::NOEXEC)?;
            (rustix::io::fcntl_dupfd_cloexec(&modules.engine, 0)?, Some(plan(Some(program.fd))))
        }
    })
}

fn redirect(
    call: &Call<'_>,
    number: u32,
    empty: u64,
    vectors: [usize; 2],
    afterwards: Afterwards,
) -> Result<Reply, Fault> {
    let (notice, listener) = (call.notice(), call.listener());
    let mut tracee = Tracee::seize(notice.tid).map_err(|errno| {
        if listener.is_valid(notice.id) {
            Broken::new(format!("cannot trace guest thread {}", notice.tid), errno).into()
        } else {
            Fault::from(Errno::SRCH)
        }
    })?;
    // The notification still stands, so what was seized is the thread that asked.
    call.still_asked()?;
    let args = [
        number.into(),
        empty,
        call.arg(vectors[0]),
        call.arg(vectors[1]),
        AtFlags::EMPTY_PATH.bits().into(),
        call.step().exec.cookie(),
    ];
    if tracee.interrupt().is_err() || listener.send_raw_error(notice.id, ERESTARTNOINTR).is_err() {
        // It is being killed.
        return Ok(Reply::Answered);
    }
    let result =
        run(&mut tracee, notice.instruction_pointer, args, number, |tgid| commit(call, tgid, afterwards));
    match result {
        // A guest that is killed meanwhile needs no answer.
        Ok(()) | Err(Fault::Errno(Errno::SRCH)) => Ok(Reply::Answered),
        Err(fault) => Err(fault),
    }
}

/// From the answered notification to the new program, or back to the old one.
fn run(
    tracee: &mut Tracee,
    after_call: u64,
    args: [u64; 6],
    number: u32,
    commit: impl FnOnce(u32) -> Result<(), Fault>,
) -> Result<(), Fault> {
    while tracee.wait()? != Stop::Event {
        if tracee.is_gone() {
            return Ok(());
        }
        // A stop of some other kind first: let it pass, the asked one follows.
        tracee.resume()?;
    }
    let before = tracee.registers()?;
    let mask = tracee.signal_mask()?;
    tracee.set_signal_mask(SignalMask(u64::MAX))?;
    match call_once(tracee, &before.calling(after_call, table::EXECVEAT, args))? {
        Called::Executed => {
            tracee.set_signal_mask(mask)?;
            commit(tracee.tid())
        }
        Called::Returned(errno) => {
            let close = [number.into(), 0, 0, 0, 0, 0];
            call_once(tracee, &before.calling(after_call, table::CLOSE, close))?;
            tracee.set_registers(&before.returning(after_call, errno))?;
            Ok(tracee.set_signal_mask(mask)?)
        }
        Called::Gone => Ok(()),
    }
}

/// How a call made for a guest ended.
enum Called {
    Executed,
    Returned(i64),
    Gone,
}

fn call_once(tracee: &mut Tracee, registers: &Registers) -> Result<Called, Errno> {
    tracee.set_registers(registers)?;
    loop {
        tracee.step()?;
        match tracee.wait()? {
            Stop::Exec => return Ok(Called::Executed),
            Stop::Signal(TRAP) => return Ok(Called::Returned(tracee.registers()?.result())),
            Stop::Gone => return Ok(Called::Gone),
            // A stop of the whole group (SIGSTOP): it takes effect again when we let go.
            Stop::Event | Stop::Signal(_) => {}
        }
    }
}

const TRAP: i32 = 5;

/// Whether it is this file that was executed: who shares descriptors or memory with a thread that executes could have put another under
/// the number, or a path into the empty string.
fn stands(pid: Pid, file: (u64, u64)) -> bool {
    let exe = format!("/proc/{}/exe", pid.as_raw_nonzero());
    rustix::fs::stat(exe.as_str()).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == file)
}

/// The new program stands, stopped before its first instruction: its credentials, its name, its plan.
fn commit(call: &Call<'_>, tgid: u32, afterwards: Afterwards) -> Result<(), Fault> {
    let pid = Pid::from_raw(tgid.cast_signed()).ok_or(Errno::SRCH)?;
    if call.step().exec.verifies() && !stands(pid, afterwards.file) {
        // As Linux does where an exec fails too late. What stands has no name, no plan and no credentials of the program asked for.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        return Ok(());
    }
    let execs = &call.step().exec;
    if let Some(plan) = afterwards.plan {
        execs.expect(tgid, plan);
    }
    let Some(transition) = afterwards.transition else { return Ok(()) };
    let next = |old: &State| {
        let identity = Arc::new(transition.identity);
        Ok((State { identity, plan: afterwards.exe, ..old.clone() }, ()))
    };
    match call.step().identities.change(Thread { tid: pid, tgid: pid }, next) {
        Ok(()) => Ok(()),
        Err(ChangeError::Refused(errno)) => Err(errno.into()),
        Err(ChangeError::Tag(error)) => {
            Err(Broken::new("a program stands without an identity", error).into())
        }
    }
}
