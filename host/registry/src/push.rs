//! Images from the store into a registry (distribution-spec "Pushing").
//!
//! A manifest is sent after every blob it names is there. A blob that is there is not sent; one that another repository of
//! the registry has is mounted; the others are streamed from the store, several at once, and memory stays flat.

use crate::auth::Scope;
use crate::client::Client;
use crate::endpoint::Repository;
use crate::error::{RegistryError, brief};
use crate::retry::{Attempts, Headway};
use crate::transport::Ask;
use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Body, Method, Request, Response, StatusCode, Url};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use wbuild_oci::{Descriptor, MANIFEST_LIMIT, Manifest, Reference, media};
use wbuild_store::{Progress, Pushed, Store, StoreError, Transfer, TransferKind};

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
    At(Url),
    Mounted(String),
}

impl Client {
    pub(crate) async fn push_image(
        &self,
        store: &Store,
        descriptor: &Descriptor,
        to: &[Reference],
        progress: &dyn Progress,
    ) -> Result<Vec<Pushed>, (Option<Reference>, RegistryError)> {
        let what = format!("manifest {}", descriptor.digest);
        let failed = |source| (None, RegistryError::Store { what: what.clone(), source: Box::new(source) });
        let bytes = store.read(&descriptor.digest, MANIFEST_LIMIT).map_err(failed)?;
        let manifest = Manifest::parse(&bytes)
            .map_err(|source| failed(StoreError::Document { digest: descriptor.digest, source }))?;
        let mut filled: Vec<Repository> = Vec::new();
        let mut pushed = Vec::new();
        for reference in to {
            let about = |error| (Some(reference.clone()), error);
            if let Some(wanted) = reference.digest().filter(|digest| **digest != descriptor.digest) {
                let error = RegistryError::PushDigest { wanted: *wanted, actual: descriptor.digest };
                return Err(about(error));
            }
            let repository = Repository::of(reference, &self.settings).map_err(about)?;
            if !filled.contains(&repository) {
                self.push_blobs(store, &repository, &manifest, progress).await.map_err(about)?;
                filled.push(repository.clone());
            }
            self.push_manifest(&repository, reference, &manifest, descriptor, &bytes).await.map_err(about)?;
            let (digest, size) = (descriptor.digest, bytes.len() as u64);
            progress.report(Transfer { digest, size, kind: TransferKind::Done });
            pushed.push(Pushed { reference: reference.clone(), digest });
        }
        Ok(pushed)
    }

    async fn push_blobs(
        &self,
        store: &Store,
        repository: &Repository,
        manifest: &Manifest,
        progress: &dyn Progress,
    ) -> Result<(), RegistryError> {
        // Foreign layers stay where their URLs say.
        let sent =
            |blob: &&Descriptor| !matches!(blob.kind(), media::Kind::ForeignLayer(_)) || blob.urls.is_empty();
        let blobs: BTreeMap<_, _> = manifest.blobs().filter(sent).map(|blob| (blob.digest, blob)).collect();
        let work = blobs.into_values().map(|blob| self.push_blob(store, repository, blob, progress));
        self.together(work).await?;
        self.remember(repository, manifest.blobs());
        Ok(())
    }

