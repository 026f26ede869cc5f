//! Why a build did not end with an image, as data: which step, where in the Dockerfile, and the cause.
//!
//! Only `cli` makes text, hints and exit codes of it.

use std::io;
use std::path::PathBuf;

use wbuild_layer::RootPath;
use wbuild_monitor::{Denials, EngineError, Exit, ReachedLimit};
use wbuild_plan::{DockerfileError, Span};
use wbuild_policy::RuleRef;
use wbuild_store::{LayoutError, RemoteError, StoreError};

use crate::permission::DeniedLine;
use crate::tree::TreeError;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile, or an argument it cannot work with.
    #[error(transparent)]
    Dockerfile(#[from] DockerfileError),
    /// The process of a RUN step failed.
    #[error("{name} {}", ended(*exit))]
    Step {
        /// The step: `[build 3/7] RUN make`.
        name: String,
        /// The instruction.
        span: Span,
        /// How the process ended.
        exit: Exit,
        /// The last lines it printed.
        tail: Vec<String>,
        /// Whether the disk that it wrote to was full then.
        disk: Disk,
    },
    /// The process of a RUN step could not be started or watched.
    #[error("{name}")]
    Engine {
        /// The step.
        name: String,
        /// The instruction.
        span: Span,
        /// Why.
        source: Box<EngineError>,
    },
    /// A mount of a RUN step cannot be made.
    #[error("{name}: {reason}")]
    Mount {
        /// The step.
        name: String,
        /// The flag.
        span: Span,
        /// Why.
        reason: String,
        /// What would do.
        hint: Option<String>,
    },
    /// The comment above an instruction gives no duration.
    #[error("`# wbuild: cache={text}` is no duration")]
    Lifetime {
        /// The instruction below the comment.
        span: Span,
        /// What it gives.
        text: String,
    },
    /// A step that was found by what it read made something else when it ran: `--cache-verify`.
    #[error("{name} made something else than the cache had for it: {}", differences.join("; "))]
    CacheDiffers {
        /// The step.
        name: String,
        /// The instruction.
        span: Span,
        /// What differs, the first few.
        differences: Vec<String>,
    },
    /// A RUN step wrote a secret into a file.
    #[error("{name}: {path} holds the secret {id:?}")]
    SecretFound {
        /// The step.
        name: String,
        /// The instruction.
        span: Span,
        /// The file.
        path: RootPath,
        /// The secret's id.
        id: String,
    },
    /// COPY, ADD, WORKDIR or USER cannot be done in this tree.
    #[error("{name}")]
    Files {
        /// The step.
        name: String,
        /// The instruction.
        span: Span,
        /// Why.
        source: Box<FilesError>,
    },
    /// An image could not be resolved or fetched from its registry.
    #[error("cannot get image {name}")]
    Pull {
        /// As the Dockerfile names it.
        name: String,
        /// The FROM line or --from flag.
        span: Span,
        /// Why.
        source: Box<RemoteError>,
    },
    /// What a URL should give could not be had.
    #[error("cannot download {url}")]
    Download {
        /// The URL.
        url: String,
        /// The ADD.
        span: Span,
        /// Why.
        source: Box<RemoteError>,
    },
    /// The git repository of an ADD cannot be fetched.
    #[error("cannot fetch {name}")]
    Git {
        /// The repository without login, and what is wanted of it.
        name: String,
        /// The ADD.
        span: Span,
        /// Why.
        source: Box<RemoteError>,
    },
    /// A shared cache could not be read from its registry.
    #[error("cannot read the cache {name}")]
    Cache {
        /// Its reference.
        name: String,
        /// Why.
        source: Box<RemoteError>,
    },
    /// An image's reference is none.
    #[error("{message}")]
    Reference {
        /// What is wrong with it.
        message: String,
        /// The FROM line or --from flag.
        span: Span,
    },
    /// An image could not be taken from its layout.
    #[error("cannot read image {name} from {path:?}")]
    Layout {
        /// The name of the build context.
        name: String,
        /// The layout.
        path: PathBuf,
        /// Why.
        source: Box<LayoutError>,
    },
    /// A RUN step for another machine than this one.
    #[error("{name}: this machine runs {host} programs, not {platform}")]
    Platform {
        /// The step.
        name: String,
        /// The instruction.
        span: Span,
        /// What the stage is for.
        platform: String,
        /// What this machine is.
        host: String,
    },
    /// The image could not be pushed.
    #[error("cannot push the image")]
    Push {
        /// Why.
        source: Box<RemoteError>,
    },
    /// The image could not be written.
    #[error("cannot write the image to {dest:?}")]
    Export {
        /// Where to.
        dest: PathBuf,
        /// Why.
        source: Box<LayoutError>,
    },
    /// The root filesystem could not be written.
    #[error("cannot write the root filesystem to {dest:?}")]
    Rootfs {
        /// Where to.
        dest: PathBuf,
        /// Why.
        source: Box<wbuild_layer::UnionError>,
    },
    /// A file or directory of the host could not be used.
    #[error("cannot {action} {path:?}")]
    Host {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A tree could not be made, or broke.
    #[error("{name}")]
    Tree {
        /// The stage or image.
        name: String,
        /// Why.
        source: Box<TreeError>,
    },
    /// A defect of ours: the plan names what was not made.
    #[error("the plan needs {what} that was not made")]
    Unplanned {
        /// What.
        what: &'static str,
    },
    /// The policy denies lines of the Dockerfile, or what is asked of the build.
    #[error("the policy denies what this build asks for")]
    Denied {
        /// All of them.
        lines: Vec<DeniedLine>,
    },
    /// A RUN step failed after the policy had denied it something.
    #[error("{name} {}, denied by policy", ended(*exit))]
    StepDenied {
        /// The step.
        name: String,
        /// The instruction.
        span: Span,
        /// How the process ended.
        exit: Exit,
        /// What was denied.
        denials: Box<Denials>,
        /// The last lines it printed.
        tail: Vec<String>,
    },
    /// A RUN step reached a limit of the policy and was ended.
    #[error("{name} reached {} ({})", reached.limit.key(), rule.as_ref().map_or("", |rule| rule.value.as_str()))]
    PolicyLimit {
        /// The step.
        name: String,
        /// The instruction.
        span: Span,
        /// Which limit, and what was measured.
        reached: ReachedLimit,
        /// The rule that set it.
        rule: Option<Box<RuleRef>>,
        /// What was denied before.
        denials: Box<Denials>,
        /// The last lines it printed.
        tail: Vec<String>,
    },
    /// The user interrupted, or another stage failed.
    #[error("interrupted")]
    Cancelled,
}

/// Whether there is room on the disk of a step's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// There is, or the filesystem does not say.
    HasRoom,
    /// There is not.
    Full,
}

