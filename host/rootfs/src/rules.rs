//! How a step's changes are taken from its tree: the rule for modification times and the journal's check.
//!
//! Plain data that crosses process boundaries; it does nothing by itself.

use serde::{Deserialize, Serialize};
use wbuild_layer::Timestamp;

/// How modification times enter a layer and the tree that later steps see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MtimeRule {
    /// As the files have them.
    Keep,
    /// A later time becomes this one (RUN).
    NoLaterThan(Timestamp),
    /// Every time becomes this one (COPY and ADD from a context).
    SetTo(Timestamp),
}

impl MtimeRule {
    /// The time that `found` becomes under this rule.
    #[must_use]
    pub fn apply(self, found: Timestamp) -> Timestamp {
        match self {
            Self::Keep => found,
            Self::NoLaterThan(limit) => found.min(limit),
            Self::SetTo(time) => time,
        }
    }
}

/// Whether the journal is held against full walks of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JournalCheck {
    /// Trust the journal.
    Off,
    /// Walk before and after and fail the step where the journal missed a path.
    FullWalk,
}
