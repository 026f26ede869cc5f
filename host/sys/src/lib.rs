//! The kernel interfaces that need `unsafe`: user notification, guest memory, ptrace, Landlock, process making.
//!
//! Invariant: one block, one call, one SAFETY comment; everything exported is safe to call.
//! Nothing here knows wbuild's policy or paths; where rustix has a safe call, callers use rustix.

#![expect(unsafe_code, reason = "this crate exists to hold it")]

pub mod arch;
pub mod landlock;
pub mod limit;
pub mod mark;
pub mod memory;
pub mod notify;
pub mod probe;
pub mod process;
pub mod ptrace;
pub mod seccomp;
pub mod sysv;

mod outcome;
