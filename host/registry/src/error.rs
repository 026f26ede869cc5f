//! What can go wrong with a registry.
//!
//! Messages name what was asked for in the terms of the user, never a URL: presigned URLs and query strings are secrets.

use crate::CredentialsError;
use std::error::Error;
use std::io;
use std::time::Duration;
use wbuild_oci::{Digest, DocumentError};
use wbuild_store::{ErrorClass, StoreError};

/// A registry operation failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The settings cannot be used.
    #[error("cannot set up the registry client: {what}")]
    Setup {
        /// What is wrong with them.
        what: &'static str,
        /// Why.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// There are credentials for this registry, but not in a usable form.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The registry wants credentials, or others.
    #[error("{registry} refused access to {what}: {why}")]
    Unauthorized {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// What it said, and what credentials were used.
        why: String,
    },
    /// There is no such thing.
    #[error("{registry} has no {what}{}", detail(.said))]
    NotFound {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// What the registry said.
        said: String,
    },
    /// The registry answered with an error.
    #[error("{registry} answered {status} to the request for {what}{}", detail(.said))]
    Status {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What the registry said.
        said: String,
        /// When the registry wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// A token or an upload session ended during a transfer, or the registry speaks HTTPS.
    #[error("{registry} ended the transfer of {what}: {why}")]
    Expired {
        /// What ended.
        why: &'static str,
        /// The registry.
        registry: String,
        /// What was transferred.
        what: String,
    },
    /// The registry's answer makes no sense.
    #[error("{registry} gave an unusable answer to the request for {what}: {why}")]
    Protocol {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The connection failed.
    #[error("the connection to {registry} failed while transferring {what}")]
    Transport {
        /// The registry.
        registry: String,
        /// What was transferred.
        what: String,
        /// Why.
        #[source]
        source: Box<reqwest::Error>,
    },
    /// Nothing came or went for too long.
    #[error("{registry} was silent for {seconds} s while transferring {what}")]
    Stalled {
        /// The registry.
        registry: String,
        /// What was transferred.
        what: String,
        /// For how long.
        seconds: u64,
    },
    /// The content ended early.
    #[error("{registry} sent only {received} of {expected} bytes of {what}")]
    Truncated {
        /// The registry.
        registry: String,
        /// What was transferred.
        what: String,
        /// Bytes received.
        received: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// A document is not what it should be.
    #[error("{what} from {registry}")]
    Document {
        /// The registry.
        registry: String,
        /// Which document.
        what: String,
        /// What is wrong with it.
        #[source]
        source: DocumentError,
    },
    /// Content is not what its descriptor says.
    #[error("{registry} served something else for {what}")]
    Content {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// The difference.
        #[source]
        source: Box<StoreError>,
    },
    /// What was sent did not arrive as it was.
    #[error("{registry} did not get {what} as it was sent: {said}")]
    Spoiled {
        /// The registry.
        registry: String,
        /// What was sent.
        what: String,
        /// What the registry said.
        said: String,
    },
    /// The image is for other platforms.
    #[error("{what} is not available for {wanted} (it is for: {available})")]
    Platform {
        /// The image.
        what: String,
        /// The platform asked for.
        wanted: String,
        /// What there is, separated by commas.
        available: String,
    },
    /// A push to a name with a digest, of another image.
    #[error("the image has digest {actual} and cannot be pushed as {wanted}")]
    PushDigest {
        /// The name's digest.
        wanted: Digest,
        /// The image's digest.
        actual: Digest,
    },
    /// The store failed.
    #[error("the store failed while transferring {what}")]
    Store {
        /// What was transferred.
        what: String,
        /// Why.
        #[source]
        source: Box<StoreError>,
    },
}

fn detail(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

impl RegistryError {
    /// What kind of failure it is, for the exit code.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Credentials(_)
            | Self::Unauthorized { .. }
            | Self::Platform { .. }
            | Self::PushDigest { .. } => ErrorClass::Refused,
            Self::NotFound { .. } => ErrorClass::Missing,
            Self::Status { status, .. } if retryable(*status) => ErrorClass::Network,
            Self::Status { .. } => ErrorClass::Refused,
            Self::Transport { source, .. } if is_certificate_failure(source) => ErrorClass::Refused,
            Self::Transport { .. } | Self::Stalled { .. } | Self::Truncated { .. } | Self::Expired { .. } => {
                ErrorClass::Network
            }
            Self::Document { .. } | Self::Content { .. } | Self::Spoiled { .. } | Self::Protocol { .. } => {
                ErrorClass::Content
            }
            Self::Store { .. } | Self::Setup { .. } => ErrorClass::Host,
        }
    }
}

/// The codes by which a registry says that it did not get what was announced (distribution-spec "Error Codes").
const SPOILED: [&str; 5] =
    ["DIGEST_INVALID", "SIZE_INVALID", "BLOB_UPLOAD_INVALID", "MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN"];

/// An upload that was refused because of its content: the content is right, so it was spoiled on its way.
pub(crate) fn spoiled(error: RegistryError) -> RegistryError {
    match error {
        RegistryError::Status { registry, what, status: 400 | 416, said, .. }
            if SPOILED.iter().any(|code| said.contains(code)) =>
        {
            RegistryError::Spoiled { registry, what, said }
        }
        other => other,
    }
}

/// Whether a status may pass.
pub(crate) fn retryable(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// A certificate that is not trusted now will not be at the next attempt.
fn is_certificate_failure(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| error.downcast_ref::<rustls::Error>().is_some())
}

/// An error and what is below it, to the last. An `io::Error` shows the text of the error it wraps and calls that one's
/// source its own: the wrapped one would be passed over.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| -> Option<&'a (dyn Error + 'static)> {
        let error: &'a (dyn Error + 'static) = *error;
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// In a few words why something is tried again: the last cause, which is the one that tells.
pub(crate) fn brief(error: &RegistryError) -> String {
    match error {
        RegistryError::Transport { source, .. } => {
            chain(&**source).last().map_or_else(String::new, ToString::to_string)
        }
        other => other.to_string(),
    }
}
