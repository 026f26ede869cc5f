//! From a reference to an image of one platform (distribution-spec "Pulling manifests").
//!
//! Manifests are named by their digest from the moment they arrive: a tag is asked for once, everything after that by
//! digest. A manifest that the store has under its digest is not asked for at all.

use crate::auth::Scope;
use crate::client::Client;
use crate::endpoint::Repository;
use crate::error::RegistryError;
use crate::retry::{Attempts, Headway};
use crate::transport::{Ask, bounded_body};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use wbuild_oci::{
    CONFIG_LIMIT, Descriptor, Digest, ImageConfig, Index, MANIFEST_LIMIT, Manifest, Platform, Reference,
    media,
};
use wbuild_store::{ErrorClass, Image, Silent, Store, StoreError};

/// An index may list indexes, but no image needs more than this.
const NESTING_LIMIT: usize = 4;

/// A manifest or index as it came.
struct Document {
    bytes: Vec<u8>,
    digest: Digest,
    kind: media::Kind,
}

impl Client {
    /// The image of a platform, from a mirror if one gives it.
    pub(crate) async fn image(
        &self,
        store: &Store,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Image, RegistryError> {
        let home = self.repository(reference)?;
        for mirror in self.mirrors(reference)? {
            match self.image_at(store, &mirror, reference, platform).await {
                Ok(image) => {
                    self.remember(&home, image.manifest.blobs());
                    return Ok(image);
                }
                Err(error) if error.class() == ErrorClass::Host => return Err(error),
                Err(error) => tracing::info!(%error, mirror = mirror.registry, "the mirror does not give it"),
            }
        }
        let image = self.image_at(store, &home, reference, platform).await?;
        self.remember(&home, image.manifest.blobs());
        Ok(image)
    }

    /// Whatever a reference names, a manifest or an index.
    pub(crate) async fn named(
        &self,
        store: &Store,
        reference: &Reference,
    ) -> Result<Descriptor, RegistryError> {
        let repository = self.repository(reference)?;
        let expected = reference.digest().copied();
        let document = self.document(store, &repository, &reference.identifier(), expected.as_ref()).await?;
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Outline {
            #[serde(default)]
            media_type: Option<String>,
        }
        let own =
            serde_json::from_slice::<Outline>(&document.bytes).ok().and_then(|outline| outline.media_type);
        let usual = if document.kind == media::Kind::Index { media::INDEX } else { media::MANIFEST };
        let size = document.bytes.len() as u64;
        Ok(Descriptor::new(own.unwrap_or_else(|| usual.to_owned()), document.digest, size))
    }

    async fn image_at(
        &self,
        store: &Store,
        repository: &Repository,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Image, RegistryError> {
        let mut wanted = reference.identifier();
        let mut expected = reference.digest().copied();
        for _ in 0..NESTING_LIMIT {
            let document = self.document(store, repository, &wanted, expected.as_ref()).await?;
            let what = format!("manifest {wanted} of {}", repository.name);
            let malformed = |source| {
                let registry = repository.registry.clone();
                RegistryError::Document { registry, what: what.clone(), source }
            };
            if document.kind != media::Kind::Index {
                let manifest = Manifest::parse(&document.bytes).map_err(malformed)?;
                return self.assemble(store, repository, reference, platform, &document, manifest).await;
            }
            let index = Index::parse(&document.bytes).map_err(malformed)?;
            let entry = index.select(platform).ok_or_else(|| {
                not_for(reference, platform, index.platforms().map(ToString::to_string).collect())
            })?;
            wanted = entry.digest.to_string();
            expected = Some(entry.digest);
        }
        let registry = repository.registry.clone();
        let why = "its indexes are nested too deeply".to_owned();
        Err(RegistryError::Protocol { registry, what: reference.to_string(), why })
    }

    /// Completes a manifest with its config.
    async fn assemble(
        &self,
        store: &Store,
        repository: &Repository,
        reference: &Reference,
        platform: &Platform,
        document: &Document,
        manifest: Manifest,
    ) -> Result<Image, RegistryError> {
        let what = format!("config {} of {}", manifest.config.digest, repository.name);
        let protocol = |why: String| {
            let registry = repository.registry.clone();
            RegistryError::Protocol { registry, what: what.clone(), why }
        };
        let failed = |source| RegistryError::Store { what: what.clone(), source: Box::new(source) };
        if manifest.config.size > CONFIG_LIMIT {
            return Err(protocol(format!("it is larger than {CONFIG_LIMIT} bytes")));
        }
        self.blob(store, repository, &manifest.config, &Silent).await?;
        let bytes = store.read(&manifest.config.digest, CONFIG_LIMIT).map_err(failed)?;
        let config = ImageConfig::parse(&bytes).map_err(|source| {
            let registry = repository.registry.clone();
            RegistryError::Document { registry, what: what.clone(), source }
        })?;
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(protocol(format!("it lists {diff_ids} layers and the manifest has {layers}")));
        }
        // A manifest without an index, or an entry without a platform, is for whatever its config says.
        if platform.rank(&config.platform()).is_none() {
            return Err(not_for(reference, platform, vec![config.platform().to_string()]));
        }
        let size = document.bytes.len() as u64;
        let mut descriptor = Descriptor::new(manifest.media_type(), document.digest, size);
        descriptor.platform = Some(config.platform());
        Ok(Image { descriptor, manifest, config })
    }

    /// A manifest or index, from the store or from the registry; it is in the store afterwards.
    async fn document(
        &self,
        store: &Store,
        repository: &Repository,
        identifier: &str,
        expected: Option<&Digest>,
    ) -> Result<Document, RegistryError> {
        let what = format!("manifest {identifier} of {}", repository.name);
        let failed = |source| RegistryError::Store { what: what.clone(), source: Box::new(source) };
        if let Some(digest) = expected
            && store.has(digest).map_err(failed)?
        {
            let bytes = store.read(digest, MANIFEST_LIMIT).map_err(failed)?;
            let kind = self.kind(repository, &what, None, &bytes)?;
            return Ok(Document { bytes, digest: *digest, kind });
        }
        let mut attempts = Attempts::new(&self.transport.patience);
        loop {
            match self.download_document(repository, identifier, expected, &what).await {
                Ok(document) => {
                    let media_type =
                        if document.kind == media::Kind::Index { media::INDEX } else { media::MANIFEST };
                    let (store, bytes) = (store.clone(), document.bytes.clone());
                    self.on_store(&what, move || store.ingest_bytes(media_type, &bytes)).await?;
                    return Ok(document);
                }
                Err(error) => attempts.after(error, Headway::None).await?,
            }
        }
    }

    async fn download_document(
        &self,
        repository: &Repository,
        identifier: &str,
        expected: Option<&Digest>,
        what: &str,
    ) -> Result<Document, RegistryError> {
        let ask = Ask { repository, scope: &Scope::Pull, what, stall: self.transport.patience.stall };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accepted());
        let response =
            self.transport.request(&ask, &Method::GET, repository.manifest(identifier), &headers).await?;
        let text = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let content_type = text(CONTENT_TYPE.as_str());
        let claimed = text("docker-content-digest");
        let bytes = bounded_body(&ask, response, MANIFEST_LIMIT).await?;
        let digest = Digest::of(&bytes);
        let content = |source: wbuild_oci::DigestError| RegistryError::Content {
            registry: repository.registry.clone(),
            what: what.to_owned(),
            source: Box::new(StoreError::Digest(source)),
        };
        if let Some(expected) = expected {
            expected.expect(digest).map_err(content)?;
        }
        // Another algorithm than sha256 in the header says nothing that could be checked.
        if let Some(claimed) = claimed.and_then(|text| text.parse::<Digest>().ok()) {
            claimed.expect(digest).map_err(content)?;
        }
        let kind = self.kind(repository, what, content_type.as_deref(), &bytes)?;
        Ok(Document { bytes, digest, kind })
    }

