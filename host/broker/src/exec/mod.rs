//! execve and execveat: resolve, check, choose a way in, and redirect the guest into it (sandbox.md section 4).
//!
//! Invariant: what the guest's registers will execute is a descriptor that the monitor permitted; its memory is not written.
//! A failed exec leaves registers, signal mask and descriptors as they were. Credentials change only when the
//! kernel reports that the new program stands.
//! How a program is read is in image.rs, what the stub is told in plan.rs, the redirection in redirect.rs.

mod image;
mod module;
pub mod plan;
mod program;
mod redirect;

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use wbuild_monitor::{Broken, Fault, LastLink};

use crate::call::{AT_FDCWD, Call, Reply};
use crate::calls::frame::{EmptyPath, Frame, no_follow};
use crate::identity::PlanId;
pub use image::{Image, read as read_image};
pub use module::{CodeSource, Modules};
use plan::Plan;
use program::{Asked, NameSurvives};

/// How dynamic programs start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The stub stands at the standard interpreter paths of our own root: the kernel starts it there.
    Planted,
    /// The stub is executed in the program's place and maps it.
    Loader,
}

/// How the programs of a step are started.
pub struct Execs {
    cookie: u64,
    strategy: Strategy,
    interpreters: &'static [&'static str],
    stub: OwnedFd,
    pending: Mutex<HashMap<u32, Plan>>,
    exes: Mutex<Exes>,
    modules: Option<Modules>,
    verification: Verification,
}

/// Whether it is looked at what the kernel executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verification {
    Done,
    /// Only in the control of an attack.
    Omitted,
}

/// The programs whose /proc/PID/exe is the stub. One descriptor for each program, which also keeps its inode number from
/// being given to another.
#[derive(Default)]
struct Exes {
    files: Vec<OwnedFd>,
    ids: HashMap<(u64, u64), PlanId>,
}

/// Above this many plans nobody fetched, those of dead processes are dropped.
const SWEEP_AT: usize = 512;

impl Execs {
    /// `stub` is the loader stub's file, `interpreters` the paths where it may be planted, `cookie` the step's random number
    /// that the filter lets the second half of an exec pass by.
    ///
    /// # Errors
    /// No memfd could be made of the stub.
    pub fn new(
        strategy: Strategy,
        stub: &[u8],
        interpreters: &'static [&'static str],
        cookie: u64,
    ) -> Result<Self, Broken> {
        let stub =
            sealed(stub).map_err(|errno| Broken::new("cannot keep the loader stub in memory", errno))?;
        let (pending, exes) = (Mutex::default(), Mutex::default());
        let verification = Verification::Done;
        Ok(Self { cookie, strategy, interpreters, stub, pending, exes, modules: None, verification })
    }

    /// Wasm modules are programs too; without this their exec answers ENOEXEC.
    #[must_use]
    pub fn with_modules(mut self, modules: Modules) -> Self {
        self.modules = Some(modules);
        self
    }

    /// Believes that the kernel executes what it was pointed at: for the control of an attack, which succeeds then.
    #[must_use]
    pub fn unverified(mut self) -> Self {
        self.verification = Verification::Omitted;
        self
    }

    fn verifies(&self) -> bool {
        self.verification == Verification::Done
    }

    /// The step's exec cookie.
    #[must_use]
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// An `O_PATH` descriptor of the program of a process whose state names `plan`; `None` where the kernel's own
    /// /proc/PID/exe leads to it.
    ///
    /// # Errors
    /// EMFILE.
    pub fn exe(&self, plan: PlanId) -> Result<Option<OwnedFd>, Errno> {
        let Some(index) = plan.0.checked_sub(1).and_then(|index| usize::try_from(index).ok()) else {
            return Ok(None);
        };
        let exes = self.exes();
        exes.files.get(index).map(|file| rustix::io::fcntl_dupfd_cloexec(file, 0)).transpose()
    }

    /// The number by which a state names the program behind `file`.
    fn remember_exe(&self, file: BorrowedFd<'_>) -> Result<PlanId, Errno> {
        let stat = rustix::fs::fstat(file)?;
        let mut exes = self.exes();
        if let Some(id) = exes.ids.get(&(stat.st_dev, stat.st_ino)) {
            return Ok(*id);
        }
        exes.files.push(reopen(file, OFlags::PATH)?);
        let id = PlanId(exes.files.len() as u64);
        exes.ids.insert((stat.st_dev, stat.st_ino), id);
        Ok(id)
    }

    fn expect(&self, tgid: u32, plan: Plan) {
        let mut pending = self.pending();
        if pending.len() >= SWEEP_AT {
            pending.retain(|tgid, _| {
                rustix::process::Pid::from_raw(tgid.cast_signed())
                    .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
            });
        }
        pending.insert(tgid, plan);
    }

    fn take(&self, tgid: u32) -> Option<Plan> {
        self.pending().remove(&tgid)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<u32, Plan>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exes(&self) -> MutexGuard<'_, Exes> {
        self.exes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read-only descriptor of a sealed memfd: guests hold it between injection and exec.
fn sealed(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_EXEC is Linux 6.3; before, every memfd is executable.
    let file = rustix::fs::memfd_create("stub", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("stub", flags))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&file, rest)?..];
    }
    rustix::fs::fchmod(&file, Mode::RUSR | Mode::XUSR)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    reopen(file.as_fd(), OFlags::RDONLY)
}

