//! The contract between `build` and whatever runs a step: [`StepSpec`] in, [`StepResult`] out.
//!
//! A spec is plain data: it crosses a process boundary as bytes and names the tree by its directory. It never
//! holds a credential. The engine owns the tree while it runs; afterwards the changeset says what is different.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wbuild_layer::{ChangeSet, RootPath};
use wbuild_policy::Policy;
use wbuild_rootfs::{JournalCheck, MtimeRule};

use crate::{ImageChange, ToolContext};

/// Everything an engine needs to run one RUN step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepSpec {
    /// For messages and spans: `[build 3/7] RUN make`.
    pub name: String,
    /// The tree's directory: `fs/` and `records` lie in it.
    pub tree: PathBuf,
    /// An empty directory that is this step's own; removed by the caller after the step.
    pub scratch: PathBuf,
    /// What to execute and as whom.
    pub process: Process,
    /// Grafts, in mount order.
    pub mounts: Vec<Mount>,
    /// What it may use of the machine.
    pub resources: Resources,
    /// What happens to the modification times of what the step wrote.
    pub mtimes: MtimeRule,
    /// What the step may do.
    pub policy: Policy,
    /// What a wasm tool may ask about it.
    pub tool: ToolContext,
    /// Compare the journal with full walks before and after (slow; the tests run with it).
    pub journal_check: JournalCheck,
    /// How much of what it does is recorded.
    pub evidence: crate::EvidenceDetail,
    /// Whether what it learns of its tree is recorded.
    pub observing: Observing,
}

/// Whether what a step learns of its tree is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Observing {
    /// It is.
    #[default]
    All,
    /// Nothing is.
    Nothing,
}

