//! Blobs from the store into a registry (distribution-spec "Pushing blobs").
//!
//! A blob that is there is not sent; one that another repository of the registry has is mounted; the others are streamed from
//! the store or from a layout that was lent to it, several at once, and memory stays flat. An upload that is cut goes on where the registry says it has come to.

use crate::auth::Scope;
use crate::client::Client;
use crate::endpoint::Repository;
use crate::error::{RegistryError, brief, spoiled};
use crate::retry::{Attempts, Headway};
use crate::transport::Ask;
use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE,
};
use reqwest::{Body, Method, Request, Response, StatusCode, Url};
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use wbuild_oci::Descriptor;
use wbuild_store::{ErrorClass, Progress, Store, StoreError, Transfer, TransferKind};

/// A piece of a blob on its way, in bytes.
const PIECE: usize = 256 << 10;
/// How many pieces wait between the disk and the network.
const QUEUE: usize = 4;
/// How often progress and silence are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// A registry may think this many times longer about a whole blob than it may be silent otherwise.
const VERIFY_FACTOR: u32 = 5;

/// Where a blob's upload goes on.
enum Begun {
    At(Upload),
    Mounted(String),
}

/// An upload that the registry knows.
#[derive(Clone)]
struct Upload {
    location: Url,
    /// How many bytes the registry has.
    offset: u64,
}

