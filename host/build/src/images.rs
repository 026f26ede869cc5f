//! The images a build needs: resolved in parallel, from registries, layouts or by another name.
//!
//! Resolving brings manifest and config into the store; layers come when a tree or the result needs them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinSet;
use wbuild_monitor::Cancel;
use wbuild_oci::{Descriptor, Digest, GitSource, Reference};
use wbuild_plan::{ImageOrigin, ImageRequest, Images, Span, UrlSource, Wanted};
use wbuild_policy::Ruleset;
use wbuild_store::{Downloaded, GitFound, Image, Remote, RemoteError, Store};

use crate::attest::Material;
use crate::checkout::{Checkout, Gits};
use crate::error::BuildError;
use crate::permission::DeniedLine;
use crate::progress::{Reporter, Running};
use crate::request::{GitMaterial, NamedContext};
use crate::transfer::Transfers;

/// By URL and checksum: what came of it, held by whoever is at it.
type Downloads = BTreeMap<(String, Option<Digest>), Arc<Mutex<Option<Downloaded>>>>;

/// An image of the build.
pub(crate) struct Resolved {
    pub(crate) image: Image,
    /// Where its layers come from; `None` where they are in the store.
    remote: Option<Reference>,
    span: Span,
}

/// The images of a build, and the way to more.
pub(crate) struct ImageSet<'a> {
    store: &'a Store,
    remote: Arc<dyn Remote>,
    contexts: &'a BTreeMap<String, NamedContext>,
    reporter: &'a Reporter,
    cancel: &'a Cancel,
    /// Made when a registry is needed first: most builds from layouts need none.
    runtime: Mutex<Option<Runtime>>,
    found: BTreeMap<ImageRequest, Resolved>,
    /// Held while the layers of an image come: whoever wants the same ones waits.
    fetching: Mutex<BTreeMap<ImageRequest, Arc<Mutex<()>>>>,
    /// What URLs gave in this build.
    downloads: Mutex<Downloads>,
    /// The git repositories of this build.
    gits: Gits,
}

impl<'a> ImageSet<'a> {
    pub(crate) fn new(
        store: &'a Store,
        remote: Arc<dyn Remote>,
        contexts: &'a BTreeMap<String, NamedContext>,
        reporter: &'a Reporter,
        cancel: &'a Cancel,
        policy: &Arc<Ruleset>,
    ) -> Self {
        Self {
            store,
            remote,
            contexts,
            reporter,
            cancel,
            runtime: Mutex::new(None),
            found: BTreeMap::new(),
            fetching: Mutex::default(),
            downloads: Mutex::default(),
            gits: Gits::new(policy),
        }
    }

    /// The commit that a git source names, looked up once for each build.
    pub(crate) fn commit(&self, source: &GitSource, span: Span) -> Result<GitFound, BuildError> {
        let turn = self.gits.turn(source);
        let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &turn.found {
            return Ok(found.clone());
        }
        let runtime = self.runtime()?;
        let running = self.reporter.start(&format!("[internal] load git source {source}"));
        let found = runtime.block_on(until_cancelled(self.cancel, self.remote.git_find(source)));
        let found = match found {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(git_error(source, span, error)),
            Err(cancelled) => {
                running.cancelled();
                return Err(cancelled);
            }
        };
        running.note(&format!("commit {}", found.commit));
        running.done();
        Ok(turn.found.insert(found).clone())
    }

    /// The files of that commit, fetched once for each build.
    pub(crate) fn checkout(&self, source: &GitSource, span: Span) -> Result<Arc<Checkout>, BuildError> {
        let found = self.commit(source, span)?;
        let turn = self.gits.turn(source);
        let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = &turn.checkout {
            return Ok(Arc::clone(there));
        }
        let runtime = self.runtime()?;
        let gate = self.gits.gate();
        let running = self.reporter.start(&format!("[internal] fetch {source}"));
        let work = self.remote.git_checkout(self.store, source, &found, gate.admit());
        let archive =
            finish(runtime.block_on(until_cancelled(self.cancel, work)), running, |error| {
                match gate.lines() {
                    denied if denied.is_empty() => git_error(source, span, error),
                    denied => BuildError::Denied {
                        lines: denied
                            .into_iter()
                            .map(|denied| DeniedLine { span: Some(span), denied })
                            .collect(),
                    },
                }
            })?;
        let made = Checkout::unpack(self.store, source, archive)?;
        Ok(Arc::clone(turn.checkout.insert(Arc::new(made))))
    }

    /// The git commits that were looked up.
    pub(crate) fn materials(&self) -> Vec<GitMaterial> {
        self.gits.materials()
    }

    pub(crate) fn get(&self, request: &ImageRequest) -> Option<&Resolved> {
        self.found.get(request)
    }

    /// The configurations, as a plan wants them.
    pub(crate) fn configs(&self) -> Images {
        self.found
            .iter()
            .map(|(request, resolved)| (request.clone(), resolved.image.config.clone()))
            .collect()
    }

