//! From a path to a way in: follows `#!` lines, finds the interpreter, checks everything the kernel would check.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use wbuild_monitor::{Executable, Fault, GuestPath, LastLink, ModuleKind, Outcome};

use super::Strategy;
use super::image::{self, Image};
use crate::call::AT_FDCWD;
use crate::calls::frame::{Aim, EmptyPath, Frame};
use crate::identity::{ExecFile, FileCapabilities};

/// `#!` lines may name scripts this often (fs/exec.c).
const MAX_NESTING: usize = 5;

/// What a guest wants to execute.
pub(super) struct Asked {
    pub(super) aim: Aim,
    /// What AT_EXECFN and a script's interpreter call it.
    pub(super) name: Vec<u8>,
    pub(super) survives: NameSurvives,
}

/// Whether a script's interpreter can open the script by the name it is given: not through a descriptor that closes on
/// exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameSurvives {
    Yes,
    No,
}

/// A program ready to be started.
pub(super) struct Found {
    /// The ELF program: the last interpreter of the `#!` chain, or what was asked for.
    pub(super) program: Executable,
    /// Its own interpreter.
    pub(super) interpreter: Option<Executable>,
    /// How it gets in.
    pub(super) way: Way,
    /// What AT_EXECFN is.
    pub(super) name: Vec<u8>,
    /// Arguments in place of the first, for scripts.
    pub(super) prefix: Vec<Vec<u8>>,
}

/// How a program gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The kernel runs it as it is.
    Direct,
    /// The kernel runs it and starts the planted stub as its interpreter.
    Planted,
    /// The stub runs in its place and maps it.
    Loader,
    /// The stub runs first, to change the arguments, and executes it.
    Reexec,
    /// The engine of modules runs in its place.
    Module(ModuleKind),
}

impl Found {
    /// What an exec of it does to credentials.
    pub(super) fn exec_file(&self) -> Result<ExecFile, Errno> {
        let stat: &Statx = &self.program.stat;
        let capabilities = match &self.program.file_capabilities {
            Some(value) => FileCapabilities::decode(value)?,
            None => None,
        };
        Ok(ExecFile { mode: stat.stx_mode.into(), uid: stat.stx_uid, gid: stat.stx_gid, capabilities })
    }
}

/// Resolves and checks.
pub(super) fn find(frame: &Frame<'_>, asked: &Asked) -> Result<Found, Fault> {
    let mut program = permitted(frame, &asked.aim)?;
    let mut prefix: Vec<Vec<u8>> = Vec::new();
    let mut path = asked.name.clone();
    for nesting in 0..=MAX_NESTING {
        match image::read(program.fd.as_fd())? {
            Image::Script { interpreter, argument } => {
                if nesting == 0 {
                    if asked.survives == NameSurvives::No {
                        return Err(Errno::NOENT.into());
                    }
                    prefix.push(asked.name.clone());
                }
                let front = [Some(interpreter.clone()), argument];
                prefix = front.into_iter().flatten().chain(prefix).collect();
                program = at_path(frame, &interpreter)?;
                path = interpreter;
            }
            Image::Static => {
                let way = if prefix.is_empty() { Way::Direct } else { Way::Reexec };
                let name = if way == Way::Reexec { path } else { asked.name.clone() };
                return Ok(Found { program, interpreter: None, way, name, prefix });
            }
            Image::Module(kind) => {
                if frame.step.exec.modules.is_none() {
                    return Err(Errno::NOEXEC.into());
                }
                let name = asked.name.clone();
                return Ok(Found { program, interpreter: None, way: Way::Module(kind), name, prefix });
            }
            Image::Dynamic { interpreter } => {
                let execs = &frame.step.exec;
                let stands = execs.interpreters.iter().any(|path| path.as_bytes() == interpreter);
                let way =
                    if execs.strategy == Strategy::Planted && stands { Way::Planted } else { Way::Loader };
                let interpreter = at_path(frame, &interpreter)?;
                image::check_interpreter(interpreter.fd.as_fd())?;
                let name = asked.name.clone();
                return Ok(Found { program, interpreter: Some(interpreter), way, name, prefix });
            }
        }
    }
    Err(Errno::LOOP.into())
}

/// A program by a path of a `#!` line or of `PT_INTERP`.
fn at_path(frame: &Frame<'_>, path: &[u8]) -> Result<Executable, Fault> {
    let aim = frame.aim(AT_FDCWD, GuestPath::new(path)?, LastLink::Follow, EmptyPath::Refused)?;
    permitted(frame, &aim)
}

fn permitted(frame: &Frame<'_>, aim: &Aim) -> Result<Executable, Fault> {
    match frame.ask_about(aim, |monitor, subject, target| monitor.exec(subject, target))? {
        Outcome::Done(executable) => Ok(executable),
        // Nothing in /proc, /dev or /sys is a program.
        Outcome::View(_) => Err(Errno::ACCESS.into()),
        Outcome::Object(fd) => memfd(&fd),
    }
}

/// A memfd: what the guest wrote there it could as well map and jump to.
fn memfd(fd: &OwnedFd) -> Result<Executable, Fault> {
    let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    let is_regular = u32::from(stat.stx_mode) & 0o170_000 == 0o100_000;
    if !is_regular || u32::from(stat.stx_mode) & 0o111 == 0 {
        return Err(Errno::ACCESS.into());
    }
    let fd = super::reopen(fd.as_fd(), OFlags::RDONLY)?;
    Ok(Executable { fd, stat, path: b"/memfd: (deleted)".to_vec(), file_capabilities: None })
}