    /// Whether a document is a manifest or an index: what it says itself, else what the registry says, else what it has.
    fn kind(
        &self,
        repository: &Repository,
        what: &str,
        content_type: Option<&str>,
        bytes: &[u8],
    ) -> Result<media::Kind, RegistryError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Outline {
            #[serde(default)]
            media_type: Option<String>,
            #[serde(default)]
            schema_version: Option<u64>,
            #[serde(default)]
            manifests: Option<serde::de::IgnoredAny>,
        }
        let protocol = |why: String| {
            let registry = repository.registry.clone();
            RegistryError::Protocol { registry, what: what.to_owned(), why }
        };
        let outline: Outline =
            serde_json::from_slice(bytes).map_err(|_| protocol("it is no JSON document".to_owned()))?;
        if outline.schema_version == Some(1) {
            return Err(protocol("it is a Docker schema 1 manifest, which is not supported".to_owned()));
        }
        match (outline.media_type.as_deref(), content_type.map(media::kind)) {
            (Some(own), _) => match media::kind(own) {
                kind @ (media::Kind::Manifest | media::Kind::Index) => Ok(kind),
                _ => Err(protocol(format!("it is of type {own:?} and no image"))),
            },
            (None, Some(kind @ (media::Kind::Manifest | media::Kind::Index))) => Ok(kind),
            (None, _) if outline.manifests.is_some() => Ok(media::Kind::Index),
            (None, _) => Ok(media::Kind::Manifest),
        }
    }
}

fn accepted() -> HeaderValue {
    HeaderValue::from_str(&media::ACCEPTED.join(", ")).expect("media types are plain text")
}

fn not_for(reference: &Reference, platform: &Platform, available: Vec<String>) -> RegistryError {
    let available = if available.is_empty() { "none".to_owned() } else { available.join(", ") };
    RegistryError::Platform { what: reference.to_string(), wanted: platform.to_string(), available }
}
