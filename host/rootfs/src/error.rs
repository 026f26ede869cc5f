//! What can go wrong with a captured rootfs on the host's side.
//!
//! These are failures of the host or of the store, never a guest's errno; operations on behalf of a guest answer
//! a bare [`rustix::io::Errno`].

use std::path::PathBuf;

use rustix::io::Errno;
use wbuild_layer::RootPath;

/// Why a tree could not be created, opened, persisted or read out.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A host file of the tree's own (its directory, `fs`, `records`).
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Host {
        /// What was tried: `create`, `open`, `read`, ..
        action: &'static str,
        /// The host path.
        path: PathBuf,
        /// The cause.
        source: Errno,
    },
    /// A file inside the tree.
    #[error("cannot {action} {path} in the tree: {source}")]
    Inside {
        /// What was tried.
        action: &'static str,
        /// The path within the tree.
        path: RootPath,
        /// The cause.
        source: Errno,
    },
    /// The persisted records are not what [`crate::Root::persist`] writes.
    #[error("{path}: {detail} at byte {offset}", path = path.display())]
    Records {
        /// The records' host path.
        path: PathBuf,
        /// Where the reader stopped.
        offset: usize,
        /// What it expected.
        detail: &'static str,
    },
    /// The journal check found a change that no operation recorded.
    #[error("the journal missed {missed} of the step's changes, the first at {path}: {detail}")]
    JournalMissed {
        /// How many paths.
        missed: usize,
        /// The first of them.
        path: RootPath,
        /// What differs there.
        detail: String,
    },
    /// [`crate::Root::finish`] without [`crate::Root::begin`].
    #[error("no step has begun on this tree")]
    NotBegun,
}
