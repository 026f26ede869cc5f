//! The supervisor of one step: confines itself, starts the reaper, answers the guest's calls, reads the tree at the end.
//!
//! Invariant: it enters its Landlock domain before it has children or threads; it is never the guest's parent (a wait
//! of its threads would eat ptrace stops); it reads the tree only after the reaper said that nobody is left. It holds
//! no credential, is not dumpable, and when it dies the reaper ends the step.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, WaitOptions};
use wbuild_broker::exec::{Execs, Modules, Strategy};
use wbuild_broker::identity::StepId;
use wbuild_broker::serve::{Accounting, Blocking, Broker, Closed, Manner};
use wbuild_broker::{Step, filter};
use wbuild_monitor::{
    Broken, Fault, ModuleRules, Monitor, MountAccess, Network, Observing, Owner, Root, RootError, StepRecord,
    StepResult, StepSpec, ViewKind, ViewPath,
};
use wbuild_sys::notify::Listener;
use wbuild_sys::process::Forked;

use crate::confine::{self, Fence, Places};
use crate::fences::{self, Fences};
use crate::grafts::{self, Backing, Loan};
use crate::guest::Embryo;
use crate::meter::{self, Measured, Meter};
use crate::modules::Requests;
use crate::reaper::Ends;
use crate::stub::{INTERPRETERS, STUB};
use crate::watch::{Held, Watch};
use crate::wire::{self, Boot, Launch, Outcome, Reaped, Stage, StrategyChoice};

/// The first argument by which the binary knows that it is a supervisor.
pub const SUPERVISOR_ARGUMENT: &str = "__supervisor";

/// Runs as a supervisor; its exit code. The control socket is standard input. Called before the process has threads.
#[must_use]
pub fn supervisor_main() -> i32 {
    let Ok(control) = wbuild_sys::process::inherited(0).map(UnixStream::from) else { return 2 };
    let outcome = match supervise(&control) {
        Ok(outcome) => outcome,
        Err(Failure::Told(outcome)) => outcome,
        Err(Failure::Alone) => return 2,
    };
    i32::from(wire::send(&control, &outcome, &[]).is_err())
}

/// Why there is no result.
enum Failure {
    /// The parent hears it.
    Told(Outcome),
    /// There is no parent to hear it.
    Alone,
}

impl From<grafts::NotGrafted> for Failure {
    fn from(not: grafts::NotGrafted) -> Self {
        match not {
            grafts::NotGrafted::Refused { target, errno } => {
                Self::Told(Outcome::NotMounted { target, errno: errno.raw_os_error() })
            }
            grafts::NotGrafted::Broken(broken) => broken.into(),
        }
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::Told(Outcome::Broken { detail: describe(&broken) })
    }
}

/// An error with its causes on one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn broken(what: impl Into<String>) -> impl FnOnce(Errno) -> Failure {
    let what = what.into();
    move |errno| Broken::new(what, errno).into()
}

fn supervise(control: &UnixStream) -> Result<Outcome, Failure> {
    let Ok(Some((launch, descriptors))) = wire::receive::<Launch>(control) else {
        return Err(Failure::Alone);
    };
    let mut descriptors = descriptors.into_iter();
    let (Some(lifeline), Some(stdout), Some(stderr)) =
        (descriptors.next(), descriptors.next(), descriptors.next())
    else {
        return Err(Failure::Alone);
    };
    let modules = descriptors.next().map(Requests::over);
    let Launch { mut spec, strategy, identity, counts, fences } = launch;
    let accounting = if counts { Accounting::Counted } else { Accounting::Off };
    meter::hold(&mut spec.resources.limits, spec.policy.limits());
    hide(&fences)?;
    wbuild_sys::process::keep_inherited_descriptors_out_of_children()
        .map_err(broken("cannot mark inherited descriptors"))?;
    rustix::process::umask(Mode::empty());

    // Opened with the rights wbuild was started with; from here on they only shrink.
    // Whatever it creates is created as the user it is about to become.
    let root = Root::open(&spec.tree, Owner::Caller)
        .map_err(|error| Failure::Told(Outcome::Broken { detail: describe(&error) }))?;
    let places = places(&spec)?;
    let strategy = choose(strategy);
    confine::drop_privileges(identity).map_err(|(what, errno)| broken(format!("cannot {what}"))(errno))?;
    // Changing ids made it dumpable or not by the kernel's own rule.
    hide(&fences)?;
    let fence = confine::supervisor(&places, &fences)
        .map_err(broken("cannot enter the supervisor's Landlock domain"))?;

    let cookie = random()?;
    let program = filter::program_without(cookie, seen(spec.resources.network), &|row| fences.fate(row));
    let program: Vec<_> = program.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect();
    let sockets = || UnixStream::pair().map_err(|error| Broken::new("cannot make a socket pair", error));
    let ((boot, embryo_boot), (report, reaper_report)) = (sockets()?, sockets()?);
    let (life_read, life) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(broken("cannot make a pipe"))?;
    let forked = wbuild_sys::process::fork().map_err(broken("cannot fork the reaper"))?;
    let Forked::Parent(reaper) = forked else {
        // The reaper must see the pipe's end when the supervisor is gone, and the supervisor the sockets'.
        drop((life, boot, report, modules));
        let ends = Ends { life: life_read, report: reaper_report };
        let embryo = Embryo {
            process: &spec.process,
            limits: &spec.resources.limits,
            places: &places,
            program: &program,
            stdout: &stdout,
            stderr: &stderr,
            boot: &embryo_boot,
            fences: &fences,
        };
        wbuild_sys::process::exit_now(crate::reaper::run(&ends, &embryo));
    };
    drop((life_read, embryo_boot, reaper_report, stdout, stderr));
    let raised = raise_descriptor_limit();
    let running = Running {
        control,
        boot,
        report,
        reaper,
        life: Arc::new(Mutex::new(Some(life))),
        _lifeline: lifeline,
    };
    let parts = Parts { root, strategy, cookie, fence, raised, modules, accounting, fences };
    running.serve(&spec, &places, parts)
}

