//! One RUN step: its specification, the files it is given, the engine.
//!
//! What a step gets besides its tree (resolv.conf, hosts, the host name, heredoc scripts) lies in a scratch directory of its
//! own and is mounted: none of it enters a layer. No credential is ever among it.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use wbuild_layer::{ChangeSet, RootPath};
use wbuild_monitor::{
    Cancel, Denial, Denials, Engine, EngineError, Exit, ImageChange, JournalCheck, Limit, Mount, MountAccess,
    MountSource, MtimeRule, Network, Observations, Observing, Process, Resources, StepRecord, StepSpec,
    ToolContext,
};
use wbuild_oci::Platform;
use wbuild_plan::{Run, RunMountKind, RunNetwork, Stage, Step};
use wbuild_policy::{Mode, Policy, Ruleset, StepName};
use wbuild_rootfs::Owner;

use crate::error::{BuildError, Disk};
use crate::evidence::Ledger;
use crate::mounts::Mounted;
use crate::mounts::secrets::Masked;
use crate::progress::Running;
use crate::users::ProcessUser;

/// The host name of every step unless the build argument BUILDKIT_SANDBOX_HOSTNAME gives another: it may end in files, so
/// it is the same everywhere.
pub const HOSTNAME: &str = "wbuild";

/// A disk with less room than this, in bytes, is full: what failed may have been larger.
const LEAST_ROOM: u64 = 128 << 10;

/// What a step runs with that is not in the plan.
pub(crate) struct RunContext<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) cancel: &'a Cancel,
    /// The tree's directory on the host.
    pub(crate) tree: &'a Path,
    /// An empty directory of this step's own, as a capability and as a path.
    pub(crate) scratch: (&'a Dir, &'a Path),
    pub(crate) user: ProcessUser,
    pub(crate) mtimes: MtimeRule,
    pub(crate) resolv_conf: &'a [u8],
    pub(crate) hostname: &'a str,
    pub(crate) journal_check: JournalCheck,
    pub(crate) observing: Observing,
    pub(crate) mounted: &'a Mounted,
    pub(crate) extra_hosts: &'a [(String, String)],
    pub(crate) limits: &'a [Limit],
    pub(crate) shm_size: Option<u64>,
    pub(crate) policy: Policy,
    pub(crate) ledger: &'a Ledger,
    pub(crate) stage: &'a Stage,
    pub(crate) build_platform: &'a Platform,
}

/// A step that succeeded.
pub(crate) struct Ran {
    /// What it changed.
    pub(crate) changes: ChangeSet,
    /// What it learnt of its tree, if that is all that it depends on.
    pub(crate) observed: Option<Observations>,
    /// What its tools changed of the image.
    pub(crate) image: Vec<ImageChange>,
}

/// Runs the step and returns what it changed and learnt.
pub(crate) fn run(
    step: &Step,
    run: &Run,
    context: &RunContext<'_>,
    running: &Running,
) -> Result<Ran, BuildError> {
    let spec = StepSpec {
        name: step.name.clone(),
        tree: context.tree.to_owned(),
        scratch: context.scratch.1.join("step"),
        process: process(run, context),
        mounts: mounts(run, context)?,
        mtimes: context.mtimes,
        policy: context.policy.clone(),
        journal_check: context.journal_check,
        observing: context.observing,
        evidence: context.ledger.detail(),
        resources: resources(run, context),
        tool: tool(context),
    };
    make_dir(context, "step")?;
    let output = Masked::new(running, &context.mounted.secrets);
    let result = context.engine.run(&spec, &output, context.cancel);
    output.flush();
    let result = result.map_err(|source| match source {
        EngineError::Cancelled => BuildError::Cancelled,
        source => BuildError::Engine { name: step.name.clone(), span: step.span, source: Box::new(source) },
    })?;
    let secrets: Vec<String> = context.mounted.secrets.iter().map(|given| given.id.clone()).collect();
    context.ledger.ran(step, result.exit, &result.record, &secrets);
    for note in &result.notes {
        running.note(note);
    }
    if context.cancel.is_cancelled() {
        return Err(BuildError::Cancelled);
    }
    let (name, span, tail) = (step.name.clone(), step.span, running.last_lines());
    let StepRecord { denials, reached, observed, .. } = result.record;
    if let Some(reached) = reached {
        let (rule, denials) =
            (context.policy.limit_rule(reached.limit).cloned().map(Box::new), Box::new(denials));
        return Err(BuildError::PolicyLimit { name, span, reached, rule, denials, tail });
    }
    match result.exit {
        Exit::Code(0) => {
            tell(&denials, context.policy.mode(), running);
            Ok(Ran { changes: result.changes, observed, image: result.image })
        }
        exit if denials.list.is_empty() || context.policy.mode() == Mode::Audit => {
            tell(&denials, context.policy.mode(), running);
            let disk = disk(context.tree);
            Err(BuildError::Step { name, span, exit, tail, disk })
        }
        exit => Err(BuildError::StepDenied { name, span, exit, denials: Box::new(denials), tail }),
    }
}

