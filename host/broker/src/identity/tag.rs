//! The tag of a guest process: which step it belongs to and which state is its own, in one resource limit.
//!
//! The soft value of a limit the kernel ignores is inherited over fork, kept over exec and shared by the threads of
//! a process, so inheritance needs no bookkeeping and has no race. The guest never reaches this limit itself: the
//! filter sends every limit call on it, and every one on another process, to the broker.
//!
//! Deliberately not here: what a state holds.

use rustix::process::Pid;
use wbuild_sys::limit::{self, Limit};

/// The number of a step among those that run at the same time on this machine; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StepId(u32);

/// The place of a state in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Index(pub(super) u32);

/// A value of the carrying limit: bit 63 clear, the step in 62..32, the state's index below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The step.
    pub step: StepId,
    pub(super) index: Index,
}

/// Why a process has no usable tag.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    /// The process is gone, or the host forbids to look.
    #[error("limits of process {pid}: {source}")]
    Unreadable {
        /// Thread id as the supervisor sees it.
        pid: i32,
        /// What prlimit(2) said.
        source: rustix::io::Errno,
    },
    /// The process does not belong to this step.
    #[error("process {0} does not belong to this step")]
    Foreign(i32),
    /// Neither limit that could carry the tag is unlimited.
    #[error("neither RLIMIT_LOCKS nor RLIMIT_RSS is unlimited, so a step cannot be told from others")]
    NoLimit,
}

impl StepId {
    /// From any number; the top bit is dropped and 0 becomes 1.
    #[must_use]
    pub fn new(number: u32) -> Self {
        Self((number & 0x7fff_ffff).max(1))
    }
}

impl Tag {
    /// As the limit's soft value.
    #[must_use]
    pub fn bits(self) -> u64 {
        u64::from(self.step.0) << 32 | u64::from(self.index.0)
    }

    fn from_bits(bits: u64) -> Option<Self> {
        let step = u32::try_from(bits >> 32).ok().filter(|s| *s != 0 && *s <= 0x7fff_ffff)?;
        let index = u32::try_from(bits & 0xffff_ffff).ok()?;
        Some(Self { step: StepId(step), index: Index(index) })
    }
}

/// The limit that carries the tags of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carrier(Limit);

impl Carrier {
    /// Chooses a limit that Linux ignores and that is unlimited here, so that any tag fits below the hard value.
    ///
    /// # Errors
    /// [`TagError::NoLimit`].
    pub fn choose() -> Result<Self, TagError> {
        // Linux enforces RLIMIT_LOCKS since 2.4.25 and RLIMIT_RSS since 2.4.30 no more (getrlimit(2)).
        [Limit::LOCKS, Limit::RSS]
            .into_iter()
            .find(|l| limit::get(None, *l).is_ok_and(|v| v.hard == limit::INFINITY))
            .map(Self)
            .ok_or(TagError::NoLimit)
    }

    /// The number of the limit, for the filter: guest calls on it are faked.
    #[must_use]
    pub fn limit(self) -> Limit {
        self.0
    }

    /// Reads the tag of the process that `thread` belongs to; one prlimit(2).
    ///
    /// # Errors
    /// [`TagError::Unreadable`], [`TagError::Foreign`] if it has none.
    pub fn read(self, thread: Pid) -> Result<Tag, TagError> {
        let pid = thread.as_raw_nonzero().get();
        let value =
            limit::get(Some(thread), self.0).map_err(|source| TagError::Unreadable { pid, source })?;
        Tag::from_bits(value.soft).ok_or(TagError::Foreign(pid))
    }

    /// Sets the tag of the process that `thread` belongs to.
    ///
    /// # Errors
    /// [`TagError::Unreadable`].
    pub fn write(self, thread: Pid, tag: Tag) -> Result<(), TagError> {
        let value = limit::Value { soft: tag.bits(), hard: limit::INFINITY };
        limit::set(Some(thread), self.0, value)
            .map(drop)
            .map_err(|source| TagError::Unreadable { pid: thread.as_raw_nonzero().get(), source })
    }
}