/// Why files could not be put into a tree.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A source of COPY or ADD is not there.
    #[error("{written:?} is not in {place}")]
    Missing {
        /// As the Dockerfile names it.
        written: String,
        /// What was looked through: the build context, a stage, an image.
        place: String,
        /// Whether `.dockerignore` hides it.
        ignored: Ignored,
    },
    /// A directory should replace a file or the other way round.
    #[error("cannot copy {source_path} to {target}: {reason}")]
    Conflict {
        /// What is copied.
        source_path: String,
        /// Where to.
        target: RootPath,
        /// Why not.
        reason: &'static str,
    },
    /// A user or group that the tree does not know.
    #[error("{file} of the image has no {what} {name:?}")]
    NoSuchName {
        /// `/etc/passwd` or `/etc/group`.
        file: &'static str,
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// `user:group` is not well-formed.
    #[error("{text:?} is not a user or user:group")]
    BadUser {
        /// As given.
        text: String,
    },
    /// An archive cannot be unpacked.
    #[error("cannot unpack {written:?}: {reason}")]
    Archive {
        /// As the Dockerfile names it.
        written: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A pattern of `--exclude` or `--parents` that cannot be used.
    #[error("{reason}")]
    Pattern {
        /// What is wrong with it.
        reason: String,
    },
    /// Too many symbolic links in a path.
    #[error("{path}: too many symbolic links")]
    Loop {
        /// The path.
        path: RootPath,
    },
    /// Reading a source failed.
    #[error("cannot read {path} of {place}")]
    Read {
        /// The path within it.
        path: RootPath,
        /// The build context, a stage, an image.
        place: String,
        /// The host's answer.
        source: io::Error,
    },
    /// Writing to the tree failed.
    #[error("cannot {action} {path}")]
    Write {
        /// What was tried.
        action: &'static str,
        /// The path in the tree.
        path: RootPath,
        /// The host's answer.
        source: io::Error,
    },
    /// The tree broke.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Whether `.dockerignore` hides a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It does: the file is on disk.
    Yes,
    /// The file is not there at all.
    No,
}

fn ended(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Signal(signal) => format!("was killed by signal {signal}"),
    }
}
