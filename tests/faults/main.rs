//! What goes wrong around a build: kills, and files too large to hold.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "reads /proc and what wbuild wrote")]

mod kill;
mod memory;
mod registry;
