//! The distribution-spec client: resolve, pull, push.
//!
//! Nothing enters the store unverified, memory does not grow with a blob, and a credential goes only to the registry it
//! is for and to the token server that registry names, never along a redirect, never into an error or a log. The
//! environment is the caller's: settings, credentials and roots of trust come in as values.
//!
//! Lock order: a blob's own lock (held while it is fetched), then the lock on tokens; the map of origins is locked
//! for single look-ups only.

#![forbid(unsafe_code)]

mod auth;
mod challenge;
mod client;
mod credentials;
mod download;
mod endpoint;
mod error;
mod git;
mod keychain;
mod mirror;
mod pull;
mod push;
mod resolve;
mod retry;
mod settings;
mod transport;
mod upload;

pub use client::Client;
pub use credentials::{Credentials, CredentialsError};
pub use download::Downloaded;
pub use error::RegistryError;
pub use git::GitLogins;
pub use keychain::{HelperError, HelperLogin, Helpers};
pub use mirror::{Mirror, MirrorError};
pub use settings::{Certificates, Patience, Proxies, Roots, Settings};
