//! A URL into the store: for ADD and for contexts that are archives.
//!
//! No credential of a registry goes along. Redirects are followed, never from HTTPS to HTTP. A cut connection is resumed where
//! the server can; content appears in the store when it is whole.

use crate::auth::Scope;
use crate::client::Client;
use crate::endpoint::{Repository, Scheme};
use crate::error::{RegistryError, brief};
use crate::retry::{Attempts, Headway, http_date};
use crate::transport::{Ask, within};
use reqwest::header::{
    CONTENT_DISPOSITION, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Response, StatusCode, Url};
use wbuild_oci::{Digest, Time};
use wbuild_store::{Expected, Ingest, Progress, Store, StoreError, Transfer, TransferKind};

const REDIRECT_LIMIT: usize = 10;

/// What a URL gave; the content is in the store under its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// Of the content.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// When the server says it was changed last.
    pub last_modified: Option<Time>,
    /// The name the server gives it (`Content-Disposition`), without directories.
    pub file_name: Option<String>,
    /// The server's validator (`ETag`), as it is.
    pub etag: Option<String>,
}

/// What the headers of an answer say.
#[derive(Default)]
struct Told {
    last_modified: Option<Time>,
    file_name: Option<String>,
    etag: Option<String>,
}

impl Client {
    /// Puts what `url` gives into the store; with a `checksum`, nothing else than that. At most `limit` bytes.
    ///
    /// # Errors
    /// [`RegistryError`]; its messages show the URL without user, query and fragment.
    pub async fn download(
        &self,
        store: &Store,
        url: &str,
        checksum: Option<Digest>,
        limit: u64,
        progress: &dyn Progress,
    ) -> Result<Downloaded, RegistryError> {
        let url = Url::parse(url).map_err(|source| RegistryError::Setup {
            what: "a URL cannot be read",
            source: Some(Box::new(source)),
        })?;
        let what = shown(&url);
        let host = url.host_str().unwrap_or_default().to_owned();
        let scheme = if url.scheme() == "http" { Scheme::Http } else { Scheme::Https };
        let place = Repository::new(&host, &host, String::new(), scheme)?;
        let ask = Ask {
            repository: &place,
            scope: &Scope::Pull,
            what: &what,
            stall: self.transport.patience.stall,
        };
        let name = checksum.unwrap_or_else(|| Digest::of(what.as_bytes()));
        let report = |size, kind| progress.report(Transfer { digest: name, size, kind });
        let mut attempts = Attempts::new(&self.transport.patience);
        let (mut ingest, mut told): (Option<Ingest>, Told) = (None, Told::default());
        loop {
            let expected = checksum.map_or_else(Expected::anything, |digest| Expected::digest(digest, limit));
            let mut current = match ingest.take() {
                Some(ingest) => ingest,
                None => {
                    let target = store.clone();
                    self.on_store(&what, move || target.ingest(expected)).await?
                }
            };
            let before = current.written();
            let result = self.attempt(&ask, &url, &mut current, &mut told, limit, &report).await;
            let headway = if current.written() > before { Headway::Some } else { Headway::None };
            let error = match result {
                Ok(()) => match tokio::task::spawn_blocking(move || current.commit()).await {
                    Ok(Ok((digest, size))) => {
                        report(size, TransferKind::Done);
                        let Told { last_modified, file_name, etag } = told;
                        return Ok(Downloaded { digest, size, last_modified, file_name, etag });
                    }
                    Ok(Err(source)) => failed(&ask, source),
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                Err(error) => {
                    ingest = Some(current);
                    error
                }
            };
            let reason = brief(&error);
            attempts.after(error, headway).await?;
            report(0, TransferKind::Retrying { reason });
        }
    }

    async fn attempt(
        &self,
        ask: &Ask<'_>,
        url: &Url,
        ingest: &mut Ingest,
        told: &mut Told,
        limit: u64,
        report: &(dyn Fn(u64, TransferKind) + Send + Sync),
    ) -> Result<(), RegistryError> {
        let mut headers = HeaderMap::new();
        // Without a strong validator the rest might be that of another content.
        if let Some(etag) =
            told.etag.as_deref().filter(|etag| ingest.written() > 0 && !etag.starts_with("W/"))
            && let (Ok(range), Ok(etag)) =
                (HeaderValue::from_str(&format!("bytes={}-", ingest.written())), HeaderValue::from_str(etag))
        {
            headers.insert(RANGE, range);
            headers.insert(IF_RANGE, etag);
        }
        let mut response = self.follow(ask, url.clone(), &headers).await?;
        let resumed = response.status() == StatusCode::PARTIAL_CONTENT
            && response
                .headers()
                .get(CONTENT_RANGE)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|text| text.starts_with(&format!("bytes {}-", ingest.written())));
        if !resumed {
            ingest.restart().map_err(|source| failed(ask, source))?;
            if response.status() == StatusCode::PARTIAL_CONTENT {
                return Err(ask.protocol("it sent another part than was asked for".to_owned()));
            }
        }
        *told = Told::of(response.headers());
        let promised = response.content_length().map(|length| length + ingest.written());
        if promised.is_some_and(|size| size > limit) {
            return Err(ask.protocol(format!("it is larger than {limit} bytes")));
        }
        loop {
            let chunk = tokio::time::timeout(ask.stall, response.chunk()).await;
            match chunk.map_err(|_| ask.stalled(ask.stall))?.map_err(|source| ask.transport(source))? {
                Some(piece) => {
                    if ingest.written() + piece.len() as u64 > limit {
                        return Err(ask.protocol(format!("it is larger than {limit} bytes")));
                    }
                    // A piece goes to the page cache: that is no wait worth a thread.
                    ingest.append(&piece).map_err(|source| failed(ask, source))?;
                    report(promised.unwrap_or(0), TransferKind::Progress(ingest.written()));
                }
                None => return Ok(()),
            }
        }
    }