    /// What the build took from outside: images and URLs by digest, repositories by commit.
    pub(crate) fn taken(&self) -> Vec<Material> {
        let image = |(request, resolved): (&ImageRequest, &Resolved)| {
            let name = resolved.remote.as_ref().map_or_else(|| request.name.clone(), ToString::to_string);
            Material::image(&name, &request.platform, resolved.image.descriptor.digest)
        };
        let mut materials: Vec<Material> = self.found.iter().map(image).collect();
        let downloads = self.downloads.lock().unwrap_or_else(PoisonError::into_inner);
        for ((url, _), done) in downloads.iter() {
            let done = done.lock().unwrap_or_else(PoisonError::into_inner);
            materials.extend(done.as_ref().map(|done| Material::url(url, done.digest)));
        }
        materials.extend(self.materials().iter().map(Material::git));
        materials
    }

    /// Resolves every image that is wanted, registries in parallel.
    pub(crate) fn resolve(&mut self, wanted: Vec<Wanted>) -> Result<(), BuildError> {
        let mut remote = Vec::new();
        for Wanted { image, span } in wanted {
            match self.local(&image)? {
                Some(found) => {
                    self.found.insert(image, Resolved { image: found, remote: None, span });
                }
                None => {
                    let reference = self.reference(&image, span)?;
                    remote.push((image, span, reference));
                }
            }
        }
        if remote.is_empty() { Ok(()) } else { self.resolve_remote(remote) }
    }

    /// An image that a layout holds.
    fn local(&self, image: &ImageRequest) -> Result<Option<Image>, BuildError> {
        if image.origin != ImageOrigin::Context {
            return Ok(None);
        }
        let Some(NamedContext::Layout { source, pick, path }) = self.contexts.get(&image.name) else {
            return Ok(None);
        };
        let running = self.reporter.start(&format!("[{}] import from {}", image.name, path.display()));
        let found = wbuild_store::import(self.store, source, pick, &image.platform).map_err(|source| {
            BuildError::Layout { name: image.name.clone(), path: path.clone(), source: Box::new(source) }
        })?;
        running.done();
        Ok(Some(found))
    }

    fn reference(&self, image: &ImageRequest, span: Span) -> Result<Reference, BuildError> {
        if let (ImageOrigin::Context, Some(NamedContext::Image(reference))) =
            (image.origin, self.contexts.get(&image.name))
        {
            return Ok(reference.clone());
        }
        image.name.parse().map_err(|error: wbuild_oci::ReferenceError| BuildError::Reference {
            message: error.to_string(),
            span,
        })
    }

    fn resolve_remote(&mut self, wanted: Vec<(ImageRequest, Span, Reference)>) -> Result<(), BuildError> {
        let runtime = self.runtime()?;
        let mut tasks = JoinSet::new();
        for (image, span, reference) in wanted {
            let running =
                self.reporter.start(&format!("[internal] load metadata for {}", reference.familiar()));
            let (store, remote) = (self.store.clone(), Arc::clone(&self.remote));
            let task = async move {
                let result = remote.resolve(&store, &reference, &image.platform).await;
                (image, span, reference, running, result)
            };
            tasks.spawn_on(task, &runtime);
        }
        let cancel = self.cancel.clone();
        let mut resolved = Vec::new();
        let outcome = runtime.block_on(async {
            while let Some(joined) = until_cancelled(&cancel, tasks.join_next()).await? {
                let (image, span, reference, running, result) =
                    joined.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
                let found = result.map_err(|source| pull_error(&image.name, span, source))?;
                // What to write in the place of a tag to get the same image for ever.
                running.note(&format!("resolved to {}@{}", reference.name(), found.descriptor.digest));
                running.done();
                resolved.push((image, Resolved { image: found, remote: Some(reference), span }));
            }
            Ok(())
        });
        self.found.extend(resolved);
        outcome
    }

    /// Brings layers of an image into the store.
    pub(crate) fn fetch(&self, request: &ImageRequest) -> Result<(), BuildError> {
        let resolved = self.found.get(request).ok_or(BuildError::Unplanned { what: "an image" })?;
        let Some(reference) = resolved.remote.clone() else { return Ok(()) };
        let turn = {
            let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(fetching.entry(request.clone()).or_default())
        };
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = missing(self.store, &resolved.image.manifest.layers)?;
        if missing.is_empty() {
            return Ok(());
        }
        let span = resolved.span;
        let runtime = self.runtime()?;
        let running = self.reporter.start(&format!("[internal] pull {}", reference.familiar()));
        let transfers = Transfers::new(running);
        let fetched = runtime.block_on(until_cancelled(
            self.cancel,
            self.remote.fetch(self.store, &reference, &missing, &transfers),
        ));
        finish(fetched, transfers.into_running(), |source| pull_error(&request.name, span, source))?;
        Ok(())
    }

