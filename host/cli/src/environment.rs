//! The environment variables wbuild reads, taken once at start.
//!
//! Nothing else in the project reads the environment: what a build depends on is in its settings. A variable that
//! is set to nothing counts as not set.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// A snapshot of the process's environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The process's own.
    #[must_use]
    pub(crate) fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// The value of `name`, unless it is unset or empty.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// Every variable.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The value of `name` even if it is empty; `None` where it is unset or not UTF-8.
    #[must_use]
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(OsStr::new(name)).and_then(|value| value.to_str())
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        Self(iter.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}
