//! Dockerfile text to instructions with spans: lexing, heredocs, flags, expansion, ignore files, globs.
//!
//! Pure: no file is opened here. The reference is BuildKit's Dockerfile frontend; whatever is not built is refused
//! with its span, never accepted and ignored. Rendering of errors is the work of `cli`.

mod span;

pub use span::{Position, Span};
