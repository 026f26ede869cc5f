//! wbuild's half of the spawner: starts a supervisor for a step, streams its output, takes its result.
//!
//! Invariant: [`NativeEngine::run`] returns only when no process of the step is left, whatever happened; a cancelled step
//! is killed at once. Several steps may run at the same time.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::pipe::PipeFlags;
use wbuild_broker::exec::Strategy;
use wbuild_broker::serve::Accounting;
use wbuild_monitor::{
    Cancel, Engine, EngineError, Exit, ModuleCompiler, OutputSink, PolicyLimit, ReachedLimit, StepRecord,
    StepResult, StepSpec,
};

use crate::channel::Changes;
use crate::fences::Fences;
use crate::modules;
use crate::output::{Seen, Watched};
use crate::supervisor::SUPERVISOR_ARGUMENT;
use crate::wire::{self, HostIdentity, Launch, Outcome, StrategyChoice};

/// Whom steps run as on the host where wbuild runs as root: an id nobody uses, without a name.
pub const SCRATCH_ID: u32 = 65321;

/// Runs steps as native processes under the broker.
#[derive(Clone, Debug)]
pub struct NativeEngine {
    /// The program to start as supervisor with [`SUPERVISOR_ARGUMENT`]: it calls [`crate::supervisor_main`].
    pub exe: PathBuf,
    /// How dynamic programs start; `None` finds out what this host's root allows.
    pub strategy: Option<Strategy>,
    /// Gives the code of wasm modules, which are programs then too; the program `exe` must run one when it finds itself executed
    /// in its place. `None`: a step that executes one gets ENOEXEC.
    pub modules: Option<Arc<dyn ModuleCompiler>>,
    /// Whether the calls that the broker answers are counted, and told in a note of the step's result.
    pub accounting: Accounting,
    /// Which fences stand: all, but for the controls of attacks.
    pub fences: Fences,
}

impl Default for NativeEngine {
    fn default() -> Self {
        Self {
            exe: "/proc/self/exe".into(),
            strategy: None,
            modules: None,
            accounting: Accounting::Off,
            fences: Fences::default(),
        }
    }
}

impl Engine for NativeEngine {
    fn run(
        &self,
        spec: &StepSpec,
        output: &dyn OutputSink,
        cancel: &Cancel,
    ) -> Result<StepResult, EngineError> {
        let broken = |what: &str, error: std::io::Error| EngineError::Broken {
            step: spec.name.clone(),
            detail: format!("{what}: {error}"),
        };
        let (mut child, mut watched, asked) =
            self.start(spec).map_err(|error| broken("cannot start its supervisor", error))?;
        let changes = Changes::default();
        let mut result = std::thread::scope(|scope| {
            if let (Some(compiler), Some(socket)) = (&self.modules, asked) {
                // It ends with the supervisor, which holds the other end.
                let changes = &changes;
                scope.spawn(move || modules::serve(&socket, compiler.as_ref(), output, cancel, changes));
            }
            let seen = watched.watch(output, cancel);
            if !matches!(seen, Ok(Seen::Answer(_))) {
                child.kill().map_err(|error| broken("cannot kill its supervisor", error))?;
            }
            let status = child.wait().map_err(|error| broken("cannot wait for its supervisor", error))?;
            watched.wait_for_the_end().map_err(|error| broken("cannot wait for its processes", error))?;
            match seen.map_err(|error| broken("cannot hear its supervisor", error))? {
                Seen::Cancelled => Err(EngineError::Cancelled),
                Seen::Flooded(measured) => Ok(flooded(measured)),
                Seen::Answer(None) => Err(EngineError::Broken {
                    step: spec.name.clone(),
                    detail: format!("its supervisor ended without an answer ({status})"),
                }),
                Seen::Answer(Some(outcome)) => settle(spec, outcome),
            }
        })?;
        result.image = changes.into_list();
        Ok(result)
    }
}

