//! Mirrors: where images of a registry are looked for first.
//!
//! What a mirror gives is held against digests as what the registry gives; which image a tag names is the mirror's word.

use wbuild_oci::Reference;

/// A mirror of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// `host[:port]`.
    pub(crate) host: String,
    /// Goes before the repository's name: `proxy-cache`, or nothing.
    pub(crate) prefix: String,
    pub(crate) protocol: Protocol,
}

/// What the mirror's address says about TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Https,
    /// As for any registry of that name.
    Unsaid,
}

/// An address that is no mirror's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the address of a mirror (expected a host, with an optional scheme, port and path)")]
pub struct MirrorError(String);

impl Mirror {
    /// Reads `[http[s]://]host[:port][/path]`.
    ///
    /// # Errors
    /// [`MirrorError`].
    pub fn parse(text: &str) -> Result<Self, MirrorError> {
        let (protocol, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (Protocol::Https, rest),
            (_, Some(rest)) => (Protocol::Http, rest),
            _ => (Protocol::Unsaid, text),
        };
        let rest = rest.trim_end_matches('/');
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        // The grammar of references has no place for user names, queries and the like.
        let path = if prefix.is_empty() { "x".to_owned() } else { format!("{prefix}/x") };
        match format!("{host}/{path}").parse::<Reference>() {
            Ok(reference) if reference.registry() == host => {
                Ok(Self { host: host.to_owned(), prefix: prefix.to_owned(), protocol })
            }
            _ => Err(MirrorError(text.to_owned())),
        }
    }

    /// The name of a repository at the mirror.
    pub(crate) fn repository(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_may_have_a_path() {
        let mirror = Mirror::parse("http://mirror.example:5000/").unwrap();
        assert_eq!((mirror.host.as_str(), mirror.protocol), ("mirror.example:5000", Protocol::Http));
        assert_eq!(mirror.repository("library/debian"), "library/debian");
        let mirror = Mirror::parse("harbor.example/proxy").unwrap();
        assert_eq!((mirror.repository("a/b").as_str(), mirror.protocol), ("proxy/a/b", Protocol::Unsaid));
        for wrong in ["", "https://", "user@host", "host:port", "http://h.example/a?b", "nodots"] {
            assert!(Mirror::parse(wrong).is_err(), "{wrong}");
        }
    }
}
