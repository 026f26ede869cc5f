//! Policy: what a build and its steps may do, decided without I/O.
//!
//! A policy is a set of *files*: the one that was named and those it extends. Each file is a set of clauses, and a thing is allowed where no
//! clause of any file denies it. So adding a file or a rule never allows more, the order of rules never matters, and what is built on a
//! policy only narrows it. [`Ruleset`] is the whole, [`Policy`] what of it concerns one step, ready to be asked for each access.
//!
//! Reading files is the caller's: [`Ruleset::load`] asks for the text of what is extended.

#![forbid(unsafe_code)]

mod access;
mod builtin;
mod cases;
mod code;
mod compile;
mod error;
mod file;
mod glob;
mod limits;
mod load;
mod rules;
mod schema;
mod show;
mod step;
#[cfg(test)]
mod tests;

pub use access::{Access, Decision, RuleId, Verdict};
pub use builtin::{BUILT_IN, built_in};
pub use cases::{Cases, Mismatch};
pub use code::Code;
pub use error::{Place, PolicyError};
pub use file::{Degrade, Mode};
pub use limits::{Limit, Limits};
pub use load::Source;
pub use rules::{Denied, Ruleset, StepName};
pub use schema::schema;
pub use step::{Explanation, Network, Policy, RuleRef};
