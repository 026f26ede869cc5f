//! Real programs as RUN steps in the restricted pod, each checked for its effect.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "reads what root's chroot wrote")]

mod agents;
mod attributes;
mod bytecode;
mod cache;
mod evidence;
mod examples;
mod mounts;
mod processes;
mod repository;
mod strategies;
mod users;
mod wasm;
mod wasm_tool;
