//! The contract between `build` and whatever runs a step: [`StepSpec`] in, [`StepResult`] out.
//!
//! A spec is plain data: it crosses a process boundary as bytes and names the tree by its directory. It never
//! holds a credential. The engine owns the tree while it runs; afterwards the changeset says what is different.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wbuild_layer::{ChangeSet, RootPath};
use wbuild_policy::Policy;
use wbuild_rootfs::{JournalCheck, MtimeRule};

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
    /// What happens to the modification times of what the step wrote.
    pub mtimes: MtimeRule,
    /// What the step may do.
    pub policy: Policy,
    /// Compare the journal with full walks before and after (slow; the tests run with it).
    pub journal_check: JournalCheck,
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
    Tmpfs,
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
pub struct Cancel(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Cancel {
    /// Asks every step that watches this handle to end.
    pub fn cancel(&self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    /// True once [`Cancel::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
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
