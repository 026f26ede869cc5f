//! What is wrong with a policy file, as data: where, what, and what to do.

/// A place in a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How many characters are meant, at least one.
    pub width: usize,
    /// The line itself.
    pub text: String,
}

/// Why there is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PolicyError {
    /// What is wrong, as a sentence fragment.
    pub message: String,
    /// Where; `None` where a whole file is meant.
    pub place: Option<Place>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl PolicyError {
    pub(crate) fn new(message: impl Into<String>, place: Option<Place>) -> Self {
        Self { message: message.into(), place, hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