    /// Puts what a URL gives into the store, once for each build.
    pub(crate) fn download(&self, source: &UrlSource, span: Span) -> Result<Downloaded, BuildError> {
        let key = (source.url.clone(), source.checksum);
        let turn = {
            let mut downloads = self.downloads.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(downloads.entry(key).or_default())
        };
        let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = &*turn {
            return Ok(done.clone());
        }
        let runtime = self.runtime()?;
        let transfers = Transfers::new(self.reporter.start(&format!("[internal] download {}", source.name)));
        let gave = runtime.block_on(until_cancelled(
            self.cancel,
            self.remote.download(self.store, &source.url, source.checksum, &transfers),
        ));
        let gave = finish(gave, transfers.into_running(), |error| BuildError::Download {
            url: source.url.clone(),
            span,
            source: Box::new(error),
        })?;
        Ok(turn.insert(gave).clone())
    }

    /// Puts the manifest that stands under a name into the store, that document alone.
    pub(crate) fn document(&self, reference: &Reference) -> Result<Descriptor, BuildError> {
        let work = until_cancelled(self.cancel, self.remote.document(self.store, reference));
        self.runtime()?.block_on(work)?.map_err(|source| cache_error(reference, source))
    }

    /// Brings blobs of a repository into the store.
    pub(crate) fn fetch_blobs(&self, reference: &Reference, blobs: &[Descriptor]) -> Result<(), BuildError> {
        let blobs = missing(self.store, blobs)?;
        if blobs.is_empty() {
            return Ok(());
        }
        let runtime = self.runtime()?;
        let running =
            self.reporter.start(&format!("[internal] pull from the cache {}", reference.familiar()));
        let transfers = Transfers::new(running);
        let fetch = self.remote.fetch(self.store, reference, &blobs, &transfers);
        let fetched = runtime.block_on(until_cancelled(self.cancel, fetch));
        finish(fetched, transfers.into_running(), |source| cache_error(reference, source))
    }

    /// Pushes an image under several names.
    pub(crate) fn push(
        &self,
        manifest: &Descriptor,
        to: &[Reference],
    ) -> Result<Vec<wbuild_store::Pushed>, BuildError> {
        let names: Vec<String> = to.iter().map(ToString::to_string).collect();
        let runtime = self.runtime()?;
        let running = self.reporter.start(&format!("pushing {}", names.join(", ")));
        let transfers = Transfers::new(running);
        let pushed = runtime
            .block_on(until_cancelled(self.cancel, self.remote.push(self.store, manifest, to, &transfers)));
        finish(pushed, transfers.into_running(), |source| BuildError::Push { source: Box::new(source) })
    }

    fn runtime(&self) -> Result<Handle, BuildError> {
        let mut runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = &*runtime {
            return Ok(there.handle().clone());
        }
        let made = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("wbuild-net")
            .enable_all()
            .build()
            .map_err(|source| BuildError::Host {
                action: "start the network threads of",
                path: "/".into(),
                source,
            })?;
        Ok(runtime.insert(made).handle().clone())
    }
}

impl Drop for ImageSet<'_> {
    fn drop(&mut self) {
        let runtime = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            // A name lookup that hangs must not hold up the end of a build.
            runtime.shutdown_background();
        }
    }
}

/// The blobs of `layers` that the store does not have, each once.
fn missing(store: &Store, layers: &[Descriptor]) -> Result<Vec<Descriptor>, BuildError> {
    let mut missing: Vec<Descriptor> = Vec::new();
    for layer in layers {
        if !missing.iter().any(|there| there.digest == layer.digest) && !store.has(&layer.digest)? {
            missing.push(layer.clone());
        }
    }
    Ok(missing)
}

fn cache_error(reference: &Reference, source: RemoteError) -> BuildError {
    BuildError::Cache { name: reference.familiar(), source: Box::new(source) }
}

fn git_error(source: &GitSource, span: Span, error: RemoteError) -> BuildError {
    BuildError::Git { name: source.to_string(), span, source: Box::new(error) }
}

fn pull_error(name: &str, span: Span, source: RemoteError) -> BuildError {
    BuildError::Pull { name: name.to_owned(), span, source: Box::new(source) }
}

fn finish<T>(
    result: Result<Result<T, RemoteError>, BuildError>,
    running: Running,
    failed: impl FnOnce(RemoteError) -> BuildError,
) -> Result<T, BuildError> {
    match result {
        Ok(Ok(value)) => {
            running.done();
            Ok(value)
        }
        Ok(Err(error)) => Err(failed(error)),
        Err(error) => {
            running.cancelled();
            Err(error)
        }
    }
}

async fn until_cancelled<T>(cancel: &Cancel, work: impl Future<Output = T>) -> Result<T, BuildError> {
    let cancelled = async {
        while !cancel.is_cancelled() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        value = work => Ok(value),
        () = cancelled => Err(BuildError::Cancelled),
    }
}
