//! Image references as Docker reads them (distribution/reference: grammar and normalisation).
//!
//! A `Reference` is always complete: registry and repository are present and well-formed, and it has a tag, a digest
//! or both. Two texts for the same image give equal references. Nothing is resolved here.

use crate::{Digest, DigestError};
use std::{fmt, str::FromStr};

const DOCKER_HUB: &str = "docker.io";
const NAME_LIMIT: usize = 255;

/// A normalised image reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not of the form `[registry/]repository[:tag][@digest]`.
    #[error("invalid reference {0:?}")]
    Malformed(String),
    /// The repository has upper-case letters.
    #[error("invalid reference {0:?}: repository name must be lowercase")]
    Uppercase(String),
    /// 64 hex digits, which Docker keeps for image identifiers.
    #[error("invalid reference {0:?}: 64 hexadecimal digits cannot be a repository name")]
    Identifier(String),
    /// The name is longer than 255 characters.
    #[error("invalid reference {0:?}: repository name must not be more than 255 characters")]
    TooLong(String),
    /// The digest cannot be used.
    #[error("invalid reference {text:?}")]
    Digest {
        /// The whole reference.
        text: String,
        /// What is wrong with the digest.
        #[source]
        source: DigestError,
    },
}

impl Reference {
    /// The registry's name, with its port: `docker.io`, `localhost:5000`. See [`Reference::host`].
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Where the registry is reached: its name, except that `docker.io` is at `registry-1.docker.io`.
    pub fn host(&self) -> &str {
        if self.registry == DOCKER_HUB { "registry-1.docker.io" } else { &self.registry }
    }

    /// The repository: `library/debian`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Registry and repository: `docker.io/library/debian`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The tag; `latest` where the text had neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, which binds the image whatever the tag says.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What a registry is asked for: the digest if there is one, else the tag.
    pub fn identifier(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same repository and tag, bound to `digest`.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    /// The shortest text that gives this reference: `debian:12` for `docker.io/library/debian:12`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let Some(rest) = full.strip_prefix("docker.io/") else { return full };
        let short = match rest.strip_prefix("library/") {
            // `library/a/b` is another image than `a/b`.
            Some(official) if !official.contains('/') => official,
            _ => rest,
        };
        // `docker.io/a.b/c` without its registry would be an image of the registry `a.b`.
        if short.parse().as_ref() == Ok(self) { short.to_owned() } else { full }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let malformed = || ReferenceError::Malformed(text.to_owned());
        if text.len() == 64 && Digest::from_hex(text).is_ok() {
            return Err(ReferenceError::Identifier(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let digest = digest
                    .parse()
                    .map_err(|source| ReferenceError::Digest { text: text.to_owned(), source })?;
                (rest, Some(digest))
            }
        };
        let (domain, remainder) = split_domain(rest);
        let (path, tag) = match remainder.split_once(':') {
            None => (remainder, None),
            Some((path, tag)) => (path, Some(tag)),
        };
        if tag.is_some_and(|tag| !valid_tag(tag)) || !valid_domain(domain) {
            return Err(malformed());
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase(text.to_owned()));
        }
        if !path.split('/').all(valid_component) {
            return Err(malformed());
        }
        let official = domain == DOCKER_HUB && !path.contains('/');
        let repository = if official { format!("library/{path}") } else { path.to_owned() };
        if repository.len() > NAME_LIMIT {
            return Err(ReferenceError::TooLong(text.to_owned()));
        }
        let tag = match (tag, digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { registry: domain.to_owned(), repository, tag, digest })
    }
}

/// Splits off the registry. As in Docker, the first component is a registry only if it could not be a user's name on
/// Docker Hub: it has a dot, a colon or an upper-case letter, or is `localhost`.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", rest)) => (DOCKER_HUB, rest),
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DOCKER_HUB, name),
    }
}

fn valid_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let address_is_ipv6 =
                !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            if !address_is_ipv6 || !(port.is_empty() || port.starts_with(':')) {
                return false;
            }
            (None, port.strip_prefix(':'))
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.is_none_or(|host| host.split('.').all(label))
        && port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn valid_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(|byte| alphanumeric(*byte))
        || !bytes.last().is_some_and(|byte| alphanumeric(*byte))
    {
        return false;
    }
    bytes.split(|byte| alphanumeric(*byte)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
    })
}

/// `\w[\w.-]{0,127}`
fn valid_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().enumerate().all(|(at, byte)| word(byte) || (at > 0 && (byte == b'.' || byte == b'-')))
}

#[cfg(test)]
mod tests;
