//! Where a registry is, and how its resources are addressed (distribution-spec "Endpoints").
//!
//! HTTPS, except on loopback and where told otherwise. Pure: no name is looked up here.

use crate::{RegistryError, Settings};
use reqwest::Url;
use std::net::IpAddr;
use wbuild_oci::{Digest, Reference};

/// A repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repository {
    /// The registry as in references, such as `docker.io`.
    pub(crate) registry: String,
    /// The repository, such as `library/debian`.
    pub(crate) name: String,
    base: Url,
}

impl Repository {
    pub(crate) fn of(reference: &Reference, settings: &Settings) -> Result<Self, RegistryError> {
        let registry = reference.registry().to_owned();
        let plain = is_loopback(&registry) || settings.insecure.contains(&registry);
        let scheme = if plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{}/v2/", reference.host())).map_err(|source| {
            RegistryError::Setup { what: "a registry's name is no host name", source: Some(Box::new(source)) }
        })?;
        Ok(Self { registry, name: reference.repository().to_owned(), base })
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
        let mut url = self.base.clone();
        // Names, tags and digests are of checked grammars: nothing in them needs an escape.
        url.set_path(&format!("/v2/{}/{path}", self.name));
        url
    }

    /// Whether credentials for this registry may go to `url`.
    pub(crate) fn is_home_of(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// Whether it is spoken to without encryption.
    pub(crate) fn is_plain(&self) -> bool {
        self.base.scheme() == "http"
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
        let settings = Settings { insecure: ["plain.example:80".to_owned()].into(), ..Settings::default() };
        let blob = |text: &str| {
            let repository = Repository::of(&text.parse().unwrap(), &settings).unwrap();
            repository.manifest("t").to_string()
        };
        assert_eq!(blob("debian"), "https://registry-1.docker.io/v2/library/debian/manifests/t");
        assert_eq!(blob("localhost:5000/a/b"), "http://localhost:5000/v2/a/b/manifests/t");
        assert_eq!(blob("plain.example:80/a"), "http://plain.example/v2/a/manifests/t");
        assert_eq!(blob("plain.example:81/a"), "https://plain.example:81/v2/a/manifests/t");
    }
}
