//! Image indexes, Docker manifest lists, and a layout's marker (image-spec image-index.md, image-layout.md).
//!
//! Selection by platform is deterministic: the best match wins, and of equals the first listed.

use crate::{ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Descriptor, DocumentError, Platform, json, media};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An image index or Docker manifest list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// [`media::INDEX`] or [`media::DOCKER_INDEX`]; many layouts leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What is listed, in the document's order.
    #[serde(deserialize_with = "json::null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest this index is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations, sorted by key.
    #[serde(default, deserialize_with = "json::null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// An OCI index of these manifests.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media::INDEX.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Parses an index or manifest list.
    ///
    /// # Errors
    /// [`DocumentError`] for malformed JSON, another schema version, or a manifest under an index's name.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        struct Outline {
            #[serde(default)]
            config: Option<serde::de::IgnoredAny>,
            #[serde(default)]
            layers: Option<serde::de::IgnoredAny>,
        }
        let shape = |why: String| DocumentError::Shape { what: "index", why };
        let index: Self = json::parse("index", bytes)?;
        if index.schema_version != 2 {
            return Err(shape(format!("schema version {} is not supported", index.schema_version)));
        }
        // The ambiguity rule of CVE-2021-41190: one document must not pass for both kinds.
        let outline: Outline = json::parse("index", bytes)?;
        if outline.config.is_some() || outline.layers.is_some() {
            return Err(shape("it has the fields \"config\" or \"layers\" of a manifest".to_owned()));
        }
        if let Some(media_type) =
            index.media_type.as_deref().filter(|text| media::kind(text) != media::Kind::Index)
        {
            return Err(shape(format!("its media type is {media_type:?}")));
        }
        Ok(index)
    }

    /// The document as BuildKit writes it: indented by two spaces, no final newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::indented(self)
    }

    /// The document without whitespace, as BuildKit writes a layout's `index.json`.
    pub fn to_compact_bytes(&self) -> Vec<u8> {
        json::compact(self)
    }

    /// The media type: what the document says, else the OCI one.
    pub fn media_type(&self) -> &str {
        self.media_type.as_deref().unwrap_or(media::INDEX)
    }

    /// The listed manifest that suits `platform` best: the closest variant, and of equals the first listed. Where no
    /// entry with a platform suits, the first entry without one, whose config must then be checked by the caller.
    pub fn select(&self, platform: &Platform) -> Option<&Descriptor> {
        let image = |entry: &&Descriptor| matches!(entry.kind(), media::Kind::Manifest | media::Kind::Index);
        let rank = |entry: &Descriptor| entry.platform.as_ref().and_then(|offered| platform.rank(offered));
        let suited = self.manifests.iter().filter(image).filter_map(|entry| Some((rank(entry)?, entry)));
        suited
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, entry)| entry)
            .or_else(|| self.manifests.iter().filter(image).find(|entry| entry.platform.is_none()))
    }

    /// The platforms listed, in order, without the `unknown/unknown` of attestations.
    pub fn platforms(&self) -> impl Iterator<Item = &Platform> {
        self.manifests
            .iter()
            .filter_map(|entry| entry.platform.as_ref())
            .filter(|platform| platform.os != "unknown")
    }

    /// The entries of a layout's index that carry `name`, as `org.opencontainers.image.ref.name` or as containerd's
    /// image name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Descriptor> {
        self.manifests.iter().filter(move |entry| {
            [ANNOTATION_REF_NAME, ANNOTATION_IMAGE_NAME]
                .iter()
                .any(|key| entry.annotations.get(*key).is_some_and(|value| value == name))
        })
    }
}

/// The file `oci-layout`, the marker of an image layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    /// `1.0.0`.
    pub image_layout_version: String,
}

impl Layout {
    /// The marker's file name.
    pub const FILE: &'static str = "oci-layout";

    /// Parses and checks the marker.
    ///
    /// # Errors
    /// [`DocumentError`] for malformed JSON or a major version other than 1.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let layout: Self = json::parse("oci-layout", bytes)?;
        if !layout.image_layout_version.starts_with("1.") {
            let why = format!("layout version {:?} is not supported", layout.image_layout_version);
            return Err(DocumentError::Shape { what: "oci-layout", why });
        }
        Ok(layout)
    }

    /// The marker of version 1.0.0.
    pub fn to_bytes() -> Vec<u8> {
        json::compact(&Self { image_layout_version: "1.0.0".to_owned() })
    }
}
