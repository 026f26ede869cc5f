//! What goes wrong around a build: kills, full disks, files too large to hold, registries and networks that fail.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "reads /proc and what wbuild wrote")]

mod disk;
mod kill;
mod memory;
mod registry;
mod tokens;
