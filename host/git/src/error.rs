//! What can go wrong with a git source.
//!
//! Messages name the repository without login; what a server says is shown as one printable line.

use wbuild_store::{ErrorClass, StoreError};

use crate::http::HttpFailure;

/// A git source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The server could not be asked.
    #[error("cannot ask {remote}")]
    Http {
        /// The repository.
        remote: String,
        /// Why.
        #[source]
        source: HttpFailure,
    },
    /// The answer ended early, or the connection did.
    #[error("the answer of {remote} ended early")]
    Cut {
        /// The repository.
        remote: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server is no git server, or an old one.
    #[error("{remote} does not speak git's smart HTTP protocol{why}")]
    NotGit {
        /// The repository.
        remote: String,
        /// What it answered, as a fragment after a colon; or nothing.
        why: String,
    },
    /// The server's answer makes no sense.
    #[error("{remote} gave an unusable answer: {why}")]
    Protocol {
        /// The repository.
        remote: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server says no.
    #[error("{remote} refused: {said}")]
    Refused {
        /// The repository.
        remote: String,
        /// What it said.
        said: String,
    },
    /// There is no such branch, tag or commit.
    #[error("{remote} has no {what}")]
    NotFound {
        /// The repository.
        remote: String,
        /// What was asked for.
        what: String,
    },
    /// A commit is not the one that was asked for.
    #[error("{remote} gives the commit {found}, and {expected} is expected")]
    Checksum {
        /// The repository.
        remote: String,
        /// What it has to begin with.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A pack is broken, or not what was asked for.
    #[error("{remote} sent an unusable pack: {why}")]
    Pack {
        /// The repository.
        remote: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is too much of something.
    #[error("{remote} has too much: {what} would be over the limit of {limit}")]
    Limit {
        /// The repository.
        remote: String,
        /// What is limited.
        what: &'static str,
        /// How much there may be.
        limit: u64,
    },
    /// A name in a tree that could lead elsewhere.
    #[error("{remote} has the file {path:?}: {why}")]
    Name {
        /// The repository.
        remote: String,
        /// Where it is.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The wanted directory is none.
    #[error("{subdir:?} is no directory of {remote} at {commit}")]
    Subdir {
        /// The repository.
        remote: String,
        /// The directory.
        subdir: String,
        /// Of which commit.
        commit: String,
    },
    /// A submodule cannot be fetched.
    #[error("the submodule {path:?} of {remote}: {why}")]
    Submodule {
        /// The repository.
        remote: String,
        /// Where the submodule is.
        path: String,
        /// Why.
        why: String,
    },
    /// A submodule's own repository cannot be used.
    #[error("cannot fetch the submodule {path:?}")]
    Within {
        /// Where the submodule is.
        path: String,
        /// Why.
        #[source]
        source: Box<GitError>,
    },
    /// Nobody allowed this repository.
    #[error("{why}")]
    Denied {
        /// By what.
        why: String,
    },
    /// A file of this machine could not be written or read.
    #[error("cannot {action}")]
    Host {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store.
    #[error("cannot keep a git checkout")]
    Store(#[from] StoreError),
}

impl GitError {
    /// What kind of failure it is, for the exit code.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Http { source, .. } => source.class,
            Self::Cut { .. } => ErrorClass::Network,
            Self::NotGit { .. } | Self::Refused { .. } | Self::Denied { .. } | Self::Submodule { .. } => {
                ErrorClass::Refused
            }
            Self::NotFound { .. } | Self::Subdir { .. } => ErrorClass::Missing,
            Self::Protocol { .. }
            | Self::Checksum { .. }
            | Self::Pack { .. }
            | Self::Limit { .. }
            | Self::Name { .. } => ErrorClass::Content,
            Self::Within { source, .. } => source.class(),
            Self::Host { .. } | Self::Store(_) => ErrorClass::Host,
        }
    }
}

/// What a server says, as one printable line.
pub(crate) fn printable(said: &[u8]) -> String {
    const LONGEST: usize = 400;
    let text = String::from_utf8_lossy(&said[..said.len().min(LONGEST)]);
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.truncate(line.trim_end().len());
    line
}

pub(crate) fn host(action: &'static str) -> impl Fn(std::io::Error) -> GitError {
    move |source| GitError::Host { action, source }
}