    /// Sends a GET and follows redirects.
    async fn follow(
        &self,
        ask: &Ask<'_>,
        mut url: Url,
        headers: &HeaderMap,
    ) -> Result<Response, RegistryError> {
        for _ in 0..REDIRECT_LIMIT {
            let request = self.transport.client(&url).get(url.clone()).headers(headers.clone());
            let response = within(ask, request.send()).await?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return crate::transport::successful(ask, response).await;
            }
            url = self.transport.location(ask, &url, response.headers())?;
        }
        Err(ask.protocol("it redirects too often".to_owned()))
    }
}

impl Told {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        Self {
            last_modified: text(LAST_MODIFIED).and_then(http_date),
            file_name: text(CONTENT_DISPOSITION).and_then(file_name),
            etag: text(ETAG).map(str::to_owned),
        }
    }
}

/// `attachment; filename="a.tar"`: the last component of the name, if it is one.
fn file_name(disposition: &str) -> Option<String> {
    let value = disposition.split(';').skip(1).find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        key.trim().eq_ignore_ascii_case("filename").then(|| value.trim().trim_matches('"'))
    })?;
    let name = value.rsplit('/').next().unwrap_or_default();
    (!matches!(name, "" | "." | "..")).then(|| name.to_owned())
}

fn failed(ask: &Ask<'_>, source: StoreError) -> RegistryError {
    let what = ask.what.to_owned();
    match source {
        StoreError::Digest(_) | StoreError::Size { .. } | StoreError::TooLarge { .. } => {
            RegistryError::Content {
                registry: ask.repository.registry.clone(),
                what,
                source: Box::new(source),
            }
        }
        source => RegistryError::Store { what, source: Box::new(source) },
    }
}

/// A URL for messages: what may be a secret in it is left away.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs that have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_last_component() {
        for (header, name) in [
            (r#"attachment; filename="a b.tar""#, Some("a b.tar")),
            ("attachment; FileName=../../etc/passwd", Some("passwd")),
            ("attachment; filename=..", None),
            ("inline", None),
        ] {
            assert_eq!(file_name(header).as_deref(), name, "{header}");
        }
    }

    #[test]
    fn messages_show_no_secrets_of_a_url() {
        let url = Url::parse("https://user:hunter2@h.example/a?token=hunter2#x").unwrap();
        assert_eq!(shown(&url), "https://h.example/a");
    }
}
