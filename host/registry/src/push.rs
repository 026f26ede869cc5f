//! Images and indexes from the store into a registry (distribution-spec "Pushing manifests").
//!
//! A manifest is sent after every blob it names is there, an index after every manifest. A blob of an image of a registry that
//! the store lacks is fetched from where it is known to be.

use crate::auth::Scope;
use crate::client::Client;
use crate::endpoint::Repository;
use crate::error::{RegistryError, spoiled};
use crate::retry::{Attempts, Headway};
use crate::transport::Ask;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use std::collections::BTreeMap;
use wbuild_oci::{Descriptor, Index, MANIFEST_LIMIT, Manifest, Reference, media};
use wbuild_store::{BoxFuture, Progress, Pushed, Store, StoreError, Transfer, TransferKind};

/// An index may list indexes, but no image needs more than this.
const NESTING_LIMIT: usize = 4;

/// A manifest or index on its way.
struct Document<'a> {
    descriptor: &'a Descriptor,
    media_type: String,
    bytes: Vec<u8>,
}

impl Client {
    pub(crate) async fn push_image(
        &self,
        store: &Store,
        descriptor: &Descriptor,
        to: &[Reference],
        progress: &dyn Progress,
    ) -> Result<Vec<Pushed>, (Option<Reference>, RegistryError)> {
        let mut filled: Vec<Repository> = Vec::new();
        let mut pushed = Vec::new();
        for reference in to {
            let about = |error| (Some(reference.clone()), error);
            if let Some(wanted) = reference.digest().filter(|digest| **digest != descriptor.digest) {
                let error = RegistryError::PushDigest { wanted: *wanted, actual: descriptor.digest };
                return Err(about(error));
            }
            let repository = self.repository(reference).map_err(about)?;
            let document = document(store, descriptor).map_err(about)?;
            if !filled.contains(&repository) {
                self.push_parts(store, &repository, &document, progress, NESTING_LIMIT)
                    .await
                    .map_err(about)?;
                filled.push(repository.clone());
            }
            let identifier = reference.tag().map_or_else(|| descriptor.digest.to_string(), str::to_owned);
            self.push_document(&repository, &identifier, &document).await.map_err(about)?;
            let (digest, size) = (descriptor.digest, document.bytes.len() as u64);
            progress.report(Transfer { digest, size, kind: TransferKind::Done });
            pushed.push(Pushed { reference: reference.clone(), digest });
        }
        Ok(pushed)
    }

    /// Sends everything that a document names.
    fn push_parts<'a>(
        &'a self,
        store: &'a Store,
        repository: &'a Repository,
        whole: &'a Document<'a>,
        progress: &'a dyn Progress,
        depth: usize,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move {
            let digest = whole.descriptor.digest;
            let malformed = |source| RegistryError::Store {
                what: format!("manifest {digest}"),
                source: Box::new(StoreError::Document { digest, source }),
            };
            if media::kind(&whole.media_type) != media::Kind::Index {
                let manifest = Manifest::parse(&whole.bytes).map_err(malformed)?;
                return self.push_blobs(store, repository, &manifest, progress).await;
            }
            let Some(depth) = depth.checked_sub(1) else {
                let why = "its indexes are nested too deeply".to_owned();
                let what = format!("manifest {digest}");
                return Err(RegistryError::Protocol { registry: repository.registry.clone(), what, why });
            };
            for entry in &Index::parse(&whole.bytes).map_err(malformed)?.manifests {
                let part = document(store, entry)?;
                self.push_parts(store, repository, &part, progress, depth).await?;
                self.push_document(repository, &entry.digest.to_string(), &part).await?;
                let (digest, size) = (entry.digest, part.bytes.len() as u64);
                progress.report(Transfer { digest, size, kind: TransferKind::Done });
            }
            Ok(())
        })
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

    async fn push_document(
        &self,
        repository: &Repository,
        identifier: &str,
        document: &Document<'_>,
    ) -> Result<(), RegistryError> {
        let what = format!("manifest {identifier} of {}", repository.name);
        let ask = Ask { repository, scope: &Scope::Push, what: &what, stall: self.transport.patience.stall };
        let media_type = HeaderValue::from_str(&document.media_type)
            .map_err(|_| ask.protocol("its media type cannot be sent".to_owned()))?;
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type)]);
        let mut attempts = Attempts::new(&self.transport.patience);
        loop {
            match self.put_document(&ask, identifier, document, &headers).await {
                Ok(()) => return Ok(()),
                Err(error) => attempts.after(error, Headway::None).await?,
            }
        }
    }

    /// Sends a manifest and holds the registry's word of what it got against what was sent.
    async fn put_document(
        &self,
        ask: &Ask<'_>,
        identifier: &str,
        document: &Document<'_>,
        headers: &HeaderMap,
    ) -> Result<(), RegistryError> {
        let body = Bytes::copy_from_slice(&document.bytes);
        let url = ask.repository.manifest(identifier);
        let response = self.transport.send_body(ask, &Method::PUT, url, headers, body).await?;
        let response = self.transport.successful(ask, response).await.map_err(spoiled)?;
        let claimed = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        match claimed.and_then(|text| text.parse().ok()) {
            Some(claimed) => {
                document.descriptor.digest.expect(claimed).map_err(|source| RegistryError::Content {
                    registry: ask.repository.registry.clone(),
                    what: ask.what.to_owned(),
                    source: Box::new(StoreError::Digest(source)),
                })
            }
            None => Ok(()),
        }
    }
}

fn document<'a>(store: &Store, descriptor: &'a Descriptor) -> Result<Document<'a>, RegistryError> {
    let failed = |source| RegistryError::Store {
        what: format!("manifest {}", descriptor.digest),
        source: Box::new(source),
    };
    let bytes = store.read(&descriptor.digest, MANIFEST_LIMIT).map_err(failed)?;
    // A document that names its type is sent as that, whatever the descriptor calls it.
    let own = match descriptor.kind() {
        media::Kind::Index => Index::parse(&bytes).map(|index| index.media_type().to_owned()),
        _ => Manifest::parse(&bytes).map(|manifest| manifest.media_type().to_owned()),
    };
    let digest = descriptor.digest;
    let media_type = own.map_err(|source| failed(StoreError::Document { digest, source }))?;
    Ok(Document { descriptor, media_type, bytes })
}
