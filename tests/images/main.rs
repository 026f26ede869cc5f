//! Images built end to end: each test builds with the real binary and judges the result by another tool.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "reads what wbuild wrote on the machine's own file system")]

mod attestations;
mod bases;
mod git;
mod git_sources;
mod job;
mod language;
mod outputs;
mod own;
mod push;
mod quick;
mod refusals;
mod rows;
mod secured;
mod times;
