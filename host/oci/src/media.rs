//! Media types of OCI images and of Docker's schema 2, and what each is.
//!
//! Both families are read and written; OCI's is what wbuild writes unless it is asked for the other. Schema 1 is recognised nowhere: it has no config.

/// OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image config.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, uncompressed.
pub const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The empty JSON object, `{}`.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Docker schema 2 manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker schema 2 manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker schema 2 config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker schema 2 layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker schema 2 layer, uncompressed.
pub const DOCKER_LAYER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker schema 2 layer, zstd.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// The media types of manifests and indexes that are accepted, in the order of preference.
pub const ACCEPTED: [&str; 4] = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

/// How a layer's tar is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// The tar itself.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
}

impl Compression {
    /// The OCI layer media type of this compression.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::None => LAYER_TAR,
            Self::Gzip => LAYER_GZIP,
            Self::Zstd => LAYER_ZSTD,
        }
    }

    /// The Docker schema 2 layer media type of this compression.
    pub const fn docker_media_type(self) -> &'static str {
        match self {
            Self::None => DOCKER_LAYER_TAR,
            Self::Gzip => DOCKER_LAYER_GZIP,
            Self::Zstd => DOCKER_LAYER_ZSTD,
        }
    }
}

/// What a document of a media type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An image manifest.
    Manifest,
    /// An image index or manifest list.
    Index,
    /// An image config.
    Config,
    /// A layer, kept in the registry that names it.
    Layer(Compression),
    /// A layer that a registry need not hold (image-spec "non-distributable", Docker "foreign").
    ForeignLayer(Compression),
    /// Anything else.
    Other,
}

/// What `media_type` says a document is. Parameters after `;` are ignored.
pub fn kind(media_type: &str) -> Kind {
    let bare = media_type.split(';').next().unwrap_or_default().trim();
    match bare {
        MANIFEST | DOCKER_MANIFEST => Kind::Manifest,
        INDEX | DOCKER_INDEX => Kind::Index,
        CONFIG | DOCKER_CONFIG => Kind::Config,
        LAYER_TAR | DOCKER_LAYER_TAR => Kind::Layer(Compression::None),
        LAYER_GZIP | DOCKER_LAYER_GZIP => Kind::Layer(Compression::Gzip),
        LAYER_ZSTD | DOCKER_LAYER_ZSTD => Kind::Layer(Compression::Zstd),
        "application/vnd.oci.image.layer.nondistributable.v1.tar" => Kind::ForeignLayer(Compression::None),
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => {
            Kind::ForeignLayer(Compression::Gzip)
        }
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd" => {
            Kind::ForeignLayer(Compression::Zstd)
        }
        _ => Kind::Other,
    }
}
