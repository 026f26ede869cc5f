//! The two ways an operation on behalf of a guest fails.
//!
//! An errno is the guest's answer and travels through `?`; a broken sandbox ends the step. Neither is ever turned
//! into the other on the way.

pub use rustix::io::Errno;

/// Why an operation on behalf of a guest has no result.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The guest's answer.
    #[error("guest gets {0}")]
    Errno(Errno),
    /// Our own failure: the step cannot go on.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// What broke in the sandbox itself.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Broken {
    /// What was tried, with its path.
    pub what: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Broken {
    /// A failure with its cause.
    pub fn new(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { what: what.into(), source: Some(source.into()) }
    }

    /// A failure that is its own explanation.
    pub fn because(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl Fault {
    /// The guest's errno, if this is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Errno(errno) => Some(*errno),
            Self::Broken(_) => None,
        }
    }
}