/// Whether a program that failed may have failed for want of room: what it printed need not say so.
fn disk(tree: &Path) -> Disk {
    match rustix::fs::statvfs(tree) {
        Ok(at)
            if at.f_bavail.saturating_mul(at.f_frsize) < LEAST_ROOM
                || (at.f_files > 0 && at.f_favail == 0) =>
        {
            Disk::Full
        }
        _ => Disk::HasRoom,
    }
}

/// What the policy says of a RUN.
pub(crate) fn policy_of(rules: &Ruleset, stage: &Stage, run: &Run) -> Policy {
    let command = match run.argv.as_slice() {
        // The shell's own arguments are no part of what the Dockerfile says.
        [_, flag, line] if flag == "-c" => line.clone(),
        words => words.join(" "),
    };
    rules.for_step(StepName { stage: &stage.name, instruction: "RUN", command: &command })
}

/// Denials that a step lived with: the user hears of each, and the build goes on.
fn tell(denials: &Denials, mode: Mode, running: &Running) {
    let would = if mode == Mode::Audit { "would be denied" } else { "denied" };
    for Denial { kind, path, explanation, count, .. } in &denials.list {
        let path = String::from_utf8_lossy(path);
        let rule = explanation
            .as_ref()
            .map(|told| format!(" by {} ({}:{})", told.rule.key, told.rule.file, told.rule.line));
        let times = if *count > 1 { format!(", {count} times") } else { String::new() };
        running.note(&format!("policy: {kind} {path} {would}{}{times}", rule.unwrap_or_default()));
    }
    if denials.unlisted > 0 {
        running.note(&format!("policy: {} more attempts {would}", denials.unlisted));
    }
}

fn resources(run: &Run, context: &RunContext<'_>) -> Resources {
    let network = match run.network {
        RunNetwork::Default if context.policy.network() == wbuild_policy::Network::None => Network::Asked,
        RunNetwork::Default => Network::Open,
        RunNetwork::None => Network::None,
    };
    Resources { network, limits: context.limits.to_vec() }
}

fn process(run: &Run, context: &RunContext<'_>) -> Process {
    let user = &context.user;
    let mut env: Vec<Vec<u8>> = run.env.iter().map(|entry| entry.clone().into_bytes()).collect();
    // As runc: only where the image does not set it.
    if !env.iter().any(|entry| entry.starts_with(b"HOME=")) {
        env.push(format!("HOME={}", user.home).into_bytes());
    }
    if let Some(socket) = agent(run)
        && !env.iter().any(|entry| entry.starts_with(b"SSH_AUTH_SOCK="))
    {
        env.push(format!("SSH_AUTH_SOCK={socket}").into_bytes());
    }
    for entry in &context.mounted.env {
        let name = entry.split_inclusive(|byte| *byte == b'=').next().unwrap_or_default();
        env.retain(|other| !other.starts_with(name));
        env.push(entry.clone());
    }
    Process {
        argv: run.argv.iter().map(|arg| arg.clone().into_bytes()).collect(),
        env,
        cwd: run.cwd.clone().into_bytes(),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
        hostname: context.hostname.to_owned(),
    }
}

