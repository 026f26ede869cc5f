//! The reference monitor: resolve, permit, act; and the contract of the engines that run steps.

mod engine;

pub use engine::{
    Cancel, Engine, EngineError, Exit, JournalCheck, Mount, MountAccess, MountSource, MtimeRule, OutputSink,
    Process, StepResult, StepSpec, Stream,
};
