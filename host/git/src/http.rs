//! The requests of git's smart HTTP protocol (gitprotocol-http(5)), as others make them.

use std::io::Read;

use wbuild_store::ErrorClass;

/// Who makes requests. Credentials go along where they belong; failures that may pass were tried again.
pub trait Http: Sync {
    /// A GET, with the header `Git-Protocol: version=2`. Redirects are followed, never from HTTPS to HTTP.
    ///
    /// # Errors
    /// No answer, or one that is no success.
    fn get(&self, url: &str) -> Result<Answer, HttpFailure>;

    /// A POST of a request to `git-upload-pack`, with that header. Redirects are not followed.
    ///
    /// # Errors
    /// As [`Http::get`].
    fn post(&self, url: &str, body: Vec<u8>) -> Result<Answer, HttpFailure>;
}

/// A successful answer.
pub struct Answer {
    /// What was asked in the end.
    pub url: String,
    /// `Content-Type`, as it is.
    pub content_type: String,
    /// The body.
    pub body: Box<dyn Read + Send>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}

/// A request that failed; its texts hold no credentials.
#[derive(Debug, thiserror::Error)]
#[error("the request failed")]
pub struct HttpFailure {
    /// What kind of failure it is.
    pub class: ErrorClass,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}
