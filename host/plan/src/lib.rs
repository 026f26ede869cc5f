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

mod chmod;
mod request;
mod step;

pub use chmod::{Chmod, Clause, ConditionalExecute, FileKind, Op, Perm};
pub use request::{ContextKind, EpochRule, Images, Request};
pub use step::{
    Action, Base, Copy, CopyDest, CopyFrom, CopyKind, CopySource, DestShape, HISTORY_COMMENT, History,
    ImageOrigin, ImageRequest, LayerKind, Plan, Run, RunFile, Stage, StageId, Step, Wanted, Warning, Workdir,
};