impl Client {
    pub(crate) async fn push_blob(
        &self,
        store: &Store,
        repository: &Repository,
        blob: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<(), RegistryError> {
        let what = format!("blob {} of {}", blob.digest, repository.name);
        let ask = Ask { repository, scope: &Scope::Push, what: &what, stall: self.transport.patience.stall };
        let report = |kind| progress.report(Transfer { digest: blob.digest, size: blob.size, kind });
        let mut attempts = Attempts::new(&self.transport.patience);
        let mut upload: Option<Upload> = None;
        loop {
            let before = upload.as_ref().map_or(0, |upload| upload.offset);
            let result = match self.is_there(&ask, blob).await {
                Ok(true) => Ok(TransferKind::Exists),
                Ok(false) => self.send_blob(store, &ask, blob, &mut upload, &report).await,
                Err(error) => Err(error),
            };
            let error = match result {
                Ok(kind) => {
                    report(kind);
                    return Ok(());
                }
                Err(error) => error,
            };
            if error.class() == ErrorClass::Network {
                upload = self.progress_of(&ask, blob, upload.take()).await;
            } else {
                upload = None;
            }
            let after = upload.as_ref().map_or(0, |upload| upload.offset);
            let reason = brief(&error);
            attempts.after(error, if after > before { Headway::Some } else { Headway::None }).await?;
            report(TransferKind::Retrying { reason });
        }
    }

    /// How far an upload has come, by the registry's word (`GET` of its location); `None` where it is to begin anew.
    async fn progress_of(&self, ask: &Ask<'_>, blob: &Descriptor, upload: Option<Upload>) -> Option<Upload> {
        let url = upload?.location;
        let response = self.transport.send(ask, &Method::GET, url.clone(), &HeaderMap::new()).await.ok()?;
        if response.status() != StatusCode::NO_CONTENT {
            return None;
        }
        let headers = response.headers();
        let last: u64 = headers.get(RANGE)?.to_str().ok()?.rsplit('-').next()?.parse().ok()?;
        let location = self.transport.location(ask, &url, headers).ok()?;
        // `0-0` is what registries say of nothing, and of one byte.
        let offset = if last == 0 { 0 } else { last + 1 };
        (offset <= blob.size).then_some(Upload { location, offset })
    }

    async fn is_there(&self, ask: &Ask<'_>, blob: &Descriptor) -> Result<bool, RegistryError> {
        let url = ask.repository.blob(&blob.digest);
        let response = self.transport.send(ask, &Method::HEAD, url, &HeaderMap::new()).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        self.transport.successful(ask, response).await.map(|_| true)
    }

    async fn send_blob(
        &self,
        store: &Store,
        ask: &Ask<'_>,
        blob: &Descriptor,
        upload: &mut Option<Upload>,
        report: &(dyn Fn(TransferKind) + Send + Sync),
    ) -> Result<TransferKind, RegistryError> {
        let begun = match upload.take() {
            Some(begun) => begun,
            None => match self.begin(ask, blob).await? {
                Begun::Mounted(from) => return Ok(TransferKind::Mounted { from }),
                Begun::At(begun) => begun,
            },
        };
        *upload = Some(begun.clone());
        let failed = |source| RegistryError::Store { what: ask.what.to_owned(), source: Box::new(source) };
        let content = match (store.content(blob, begun.offset), self.origins(&blob.digest).into_iter().next())
        {
            (Err(StoreError::Missing(_)), Some(origin)) => {
                // A layer of the base image that nothing needed so far.
                self.blob(store, &origin, blob, &wbuild_store::Silent).await?;
                store.content(blob, begun.offset)
            }
            (content, _) => content,
        };
        let content = content.map_err(failed)?;
        report(TransferKind::Started);
        let authorization = match ask.repository.is_home_of(&begun.location) {
            true => self.transport.doorkeeper.current(ask).await?,
            false => None,
        };
        let response = self.put(ask, blob, begun, authorization.as_ref(), content, report).await?;
        let ended = |why| {
            let (registry, what) = (ask.repository.registry.clone(), ask.what.to_owned());
            Err(RegistryError::Expired { registry, what, why })
        };
        match response.status() {
            StatusCode::UNAUTHORIZED => {
                // The next attempt asks for another token.
                self.transport.doorkeeper.forget(ask, authorization.as_ref()).await;
                return ended("the token is no longer valid");
            }
            // A registry of several replicas may lose what only one of them knew.
            StatusCode::NOT_FOUND => {
                *upload = None;
                return ended("the upload is no longer known");
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                *upload = None;
                return ended("it went on at the wrong place");
            }
            _ => {}
        }
        let response = self.transport.successful(ask, response).await.map_err(spoiled)?;
        if response.status() != StatusCode::CREATED {
            return Err(ask.protocol(format!("it answered {} to an upload", response.status().as_u16())));
        }
        Ok(TransferKind::Done)
    }

    /// Begins an upload, or mounts the blob from where the registry has it.
    async fn begin(&self, ask: &Ask<'_>, blob: &Descriptor) -> Result<Begun, RegistryError> {
        let origins = self.origins(&blob.digest).into_iter();
        let sibling = |origin: &Repository| {
            origin.registry == ask.repository.registry && origin.name != ask.repository.name
        };
        if let Some(origin) = origins.into_iter().find(sibling) {
            let scope = Scope::PushFrom(origin.name.clone());
            let ask = Ask { scope: &scope, ..*ask };
            let mut url = ask.repository.uploads();
            url.query_pairs_mut()
                .append_pair("mount", &blob.digest.to_string())
                .append_pair("from", &origin.name);
            let response = self.transport.send(&ask, &Method::POST, url.clone(), &HeaderMap::new()).await;
            match response {
                Ok(response) if response.status() == StatusCode::CREATED => {
                    return Ok(Begun::Mounted(origin.name));
                }
                Ok(response) if response.status() == StatusCode::ACCEPTED => {
                    let location = self.transport.location(&ask, &url, response.headers())?;
                    return Ok(Begun::At(Upload { location, offset: 0 }));
                }
                // A registry that does not mount, or not from there, takes an upload.
                Ok(_) | Err(RegistryError::Unauthorized { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let url = ask.repository.uploads();
        let response = self.transport.request(ask, &Method::POST, url.clone(), &HeaderMap::new()).await?;
        let location = self.transport.location(ask, &url, response.headers())?;
        Ok(Begun::At(Upload { location, offset: 0 }))
    }

    /// Sends what is missing of a blob and waits for the answer as long as something moves.
    async fn put(
        &self,
        ask: &Ask<'_>,
        blob: &Descriptor,
        upload: Upload,
        authorization: Option<&HeaderValue>,
        content: impl Read + Send + 'static,
        report: &(dyn Fn(TransferKind) + Send + Sync),
    ) -> Result<Response, RegistryError> {
        let Upload { mut location, offset } = upload;
        location.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let client = self.transport.client(&location);
        let way = Arc::new(Way { sent: AtomicU64::new(offset), failed: Mutex::default() });
        let left = blob.size.saturating_sub(offset);
        let mut request = Request::new(Method::PUT, location);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(left));
        if offset > 0
            && left > 0
            && let Ok(range) = HeaderValue::from_str(&format!("{offset}-{}", blob.size.saturating_sub(1)))
        {
            request.headers_mut().insert(CONTENT_RANGE, range);
        }
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        *request.body_mut() = Some(body(content, left, Arc::clone(&way)));
        let mut answer = std::pin::pin!(client.execute(request));
        let mut last = (offset, Instant::now());
        loop {
            tokio::select! {
                answer = &mut answer => return match way.failure() {
                    // The network only tells that there was no more.
                    Some(error) => Err(RegistryError::Store {
                        what: ask.what.to_owned(),
                        source: Box::new(unreadable(blob, error)),
                    }),
                    None => answer.map_err(|source| ask.transport(source)),
                },
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = way.sent.load(Ordering::Relaxed);
            let silence = if now < blob.size { ask.stall } else { ask.stall * VERIFY_FACTOR };
            if now != last.0 {
                last = (now, Instant::now());
                report(TransferKind::Progress(now));
            } else if last.1.elapsed() > silence {
                return Err(ask.stalled(silence));
            }
        }
    }
}

/// What is known of content on its way.
struct Way {
    /// How many bytes the network took.
    sent: AtomicU64,
    /// Why there was no more.
    failed: Mutex<Option<io::Error>>,
}

impl Way {
    fn failure(&self) -> Option<io::Error> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Content that could not be read is the store's failure, whatever the registry said to the part that it got.
fn unreadable(blob: &Descriptor, error: io::Error) -> StoreError {
    match error.downcast::<StoreError>() {
        Ok(error) => error,
        Err(source) => {
            StoreError::Io { action: "read", path: format!("blobs/sha256/{}", blob.digest.hex()), source }
        }
    }
}

/// Content as a request's body.
fn body(mut content: impl Read + Send + 'static, size: u64, way: Arc<Way>) -> Body {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(QUEUE);
    let reader = Arc::clone(&way);
    // Ends when the content does, or when nobody takes the pieces any more.
    tokio::task::spawn_blocking(move || {
        let mut left = size;
        while left > 0 {
            let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
            let read = content.read_exact(&mut piece).map(|()| Bytes::from(piece));
            let read = read.map_err(|error| {
                let kind = error.kind();
                *reader.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                io::Error::from(kind)
            });
            let failed = read.is_err();
            left = left.saturating_sub(PIECE as u64);
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    Body::wrap_stream(stream::unfold((receiver, way), |(mut receiver, way)| async move {
        let piece = receiver.recv().await?;
        if let Ok(piece) = &piece {
            way.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Some((piece, (receiver, way)))
    }))
}
