//! The reference monitor: resolve, permit, act; and the contract of the engines that run steps.

#![forbid(unsafe_code)]

mod act;
mod audit;
mod credentials;
mod dac;
mod engine;
mod evidence;
mod fault;
mod module;
mod monitor;
mod observe;
mod permit;
mod request;
mod resolve;
mod subject;
#[cfg(test)]
mod tests;
mod tool;

pub use audit::{AccessKind, Denial, Denials};
pub use credentials::{Capabilities, Capability, CapabilitySet, Credentials, Ids};
pub use engine::{
    Cancel, Engine, EngineError, Exit, Limit, LimitedResource, Mount, MountAccess, MountSource, Network,
    Observing, OutputSink, Process, ReachedLimit, Resources, SecretBytes, StepRecord, StepResult, StepSpec,
    Stream,
};
pub use evidence::{Contact, Evidence, EvidenceDetail, ExecutedProgram, FileRead};
pub use fault::{Broken, Errno, Fault};
pub use module::{Determinism, Metered, ModuleCompiler, ModuleKind, ModulePlan, ModuleRequest, ModuleRules};
pub use monitor::Monitor;
pub use observe::{
    Facts, NetworkUse, Observation, Observations, Seen, SeenAttributes, SeenTimes, State, Taint,
};
pub use request::{
    AccessAs, ExecOutcome, Executable, OpenRequest, Opened, OpenedAccess, OpenedFile, Outcome, XattrWrite,
};
pub use subject::{
    At, Base, Cwd, GuestPath, LastLink, NoViews, Subject, ViewKind, ViewNode, ViewPath, Views, Where,
};
pub use tool::{ImageChange, LARGEST_CHANGE, MOST_CHANGES, SecretPlace, ToolContext};
pub use wbuild_layer::RootPath;
pub use wbuild_policy::{Limit as PolicyLimit, Limits as PolicyLimits, Policy};
pub use wbuild_rootfs::{
    Finished, GraftId, JournalCheck, Layer, Lent, MaterialiseError, MtimeRule, Owner, Refusal, Root,
    RootError,
};