/// Where the step's first agent is: as BuildKit, also where it is optional and not given.
fn agent(run: &Run) -> Option<&str> {
    run.mounts.iter().find_map(|mount| match &mount.kind {
        RunMountKind::Ssh(ssh) => Some(ssh.target.as_str()),
        _ => None,
    })
}

fn mounts(run: &Run, context: &RunContext<'_>) -> Result<Vec<Mount>, BuildError> {
    let name = context.hostname;
    let mut hosts = format!("127.0.0.1\tlocalhost {name}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (host, address) in context.extra_hosts {
        hosts.push_str(&format!("{address}\t{host}\n"));
    }
    let hostname = format!("{name}\n");
    let mut mounts = Vec::new();
    let provided: [(&str, &[u8], &str); 3] = [
        ("resolv.conf", context.resolv_conf, "etc/resolv.conf"),
        ("hosts", hosts.as_bytes(), "etc/hosts"),
        ("hostname", hostname.as_bytes(), "etc/hostname"),
    ];
    for (name, content, target) in provided {
        let source = file(context, Path::new(name), content, 0o644)?;
        mounts.push(mount(target, source, MountAccess::ReadWrite));
    }
    if !run.files.is_empty() {
        make_dir(context, "pipes")?;
        for run_file in &run.files {
            file(context, &Path::new("pipes").join(&run_file.name), run_file.content.as_bytes(), 0o755)?;
        }
        mounts.push(mount(Run::FILES_DIR, context.scratch.1.join("pipes"), MountAccess::ReadOnly));
    }
    if let Some(size) = context.shm_size
        && !context.mounted.mounts.iter().any(|mount| mount.target.as_bytes() == b"dev/shm")
    {
        let target = RootPath::new("dev/shm").unwrap_or_default();
        let source = MountSource::Tmpfs { size: Some(size) };
        mounts.push(Mount { target, source, access: MountAccess::ReadWrite });
    }
    mounts.extend(context.mounted.mounts.iter().cloned());
    Ok(mounts)
}

/// What a wasm tool may ask about the step.
fn tool(context: &RunContext<'_>) -> ToolContext {
    let Mounted { mounts, places, .. } = context.mounted;
    let mounts = mounts
        .iter()
        .filter(|mount| !matches!(mount.source, MountSource::Memory { .. } | MountSource::Socket { .. }));
    ToolContext {
        stage: context.stage.name.clone(),
        target: context.stage.platform.to_string(),
        build: context.build_platform.to_string(),
        mounts: mounts.map(|mount| (mount.target.to_string(), mount.access)).collect(),
        secrets: places.clone(),
    }
}

fn mount(target: &str, source: PathBuf, access: MountAccess) -> Mount {
    let target = RootPath::new(target).unwrap_or_default();
    Mount { target, source: MountSource::Host(source), access }
}

fn make_dir(context: &RunContext<'_>, name: &str) -> Result<(), BuildError> {
    let path = context.scratch.1.join(name);
    context.scratch.0.create_dir(name).and_then(|()| give(&path)).map_err(|source| BuildError::Host {
        action: "make",
        path: path.clone(),
        source,
    })
}

/// Gives what is made for a step to the user that steps run as.
pub(crate) fn give(path: &Path) -> io::Result<()> {
    let Owner::Scratch { uid, gid } = crate::tree::owner() else { return Ok(()) };
    let (uid, gid) = (rustix::process::Uid::from_raw(uid), rustix::process::Gid::from_raw(gid));
    Ok(rustix::fs::chown(path, Some(uid), Some(gid))?)
}

fn file(context: &RunContext<'_>, name: &Path, content: &[u8], mode: u32) -> Result<PathBuf, BuildError> {
    let path = context.scratch.1.join(name);
    let written = context.scratch.0.create(name).and_then(|mut file| {
        file.write_all(content)?;
        // The process's umask must not show.
        file.set_permissions(cap_std::fs::Permissions::from_std(std::fs::Permissions::from_mode(mode)))?;
        give(&path)
    });
    written.map_err(|source| BuildError::Host { action: "write", path: path.clone(), source })?;
    Ok(path)
}
