//! What a client is told when it is made.
//!
//! Plain values, filled by `cli` from flags and the environment; nothing is read here.

use crate::{Credentials, GitLogins, Helpers, Mirror};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The settings of a [`crate::Client`].
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Credentials from configuration files.
    pub credentials: Credentials,
    /// What asks the credential helpers that the credentials name; without it a registry that needs one is refused.
    pub helpers: Option<Arc<dyn Helpers>>,
    /// Registries (`host[:port]`) that are spoken to over plain HTTP. Those on loopback are, unless they answer that they speak
    /// HTTPS or something here says it of them.
    pub plain_http: BTreeSet<String>,
    /// Registries whose certificate is not looked at.
    pub unverified: BTreeSet<String>,
    /// Certificates by registry, as `certs.d` has them.
    pub certificates: BTreeMap<String, Certificates>,
    /// By registry, where its images are looked for first.
    pub mirrors: BTreeMap<String, Vec<Mirror>>,
    /// Whose certificates are trusted.
    pub roots: Roots,
    /// Proxies; never used for loopback.
    pub proxies: Proxies,
    /// Logins for git servers.
    pub git: GitLogins,
    /// How long to wait and how often to try.
    pub patience: Patience,
    /// How many blobs are transferred at once; 0 is the default of 4.
    pub parallel: usize,
}

/// Roots of trust for HTTPS.
#[derive(Debug, Clone, Default)]
pub enum Roots {
    /// The roots built into wbuild (Mozilla's).
    #[default]
    Bundled,
    /// Exactly the certificates in these PEM documents, as `SSL_CERT_FILE` and `SSL_CERT_DIR` name them.
    Only(Vec<Vec<u8>>),
    /// The built-in roots and the certificates in these PEM documents.
    Also(Vec<Vec<u8>>),
}

/// What is known of one registry's TLS (certs.d of Docker and containers-certs.d(5)).
#[derive(Clone, Default)]
pub struct Certificates {
    /// Roots that are trusted for it besides the others, each a PEM document.
    pub roots: Vec<Vec<u8>>,
    /// The client's certificate chain and private key, one PEM document.
    pub identity: Option<Vec<u8>>,
}

// The identity holds a private key.
impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates")
            .field("roots", &self.roots.len())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

/// Proxies, as the variables `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` give them.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For registries over plain HTTP.
    pub http: Option<String>,
    /// For registries over HTTPS.
    pub https: Option<String>,
    /// Hosts, domains and networks that are reached directly, separated by commas.
    pub except: Option<String>,
}

// A proxy's address may hold a password.
impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("except", &self.except)
            .finish()
    }
}

/// How long to wait and how often to try.
#[derive(Debug, Clone)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// Without a byte in either direction.
    pub stall: Duration,
    /// How often one thing is tried in all, as long as it makes no headway.
    pub attempts: u32,
    /// Before the second attempt; doubled for each further one, half of it by chance.
    pub pause: Duration,
    /// The longest pause, and the longest `Retry-After` that is waited for.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(60),
            attempts: 5,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
        }
    }
}