/// Whether a step used the network is known by the internet sockets that it asks for.
fn seen(network: Network) -> Network {
    match network {
        Network::Open | Network::Asked => Network::Asked,
        Network::None => Network::None,
    }
}

/// No process of the same user may look into this one.
fn hide(fences: &Fences) -> Result<(), Failure> {
    let dumpable = match fences.stands(&fences::Fence::Hidden) {
        true => DumpableBehavior::NotDumpable,
        false => DumpableBehavior::Dumpable,
    };
    rustix::process::set_dumpable_behavior(dumpable).map_err(broken("cannot hide"))
}

/// What the parent half needs to serve the step.
struct Parts {
    root: Root,
    strategy: Strategy,
    cookie: u64,
    fence: Fence,
    raised: Result<(), Errno>,
    /// Where the code of wasm modules is asked for; `None` where they are no programs.
    modules: Option<Requests>,
    fences: Fences,
    accounting: Accounting,
}

/// The supervisor's ends while the step runs.
struct Running<'a> {
    control: &'a UnixStream,
    boot: UnixStream,
    report: UnixStream,
    reaper: Pid,
    /// Dropped to end the step.
    life: Arc<Mutex<Option<OwnedFd>>>,
    /// The parent knows that the supervisor and the reaper are gone when the last copy is closed.
    _lifeline: OwnedFd,
}

