//! The user's SSH agent and keys, for the steps that mount them (`RUN --mount=type=ssh`).
//!
//! An [`Agent`] is what one `--ssh` names: a socket behind which an agent listens, or key files. A [`Forward`] is a socket made for one step,
//! behind which the two requests that use a key are answered: list and sign. Everything else is answered with failure and reaches nobody, so
//! a step can neither add, remove nor lock keys, as with BuildKit.
//!
//! Invariant: no byte of a private key leaves the process that opened the agent. Not here: keys with a passphrase, hardware keys and
//! certificates; a running agent serves those.

#![forbid(unsafe_code)]

mod agent;
mod keys;
mod protocol;
mod serve;
#[cfg(test)]
mod tests;

pub use agent::{Agent, AgentError};
pub use keys::KeyError;
pub use serve::Forward;
