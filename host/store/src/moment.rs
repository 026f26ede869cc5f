//! Moments of the filesystem's clock.

use cap_std::fs::{Metadata, MetadataExt};

/// A modification time: seconds since 1970 and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i64, i64);

impl Moment {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self(metadata.mtime(), metadata.mtime_nsec())
    }

    pub(crate) fn seconds(self) -> i64 {
        self.0
    }
}