impl Running<'_> {
    fn serve(self, spec: &StepSpec, places: &Places, parts: Parts) -> Result<Outcome, Failure> {
        let (pid, listener) = match self.first_process()? {
            Ok(ready) => ready,
            Err(outcome) => return Ok(outcome),
        };
        let mut notes = notes(&parts);
        let blocking =
            if parts.fences.stands(&fences::Fence::Jobs) { Blocking::OwnThread } else { Blocking::Receiver };
        let manner = Manner { accounting: parts.accounting, blocking };
        let (step, tag, loans) = assemble(spec, places, parts)?;
        step.identities
            .carrier()
            .write(pid, tag)
            .map_err(|error| Broken::new("cannot tag the first process", error))?;
        wbuild_sys::process::let_usr1_interrupt().map_err(broken("cannot set a signal's action"))?;
        let life = Arc::clone(&self.life);
        let end = Box::new(move || drop(life.lock().unwrap_or_else(PoisonError::into_inner).take()));
        let broker = Broker::new(listener, step, manner, end);
        broker.start().map_err(|error| Broken::new("cannot start the broker's threads", error))?;
        let life = Arc::clone(&self.life);
        let end = move || drop(life.lock().unwrap_or_else(PoisonError::into_inner).take());
        let watch = Watch::start(held(spec, places)?, end)
            .map_err(|error| Broken::new("cannot watch the step's mounts", error))?;
        let meter = self.meter(spec, &broker)?;
        go(&self.boot)?;

        let reaped = self.wait();
        let growth = |enough| broker.look(|step| step.monitor.growth(enough)).unwrap_or_default();
        let reached = meter.stop(spec.policy.limits(), &growth);
        let exceeded = watch.stop();
        let reaped = reaped?;
        let Closed { step, broken } = broker.close();
        notes.extend(broker.tally());
        if let Some(broken) = broken {
            return Err(broken.into());
        }
        let mut step = step.ok_or_else(|| Broken::because("the broker was closed before its step ended"))?;
        let told = |error: RootError| Failure::Told(Outcome::Broken { detail: describe(&error) });
        step.monitor.unmount().map_err(told)?;
        grafts::give_back(&step.monitor, loans).map_err(told)?;
        if let Some(limit) = exceeded {
            return Ok(Outcome::Exceeded { limit });
        }
        let (denials, evidence) = (step.monitor.denials(), step.monitor.evidence());
        let observed = step.monitor.observations();
        let record = StepRecord { denials, reached, evidence, observed };
        if let Ok(Some((Boot::ExecFailed { errno }, _))) = wire::receive(&self.boot) {
            // Denied, it has a result: what was denied.
            if !record.denials.list.is_empty() {
                return Ok(denied_start(record, notes));
            }
            let program = spec.process.argv.first().map(|name| String::from_utf8_lossy(name).into_owned());
            return Ok(Outcome::NotStarted { program: program.unwrap_or_default(), errno });
        }
        notes.extend(step.sockets.ports.notes());
        let (finished, _root) = step.monitor.finish(spec.mtimes).map_err(told)?;
        if reaped.killed > 0 {
            notes.push(format!("{} processes were still there at the end and were killed", reaped.killed));
        }
        for socket in &finished.sockets {
            notes.push(format!("the socket {socket} is not in the layer"));
        }
        let result = StepResult {
            exit: reaped.exit.into(),
            changes: finished.changes,
            notes,
            record,
            image: Vec::new(),
        };
        Ok(Outcome::Done(Box::new(result)))
    }

    /// Measures what the step's policy limits.
    fn meter(&self, spec: &StepSpec, broker: &Arc<Broker>) -> Result<Meter, Broken> {
        let (life, broker) = (Arc::clone(&self.life), Arc::downgrade(broker));
        let measured = Measured {
            limits: *spec.policy.limits(),
            reaper: self.reaper,
            growth: Box::new(move |enough| {
                let look = |broker: Arc<Broker>| broker.look(|step| step.monitor.growth(enough));
                broker.upgrade().and_then(look).unwrap_or_default()
            }),
            end: Box::new(move || drop(life.lock().unwrap_or_else(PoisonError::into_inner).take())),
        };
        Meter::start(measured).map_err(|error| Broken::new("cannot measure the step", error))
    }

    /// Waits until the first process has its filter: its id and the listener.
    fn first_process(&self) -> Result<Result<(Pid, Listener), Outcome>, Failure> {
        let dead = || Broken::because("the first process died before it ran");
        let message = wire::receive::<Boot>(&self.boot)
            .map_err(|error| Broken::new("cannot hear the first process", error))?;
        match message.ok_or_else(dead)? {
            (Boot::Listening { pid }, mut descriptors) => {
                let listener = descriptors.pop().ok_or_else(dead)?;
                let pid = Pid::from_raw(pid).ok_or_else(dead)?;
                Ok(Ok((pid, Listener::new(listener))))
            }
            (Boot::Failed { stage, errno }, _) => Ok(Err(not_ready(stage, Errno::from_raw_os_error(errno)))),
            (Boot::ExecFailed { .. }, _) => Err(dead().into()),
        }
    }

    /// Waits for the end of the step; ends it when the parent goes away.
    fn wait(&self) -> Result<Reaped, Failure> {
        loop {
            let ready = {
                let mut polled =
                    [PollFd::new(&self.report, PollFlags::IN), PollFd::new(self.control, PollFlags::IN)];
                match rustix::event::poll(&mut polled, None) {
                    Ok(_) => {}
                    Err(Errno::INTR) => continue,
                    Err(errno) => return Err(broken("cannot wait for the reaper")(errno)),
                }
                [!polled[0].revents().is_empty(), !polled[1].revents().is_empty()]
            };
            if ready[0] {
                let reaped = wire::receive::<Reaped>(&self.report)
                    .map_err(|error| Broken::new("cannot hear the reaper", error))?;
                let (reaped, _) = reaped.ok_or_else(|| Broken::because("the reaper died"))?;
                self.bury()?;
                return Ok(reaped);
            }
            if ready[1] {
                // The parent says nothing after the launch: this is its end.
                drop(self.life.lock().unwrap_or_else(PoisonError::into_inner).take());
                let _ended = wire::receive::<Reaped>(&self.report);
                self.bury()?;
                return Err(Failure::Alone);
            }
        }
    }
}

