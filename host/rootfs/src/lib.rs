//! A captured rootfs: its tree, its metadata records and its journal.
//!
//! The tree is an ordinary directory owned by whoever runs wbuild; what its files pretend to be (owners, modes, devices,
//! extended attributes) stands in the records, and what happened to it in the journal. Nothing here decides whether something
//! may happen: only the reference monitor (and unpacking) may call the raw operations.

mod error;
mod rules;

pub use error::RootError;
pub use rules::{JournalCheck, MtimeRule};
