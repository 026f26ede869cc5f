//! Runs a plan: stages, steps, commits, outputs.
//!
//! The same inputs give the same digests whoever builds: nothing here reads a clock, an environment or an account but through
//! the request. Engines and registries are traits; host directories are capabilities.

#![forbid(unsafe_code)]

mod background;
mod commit;
mod context;
mod copy;
mod epoch;
mod error;
mod execute;
mod export;
mod files;
mod image;
mod images;
mod progress;
mod request;
mod run;
mod stage;
mod transfer;
mod tree;
mod users;

pub use commit::CommitError;
pub use error::{BuildError, FilesError, Ignored};
pub use execute::build;
pub use progress::{Event, Outcome, Progress, Vertex};
pub use request::{BuildRequest, Built, ContextDir, EpochRule, NamedContext, Output, Wiring};
pub use run::HOSTNAME;
pub use tree::TreeError;
pub use wbuild_layer::ReadError;
pub use wbuild_monitor::{Cancel, Errno, Stream};
pub use wbuild_rootfs::MaterialiseError;
