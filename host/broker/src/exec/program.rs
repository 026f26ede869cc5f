//! From a path to a way in: follows `#!` lines, finds the interpreter, checks everything the kernel would check.

use std::os::fd::AsFd;

use rustix::fs::{OFlags, Statx};
use rustix::io::Errno;
use wbuild_monitor::{At, Base, Executable, Fault, GuestPath, LastLink, Outcome, Where};

use super::image::{self, Image};
use super::{Strategy, guest_path};
use crate::call::Call;
use crate::identity::{ExecFile, FileCapabilities, State};

/// `#!` lines may name scripts this often (fs/exec.c).
const MAX_NESTING: usize = 5;

/// What a guest wants to execute.
pub(super) struct Asked<'a> {
    pub(super) base: Base<'a>,
    pub(super) path: &'a GuestPath,
    pub(super) link: LastLink,
    /// What AT_EXECFN and a script's interpreter call it.
    pub(super) name: Vec<u8>,
    /// False where the name goes through a descriptor that closes on exec: then no script can be read by it.
    pub(super) name_survives: bool,
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
pub(super) fn find(call: &Call<'_>, asked: &Asked<'_>) -> Result<Found, Fault> {
    let state = call.state()?;
    let target = if asked.path.is_empty() {
        match asked.base {
            Base::Dir(fd) => Where::Fd(fd),
            _ => return Err(Errno::NOENT.into()),
        }
    } else {
        Where::Path(At { base: asked.base, path: asked.path }, asked.link)
    };
    let mut program = permitted(call, &state, target)?;
    let mut prefix: Vec<Vec<u8>> = Vec::new();
    let mut path = asked.name.clone();
    for nesting in 0.. {
        match image::read(program.fd.as_fd())? {
            Image::Script { interpreter, argument } => {
                if nesting == MAX_NESTING {
                    return Err(Errno::LOOP.into());
                }
                if nesting == 0 {
                    if !asked.name_survives {
                        return Err(Errno::NOENT.into());
                    }
                    prefix.push(asked.name.clone());
                }
                let front = [Some(interpreter.clone()), argument];
                prefix = front.into_iter().flatten().chain(prefix).collect();
                program = at_path(call, &state, &interpreter)?;
                path = interpreter;
            }
            Image::Static => {
                let way = if prefix.is_empty() { Way::Direct } else { Way::Reexec };
                let name = if way == Way::Reexec { path } else { asked.name.clone() };
                return Ok(Found { program, interpreter: None, way, name, prefix });
            }
            Image::Dynamic { interpreter } => {
                let execs = &call.step().exec;
                let stands = execs.interpreters.iter().any(|path| path.as_bytes() == interpreter);
                let way = if execs.strategy == Strategy::Planted && stands { Way::Planted } else { Way::Loader };
                let interpreter = at_path(call, &state, &interpreter)?;
                image::check_interpreter(interpreter.fd.as_fd())?;
                let name = asked.name.clone();
                return Ok(Found { program, interpreter: Some(interpreter), way, name, prefix });
            }
        }
    }
    Err(Errno::LOOP.into())
}

/// A program by a path of a `#!` line or of `PT_INTERP`.
fn at_path(call: &Call<'_>, state: &State, path: &[u8]) -> Result<Executable, Fault> {
    let path = guest_path(path)?;
    permitted(call, state, Where::Path(At { base: Base::Cwd, path: &path }, LastLink::Follow))
}

fn permitted(call: &Call<'_>, state: &State, target: Where<'_>) -> Result<Executable, Fault> {
    let outcome = call.with_subject(state, |subject| call.step().monitor.exec(subject, target))?;
    match outcome {
        Outcome::Done(executable) => Ok(executable),
        // Nothing in /proc, /dev or /sys is a program.
        Outcome::View(_) => Err(Errno::ACCESS.into()),
        // A memfd: what the guest wrote there it could as well map and jump to.
        Outcome::Object(fd) => {
            let stat = rustix::fs::statx(&fd, c"", rustix::fs::AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::BASIC_STATS)?;
            let is_regular = u32::from(stat.stx_mode) & 0o170_000 == 0o100_000;
            if !is_regular || u32::from(stat.stx_mode) & 0o111 == 0 {
                return Err(Errno::ACCESS.into());
            }
            let fd = super::reopen(&fd)?;
            debug_assert!(rustix::fs::fcntl_getfl(&fd).is_ok_and(|flags| !flags.contains(OFlags::PATH)));
            Ok(Executable { fd, stat, path: b"/memfd: (deleted)".to_vec(), file_capabilities: None })
        }
    }
}
