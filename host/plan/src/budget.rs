//! A bound on what a Dockerfile can make the planner hold.
//!
//! A few KiB of text can ask for exponentially long variables, or for many steps that each carry a large environment. Everything that
//! a plan copies is paid for here; a build that is meant never comes near the limit.

use wbuild_dockerfile::{DockerfileError, Span};

use crate::graph::syntax;

/// What all texts of a plan may amount to, in bytes.
const LIMIT: usize = 128 << 20;

/// What is left.
pub(crate) struct Budget {
    left: usize,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { left: LIMIT }
    }

    /// Pays for `bytes` of text that the instruction at `span` asks for.
    pub(crate) fn spend(&mut self, bytes: usize, span: Span) -> Result<(), DockerfileError> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                let message = format!("the plan of this Dockerfile needs more than {LIMIT} bytes");
                Err(syntax(span, message, Some("fewer or shorter variables")))
            }
        }
    }

    /// Pays for copies of these strings.
    pub(crate) fn spend_list<'a>(
        &mut self,
        list: impl IntoIterator<Item = &'a String>,
        span: Span,
    ) -> Result<(), DockerfileError> {
        self.spend(list.into_iter().map(|s| s.len() + size_of::<String>()).sum(), span)
    }
}
