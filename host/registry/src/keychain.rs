//! Credential helpers (`docker-credential-NAME`, docker/docker-credential-helpers): what they are asked and what they answer.
//!
//! Starting a program is the caller's part: it knows the environment, and in which of it a helper runs. What a helper said is kept
//! in memory for as long as the client lives; a helper is asked once for each registry.

use std::fmt;

use crate::credentials::{Login, Secret};

/// Asks credential helpers. Called from a thread that may wait.
pub trait Helpers: fmt::Debug + Send + Sync {
    /// What `docker-credential-HELPER get` gives for `server`; `None` where it has nothing for it.
    ///
    /// # Errors
    /// The helper cannot be run, or fails.
    fn get(&self, helper: &str, server: &str) -> Result<Option<HelperLogin>, HelperError>;
}

/// A helper did not answer. The text holds nothing of what it printed on standard output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HelperError(pub String);

/// What a helper knows.
#[derive(Clone)]
pub struct HelperLogin {
    user: String,
    secret: Secret,
}

impl HelperLogin {
    /// A user and a password; the user `<token>` says that the secret is an identity token.
    pub fn new(user: String, secret: String) -> Self {
        Self { user, secret: secret.into() }
    }

    pub(crate) fn into_login(self) -> Login {
        if self.user == "<token>" {
            Login::Refresh(self.secret)
        } else {
            Login::Password { user: self.user, password: self.secret }
        }
    }
}

impl fmt::Debug for HelperLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HelperLogin")
    }
}

/// The name under which helpers know a registry.
pub(crate) fn server(registry: &str) -> &str {
    if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry }
}
