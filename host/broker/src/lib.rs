//! The syscall table and its handlers: a trapped call comes in, exactly one answer goes out.
//!
//! Invariant: the filter, the dispatch and the documentation derive from the one table in `table/`; guest memory is
//! read once per argument; every notification is answered.
//! This crate creates no process and no filter; native does.

#![forbid(unsafe_code)]

pub mod call;
pub mod calls;
pub mod exec;
pub mod filter;
pub mod identity;
pub mod serve;
pub mod sockets;
pub mod step;
pub mod sysv;
pub mod table;
pub mod task;
pub mod views;

pub use call::{Call, FdFlags, Handler, Job, Reply};
pub use step::Step;
pub use task::Task;