/// The file of one of our own descriptors, opened anew.
fn reopen(file: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path.as_str(), flags | OFlags::CLOEXEC, Mode::empty())
}

/// execve(path, argv, envp).
///
/// # Errors
/// What the guest gets.
pub fn execve(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let path = call.path(0)?;
    let empty = call.arg(0) + path.as_bytes().len() as u64;
    let frame = Frame::of(call)?;
    let name = path.as_bytes().to_vec();
    let aim = frame.aim(AT_FDCWD, path, LastLink::Follow, EmptyPath::Refused)?;
    let found = program::find(&frame, &Asked { aim, name, survives: NameSurvives::Yes })?;
    // Our copy of a descriptor that a guest wrote the program through would be ETXTBSY.
    call.step().lingering.wait();
    redirect::start(call, &frame, found, empty, [1, 2])
}

/// `AT_EXECVE_CHECK` (Linux 6.14): only ask whether it could be executed.
const EXECVE_CHECK: u32 = 0x1_0000;

/// execveat(dirfd, path, argv, envp, flags).
///
/// # Errors
/// What the guest gets.
pub fn execveat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let (dirfd, path, flags) = (call.int(0), call.path(1)?, call.uint(4));
    let empty = call.arg(1) + path.as_bytes().len() as u64;
    let known = (AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW).bits() | EXECVE_CHECK;
    if flags & !known != 0 {
        return Err(Errno::INVAL.into());
    }
    let frame = Frame::of(call)?;
    let through_descriptor = !path.is_absolute() && dirfd != AT_FDCWD;
    let name = match through_descriptor {
        false => path.as_bytes().to_vec(),
        true if path.is_empty() => format!("/dev/fd/{dirfd}").into_bytes(),
        true => [format!("/dev/fd/{dirfd}/").as_bytes(), path.as_bytes()].concat(),
    };
    let survives =
        if through_descriptor && call.closes_on_exec(dirfd)? { NameSurvives::No } else { NameSurvives::Yes };
    let aim = frame.aim(dirfd, path, no_follow(flags), EmptyPath::from_flags(flags))?;
    let found = program::find(&frame, &Asked { aim, name, survives })?;
    if flags & EXECVE_CHECK != 0 {
        return Ok(Reply::Value(0));
    }
    call.step().lingering.wait();
    redirect::start(call, &frame, found, empty, [2, 3])
}
