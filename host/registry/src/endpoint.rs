//! Where a registry is, and how its resources are addressed (distribution-spec "Endpoints").
//!
//! HTTPS, except on loopback and where told otherwise. Pure: no name is looked up here.

use crate::{RegistryError, Settings};
use reqwest::Url;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wbuild_oci::{Digest, Reference};

/// A repository of a registry.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    /// The registry as in references, such as `docker.io`.
    pub(crate) registry: String,
    /// The repository, such as `library/debian`.
    pub(crate) name: String,
    /// Where it is: HTTPS, until [`Repository::is_plain`] says otherwise.
    base: Url,
    scheme: Scheme,
}

/// How a registry is spoken to.
#[derive(Debug, Clone)]
pub(crate) enum Scheme {
    Https,
    Http,
    /// Over HTTP, until it says that it speaks HTTPS; shared by all repositories of the registry.
    Guessed(Arc<AtomicBool>),
}

impl Scheme {
    /// The scheme of a registry (`host[:port]`).
    pub(crate) fn of(registry: &str, settings: &Settings) -> Self {
        if settings.plain_http.contains(registry) {
            Self::Http
        } else if settings.unverified.contains(registry) || settings.certificates.contains_key(registry) {
            Self::Https
        } else if is_loopback(registry) {
            Self::Guessed(Arc::default())
        } else {
            Self::Https
        }
    }
}

impl PartialEq for Repository {
    fn eq(&self, other: &Self) -> bool {
        (&self.registry, &self.name) == (&other.registry, &other.name)
    }
}

impl Repository {
    pub(crate) fn of(reference: &Reference, scheme: Scheme) -> Result<Self, RegistryError> {
        Self::new(reference.registry(), reference.host(), reference.repository().to_owned(), scheme)
    }

    /// The repository `name` of `registry`, which is reached at `host`.
    pub(crate) fn new(
        registry: &str,
        host: &str,
        name: String,
        scheme: Scheme,
    ) -> Result<Self, RegistryError> {
        let base = Url::parse(&format!("https://{host}/v2/")).map_err(|source| RegistryError::Setup {
            what: "a registry's name is no host name",
            source: Some(Box::new(source)),
        })?;
        Ok(Self { registry: registry.to_owned(), name, base, scheme })
    }

    /// The manifest of a tag or digest.
    pub(crate) fn manifest(&self, identifier: &str) -> Url {
        self.at(&format!("manifests/{identifier}"))
    }

    /// A blob.
    pub(crate) fn blob(&self, digest: &Digest) -> Url {
        self.at(&format!("blobs/{digest}"))
    }

    /// Where uploads begin.
    pub(crate) fn uploads(&self) -> Url {
        self.at("blobs/uploads/")
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.root();
        // Names, tags and digests are of checked grammars: nothing in them needs an escape.
        url.set_path(&format!("/v2/{}/{path}", self.name));
        url
    }

    /// Whether credentials for this registry may go to `url`.
    pub(crate) fn is_home_of(&self, url: &Url) -> bool {
        url.origin() == self.root().origin()
    }

    /// Whether it is spoken to without encryption.
    pub(crate) fn is_plain(&self) -> bool {
        match &self.scheme {
            Scheme::Https => false,
            Scheme::Http => true,
            Scheme::Guessed(https) => !https.load(Ordering::Relaxed),
        }
    }

    /// Takes note that the registry speaks HTTPS, where that was not told.
    pub(crate) fn speaks_https(&self) {
        if let Scheme::Guessed(https) = &self.scheme {
            https.store(true, Ordering::Relaxed);
        }
    }

    /// Whether nothing but its own answers says how it is spoken to.
    pub(crate) fn is_guessed(&self) -> bool {
        matches!(&self.scheme, Scheme::Guessed(_))
    }

    /// The root of the registry's resources, `/v2/`.
    fn root(&self) -> Url {
        if !self.is_plain() {
            return self.base.clone();
        }
        // A port that is the default of HTTPS is written out for HTTP.
        let port = self.base.port();
        let mut url = self.base.clone();
        if url.set_scheme("http").is_ok() && url.set_port(port).is_ok() { url } else { self.base.clone() }
    }
}

/// Whether a registry (`host[:port]`) is on this machine: 127.0.0.0/8, ::1, localhost.
pub(crate) fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_by_the_address_alone() {
        for registry in
            ["localhost", "localhost:5000", "127.0.0.1:80", "127.8.9.1", "[::1]:5000", "LOCALHOST:1"]
        {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in
            ["docker.io", "localhost.example.com", "128.0.0.1", "[::2]:5000", "127.0.0.1.example.com"]
        {
            assert!(!is_loopback(registry), "{registry}");
        }
    }

    #[test]
    fn https_except_on_loopback_and_where_told() {
        let settings = Settings { plain_http: ["plain.example:80".to_owned()].into(), ..Settings::default() };
        let blob = |text: &str| {
            let reference: Reference = text.parse().unwrap();
            let scheme = Scheme::of(reference.registry(), &settings);
            let repository = Repository::of(&reference, scheme).unwrap();
            repository.manifest("t").to_string()
        };
        assert_eq!(blob("debian"), "https://registry-1.docker.io/v2/library/debian/manifests/t");
        assert_eq!(blob("localhost:5000/a/b"), "http://localhost:5000/v2/a/b/manifests/t");
        assert_eq!(blob("plain.example:80/a"), "http://plain.example/v2/a/manifests/t");
        assert_eq!(blob("plain.example:81/a"), "https://plain.example:81/v2/a/manifests/t");
    }
}
