//! Dockerfile text to instructions with spans: lexing, heredocs, flags, expansion, ignore files, globs.
//!
//! Pure: no file is opened here. The reference is BuildKit's Dockerfile frontend; whatever is not built is refused
//! with its span, never accepted and ignored. Rendering of errors is the work of `cli`.

#![forbid(unsafe_code)]

mod directive;
mod duration;
mod error;
mod expand;
mod fields;
mod flags;
pub mod glob;
mod heredoc;
mod ignore;
mod instruction;
mod line;
mod parse;
mod read;
mod span;
mod words;

pub use directive::{Check, Directive, Directives, Findings, Skip};
pub use error::{DockerfileError, nearest};
pub use expand::{Escapes, ExpandError, Expanded, Expander, NoVariables, Quotes, Unset, Variables};
pub use fields::{Field, fields};
pub use heredoc::{Expansion, Heredoc, Tabs};
pub use ignore::{IgnoreError, IgnoreFile, PatternError, clean};
pub use instruction::{
    Command, Copy, CopyOperand, CopyVerb, Declaration, Dockerfile, Flag, From, Healthcheck, Instruction,
    Kind, OnBuild, Pair, PairForm, Run, RunCommand, StageSource, Timing, Word,
};
pub use line::{MAX_DOCKERFILE, MAX_LINE};
pub use parse::{parse, parse_trigger};
pub use span::{Position, Span};
