//! OCI names and documents: digests, descriptors, manifests, configs, references, platforms, and git
//! repositories as sources name them.
//!
//! Everything here is a value: no file, no network, no clock. Documents are written in exactly the form BuildKit
//! writes them (field order, escapes, which empty fields are left out), because their bytes are their names.
//! The types are our own and not oci-spec's: that crate keeps maps in hash order, so the same image would get
//! another digest each time, and drops Docker's Healthcheck, OnBuild, Shell and ArgsEscaped. It is the oracle in
//! the tests instead.

#![forbid(unsafe_code)]

mod config;
mod descriptor;
mod digest;
pub mod git;
mod index;
mod json;
mod manifest;
pub mod media;
mod platform;
mod reference;
mod time;

pub use config::{Execution, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{Digest, DigestError, Hasher};
pub use git::{GitDir, GitLogin, GitSource, GitSourceError, GitTimes, GitTransport, Pinning, Submodules};
pub use index::{Index, Layout};
pub use json::DocumentError;
pub use manifest::Manifest;
pub use media::Compression;
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
pub use time::{Time, TimeError};

/// Annotation: when the image was built (image-spec annotations.md).
pub const ANNOTATION_CREATED: &str = "org.opencontainers.image.created";
/// Annotation in a layout's index: the tag, or for some writers the whole reference (image-spec annotations.md).
pub const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation in a layout's index: the whole normalised reference, as containerd and BuildKit write it.
pub const ANNOTATION_IMAGE_NAME: &str = "io.containerd.image.name";
/// The largest manifest or index that is read, in bytes (containerd's and most registries' limit is 4 MiB).
pub const MANIFEST_LIMIT: u64 = 4 << 20;
/// The largest image config that is read, in bytes.
pub const CONFIG_LIMIT: u64 = 8 << 20;

#[cfg(test)]
mod tests;