    async fn push_blob(
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
        loop {
            let result = match self.is_there(&ask, blob).await {
                Ok(true) => Ok(TransferKind::Exists),
                Ok(false) => self.send_blob(store, &ask, blob, &report).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(kind) => {
                    report(kind);
                    return Ok(());
                }
                Err(error) => {
                    let reason = brief(&error);
                    attempts.after(error, Headway::None).await?;
                    report(TransferKind::Retrying { reason });
                }
            }
        }
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
        report: &(dyn Fn(TransferKind) + Send + Sync),
    ) -> Result<TransferKind, RegistryError> {
        let location = match self.begin(ask, blob).await? {
            Begun::Mounted(from) => return Ok(TransferKind::Mounted { from }),
            Begun::At(location) => location,
        };
        let failed = |source| RegistryError::Store { what: ask.what.to_owned(), source: Box::new(source) };
        if !store.has(&blob.digest).map_err(failed)?
            && let Some(origin) = self.origins(&blob.digest).into_iter().next()
        {
            // A layer of the base image that nothing needed so far.
            self.blob(store, &origin, blob, &wbuild_store::Silent).await?;
        }
        let content = store.blob(&blob.digest).map_err(failed)?;
        report(TransferKind::Started);
        let response = self.put(ask, blob, location, content, report).await?;
        let ended = |why| {
            let (registry, what) = (ask.repository.registry.clone(), ask.what.to_owned());
            Err(RegistryError::Expired { registry, what, why })
        };
        match response.status() {
            StatusCode::UNAUTHORIZED => {
                // The next attempt asks for another token.
                self.transport.doorkeeper.forget(ask).await;
                return ended("the token is no longer valid");
            }
            // A registry of several replicas may lose what only one of them knew.
            StatusCode::NOT_FOUND => return ended("the upload is no longer known"),
            _ => {}
        }
        let response = self.transport.successful(ask, response).await?;
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
                    return Ok(Begun::At(self.transport.location(&ask, &url, response.headers())?));
                }
                // A registry that does not mount, or not from there, takes an upload.
                Ok(_) | Err(RegistryError::Unauthorized { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let url = ask.repository.uploads();
        let response = self.transport.request(ask, &Method::POST, url.clone(), &HeaderMap::new()).await?;
        Ok(Begun::At(self.transport.location(ask, &url, response.headers())?))
    }

    /// Sends a whole blob and waits for the answer as long as something moves.
    async fn put(
        &self,
        ask: &Ask<'_>,
        blob: &Descriptor,
        mut location: Url,
        content: impl Read + Send + 'static,
        report: &(dyn Fn(TransferKind) + Send + Sync),
    ) -> Result<Response, RegistryError> {
        location.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let sent = Arc::new(AtomicU64::new(0));
        let mut request = Request::new(Method::PUT, location);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(blob.size));
        if ask.repository.is_home_of(request.url())
            && let Some(authorization) = self.transport.doorkeeper.current(ask).await?
        {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        *request.body_mut() = Some(body(content, blob.size, Arc::clone(&sent)));
        let mut answer = std::pin::pin!(self.transport.http.execute(request));
        let mut last = (0, Instant::now());
        loop {
            tokio::select! {
                answer = &mut answer => return answer.map_err(|source| ask.transport(source)),
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = sent.load(Ordering::Relaxed);
            let silence = if now < blob.size { ask.stall } else { ask.stall * VERIFY_FACTOR };
            if now != last.0 {
                last = (now, Instant::now());
                report(TransferKind::Progress(now));
            } else if last.1.elapsed() > silence {
                return Err(ask.stalled(silence));
            }
        }
    }

    async fn push_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        manifest: &Manifest,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let identifier = reference.tag().map_or_else(|| descriptor.digest.to_string(), str::to_owned);
        let what = format!("manifest {identifier} of {}", repository.name);
        let ask = Ask { repository, scope: &Scope::Push, what: &what, stall: self.transport.patience.stall };
        let media_type = HeaderValue::from_str(manifest.media_type())
            .map_err(|_| ask.protocol("its media type cannot be sent".to_owned()))?;
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type)]);
        let mut attempts = Attempts::new(&self.transport.patience);
        let response = loop {
            let body = Bytes::copy_from_slice(bytes);
            let url = repository.manifest(&identifier);
            match self.transport.send_body(&ask, &Method::PUT, url, &headers, body).await {
                Ok(response) => match self.transport.successful(&ask, response).await {
                    Ok(response) => break response,
                    Err(error) => attempts.after(error, Headway::None).await?,
                },
                Err(error) => attempts.after(error, Headway::None).await?,
            }
        };
        let claimed = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        match claimed.and_then(|text| text.parse().ok()) {
            Some(claimed) => descriptor.digest.expect(claimed).map_err(|source| RegistryError::Content {
                registry: repository.registry.clone(),
                what: what.clone(),
                source: Box::new(StoreError::Digest(source)),
            }),
            None => Ok(()),
        }
    }
}

/// Content as a request's body. `sent` counts the bytes the network took.
fn body(mut content: impl Read + Send + 'static, size: u64, sent: Arc<AtomicU64>) -> Body {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(QUEUE);
    // Ends when the content does, or when nobody takes the pieces any more.
    tokio::task::spawn_blocking(move || {
        let mut left = size;
        while left > 0 {
            let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
            let read = content.read_exact(&mut piece).map(|()| Bytes::from(piece));
            let failed = read.is_err();
            left = left.saturating_sub(PIECE as u64);
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    Body::wrap_stream(stream::unfold((receiver, sent), |(mut receiver, sent)| async move {
        let piece = receiver.recv().await?;
        if let Ok(piece) = &piece {
            sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Some((piece, (receiver, sent)))
    }))
}
