//! Runs one step in a tree: `wbuild_step TREE SCRATCH PROGRAM [ARGUMENT..]`.
//!
//! A tree that is not there is made, empty. Variables: `STEP_STRATEGY` (planted, loader), `STEP_USER` (uid:gid),
//! `STEP_CHECK` (full), `STEP_CHANGES` (prints them), `STEP_NETWORK` (none), `STEP_WITHOUT` (fences to take down, see native's fences.rs). The exit code is the program's, 128 + signal, or 125 for our own failures.
//! With `__supervisor` as its first argument it is the supervisor of another run.

#![expect(clippy::print_stderr, reason = "a tool for tests, whose only user reads standard error")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use wbuild_monitor::{
    Cancel, Engine, Exit, JournalCheck, MtimeRule, Network, OutputSink, Owner, Policy, Process, Resources,
    Root, StepSpec, Stream,
};
use wbuild_native::{Fences, NativeEngine, SUPERVISOR_ARGUMENT, Strategy, supervisor_main};

struct Through;

impl OutputSink for Through {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        let written = match stream {
            Stream::Stdout => {
                std::io::stdout().lock().write_all(bytes).and_then(|()| std::io::stdout().flush())
            }
            Stream::Stderr => std::io::stderr().lock().write_all(bytes),
        };
        if let Err(error) = written {
            eprintln!("wbuild_step: {error}");
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_default();
    if first == SUPERVISOR_ARGUMENT {
        return ExitCode::from(u8::try_from(supervisor_main()).unwrap_or(2));
    }
    let (Some(scratch), argv) = (arguments.next(), arguments.collect::<Vec<_>>()) else {
        eprintln!("usage: wbuild_step TREE SCRATCH PROGRAM [ARGUMENT..]");
        return ExitCode::from(125);
    };
    let engine = NativeEngine {
        strategy: match std::env::var("STEP_STRATEGY").as_deref() {
            Ok("planted") => Some(Strategy::Planted),
            Ok("loader") => Some(Strategy::Loader),
            _ => None,
        },
        fences: match Fences::without(&std::env::var("STEP_WITHOUT").unwrap_or_default()) {
            Ok(fences) => fences,
            Err(error) => {
                eprintln!("wbuild_step: {error}");
                return ExitCode::from(125);
            }
        },
        ..NativeEngine::default()
    };
    let tree = PathBuf::from(first);
    if argv.is_empty() {
        return make_tree(&tree);
    }
    let scratch = match Scratch::beneath(Path::new(&scratch)) {
        Ok(scratch) => scratch,
        Err(error) => {
            eprintln!("wbuild_step: no scratch directory in {scratch}: {error}");
            return ExitCode::from(125);
        }
    };
    let spec = spec(tree, &scratch.0, argv);
    match engine.run(&spec, &Through, &Cancel::default()) {
        Ok(result) => {
            for note in result.notes {
                eprintln!("wbuild_step: {note}");
            }
            if std::env::var_os("STEP_CHANGES").is_some() {
                eprintln!("{:#?}", result.changes);
            }
            match result.exit {
                Exit::Code(code) => ExitCode::from(u8::try_from(code & 0xff).unwrap_or(125)),
                Exit::Signal(signal) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(125)),
            }
        }
        Err(error) => {
            eprintln!("wbuild_step: {error}");
            ExitCode::from(125)
        }
    }
}

/// A scratch directory of this step alone, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn beneath(parent: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::chown;
        let path = parent.join(std::process::id().to_string());
        std::fs::create_dir(&path)?;
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(wbuild_native::SCRATCH_ID), Some(wbuild_native::SCRATCH_ID))?;
        }
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    #[expect(clippy::disallowed_methods, reason = "a test's own directory")]
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("wbuild_step: {}: {error}", self.0.display());
        }
    }
}

/// An empty tree, for the caller to fill `fs/`.
fn make_tree(tree: &Path) -> ExitCode {
    let owner = if rustix::process::geteuid().is_root() {
        Owner::Scratch { uid: wbuild_native::SCRATCH_ID, gid: wbuild_native::SCRATCH_ID }
    } else {
        Owner::Caller
    };
    match Root::create(tree, owner).and_then(|root| root.persist()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wbuild_step: {error}");
            ExitCode::from(125)
        }
    }
}

fn spec(tree: PathBuf, scratch: &Path, argv: Vec<String>) -> StepSpec {
    let user = std::env::var("STEP_USER").unwrap_or_else(|_| "0:0".into());
    let (uid, gid) = user.split_once(':').unwrap_or((&user, "0"));
    let bytes = |text: &str| text.as_bytes().to_vec();
    StepSpec {
        name: "step".into(),
        tree,
        scratch: scratch.to_owned(),
        process: Process {
            argv: argv.iter().map(|text| bytes(text)).collect(),
            env: vec![
                bytes("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
                bytes("HOME=/root"),
                bytes("DEBIAN_FRONTEND=noninteractive"),
            ],
            cwd: bytes("/"),
            uid: uid.parse().unwrap_or(0),
            gid: gid.parse().unwrap_or(0),
            groups: vec![],
            hostname: "wbuild".into(),
        },
        mounts: vec![],
        tool: Default::default(),
        resources: Resources {
            network: match std::env::var("STEP_NETWORK").as_deref() {
                Ok("none") => Network::None,
                _ => Network::Open,
            },
            ..Resources::default()
        },
        mtimes: MtimeRule::Keep,
        policy: Policy::default(),
        journal_check: match std::env::var("STEP_CHECK").as_deref() {
            Ok("full") => JournalCheck::FullWalk,
            _ => JournalCheck::Off,
        },
        evidence: Default::default(),
        observing: Default::default(),
    }
}
