//! What the store remembers of a step: the layer it made, and what its tools changed of the image.
//!
//! A record is found by the step's key and names a blob by digest. It is written after the blob, so it never promises what was not
//! there; a blob that is gone since, or a record that cannot be read, is a miss.

use serde::{Deserialize, Serialize};
use wbuild_layer::Blob;
use wbuild_monitor::{ImageChange, NetworkUse};
use wbuild_oci::{Compression, Digest};

/// The kind of record in the store.
pub(crate) const STEPS: &str = "steps";

/// 1 had neither the image's changes nor the use of the network.
const VERSION: u32 = 2;

/// What came of a step, whether it ran or was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    /// `None` where nothing changed and the image's history asks for no layer.
    pub(crate) layer: Option<Blob>,
    /// What its tools changed of the image's configuration, in order.
    pub(crate) image: Vec<ImageChange>,
}

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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    image: Vec<ImageChange>,
    /// Whether it had an internet socket.
    pub(crate) network: NetworkUse,
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
    pub(crate) fn new(
        step: &str,
        created: i64,
        took: std::time::Duration,
        made: &Made,
        network: NetworkUse,
    ) -> Self {
        let layer = made.layer.map(|blob| {
            let Blob { compression, diff_id, tar_size, digest, size } = blob;
            Layer { media_type: compression.media_type().to_owned(), diff_id, tar_size, digest, size }
        });
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let image = made.image.clone();
        Self { version: VERSION, step: step.to_owned(), created, took, layer, image, network }
    }

    /// `None` where the document is none that this version understands.
    pub(crate) fn parse(document: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(document).ok()?;
        let is_whole = record.layer.is_none() || record.layer().is_some();
        // They may come from a shared cache: no instruction could say more than they do.
        let is_sayable = record.image.iter().all(|change| change.check().is_ok());
        (record.version == VERSION && is_whole && is_sayable).then_some(record)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Strings and numbers: nothing here can fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// All that it made.
    pub(crate) fn made(&self) -> Made {
        Made { layer: self.layer(), image: self.image.clone() }
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
        let image = vec![ImageChange::Env("A".to_owned(), "1".to_owned()), ImageChange::Cmd(Vec::new())];
        for made in [
            Made::default(),
            Made { layer: Some(blob), image: Vec::new() },
            Made { layer: None, image: image.clone() },
            Made { layer: Some(blob), image },
        ] {
            let took = std::time::Duration::from_millis(1500);
            let record = Record::new("RUN x", 7, took, &made, NetworkUse::Used);
            let read = Record::parse(&record.to_bytes()).unwrap();
            assert_eq!(read, record);
            assert_eq!(read.made(), made);
        }
    }

    #[test]
    fn what_is_not_understood_is_no_record() {
        let record = Record::new("RUN x", 7, std::time::Duration::ZERO, &Made::default(), NetworkUse::None);
        let text = String::from_utf8(record.to_bytes()).unwrap();
        for wrong in [
            String::new(),
            text.replace("\"version\":2", "\"version\":1"),
            text.replace("\"layer\":null", "\"layer\":null,\"more\":1"),
            text[..text.len() - 1].to_owned(),
        ] {
            assert!(Record::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
