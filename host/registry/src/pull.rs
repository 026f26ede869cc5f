//! Blobs from a registry into the store (distribution-spec "Pulling blobs").
//!
//! The network and the disk work side by side, with a bounded queue between them: memory does not grow with a blob. A cut
//! connection is resumed where it was cut, if the registry can; what arrives is hashed as it is written, and the blob
//! appears only when size and digest are right.

use crate::auth::Scope;
use crate::client::Client;
use crate::endpoint::Repository;
use crate::error::{RegistryError, brief};
use crate::retry::{Attempts, Headway};
use crate::transport::Ask;
use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::mpsc;
use wbuild_oci::Descriptor;
use wbuild_store::{ErrorClass, Expected, Ingest, Progress, Store, StoreError, Transfer, TransferKind};

/// How many pieces wait between the network and the disk. A piece is what one read gives, up to about 400 KiB.
const QUEUE: usize = 16;

impl Client {
    /// Puts one blob into the store, unless it is there.
    pub(crate) async fn blob(
        &self,
        store: &Store,
        repository: &Repository,
        blob: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<(), RegistryError> {
        let what = format!("blob {} of {}", blob.digest, repository.name);
        // Two stages may want one blob at the same moment: the second one waits and finds it.
        let _alone = self.alone(blob.digest).await;
        let report = |kind| progress.report(Transfer { digest: blob.digest, size: blob.size, kind });
        match store
            .size_of(&blob.digest)
            .map_err(|source| RegistryError::Store { what: what.clone(), source: Box::new(source) })?
        {
            Some(size) if size == blob.size => {
                report(TransferKind::Exists);
                return Ok(());
            }
            Some(actual) => {
                let source = StoreError::Size { expected: blob.size, actual };
                return Err(RegistryError::Content {
                    registry: repository.registry.clone(),
                    what,
                    source: Box::new(source),
                });
            }
            None => {}
        }
        let _turn = self.turn().await;
        report(TransferKind::Started);
        let ask = Ask { repository, scope: &Scope::Pull, what: &what, stall: self.transport.patience.stall };
        let mut started: Option<Ingest> = None;
        let mut attempts = Attempts::new(&self.transport.patience);
        loop {
            let ingest = match started.take() {
                Some(ingest) => ingest,
                None => {
                    let (target, expected) = (store.clone(), Expected::of(blob));
                    self.on_store(&what, move || target.ingest(expected)).await?
                }
            };
            let before = ingest.written();
            let (ingest, result) = self.download_blob(&ask, blob, ingest, &report).await?;
            let headway = if ingest.written() > before { Headway::Some } else { Headway::None };
            let error = match result {
                Ok(()) => match self.commit(&ask, ingest).await {
                    Ok(()) => {
                        report(TransferKind::Done);
                        return Ok(());
                    }
                    Err(error) => error,
                },
                // What came is of no use: the next attempt begins anew.
                Err(error @ RegistryError::Content { .. }) => error,
                Err(error) => {
                    started = Some(ingest);
                    error
                }
            };
            let reason = brief(&error);
            attempts.after(error, headway).await?;
            report(TransferKind::Retrying { reason });
        }
    }

    async fn commit(&self, ask: &Ask<'_>, ingest: Ingest) -> Result<(), RegistryError> {
        match tokio::task::spawn_blocking(move || ingest.commit()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source @ (StoreError::Digest(_) | StoreError::Size { .. }))) => {
                Err(served_else(ask, source))
            }
            Ok(Err(source)) => {
                Err(RegistryError::Store { what: ask.what.to_owned(), source: Box::new(source) })
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Puts one blob into the store from the first of `mirrors` that gives it, or from `home`.
    pub(crate) async fn blob_from_any(
        &self,
        store: &Store,
        mirrors: &[Repository],
        home: &Repository,
        blob: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<(), RegistryError> {
        for mirror in mirrors {
            match self.blob(store, mirror, blob, progress).await {
                Ok(()) => return Ok(()),
                Err(error) if error.class() == ErrorClass::Host => return Err(error),
                Err(error) => tracing::info!(%error, mirror = mirror.registry, "the mirror does not give it"),
            }
        }
        self.blob(store, home, blob, progress).await
    }

    /// One attempt: everything that is still missing. The outer error is one of the store.
    async fn download_blob(
        &self,
        ask: &Ask<'_>,
        blob: &Descriptor,
        mut ingest: Ingest,
        report: &(dyn Fn(TransferKind) + Send + Sync),
    ) -> Result<(Ingest, Result<(), RegistryError>), RegistryError> {
        let failed = |source| RegistryError::Store { what: ask.what.to_owned(), source: Box::new(source) };
        if ingest.written() == blob.size {
            return Ok((ingest, Ok(())));
        }
        let mut headers = HeaderMap::new();
        if ingest.written() > 0 {
            headers.insert(RANGE, range(ingest.written()));
        }
        let url = ask.repository.blob(&blob.digest);
        let response = match self.transport.send(ask, &Method::GET, url, &headers).await {
            Ok(response) => response,
            Err(error) => return Ok((ingest, Err(error))),
        };
        let resumed = response.status() == StatusCode::PARTIAL_CONTENT
            && starts_at(&response) == Some(ingest.written());
        if !resumed {
            ingest.restart().map_err(failed)?;
        }
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE
            || (response.status() == StatusCode::PARTIAL_CONTENT && !resumed)
        {
            // Without a range the next attempt gets the whole.
            return Ok((ingest, Err(truncated(ask, blob, 0))));
        }
        let response = match self.transport.successful(ask, response).await {
            Ok(response) => response,
            Err(error) => return Ok((ingest, Err(error))),
        };
        let length = response.content_length().map(|length| length + ingest.written());
        if let Some(actual) = length.filter(|length| *length != blob.size) {
            let source = StoreError::Size { expected: blob.size, actual };
            return Ok((ingest, Err(served_else(ask, source))));
        }
        self.receive(ask, blob, response, ingest, report).await
    }

    /// Writes a body to the store as it comes.
    async fn receive(
        &self,
        ask: &Ask<'_>,
        blob: &Descriptor,
        mut response: Response,
        mut ingest: Ingest,
        report: &(dyn Fn(TransferKind) + Send + Sync),
    ) -> Result<(Ingest, Result<(), RegistryError>), RegistryError> {
        let mut received = ingest.written();
        let (sender, mut receiver) = mpsc::channel::<Bytes>(QUEUE);
        let writer = tokio::task::spawn_blocking(move || {
            while let Some(piece) = receiver.blocking_recv() {
                if let Err(error) = ingest.append(&piece) {
                    return (ingest, Err(error));
                }
            }
            (ingest, Ok(()))
        });
        let result = loop {
            match tokio::time::timeout(ask.stall, response.chunk()).await {
                Err(_) => break Err(ask.stalled(ask.stall)),
                Ok(Err(source)) => break Err(ask.transport(source)),
                Ok(Ok(None)) if received < blob.size => break Err(truncated(ask, blob, received)),
                Ok(Ok(None)) => break Ok(()),
                Ok(Ok(Some(piece))) => {
                    received += piece.len() as u64;
                    // The writer ends early only when it failed, and says so below.
                    if sender.send(piece).await.is_err() {
                        break Ok(());
                    }
                    report(TransferKind::Progress(received));
                }
            }
        };
        drop(sender);
        let (ingest, written) = match writer.await {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        match written {
            Ok(()) => Ok((ingest, result)),
            Err(source @ StoreError::Size { .. }) => Ok((ingest, Err(served_else(ask, source)))),
            Err(source) => Err(RegistryError::Store { what: ask.what.to_owned(), source: Box::new(source) }),
        }
    }
}

fn truncated(ask: &Ask<'_>, blob: &Descriptor, received: u64) -> RegistryError {
    RegistryError::Truncated {
        registry: ask.repository.registry.clone(),
        what: ask.what.to_owned(),
        received,
        expected: blob.size,
    }
}

fn served_else(ask: &Ask<'_>, source: StoreError) -> RegistryError {
    RegistryError::Content {
        registry: ask.repository.registry.clone(),
        what: ask.what.to_owned(),
        source: Box::new(source),
    }
}

fn range(from: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes={from}-")).expect("digits are plain text")
}

/// The first byte of a partial answer: `Content-Range: bytes 5-9/10`.
fn starts_at(response: &Response) -> Option<u64> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}