impl Running<'_> {
    /// Waits for the reaper itself, else it stays as a zombie where wbuild is a pod's first process. Only for it: any other
    /// wait of this process would take its tracers' stops.
    fn bury(&self) -> Result<(), Failure> {
        loop {
            match rustix::process::waitpid(Some(self.reaper), WaitOptions::empty()) {
                Ok(_) | Err(Errno::CHILD) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(broken("cannot wait for the reaper")(errno)),
            }
        }
    }
}

/// The result of a step whose first program policy denied: what a shell answers for a program that may not be run.
fn denied_start(record: StepRecord, notes: Vec<String>) -> Outcome {
    let exit = wbuild_monitor::Exit::Code(126);
    Outcome::Done(Box::new(StepResult {
        exit,
        changes: Default::default(),
        notes,
        record,
        image: Vec::new(),
    }))
}

fn go(boot: &UnixStream) -> Result<(), Broken> {
    use std::io::Write;
    let mut boot = boot;
    boot.write_all(&[1]).map_err(|error| Broken::new("the first process is gone", error))
}

fn not_ready(stage: Stage, errno: Errno) -> Outcome {
    match stage {
        Stage::Limits => Outcome::Host {
            mechanism: format!("the limits that --ulimit asks for ({errno})"),
            hint: "a hard limit can only be lowered; `ulimit -H -a` shows those of this process".into(),
        },
        Stage::Process => Outcome::Broken { detail: format!("cannot prepare the first process: {errno}") },
        Stage::Landlock => {
            Outcome::Broken { detail: format!("cannot enter the guest's Landlock domain: {errno}") }
        }
        Stage::Filter if errno == Errno::BUSY => Outcome::Host {
            mechanism: "a free seccomp user notification".into(),
            hint: "wbuild itself runs under a filter with a listener (a nested build or a tracer); run it outside".into(),
        },
        Stage::Filter => Outcome::Host {
            mechanism: format!("seccomp user notification ({errno})"),
            hint: "it needs Linux 5.14 and a seccomp profile that allows the call seccomp; see wbuild doctor".into(),
        },
    }
}

/// What the user should hear of what this host could not give.
fn notes(parts: &Parts) -> Vec<String> {
    let mut notes = Vec::new();
    match parts.fence {
        Fence::None => notes.push("no Landlock (ABI 2, Linux 5.19): the broker alone fences the step".into()),
        Fence::Landlock(abi) if abi < 6 => {
            notes.push(format!("Landlock ABI {abi} has no signal scope (ABI 6, Linux 6.12): a step may signal this user's processes"));
        }
        Fence::Landlock(_) => {}
    }
    if let Err(errno) = parts.raised {
        notes.push(format!("the limit of descriptors could not be raised: {errno}"));
    }
    notes
}

/// The step behind the broker.
fn assemble(
    spec: &StepSpec,
    places: &Places,
    parts: Parts,
) -> Result<(Step, wbuild_broker::identity::Tag, Vec<Loan>), Failure> {
    let told = |error: &dyn std::error::Error| Failure::Told(Outcome::Broken { detail: describe(error) });
    let mut monitor = Monitor::for_step(parts.root, spec.policy.clone(), spec.journal_check)
        .map_err(|error| told(&error))?
        .with_evidence(spec.evidence);
    if spec.observing == Observing::All {
        monitor = monitor.with_observations();
    }
    // First: a mount may lie in it, or cover it.
    if !spec.mounts.iter().any(|mount| mount.target.as_bytes() == b"dev/shm") {
        make_shm(&mut monitor, places).map_err(|fault| told(&fault))?;
    }
    let loans = grafts::graft(&mut monitor, &spec.mounts, &places.grafts)?;
    let mut execs = Execs::new(parts.strategy, STUB, &INTERPRETERS, parts.cookie)?;
    if !parts.fences.stands(&fences::Fence::Executed) {
        execs = execs.unverified();
    }
    if let Some(requests) = parts.modules {
        let engine = places.engine.try_clone().map_err(|error| told(&error))?;
        let rules = ModuleRules::default();
        let tool = spec.tool.clone();
        execs = execs.with_modules(Modules { engine, source: Box::new(requests), rules, tool });
    }
    #[expect(clippy::cast_possible_truncation, reason = "any 32 bits of a random number tell steps apart")]
    let id = StepId::new(random()? as u32);
    let scratch = descriptor_path(&places.scratch);
    let (mut step, tag) = Step::new(monitor, &spec.process, scratch.as_ref(), id, execs)?;
    step.views.show_mounts(grafts::shown(&spec.mounts));
    Ok((step, tag, loans))
}

