//! What can be wrong with a Dockerfile, as data.
//!
//! Every variant that stands somewhere in the text has its span; messages are fragments without the source line, which `cli`
//! renders under them. `plan` uses the same enum: for a user, a Dockerfile is wrong in one way or another, not in two crates.

use crate::span::Span;

/// Why a Dockerfile cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DockerfileError {
    /// The text or a value in it (also after expansion) does not have the form it must have.
    #[error("{message}")]
    Syntax {
        /// The place.
        span: Span,
        /// What is wrong.
        message: String,
        /// What would be right, if it can be said.
        expected: Option<String>,
    },
    /// An instruction, flag, stage, .. that does not exist.
    #[error("unknown {what} {found:?}")]
    Unknown {
        /// The place.
        span: Span,
        /// `instruction`, `flag of COPY`, ..
        what: String,
        /// As written.
        found: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// Part of the Dockerfile language that this version does not build.
    #[error("{feature} is not supported yet")]
    Unsupported {
        /// The place.
        span: Span,
        /// `RUN --mount=type=ssh`
        feature: String,
        /// What can be used instead.
        supported: String,
    },
    /// `# check=error=true` where lint rules found something.
    #[error("lint violation found for rules: {rules}")]
    Lint {
        /// The directive.
        span: Span,
        /// Names of rules, separated by commas.
        rules: String,
    },
    /// `--target` names no stage.
    #[error("target stage {name:?} could not be found")]
    Target {
        /// As given.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// A value of the command line or of the environment that the Dockerfile cannot work with.
    #[error("{message}")]
    Argument {
        /// What is wrong.
        message: String,
        /// What would be right.
        expected: Option<String>,
    },
}

impl DockerfileError {
    /// The place in the Dockerfile; `None` where the command line is at fault.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Syntax { span, .. }
            | Self::Unknown { span, .. }
            | Self::Unsupported { span, .. }
            | Self::Lint { span, .. } => Some(*span),
            Self::Target { .. } | Self::Argument { .. } => None,
        }
    }

    /// A line for the user: what was expected, what is supported, or what was probably meant.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Syntax { expected, .. } | Self::Argument { expected, .. } => {
                expected.as_ref().map(|e| format!("expected {e}"))
            }
            Self::Unknown { nearest, .. } | Self::Target { nearest, .. } => {
                nearest.as_ref().map(|n| format!("did you mean {n}?"))
            }
            Self::Unsupported { supported, .. } => Some(format!("supported: {supported}")),
            Self::Lint { .. } => Some("`wbuild build --check` shows what was found".to_owned()),
        }
    }

    /// The same error at another place: an ONBUILD trigger is reported at the FROM line that fired it.
    #[must_use]
    pub fn at(mut self, place: Span) -> Self {
        match &mut self {
            Self::Syntax { span, .. }
            | Self::Unknown { span, .. }
            | Self::Unsupported { span, .. }
            | Self::Lint { span, .. } => *span = place,
            Self::Target { .. } | Self::Argument { .. } => {}
        }
        self
    }

    pub(crate) fn syntax(span: Span, message: impl Into<String>) -> Self {
        Self::Syntax { span, message: message.into(), expected: None }
    }

    pub(crate) fn expected(span: Span, message: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Syntax { span, message: message.into(), expected: Some(expected.into()) }
    }
}

/// The candidate that was probably meant by `found`, without regard to case; `None` where none is near.
#[must_use]
pub fn nearest<'a>(found: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Longer words cannot be near any candidate, and the distance is quadratic.
    if found.len() > 64 {
        return None;
    }
    let found = found.to_lowercase();
    // A short word is near to too many others.
    let limit = if found.chars().count() <= 4 { 1 } else { 2 };
    candidates
        .into_iter()
        .filter(|c| c.len() <= 64)
        .map(|c| (distance(&found, &c.to_lowercase()), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c.to_owned())
}

// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let above: &[usize] = &rows[i - 1];
            let substitution = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_only_when_it_is_near() {
        let known = ["RUN", "ENV", "COPY", "ENTRYPOINT", "HEALTHCHECK"];
        assert_eq!(nearest("rnu", known).as_deref(), Some("RUN"));
        assert_eq!(nearest("CPOY", known).as_deref(), Some("COPY"));
        assert_eq!(nearest("ENTRYPONT", known).as_deref(), Some("ENTRYPOINT"));
        assert_eq!(nearest("HELTHCEHCK", known).as_deref(), Some("HEALTHCHECK"));
        assert_eq!(nearest("FOO", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
    }
}
