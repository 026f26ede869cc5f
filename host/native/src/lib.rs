//! The spawner of native steps: supervisor, reaper, filter, exec (sandbox.md section 2).
//!
//! wbuild -> supervisor (a re-exec, one per step) -> reaper (subreaper) -> guest. The parent half is [`NativeEngine`]; the
//! child half is [`supervisor_main`], which the binary calls when it was started with [`SUPERVISOR_ARGUMENT`].
//! Invariant: when [`NativeEngine`] answers, no process of the step is left.
//! What a trapped call means is the broker's; what a path means is the monitor's.

#![forbid(unsafe_code)]

mod channel;
mod confine;
mod engine;
mod fences;
mod grafts;
mod guest;
mod meter;
mod modules;
mod output;
mod reaper;
pub mod stub;
mod supervisor;
mod watch;
mod wire;

pub use engine::{NativeEngine, SCRATCH_ID};
pub use fences::{Fence, Fences, NoSuchFence};
pub use supervisor::{SUPERVISOR_ARGUMENT, supervisor_main};
pub use wbuild_broker::exec::Strategy;
pub use wbuild_broker::serve::Accounting;
