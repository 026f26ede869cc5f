//! `wbuild index create`: a multi-platform index of single images.

use std::collections::BTreeMap;

use wbuild_oci::{
    CONFIG_LIMIT, Descriptor, ImageConfig, Index, MANIFEST_LIMIT, Manifest, Platform, Reference, media,
};
use wbuild_store::Remote as _;

use super::{CommonArgs, Desk, Found, failure, parse, say};
use crate::build::{Destinations, outputs};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::registry;

/// Work with indexes (multi-platform images)
#[derive(Debug, clap::Args)]
pub(crate) struct IndexArgs {
    #[command(subcommand)]
    command: IndexCommand,
}

#[derive(Debug, clap::Subcommand)]
enum IndexCommand {
    Create(CreateArgs),
}

/// Make an index of images, one for each platform
///
/// Each IMAGE is a name of the store or of a registry, `oci-layout://PATH[:TAG]` or `docker-image://NAME`; an index gives all its
/// images. The index stays in the store under NAME; --push pushes it with every image, and layers that the registry has are
/// mounted, not sent.
#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Name of the index
    #[arg(value_name = "NAME")]
    name: String,

    /// The images, in the order of the index
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,

    /// Push the index under NAME
    #[arg(long)]
    push: bool,

    /// Where the index goes, `type=oci,dest=FILE` or `type=oci,tar=false,dest=DIR`; repeatable
    #[arg(short, long = "output", value_name = "type=..,dest=..")]
    outputs: Vec<String>,

    /// An annotation of the index; repeatable
    #[arg(long = "annotation", value_name = "NAME=VALUE")]
    annotations: Vec<String>,

    /// What every command about images has.
    #[command(flatten)]
    common: CommonArgs,
}

/// Runs a subcommand of `index`.
///
/// # Errors
/// The failure with its exit code.
pub(crate) fn run(args: &IndexArgs, environment: &Environment) -> Result<(), Failure> {
    match &args.command {
        IndexCommand::Create(args) => create(args, environment),
    }
}

fn create(args: &CreateArgs, environment: &Environment) -> Result<(), Failure> {
    let name = parse(&args.name)?;
    if name.digest().is_some() {
        return Err(Failure::usage(format!("{}: a name to write to cannot have a digest", args.name)));
    }
    let annotations = annotations(&args.annotations)?;
    let mut outputs = outputs(&args.outputs, Destinations::Layouts, environment)?;
    let desk = Desk::open(&args.common, environment)?;
    if args.push {
        registry::log_in(&desk.client, std::slice::from_ref(&name))?;
    }
    let mut entries: Vec<Descriptor> = Vec::new();
    for text in &args.images {
        let found = desk.find(text)?;
        for entry in images(&desk, &found)? {
            let platform = entry.platform.clone().unwrap_or_default();
            if entries.iter().any(|other| other.platform.as_ref() == Some(&platform)) {
                return Err(Failure::usage(format!("{text}: the index has an image for {platform} already")));
            }
            // What is only pushed is mounted, or fetched when the registry wants it.
            if let Some(remote) = found.remote.as_ref().filter(|_| !outputs.is_empty() || !args.push) {
                let one = remote.clone().with_digest(entry.digest);
                desk.delivery.pull(&one, &platform).map_err(|error| failure(&error))?;
            }
            entries.push(entry);
        }
    }
    let mut index = Index::new(entries);
    index.annotations = annotations;
    let failed = |error| Failure::from_error(Exit::Host, &error);
    let descriptor = desk.store().ingest_bytes(media::INDEX, &index.to_bytes()).map_err(failed)?;
    desk.store().name_image(&name, &descriptor).map_err(failed)?;
    if args.push {
        let names = vec![name.clone()];
        outputs.push(wbuild_build::Output::Registry { names, media_types: wbuild_build::MediaTypes::Oci });
    }
    // The registry's output names the index by itself.
    let tags: &[Reference] = if args.push && outputs.len() == 1 { &[] } else { std::slice::from_ref(&name) };
    let pushed = desk.delivery.deliver(&descriptor, tags, &outputs).map_err(|error| failure(&error))?;
    let (_, mode, _) = desk.close();
    for one in pushed {
        say(mode, &format!("pushed {}@{}", one.reference, one.digest));
    }
    say(
        mode,
        &format!("created {} {} with {} images", name.familiar(), descriptor.digest, index.manifests.len()),
    );
    Ok(())
}

fn annotations(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let one = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok((key.strip_prefix("index:").unwrap_or(key).to_owned(), value.to_owned()))
        }
        _ => Err(Failure::usage(format!("--annotation {text:?} is not of the form NAME=VALUE"))),
    };
    given.iter().map(one).collect()
}

/// The images of what was found as entries of an index. Attestations, which are for no platform, are left out.
fn images(desk: &Desk, found: &Found) -> Result<Vec<Descriptor>, Failure> {
    if found.descriptor.kind() != media::Kind::Index {
        return Ok(vec![entry(desk, found, &found.descriptor)?]);
    }
    let bytes = desk.store().read(&found.descriptor.digest, MANIFEST_LIMIT);
    let bytes = bytes.map_err(|error| Failure::from_error(Exit::Host, &error))?;
    let index = Index::parse(&bytes).map_err(|error| Failure::from_error(Exit::Registry, &error))?;
    let attestation =
        |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
    index.manifests.iter().filter(|entry| !attestation(entry)).map(|one| entry(desk, found, one)).collect()
}

/// An image as an index lists it: by its config's platform, which brings manifest and config into the store.
fn entry(desk: &Desk, found: &Found, descriptor: &Descriptor) -> Result<Descriptor, Failure> {
    let mut entry = Descriptor::new(descriptor.media_type.clone(), descriptor.digest, descriptor.size);
    if let Some(remote) = &found.remote {
        let one = remote.clone().with_digest(descriptor.digest);
        let manifest = registry::runtime()?.block_on(async {
            // Asked for by what it says itself: a config is for one platform.
            let platform = match &descriptor.platform {
                Some(platform) => platform.clone(),
                None => Platform::host(),
            };
            desk.client.resolve(desk.store(), &one, &platform).await
        });
        let image = manifest.map_err(|error| crate::build::remote_failure("cannot get the image", &error))?;
        entry.media_type.clone_from(&image.descriptor.media_type);
        entry.platform = Some(image.config.platform());
        return Ok(entry);
    }
    entry.platform = Some(platform_of_manifest(desk, descriptor)?);
    Ok(entry)
}

/// The platform by the config of a manifest; the config is fetched with the manifest's layers only where it must be.
pub(super) fn platform_of_manifest(desk: &Desk, descriptor: &Descriptor) -> Result<Platform, Failure> {
    let read = |digest, limit| {
        desk.store().read(digest, limit).map_err(|error| Failure::from_error(Exit::Host, &error))
    };
    let manifest = Manifest::parse(&read(&descriptor.digest, MANIFEST_LIMIT)?)
        .map_err(|error| Failure::from_error(Exit::Registry, &error))?;
    if !desk.store().has(&manifest.config.digest).map_err(|error| Failure::from_error(Exit::Host, &error))? {
        return Ok(descriptor.platform.clone().unwrap_or_else(Platform::host));
    }
    let config = ImageConfig::parse(&read(&manifest.config.digest, CONFIG_LIMIT)?)
        .map_err(|error| Failure::from_error(Exit::Registry, &error))?;
    Ok(config.platform())
}
