//! The network as `build` sees it: resolve, fetch, push.
//!
//! An implementation verifies every digest and size before anything enters the store. It prints nothing and reads
//! no environment; credentials stay inside it and appear in no error.

use crate::{Store, StoreError};
use std::{error::Error, fmt, future::Future, pin::Pin, sync::Arc};
use wbuild_oci::{Descriptor, Digest, GitSource, ImageConfig, Manifest, Platform, Reference, Time};

/// A boxed future, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An image for one platform. Its manifest and config are in the store; its layers may not be yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The manifest's descriptor. The digest is of the bytes as they were served or read.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The config; it has as many diff IDs as the manifest has layers.
    pub config: ImageConfig,
}

/// Image registries.
pub trait Remote: Send + Sync {
    /// Finds the image that `reference` names for `platform`, through an index where there is one, and puts its manifest
    /// and config into `store`. Layers are not fetched.
    fn resolve<'a>(
        &'a self,
        store: &'a Store,
        reference: &'a Reference,
        platform: &'a Platform,
    ) -> BoxFuture<'a, Result<Image, RemoteError>>;

    /// Finds what `reference` names, whatever platform it is for, a manifest or an index, and puts that document alone into `store`.
    fn document<'a>(
        &'a self,
        store: &'a Store,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Descriptor, RemoteError>>;

    /// Puts `blobs` of the repository that `reference` names into `store`, several at once. Those that are there already
    /// cost nothing.
    fn fetch<'a>(
        &'a self,
        store: &'a Store,
        reference: &'a Reference,
        blobs: &'a [Descriptor],
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<(), RemoteError>>;

    /// Puts what `url` gives into `store`; with a `checksum`, nothing else than that. No credential goes along.
    fn download<'a>(
        &'a self,
        store: &'a Store,
        url: &'a str,
        checksum: Option<Digest>,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<Downloaded, RemoteError>>;

    /// Finds the commit that a git source names now; a commit's id in full is not looked up.
    fn git_find<'a>(&'a self, source: &'a GitSource) -> BoxFuture<'a, Result<GitFound, RemoteError>>;

    /// Puts the files of a commit that was found into `store`, as an uncompressed tar, unless they are there; answers its digest.
    /// `admit` is asked before the repository of a submodule is spoken to.
    fn git_checkout<'a>(
        &'a self,
        store: &'a Store,
        source: &'a GitSource,
        found: &'a GitFound,
        admit: Arc<Admit>,
    ) -> BoxFuture<'a, Result<Digest, RemoteError>>;

    /// Pushes the image or index `manifest` of `store` under every name in `to`, what it is made of first. A blob that
    /// the repository has already, or that can be mounted from another repository of the same registry, is not sent.
    /// The names are returned in their order.
    fn push<'a>(
        &'a self,
        store: &'a Store,
        manifest: &'a Descriptor,
        to: &'a [Reference],
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<Vec<Pushed>, RemoteError>>;
}

/// Says whether the repository at this URL may be fetched, at this commit; why not.
pub type Admit = dyn Fn(&str, &str) -> Result<(), String> + Send + Sync;

/// What a git source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitFound {
    /// The commit's id in full. Where it was given by its id, it may be that of a tag.
    pub commit: String,
    /// The annotated tag that leads to it.
    pub tag: Option<String>,
    /// The branch or tag, in full.
    pub reference: Option<String>,
}

/// What a URL gave; the content is in the store under its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// Of the content.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// When the server says it was changed last.
    pub last_modified: Option<Time>,
}

/// One name under which an image was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The name, as given.
    pub reference: Reference,
    /// The manifest's digest in the registry.
    pub digest: Digest,
}

/// Who wants to know how a transfer goes. Called often, from several threads: it must not block.
pub trait Progress: Send + Sync {
    /// One thing that happened.
    fn report(&self, transfer: Transfer);
}

/// Ignores every report.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _: Transfer) {}
}

/// Something that happened to one blob or manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// What is transferred.
    pub digest: Digest,
    /// Its whole size in bytes.
    pub size: u64,
    /// What happened.
    pub kind: TransferKind,
}

/// What happened to a blob or manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferKind {
    /// The transfer begins.
    Started,
    /// So many bytes of it are through in all. May fall back when a transfer starts again.
    Progress(u64),
    /// It failed in a way that may pass, and is tried again.
    Retrying {
        /// Why, as a fragment.
        reason: String,
    },
    /// It is there.
    Done,
    /// It was there already: nothing was sent.
    Exists,
    /// The registry took it from this other repository of its own.
    Mounted {
        /// The other repository.
        from: String,
    },
}

/// What kind of failure it is, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The registry said no: trying again does not help. Exit 6.
    Refused,
    /// The registry has no such image or blob. Exit 6.
    Missing,
    /// The network or the registry failed in a way that may pass; retries were made. Exit 7.
    Network,
    /// What was served is not what its digest, size or type promised. Exit 6.
    Content,
    /// The store on this machine failed. Exit 8.
    Host,
}

/// A registry operation failed.
#[derive(Debug)]
pub struct RemoteError {
    class: ErrorClass,
    reference: String,
    source: Box<dyn Error + Send + Sync>,
}

impl RemoteError {
    /// `source` happened while working on `reference`.
    pub fn new(
        class: ErrorClass,
        reference: impl fmt::Display,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self { class, reference: reference.to_string(), source: Box::new(source) }
    }

    /// The store failed while working on `reference`.
    pub fn store(reference: impl fmt::Display, source: StoreError) -> Self {
        Self::new(ErrorClass::Host, reference, source)
    }

    /// What kind of failure it is.
    pub const fn class(&self) -> ErrorClass {
        self.class
    }

    /// The image it is about.
    pub fn reference(&self) -> &str {
        &self.reference
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reference)
    }
}

impl Error for RemoteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
