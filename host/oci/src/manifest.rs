//! Image manifests, OCI and Docker schema 2 (image-spec manifest.md).
//!
//! A parsed manifest is an image: it has a config and only layers that can be unpacked or are foreign. Artifacts
//! and schema 1 are refused with what they are.

use crate::{Descriptor, DocumentError, json, media};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`media::MANIFEST`] or [`media::DOCKER_MANIFEST`]; older OCI writers leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The manifest this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations, sorted by key.
    #[serde(default, deserialize_with = "json::null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// An OCI manifest of an image, with layers lowest first.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media::MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The same image under Docker's schema 2 media types. Schema 2 has no annotations, subjects or artifact types.
    #[must_use]
    pub fn to_docker(&self) -> Self {
        let docker = |blob: &Descriptor| {
            let media_type = match blob.kind() {
                media::Kind::Config => media::DOCKER_CONFIG.to_owned(),
                media::Kind::Layer(compression) => compression.docker_media_type().to_owned(),
                _ => blob.media_type.clone(),
            };
            let mut descriptor = Descriptor::new(media_type, blob.digest, blob.size);
            descriptor.urls.clone_from(&blob.urls);
            descriptor
        };
        Self {
            media_type: Some(media::DOCKER_MANIFEST.to_owned()),
            ..Self::new(docker(&self.config), self.layers.iter().map(docker).collect())
        }
    }

    /// Parses a manifest. Sizes and digests are those it claims: nothing is looked up.
    ///
    /// # Errors
    /// [`DocumentError`] for malformed JSON, another schema version, or an index under a manifest's name.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Outline {
            #[serde(default)]
            schema_version: u32,
            #[serde(default)]
            media_type: Option<String>,
            #[serde(default)]
            manifests: Option<serde::de::IgnoredAny>,
        }
        let shape = |why: String| DocumentError::Shape { what: "manifest", why };
        let outline: Outline = json::parse("manifest", bytes)?;
        if outline.schema_version != 2 {
            return Err(shape(format!("schema version {} is not supported", outline.schema_version)));
        }
        // The ambiguity rule of CVE-2021-41190: one document must not pass for both kinds.
        if outline.manifests.is_some() {
            return Err(shape("it has the field \"manifests\" of an index".to_owned()));
        }
        if let Some(media_type) = outline.media_type.filter(|text| media::kind(text) != media::Kind::Manifest)
        {
            return Err(shape(format!("its media type is {media_type:?}")));
        }
        json::parse("manifest", bytes)
    }

    /// The document as BuildKit writes it: indented by two spaces, no final newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::indented(self)
    }

    /// The media type: what the document says, else the OCI one.
    pub fn media_type(&self) -> &str {
        self.media_type.as_deref().unwrap_or(media::MANIFEST)
    }

    /// A descriptor of [`Manifest::to_bytes`].
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(self.media_type(), &self.to_bytes())
    }

    /// The config and then the layers: every blob the image is made of, repeats included.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compression, Digest};

    #[test]
    fn docker_types_name_the_same_blobs() {
        let digest = Digest::of(b"x");
        let layers = [Compression::None, Compression::Gzip, Compression::Zstd];
        let layers = layers.map(|one| Descriptor::new(one.media_type(), digest, 1)).to_vec();
        let mut oci = Manifest::new(Descriptor::new(media::CONFIG, digest, 2), layers);
        oci.annotations.insert("a".to_owned(), "b".to_owned());
        let docker = oci.to_docker();
        let types: Vec<&str> = docker.blobs().map(|blob| blob.media_type.as_str()).collect();
        assert_eq!(docker.media_type(), media::DOCKER_MANIFEST);
        assert_eq!(
            types,
            [
                media::DOCKER_CONFIG,
                media::DOCKER_LAYER_TAR,
                media::DOCKER_LAYER_GZIP,
                media::DOCKER_LAYER_ZSTD
            ]
        );
        assert!(docker.annotations.is_empty());
        assert_eq!(Manifest::parse(&docker.to_bytes()).unwrap(), docker);
    }
}
