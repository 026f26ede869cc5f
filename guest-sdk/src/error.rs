//! Why a tool failed, as a line for the user.

use std::fmt;

/// What a tool's `main` and functions answer.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// A message for the user, with what it came from. Made from a `&str`, a `String` and any error by `?`.
pub struct Error(String);

impl Error {
    /// Of this message, lowercase and without a full stop.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// The same with what was being done in front: `cannot read config: not found`.
    #[must_use]
    pub fn context(self, doing: impl fmt::Display) -> Self {
        Self(format!("{doing}: {}", self.0))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As shown: `fn main() -> Result` prints an error by its `Debug`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// `Error` itself is no `std::error::Error`: then this would be a second conversion of it into itself.
impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for Error {
    fn from(error: E) -> Self {
        let error = error.into();
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_its_message_with_its_causes() {
        let read = || -> Result<String> { Ok(std::fs::read_to_string("/no/such/file")?) };
        let error = read().unwrap_err().context("cannot read the list");
        assert!(format!("{error:?}").starts_with("cannot read the list: No such file"), "{error:?}");
        assert_eq!(Error::from("a").to_string(), "a");
    }
}
