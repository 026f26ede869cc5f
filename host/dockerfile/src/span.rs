//! Where something stands in a Dockerfile.
//!
//! Plain data: lines and columns count from 1, columns count Unicode scalar values, ends are exclusive in the column and
//! inclusive in the line. Nothing here renders.

use serde::{Deserialize, Serialize};

/// A place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in Unicode scalar values, from 1.
    pub column: u32,
}

/// A range of the text: from `start` up to, not including, the column of `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The first character.
    pub start: Position,
    /// One past the last character, on the last line.
    pub end: Position,
}

impl Span {
    /// The span of the columns `from..to` of one line.
    #[must_use]
    pub fn on_line(line: u32, from: u32, to: u32) -> Self {
        Self { start: Position { line, column: from }, end: Position { line, column: to } }
    }
}
