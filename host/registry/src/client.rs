//! The client: what its parts share, and the `Remote` it is to the rest of wbuild.

use crate::endpoint::{Repository, Scheme};
use crate::error::RegistryError;
use crate::mirror::{Mirror, Protocol};
use crate::settings::Settings;
use crate::transport::Transport;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit};
use wbuild_oci::{Descriptor, Digest, GitSource, Platform, Reference};
use wbuild_store::{
    Admit, BoxFuture, GitFound, Image, Progress, Pushed, Remote, RemoteError, Store, StoreError,
};

const PARALLEL: usize = 4;

/// The most that a URL may give, in bytes: 64 GiB.
const LONGEST: u64 = 64 << 30;

/// A client for any number of registries. Its futures need a tokio runtime.
pub struct Client {
    pub(crate) settings: Settings,
    pub(crate) transport: Arc<Transport>,
    turns: Semaphore,
    /// One lock for each blob that is being fetched.
    fetching: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    /// Repositories that are known to have a blob.
    origins: Mutex<HashMap<Digest, Vec<Repository>>>,
    /// How each registry is spoken to.
    schemes: Mutex<HashMap<String, Scheme>>,
}

impl Client {
    /// A client with these settings. Nothing is connected to yet.
    ///
    /// # Errors
    /// [`RegistryError::Setup`] for certificates or proxies that cannot be used.
    pub fn new(settings: Settings) -> Result<Self, RegistryError> {
        let transport = Arc::new(Transport::new(&settings)?);
        let parallel = if settings.parallel == 0 { PARALLEL } else { settings.parallel };
        Ok(Self {
            settings,
            transport,
            turns: Semaphore::new(parallel),
            fetching: Mutex::default(),
            origins: Mutex::default(),
            schemes: Mutex::default(),
        })
    }

    /// Asks the credential helpers that hold the logins for these repositories, so that none is run later.
    ///
    /// # Errors
    /// A helper failed.
    pub async fn log_in(&self, references: &[Reference]) -> Result<(), RegistryError> {
        for reference in references {
            self.transport.doorkeeper.login(&self.repository(reference)?).await?;
        }
        Ok(())
    }

    /// The repository that a reference names.
    pub(crate) fn repository(&self, reference: &Reference) -> Result<Repository, RegistryError> {
        Repository::of(reference, self.scheme(reference.registry()))
    }

    fn scheme(&self, registry: &str) -> Scheme {
        let mut schemes = self.schemes.lock().unwrap_or_else(PoisonError::into_inner);
        schemes.entry(registry.to_owned()).or_insert_with(|| Scheme::of(registry, &self.settings)).clone()
    }

    /// Where the image of a reference is looked for before its registry, in order.
    pub(crate) fn mirrors(&self, reference: &Reference) -> Result<Vec<Repository>, RegistryError> {
        let mirrors = self.settings.mirrors.get(reference.registry());
        let repository = |mirror: &Mirror| {
            let scheme = match mirror.protocol {
                Protocol::Http => Scheme::Http,
                Protocol::Https => Scheme::Https,
                Protocol::Unsaid => self.scheme(&mirror.host),
            };
            Repository::new(&mirror.host, &mirror.host, mirror.repository(reference.repository()), scheme)
        };
        mirrors.into_iter().flatten().map(repository).collect()
    }

    /// How many blobs are transferred at once.
    pub(crate) fn parallel(&self) -> usize {
        if self.settings.parallel == 0 { PARALLEL } else { self.settings.parallel }
    }

