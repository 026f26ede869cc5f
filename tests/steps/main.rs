//! Real programs as RUN steps in the restricted pod, each checked for its effect.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bytecode;
mod examples;
mod processes;
mod repository;
mod users;