/// The mounts whose size is limited.
fn held(spec: &StepSpec, places: &Places) -> Result<Vec<Held>, Broken> {
    let mut held = Vec::new();
    for (mount, source) in spec.mounts.iter().zip(&places.grafts) {
        let Backing::Tmpfs { size: Some(most) } = source.backing else { continue };
        let dir = rustix::io::fcntl_dupfd_cloexec(&source.fd, 0)
            .map_err(|errno| Broken::new("cannot watch a mount", errno))?;
        held.push(Held { dir, target: mount.target.to_string(), most });
    }
    Ok(held)
}

/// The step's own /dev/shm, writable by all its users.
fn make_shm(monitor: &mut Monitor, places: &Places) -> Result<(), Fault> {
    let place = ViewPath { kind: ViewKind::Dev, rest: b"shm".to_vec() };
    let source = rustix::io::fcntl_dupfd_cloexec(&places.shm, 0)?;
    let id = monitor.graft_in_view(&place, source, MountAccess::ReadWrite)?;
    monitor.describe_graft(id, places.shm.as_fd(), (0, 0), 0o1777)
}

/// A path that leads to what `fd` is open on, whatever the rights of this process on the way there.
fn descriptor_path(fd: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}/.", fd.as_raw_fd())
}

/// Opens what the step concerns.
fn places(spec: &StepSpec) -> Result<Places, Failure> {
    let open = |path: &std::path::Path| {
        confine::open_path(path).map_err(broken(format!("cannot open {}", path.display())))
    };
    let make = |name: &str| {
        scratch_dir(spec, name).map_err(|failure| match failure {
            Failure::Told(Outcome::Broken { detail }) => Broken::because(detail),
            Failure::Told(_) | Failure::Alone => Broken::because("cannot make a directory"),
        })
    };
    let grafts = grafts::open(spec, &make)?;
    Ok(Places {
        tree: open(&spec.tree.join("fs"))?,
        store: open(&spec.tree)?,
        scratch: open(&spec.scratch)?,
        grafts,
        shm: open(&scratch_dir(spec, "shm")?)?,
        stubs: planted(),
        engine: engine()?,
    })
}

/// Makes a directory of this name in the scratch directory.
fn scratch_dir(spec: &StepSpec, name: &str) -> Result<std::path::PathBuf, Failure> {
    let path = spec.scratch.join(name);
    rustix::fs::mkdir(&path, Mode::RWXU).map_err(broken(format!("cannot make {}", path.display())))?;
    give(&path)?;
    Ok(path)
}

/// Gives what was made in the scratch directory to whoever owns that.
fn give(path: &std::path::Path) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(path);
    let owner = rustix::fs::stat(parent).map_err(broken(format!("cannot stat {}", parent.display())))?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(owner.st_uid), rustix::fs::Gid::from_raw(owner.st_gid));
    rustix::fs::chown(path, Some(uid), Some(gid))
        .map_err(broken(format!("cannot give {} away", path.display())))
}

/// This program itself, which runs modules where a step executes one.
fn engine() -> Result<OwnedFd, Failure> {
    rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(broken("cannot open this program"))
}

/// The planted stubs of our own root: files that are, byte for byte, the embedded one.
fn planted() -> Vec<OwnedFd> {
    INTERPRETERS
        .iter()
        .filter(|path| is_stub(path))
        .filter_map(|path| confine::open_path(*path).ok())
        .collect()
}

fn is_stub(path: &str) -> bool {
    let Ok(file) = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
        return false;
    };
    let mut content = vec![0; STUB.len() + 1];
    let mut length = 0;
    while let Ok(some @ 1..) = rustix::io::read(&file, &mut content[length..]) {
        length += some;
    }
    content[..length] == *STUB
}

/// Planted only where every interpreter path holds the stub, unless the launch says otherwise.
fn choose(choice: StrategyChoice) -> Strategy {
    match choice {
        StrategyChoice::Planted => Strategy::Planted,
        StrategyChoice::Loader => Strategy::Loader,
        StrategyChoice::Detect if INTERPRETERS.iter().all(|path| is_stub(path)) => Strategy::Planted,
        StrategyChoice::Detect => Strategy::Loader,
    }
}

fn random() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(broken("cannot get random numbers"))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// The broker holds descriptors for its guests; the guest, forked before, keeps the ordinary limit.
fn raise_descriptor_limit() -> Result<(), Errno> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
}