    /// Waits until another blob may be downloaded.
    pub(crate) async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("the semaphore is never closed")
    }

    /// Waits until nobody else fetches this blob.
    pub(crate) async fn alone(&self, digest: Digest) -> OwnedMutexGuard<()> {
        let lock = {
            let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever waits holds a second handle; the others are done.
            fetching.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(fetching.entry(digest).or_default())
        };
        lock.lock_owned().await
    }

    /// Does several transfers, so many at once as is allowed; the first failure ends the others.
    pub(crate) async fn together<'a, F>(&self, work: impl Iterator<Item = F>) -> Result<(), RegistryError>
    where
        F: Future<Output = Result<(), RegistryError>> + Send + 'a,
    {
        // Boxed: futures that borrow would otherwise tie the whole to lifetimes the compiler cannot name.
        let work: Vec<BoxFuture<'a, _>> = work.map(|one| -> BoxFuture<'a, _> { Box::pin(one) }).collect();
        stream::iter(work).buffer_unordered(self.parallel()).try_collect().await
    }

    /// Remembers that `repository` has `blobs`.
    pub(crate) fn remember<'a>(&self, repository: &Repository, blobs: impl Iterator<Item = &'a Descriptor>) {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        for blob in blobs {
            let known = origins.entry(blob.digest).or_default();
            if !known.contains(repository) {
                known.push(repository.clone());
            }
        }
    }

    /// Repositories that are known to have this blob, in the order they became known.
    pub(crate) fn origins(&self, digest: &Digest) -> Vec<Repository> {
        let origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        origins.get(digest).cloned().unwrap_or_default()
    }

    /// Runs a store operation that may wait for the disk.
    pub(crate) async fn on_store<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result
                .map_err(|source| RegistryError::Store { what: what.to_owned(), source: Box::new(source) }),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn about(reference: &Reference) -> impl Fn(RegistryError) -> RemoteError {
    let name = reference.familiar();
    move |error| RemoteError::new(error.class(), &name, error)
}

impl Remote for Client {
    fn resolve<'a>(
        &'a self,
        store: &'a Store,
        reference: &'a Reference,
        platform: &'a Platform,
    ) -> BoxFuture<'a, Result<Image, RemoteError>> {
        Box::pin(async move { self.image(store, reference, platform).await.map_err(about(reference)) })
    }

    fn fetch<'a>(
        &'a self,
        store: &'a Store,
        reference: &'a Reference,
        blobs: &'a [Descriptor],
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<(), RemoteError>> {
        Box::pin(async move {
            let mirrors = self.mirrors(reference).map_err(about(reference))?;
            let repository = self.repository(reference).map_err(about(reference))?;
            let blobs: BTreeMap<_, _> = blobs.iter().map(|blob| (blob.digest, blob)).collect();
            let work = blobs
                .into_values()
                .map(|blob| self.blob_from_any(store, &mirrors, &repository, blob, progress));
            self.together(work).await.map_err(about(reference))
        })
    }

    fn document<'a>(
        &'a self,
        store: &'a Store,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<Descriptor, RemoteError>> {
        Box::pin(async move { self.named(store, reference).await.map_err(about(reference)) })
    }

    fn download<'a>(
        &'a self,
        store: &'a Store,
        url: &'a str,
        checksum: Option<Digest>,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<wbuild_store::Downloaded, RemoteError>> {
        Box::pin(async move {
            let gave = Self::download(self, store, url, checksum, LONGEST, progress).await;
            let gave = gave.map_err(|error| RemoteError::new(error.class(), url, error))?;
            let crate::Downloaded { digest, size, last_modified, .. } = gave;
            Ok(wbuild_store::Downloaded { digest, size, last_modified })
        })
    }

    fn git_find<'a>(&'a self, source: &'a GitSource) -> BoxFuture<'a, Result<GitFound, RemoteError>> {
        Box::pin(self.find_commit(source))
    }

    fn git_checkout<'a>(
        &'a self,
        store: &'a Store,
        source: &'a GitSource,
        found: &'a GitFound,
        admit: Arc<Admit>,
    ) -> BoxFuture<'a, Result<Digest, RemoteError>> {
        Box::pin(self.check_out(store, source, found, admit))
    }

    fn push<'a>(
        &'a self,
        store: &'a Store,
        manifest: &'a Descriptor,
        to: &'a [Reference],
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<Vec<Pushed>, RemoteError>> {
        Box::pin(async move {
            let result = self.push_image(store, manifest, to, progress).await;
            result.map_err(|(reference, error)| match reference {
                Some(reference) => about(&reference)(error),
                None => RemoteError::new(error.class(), manifest.digest, error),
            })
        })
    }
}
