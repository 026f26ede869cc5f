//! Images outside a build: `push`, `pull`, `inspect`, `index create`, `verify`, and what they share.
//!
//! An image is named as everywhere; the store's own names (of builds and pulls) come before registries. `oci-layout://PATH[:TAG]` is
//! an image of a layout on disk, `docker-image://NAME` one of a registry whatever the store has.

mod index;
mod inspect;
mod pull;
mod push;
mod verify;
mod warm;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wbuild_build::{Cancel, Delivery};
use wbuild_oci::{Descriptor, Digest, Reference, media};
use wbuild_registry::Client;
use wbuild_store::{LayoutSource, Pick, Remote as _, Store};

pub(crate) use index::IndexArgs;
pub(crate) use inspect::InspectArgs;
pub(crate) use pull::PullArgs;
pub(crate) use push::PushArgs;
pub(crate) use verify::VerifyArgs;
pub(crate) use warm::WarmArgs;

use crate::build::{ProgressMode, Selector, Source, layout_of};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::registry::RegistryArgs;
use crate::terminal::Paint;
use crate::{interrupt, location, progress, registry};

pub(crate) use index::run as index;
pub(crate) use inspect::run as inspect;
pub(crate) use pull::run as pull;
pub(crate) use push::run as push;
pub(crate) use verify::run as verify;
pub(crate) use warm::run as warm;

/// Flags that every command about images has.
#[derive(Debug, clap::Args)]
pub(crate) struct CommonArgs {
    /// Directory of the store [default: $WBUILD_ROOT, /scratch, $XDG_CACHE_HOME/wbuild, $HOME/.cache/wbuild]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// How progress is shown on standard error: auto, plain, tty, rawjson or quiet
    #[arg(long, value_name = "MODE", default_value = "auto")]
    progress: String,

    /// Show nothing but errors
    #[arg(short, long)]
    quiet: bool,

    /// How registries are reached.
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What a command about images works with.
struct Desk {
    client: Arc<Client>,
    delivery: Delivery,
    mode: ProgressMode,
    paint: Paint,
}

/// An image that was found; its documents are in the store, its layers where `remote` says.
struct Found {
    /// The manifest or index.
    descriptor: Descriptor,
    /// The registry it is in, where it is not the store's.
    remote: Option<Reference>,
}

impl Desk {
    fn open(args: &CommonArgs, environment: &Environment) -> Result<Self, Failure> {
        let mode = crate::build::progress_mode(&args.progress, args.quiet, environment)?;
        Self::with(args.root.as_deref(), mode, &args.registry, environment)
    }

    fn with(
        root: Option<&Path>,
        mode: ProgressMode,
        registries: &RegistryArgs,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let client = Arc::new(registry::client(registries, environment)?);
        let root = location::find(root, environment)?;
        let store = crate::build::open_store(&root)?;
        let cancel = Cancel::default();
        interrupt::watch(cancel.clone())?;
        let paint = Paint::for_stderr(environment);
        // There is no Dockerfile that a warning could point into.
        let source = Source { name: String::new(), text: Vec::new() };
        let progress = progress::sink(mode, paint, source);
        let remote: Arc<Client> = Arc::clone(&client);
        Ok(Self { client, delivery: Delivery { store, remote, progress, cancel }, mode, paint })
    }

    /// The desk that goes with a build's flags.
    fn of_build(args: &crate::build::BuildArgs, environment: &Environment) -> Result<Self, Failure> {
        let mode = crate::build::progress_mode(&args.progress, args.quiet == Some(true), environment)?;
        Self::with(args.root.as_deref(), mode, &args.registry, environment)
    }

    fn store(&self) -> &Store {
        &self.delivery.store
    }

    /// Finds what the user named: in the store, in a layout (which is taken into the store) or in a registry.
    fn find(&self, text: &str) -> Result<Found, Failure> {
        if let Some(layout) = text.strip_prefix("oci-layout://") {
            let (source, pick) = layout_source(text, layout)?;
            let descriptor = wbuild_store::import_whole(self.store(), &source, &pick);
            let descriptor = descriptor.map_err(|error| layout_failure(text, &error))?;
            return Ok(Found { descriptor, remote: None });
        }
        if let Some(name) = text.strip_prefix("docker-image://") {
            return self.ask(parse(name)?);
        }
        if let Ok(digest) = text.parse::<Digest>() {
            return self.by_digest(&digest).map(|descriptor| Found { descriptor, remote: None });
        }
        let reference = parse(text)?;
        match self.named(&reference)? {
            Some(descriptor) => Ok(Found { descriptor, remote: None }),
            None => self.ask(reference),
        }
    }

