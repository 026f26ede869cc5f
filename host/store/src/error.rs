//! What can go wrong with the store and with image layouts.

use std::io;
use wbuild_oci::{Digest, DigestError, DocumentError};

/// The store failed, or content was not what was expected.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("cannot {action} {path:?} in the store")]
    Io {
        /// The verb: `open`, `write`, `sync`, `rename`.
        action: &'static str,
        /// The path, below the store's directory.
        path: String,
        /// The host's answer.
        #[source]
        source: io::Error,
    },
    /// The store has no such blob.
    #[error("blob {0} is not in the store")]
    Missing(Digest),
    /// Content does not have the digest it should have.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Content does not have the size it should have.
    #[error("content has {actual} bytes, expected {expected}")]
    Size {
        /// The size it should have, in bytes.
        expected: u64,
        /// The size it has; for content cut short by the check, more than this.
        actual: u64,
    },
    /// Content is larger than allowed.
    #[error("content is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// A stored document cannot be read.
    #[error("blob {digest}")]
    Document {
        /// The document.
        digest: Digest,
        /// What is wrong with it.
        #[source]
        source: DocumentError,
    },
}

/// An image layout cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The layout's own files cannot be read or written.
    #[error("cannot {action} {path:?} in the image layout")]
    Io {
        /// The verb.
        action: &'static str,
        /// The path, inside the layout.
        path: String,
        /// The host's answer.
        #[source]
        source: io::Error,
    },
    /// There is no `oci-layout` or no `index.json`.
    #[error("not an OCI image layout: it has no {missing}")]
    NotALayout {
        /// The missing file.
        missing: &'static str,
    },
    /// A tar that is compressed as a whole.
    #[error("the image layout is a {form} file; decompress it to a plain tar first")]
    Compressed {
        /// `gzip`, `zstd`, `xz` or `bzip2`.
        form: &'static str,
    },
    /// No image of that name.
    #[error("the image layout has no image {wanted:?} (it has: {available})")]
    NoSuchImage {
        /// The name or digest asked for.
        wanted: String,
        /// What there is, separated by commas.
        available: String,
    },
    /// No name was given and there are several images.
    #[error("the image layout has several images; name one of: {available}")]
    Ambiguous {
        /// What there is, separated by commas.
        available: String,
    },
    /// No image for that platform.
    #[error("the image layout has no image for {wanted} (it has: {available})")]
    Platform {
        /// The platform asked for.
        wanted: String,
        /// What there is, separated by commas.
        available: String,
    },
    /// A blob is named and not there.
    #[error("the image layout has no blob {0}")]
    MissingBlob(Digest),
    /// A document cannot be read.
    #[error("in the image layout, {name}")]
    Document {
        /// Its file name or digest.
        name: String,
        /// What is wrong with it.
        #[source]
        source: DocumentError,
    },
    /// A blob is not what its descriptor says, or the store failed.
    #[error("blob {digest}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// What is wrong.
        #[source]
        source: StoreError,
    },
    /// The manifest and the config disagree.
    #[error("image {digest} has {layers} layers, but its config lists {diff_ids}")]
    LayerCount {
        /// The manifest.
        digest: Digest,
        /// Layers in the manifest.
        layers: usize,
        /// Diff IDs in the config.
        diff_ids: usize,
    },
    /// An archive in Docker's form holds one image.
    #[error("{0} is an index, and an archive for docker load holds one image")]
    SeveralImages(Digest),
    /// An index leads to an index too often.
    #[error("image index {0} is nested too deeply")]
    Nesting(Digest),
}