/// The result of a step that was killed for what it printed.
fn flooded(measured: u64) -> StepResult {
    let reached = Some(ReachedLimit { limit: PolicyLimit::Log, measured });
    StepResult {
        exit: Exit::Signal(9),
        changes: Default::default(),
        notes: Vec::new(),
        image: Vec::new(),
        record: StepRecord { reached, ..StepRecord::default() },
    }
}

fn settle(spec: &StepSpec, outcome: Outcome) -> Result<StepResult, EngineError> {
    match outcome {
        Outcome::Done(result) => Ok(*result),
        Outcome::NotStarted { program, errno } => {
            Err(EngineError::Start { program, source: std::io::Error::from_raw_os_error(errno) })
        }
        Outcome::Host { mechanism, hint } => Err(EngineError::Host { mechanism, hint }),
        Outcome::NotMounted { target, errno } => {
            Err(EngineError::Mount { target, source: std::io::Error::from_raw_os_error(errno) })
        }
        Outcome::Exceeded { limit } => Err(EngineError::Limit { limit }),
        Outcome::Broken { detail } => Err(EngineError::Broken { step: spec.name.clone(), detail }),
    }
}

impl NativeEngine {
    /// Starts the supervisor and hands it the step.
    fn start(&self, spec: &StepSpec) -> std::io::Result<(Child, Watched, Option<UnixStream>)> {
        let (control, theirs) = UnixStream::pair()?;
        let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
        let ((lifeline, their_lifeline), (stdout, guest_stdout), (stderr, guest_stderr)) =
            (pipe()?, pipe()?, pipe()?);
        for ours in [&stdout, &stderr] {
            rustix::io::ioctl_fionbio(ours, true)?;
            // A guest opens /dev/stdout anew, with the rights of whoever it runs as on the host.
            if let HostIdentity::Scratch { uid, gid } = identity() {
                let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
                rustix::fs::fchown(ours, Some(uid), Some(gid))?;
            }
        }
        let mut command = Command::new(&self.exe);
        // An empty environment: nothing a step may see stands in wbuild's, and it may hold credentials.
        command.arg(SUPERVISOR_ARGUMENT).env_clear();
        // A terminal sends Ctrl-C to a whole process group: it is for wbuild, which then ends the step in order. Were supervisor
        // and reaper killed by it, nobody would be left to kill the guest.
        command.process_group(0);
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::inherit());
        let child = command.spawn()?;
        // The command holds the supervisor's end of the socket.
        drop(command);
        let fences = self.fences.clone();
        let counts = self.accounting == Accounting::Counted;
        let launch =
            Launch { spec: spec.clone(), strategy: self.choice(), identity: identity(), counts, fences };
        let (asked, their_asking) = match self.modules {
            Some(_) => UnixStream::pair().map(|(ours, theirs)| (Some(ours), Some(theirs)))?,
            None => (None, None),
        };
        let mut given = vec![their_lifeline.as_fd(), guest_stdout.as_fd(), guest_stderr.as_fd()];
        given.extend(their_asking.as_ref().map(AsFd::as_fd));
        let sent = wire::send(&control, &launch, &given);
        let watched = Watched {
            control,
            stdout: Some(stdout),
            stderr: Some(stderr),
            lifeline,
            most: spec.policy.limits().log,
            printed: 0,
        };
        match sent {
            Ok(()) => Ok((child, watched, asked)),
            Err(error) => {
                reap(child);
                Err(error)
            }
        }
    }

    fn choice(&self) -> StrategyChoice {
        match self.strategy {
            None => StrategyChoice::Detect,
            Some(Strategy::Planted) => StrategyChoice::Planted,
            Some(Strategy::Loader) => StrategyChoice::Loader,
        }
    }
}

/// A supervisor that never got its step has no children yet.
fn reap(mut child: Child) {
    let _gone = child.kill();
    let _status = child.wait();
}

fn identity() -> HostIdentity {
    if rustix::process::geteuid().is_root() {
        HostIdentity::Scratch { uid: SCRATCH_ID, gid: SCRATCH_ID }
    } else {
        HostIdentity::Caller
    }
}
