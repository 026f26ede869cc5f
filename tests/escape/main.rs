//! Attacks: what a hostile step, image or context must not reach. One file per field.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "plants secrets on the machine's own file system")]

mod agents;
mod archives;
mod attacks;
mod credentials;
mod guests;
mod mounts;
mod policy;
mod privilege;
mod shared_trees;
mod stranger;
mod wasm;