/// The first process of a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments, raw bytes; the program is looked up in `PATH` of `env` unless it holds a slash.
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value` strings in order.
    pub env: Vec<Vec<u8>>,
    /// Working directory, absolute within the rootfs; the builder made it.
    pub cwd: Vec<u8>,
    /// Virtual user id.
    pub uid: u32,
    /// Virtual group id.
    pub gid: u32,
    /// Virtual supplementary groups.
    pub groups: Vec<u32>,
    /// What `uname` and /etc/hostname say.
    pub hostname: String,
}

/// What a step may use of the machine beside its files.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Whether it has a network.
    pub network: Network,
    /// Limits of its processes, each at most the one that wbuild itself has.
    pub limits: Vec<Limit>,
}

/// Whether a step has a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// wbuild's own.
    #[default]
    Open,
    /// None: no socket but those between its own processes.
    None,
    /// The policy says, and each internet socket that is asked for is recorded.
    Asked,
}

/// One resource limit (man 2 setrlimit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Which one.
    pub resource: LimitedResource,
    /// Soft; `None` is no limit.
    pub soft: Option<u64>,
    /// Hard; `None` is no limit.
    pub hard: Option<u64>,
}

/// The resources that can be limited, named as `docker build --ulimit` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names of setrlimit(2)")]
pub enum LimitedResource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// One graft into the tree of a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Where it appears; a placeholder that never enters a layer stands there.
    pub target: RootPath,
    /// What appears there.
    pub source: MountSource,
    /// Whether the guest may write.
    pub access: MountAccess,
}

/// What a graft shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of the host, already confined by the builder.
    Host(PathBuf),
    /// An empty directory in the step's scratch directory.
    Tmpfs {
        /// The most it may hold, in bytes; more ends the step.
        size: Option<u64>,
    },
    /// What stands at a path of a captured tree, with the owners and modes recorded there. Links in the path are followed within the
    /// tree. A graft that can be written gets what the step did to it persisted.
    Tree {
        /// The tree's directory: `fs/` and `records` lie in it.
        dir: PathBuf,
        /// The path in it.
        path: RootPath,
    },
    /// A file whose content is never on a disk; nobody can write to it.
    Memory {
        /// Its content.
        content: SecretBytes,
        /// Virtual owner.
        uid: u32,
        /// Virtual group.
        gid: u32,
        /// Virtual permission bits.
        mode: u32,
    },
    /// A socket of the builder's, which the guest may connect to and can do nothing else with.
    Socket {
        /// Where it listens.
        path: PathBuf,
        /// Virtual owner.
        uid: u32,
        /// Virtual group.
        gid: u32,
        /// Virtual permission bits.
        mode: u32,
    },
}

/// Bytes that no message, log or debug output shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretBytes(pub Vec<u8>);

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

/// Whether a graft can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountAccess {
    /// Writes answer EROFS.
    ReadOnly,
    /// Writes go to the source, never to a layer.
    ReadWrite,
}

/// What came of a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepResult {
    /// How the first process ended.
    pub exit: Exit,
    /// What is different in the tree.
    pub changes: ChangeSet,
    /// What the user should hear of: processes killed at the end, sockets left out of the layer, ..
    pub notes: Vec<String>,
    /// What is known of its doings.
    pub record: StepRecord,
    /// What its tools changed of the image, in order.
    pub image: Vec<ImageChange>,
}

/// What is known of a step's doings beside its changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// What was denied, or in audit mode would have been.
    pub denials: crate::Denials,
    /// The limit that ended the step.
    pub reached: Option<ReachedLimit>,
    /// What it did; `None` where nobody asked, or where it was killed before it could be told.
    pub evidence: Option<crate::Evidence>,
    /// What it learnt of its tree; `None` where it was killed before it could be told.
    pub observed: Option<crate::Observations>,
}

/// A limit of the policy that a step reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachedLimit {
    /// Which.
    pub limit: wbuild_policy::Limit,
    /// What was measured, in the limit's unit.
    pub measured: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

/// Where a guest's output goes while it runs; called from the engine's threads, in order for each stream.
pub trait OutputSink: Send + Sync {
    /// Takes the next bytes of a stream.
    fn write(&self, stream: Stream, bytes: &[u8]);
}

/// One of a guest's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// Ends a running step from another thread (Ctrl-C, the first failure of a parallel stage).
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    own: std::sync::Arc<std::sync::atomic::AtomicBool>,
    above: Option<std::sync::Arc<Cancel>>,
}

impl Cancel {
    /// Asks every step that watches this handle to end.
    pub fn cancel(&self) {
        self.own.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    /// A handle that is cancelled with this one, and that can be cancelled alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { own: std::sync::Arc::default(), above: Some(std::sync::Arc::new(self.clone())) }
    }

    /// True once [`Cancel::cancel`] was called, here or above.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.own.load(std::sync::atomic::Ordering::SeqCst)
            || self.above.as_ref().is_some_and(|above| above.is_cancelled())
    }
}

/// Runs RUN steps. Blocking: the caller gives it a thread.
pub trait Engine: Send + Sync {
    /// Runs one step to its end; every process of it is gone when this returns.
    ///
    /// # Errors
    /// The step could not be run or watched; a guest that fails is `Ok` with its exit.
    fn run(
        &self,
        spec: &StepSpec,
        output: &dyn OutputSink,
        cancel: &Cancel,
    ) -> Result<StepResult, EngineError>;
}

/// Why a step could not be run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The host lacks something the sandbox needs (exit code 8).
    #[error("this host lacks {mechanism}: {hint}")]
    Host {
        /// The kernel feature or resource.
        mechanism: String,
        /// What it means and what to do.
        hint: String,
    },
    /// The program could not be started (not found, not executable).
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program as the Dockerfile names it.
        program: String,
        /// The guest's errno.
        source: std::io::Error,
    },
    /// A mount has no place in the tree.
    #[error("cannot mount at {target}: {source}")]
    Mount {
        /// Where it should appear.
        target: String,
        /// What Linux would answer.
        source: std::io::Error,
    },
    /// The step went over a limit and was ended (exit code 5).
    #[error("{limit}")]
    Limit {
        /// Which limit, and what it was.
        limit: String,
    },
    /// The step was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// Our own failure (exit code 70).
    #[error("step {step}: {detail}")]
    Broken {
        /// The step's name.
        step: String,
        /// What went wrong, with path and cause.
        detail: String,
    },
}
