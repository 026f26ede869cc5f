//! A Dockerfile and its arguments to a plan: stages of steps, with the images they need. Pure.
//!
//! The caller loops: `sources(file, request, images)` says which images are missing; their configurations are added to `images`
//! until the list is empty (an ONBUILD trigger of a base image can ask for more); then `plan(file, request, images)`:
//!
//! ```text
//! wbuild_dockerfile::parse(text: &[u8]) -> Result<Dockerfile, DockerfileError>
//! sources(file: &Dockerfile, request: &Request, images: &Images) -> Result<Vec<Wanted>, PlanError>
//! plan(file: &Dockerfile, request: &Request, images: &Images) -> Result<Plan, PlanError>
//! ```

#![forbid(unsafe_code)]

pub use wbuild_dockerfile::{DockerfileError, IgnoreError, IgnoreFile, Position, Span, glob};

mod budget;
mod chmod;
mod copy;
mod environment;
mod globals;
mod graph;
mod history;
mod lint;
mod mount;
mod outline;
mod plan;
mod request;
mod run;
mod stage;
mod step;
mod title;
mod value;

pub use chmod::{Chmod, Clause, ConditionalExecute, Op, Perm};
pub use globals::is_proxy_argument;
pub use lint::{Finding, RULES, Rule, Status};
pub use mount::{
    BindMount, CacheMount, CacheStart, FileAttributes, MountAccess, MountFrom, Presence, RunMount,
    RunMountKind, RunNetwork, SecretMount, Sharing, SshMount, TmpfsMount,
};
pub use outline::{Outline, OutlineArg, OutlineMount, Target, TargetDefault, outline, targets};
pub use plan::{check, plan, sources};
pub use request::{ContextKind, EpochRule, Images, Request, Stages};
pub use run::mounts::ram_in_bytes;
pub use step::{
    Action, Archive, Base, Copy, CopyDest, CopyFrom, CopyKind, CopySource, DestShape, HISTORY_COMMENT,
    History, ImageOrigin, ImageRequest, Include, LayerKind, Link, Plan, Run, RunFile, Stage, StageId, Step,
    UrlSource, Wanted, Warning, Workdir,
};
