//! Credentials from docker's `config.json` and the like (docker-config-json, containers-auth.json(5)).
//!
//! A secret has no text form: it can be put into a header and nowhere else. Of the entries that match a repository the
//! one with the longest path wins. Helpers are named here and asked elsewhere.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// Text that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How to be known to one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// A name and a password.
    Password { user: String, password: Secret },
    /// An OAuth2 refresh token (`identitytoken`).
    Refresh(Secret),
    /// A bearer token, sent as it is (`registrytoken`).
    Bearer(Secret),
}

/// Credentials for registries; prints without its secrets.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// By normalised `registry[/path]`; `None` where the file has an entry without a secret.
    entries: BTreeMap<String, Option<Login>>,
    /// By normalised registry: the name of its helper.
    helpers: BTreeMap<String, String>,
    /// The helper that holds the secrets of entries without one.
    store: Option<String>,
}

/// Credentials cannot be used. Never holds what the file holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Not JSON of the expected shape.
    #[error("malformed credentials at line {line}, column {column}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// `auth` is not base64 of `user:password`.
    #[error("malformed \"auth\" of {registry:?} in the credentials (expected base64 of user:password)")]
    Auth {
        /// The entry.
        registry: String,
    },
    /// The helper that has the credentials did not give them.
    #[error(
        "the credentials of {registry} are in the helper docker-credential-{helper}, and it failed: {why}"
    )]
    Helper {
        /// The registry.
        registry: String,
        /// The helper's name.
        helper: String,
        /// Why.
        why: String,
    },
}

/// Where the login for a repository is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// Here.
    Login(&'a Login),
    /// In this helper.
    Helper(&'a str),
    /// Nowhere: access is anonymous.
    Nothing,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: Option<BTreeMap<String, Option<Entry>>>,
    #[serde(default, rename = "credHelpers")]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "credsStore")]
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Credentials {
    /// Parses a `config.json` (docker), `auth.json` (podman) or `.dockerconfigjson` (kubernetes).
    ///
    /// # Errors
    /// [`CredentialsError::Malformed`], [`CredentialsError::Auth`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CredentialsError> {
        // serde_json's own message quotes the values it stumbles over, and those are passwords.
        let file: File = serde_json::from_slice(bytes)
            .map_err(|error| CredentialsError::Malformed { line: error.line(), column: error.column() })?;
        let mut entries = BTreeMap::new();
        for (key, entry) in file.auths.unwrap_or_default() {
            let login = login(&key, entry.unwrap_or_default())?;
            entries.insert(normalised(&key), login);
        }
        let helpers = file.cred_helpers.unwrap_or_default();
        Ok(Self {
            entries,
            helpers: helpers.into_iter().map(|(key, helper)| (normalised(&key), helper)).collect(),
            store: file.creds_store.filter(|name| !name.is_empty()),
        })
    }

    /// These credentials, and for registries they say nothing of, `others`.
    #[must_use]
    pub fn or(mut self, others: Self) -> Self {
        for (key, login) in others.entries {
            self.entries.entry(key).or_insert(login);
        }
        for (key, helper) in others.helpers {
            self.helpers.entry(key).or_insert(helper);
        }
        self.store = self.store.or(others.store);
        self
    }

    /// The login for a repository of `registry` (`host[:port]`, as in a reference). An entry that names no secret, and a registry
    /// without an entry, are the business of the helper that holds all others.
    pub(crate) fn find(&self, registry: &str, repository: &str) -> Found<'_> {
        let registry = normalised(registry);
        let full = format!("{registry}/{repository}");
        let mut key = full.as_str();
        loop {
            match (self.entries.get(key), self.helpers.get(key)) {
                (Some(Some(login)), _) => return Found::Login(login),
                (_, Some(helper)) => return Found::Helper(helper),
                _ => {}
            }
            match key.rsplit_once('/') {
                Some((shorter, _)) => key = shorter,
                None => return self.store.as_deref().map_or(Found::Nothing, Found::Helper),
            }
        }
    }
}

fn login(key: &str, entry: Entry) -> Result<Option<Login>, CredentialsError> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = given(entry.registrytoken) {
        return Ok(Some(Login::Bearer(token.into())));
    }
    if let Some(token) = given(entry.identitytoken) {
        return Ok(Some(Login::Refresh(token.into())));
    }
    if let Some(auth) = given(entry.auth) {
        let malformed = || CredentialsError::Auth { registry: key.to_owned() };
        let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let bytes = GeneralPurpose::new(&STANDARD, lenient).decode(auth.trim()).map_err(|_| malformed())?;
        let text = String::from_utf8(bytes).map_err(|_| malformed())?;
        let (user, password) = text.split_once(':').ok_or_else(malformed)?;
        let password = password.trim_end_matches('\0').to_owned().into();
        return Ok(Some(Login::Password { user: user.to_owned(), password }));
    }
    Ok(match (given(entry.username), given(entry.password)) {
        (Some(user), Some(password)) => Some(Login::Password { user, password: password.into() }),
        _ => None,
    })
}

/// `https://index.docker.io/v1/` and the like are `docker.io`; schemes and API versions go.
fn normalised(key: &str) -> String {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let bare = bare.trim_end_matches('/');
    let bare = bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare);
    let (host, path) = bare.split_once('/').map_or((bare, None), |(host, path)| (host, Some(path)));
    let host = match host.to_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    };
    path.map_or_else(|| host.clone(), |path| format!("{host}/{path}"))
}

#[cfg(test)]
mod tests;