    /// As [`Desk::find`], but layers of a layout stay there and are read from it: they only pass through.
    fn find_to_send(&self, text: &str) -> Result<Found, Failure> {
        let Some(layout) = text.strip_prefix("oci-layout://") else { return self.find(text) };
        let (source, pick) = layout_source(text, layout)?;
        let descriptor = wbuild_store::import_documents(self.store(), &source, &pick)
            .map_err(|error| layout_failure(text, &error))?;
        self.store().lend(source);
        Ok(Found { descriptor, remote: None })
    }

    /// What the store has under a name, or under the digest in it.
    fn named(&self, reference: &Reference) -> Result<Option<Descriptor>, Failure> {
        if let Some(digest) = reference.digest() {
            return Ok(self.by_digest(digest).ok());
        }
        let store_failed = |error| Failure::from_error(Exit::Host, &error);
        let Some(descriptor) = self.store().named_image(reference).map_err(store_failed)? else {
            return Ok(None);
        };
        // The name of an image whose blobs are gone is no image.
        let there = self.store().has(&descriptor.digest).map_err(store_failed)?;
        Ok(there.then_some(descriptor))
    }

    fn by_digest(&self, digest: &Digest) -> Result<Descriptor, Failure> {
        let bytes = self.store().read(digest, wbuild_oci::MANIFEST_LIMIT);
        let bytes = bytes.map_err(|error| Failure::from_error(Exit::Registry, &error))?;
        let is_index = wbuild_oci::Index::parse(&bytes).is_ok();
        if !is_index {
            wbuild_oci::Manifest::parse(&bytes).map_err(|error| {
                Failure::new(Exit::Usage, format!("{digest} is in the store, but is no image: {error}"))
            })?;
        }
        Ok(Descriptor::of(if is_index { media::INDEX } else { media::MANIFEST }, &bytes))
    }

    fn ask(&self, reference: Reference) -> Result<Found, Failure> {
        let asked = registry::runtime()?.block_on(self.client.document(self.store(), &reference));
        let descriptor =
            asked.map_err(|error| crate::build::remote_failure("cannot get the image", &error))?;
        Ok(Found { descriptor, remote: Some(reference) })
    }

    /// Ends the view of progress, before anything else is printed.
    fn close(self) -> (Store, ProgressMode, Paint) {
        let Self { delivery, mode, paint, .. } = self;
        (delivery.store, mode, paint)
    }
}

/// Opens the layout that `text`, `oci-layout://` and then `layout`, names.
fn layout_source(text: &str, layout: &str) -> Result<(LayoutSource, Pick), Failure> {
    let failed = |error: &dyn std::error::Error| layout_failure(text, error);
    let (path, selector) = layout_of(layout);
    let is_dir = path.metadata().map_err(|error| failed(&error))?.is_dir();
    let source = if is_dir {
        let dir = Dir::open_ambient_dir(&path, ambient_authority()).map_err(|error| failed(&error))?;
        LayoutSource::directory(dir)
    } else {
        let file = std::fs::OpenOptions::new().read(true).open(&path).map_err(|error| failed(&error))?;
        LayoutSource::tar(cap_std::fs::File::from_std(file))
    };
    let source = source.map_err(|error| failed(&error))?;
    let pick = match &selector {
        Selector::Default => Pick::Only,
        Selector::Tag(tag) => Pick::Name(tag.clone()),
        Selector::Digest(digest) => Pick::new(None, Some(digest)).map_err(|error| failed(&error))?,
    };
    Ok((source, pick))
}

fn layout_failure(text: &str, error: &dyn std::error::Error) -> Failure {
    let mut failure = Failure::from_error(Exit::Usage, error);
    failure.message = format!("{text}: {}", failure.message);
    failure
}

/// Reads an image's name.
fn parse(text: &str) -> Result<Reference, Failure> {
    text.parse().map_err(|error: wbuild_oci::ReferenceError| Failure::usage(error.to_string()))
}

/// A failure of something that has no Dockerfile.
fn failure(error: &wbuild_build::BuildError) -> Failure {
    crate::build::failure(error, &Source { name: String::new(), text: Vec::new() })
}

/// A line for the user on standard error, unless it is to be quiet.
fn say(mode: ProgressMode, line: &str) {
    use std::io::Write as _;
    if mode != ProgressMode::Quiet {
        drop(writeln!(std::io::stderr().lock(), "{line}"));
    }
}
