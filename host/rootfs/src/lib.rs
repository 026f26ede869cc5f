//! A captured rootfs: its tree, its metadata records and its journal.
//!
//! The tree is an ordinary directory owned by whoever runs wbuild; what its files pretend to be (owners, modes, devices,
//! extended attributes) stands in the records, and what happened to it in the journal. Nothing here decides whether something
//! may happen: only the reference monitor (and unpacking) may call the raw operations.

#![forbid(unsafe_code)]

mod check;
mod collect;
mod error;
mod journal;
mod lend;
mod links;
mod materialise;
mod mounts;
mod persist;
pub mod raw;
mod record;
mod root;
mod rules;
mod sharing;
#[cfg(test)]
mod tests;
mod walk;
mod whereabouts;

pub use collect::Finished;
pub use error::RootError;
pub use journal::Journal;
pub use lend::Lent;
pub use links::Links;
pub use materialise::{Layer, Likeness, MaterialiseError, Refusal, Sharing};
pub use mounts::{Graft, GraftAccess, MountTable, Seat, TreeSeat};
pub use record::{
    GraftId, InodeKey, Record, Records, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG,
    S_IFSOCK, Scope, Special, birth, real_directory_mode, real_file_mode,
};
pub use root::{Located, Owner, Root, VIEWS, stat_at, stat_fd};
pub use rules::{JournalCheck, MtimeRule};
