//! What the store remembers of a step: the layer it made.
//!
//! A record is found by the step's key and names a blob by digest. It is written after the blob, so it never promises what was not
//! there; a blob that is gone since, or a record that cannot be read, is a miss.

use serde::{Deserialize, Serialize};
use wbuild_layer::Blob;
use wbuild_oci::{Compression, Digest};

/// The kind of record in the store.
pub(crate) const STEPS: &str = "steps";

const VERSION: u32 = 1;

/// What a step made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Record {
    version: u32,
    /// The step as it was displayed: `[build 3/7] RUN make`.
    pub(crate) step: String,
    /// When it ran, in seconds since 1970.
    pub(crate) created: i64,
    /// How long it took, in milliseconds.
    pub(crate) took: u64,
    /// `None` where nothing changed and the image's history asks for no layer.
    layer: Option<Layer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Layer {
    media_type: String,
    diff_id: Digest,
    tar_size: u64,
    digest: Digest,
    size: u64,
}

impl Record {
    pub(crate) fn new(step: &str, created: i64, took: std::time::Duration, layer: Option<&Blob>) -> Self {
        let layer = layer.map(|blob| {
            let Blob { compression, diff_id, tar_size, digest, size } = *blob;
            Layer { media_type: compression.media_type().to_owned(), diff_id, tar_size, digest, size }
        });
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Self { version: VERSION, step: step.to_owned(), created, took, layer }
    }

    /// `None` where the document is none that this version understands.
    pub(crate) fn parse(document: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(document).ok()?;
        (record.version == VERSION && (record.layer.is_none() || record.layer().is_some())).then_some(record)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Strings and numbers: nothing here can fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The layer, if it made one.
    pub(crate) fn layer(&self) -> Option<Blob> {
        let Layer { media_type, diff_id, tar_size, digest, size } = self.layer.as_ref()?;
        let all = [Compression::None, Compression::Gzip, Compression::Zstd];
        let compression = all.into_iter().find(|kind| kind.media_type() == media_type)?;
        Some(Blob { compression, diff_id: *diff_id, tar_size: *tar_size, digest: *digest, size: *size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let blob = Blob {
            compression: Compression::Gzip,
            diff_id: Digest::of(b"tar"),
            tar_size: 3,
            digest: Digest::of(b"gz"),
            size: 2,
        };
        for layer in [None, Some(&blob)] {
            let record = Record::new("RUN x", 7, std::time::Duration::from_millis(1500), layer);
            let read = Record::parse(&record.to_bytes()).unwrap();
            assert_eq!(read, record);
            assert_eq!(read.layer(), layer.copied());
        }
    }

    #[test]
    fn what_is_not_understood_is_no_record() {
        let record = Record::new("RUN x", 7, std::time::Duration::ZERO, None);
        let text = String::from_utf8(record.to_bytes()).unwrap();
        for wrong in [
            String::new(),
            text.replace("\"version\":1", "\"version\":2"),
            text.replace("\"layer\":null", "\"layer\":null,\"more\":1"),
            text[..text.len() - 1].to_owned(),
        ] {
            assert!(Record::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
