//! `wbuild pull`: an image of a registry into the store, and from there to outputs.

use wbuild_oci::{Descriptor, Index, MANIFEST_LIMIT, Platform, Reference, media};

use super::{CommonArgs, Desk, failure, parse, say};
use crate::build::{Destinations, outputs};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;

/// Pull an image into the store
///
/// Of an index the image for --platform. With -o it is also written there, as `wbuild build -o` writes what it has built.
#[derive(Debug, clap::Args)]
pub(crate) struct PullArgs {
    /// The image's name
    #[arg(value_name = "NAME")]
    name: String,

    /// Platform of the image, `os/arch[/variant]` [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,

    /// Where the image goes besides the store, as for `wbuild build`; repeatable
    #[arg(short, long = "output", value_name = "type=..,dest=..")]
    outputs: Vec<String>,

    /// What every command about images has.
    #[command(flatten)]
    common: CommonArgs,
}

/// Pulls an image.
///
/// # Errors
/// The failure with its exit code.
pub(crate) fn run(args: &PullArgs, environment: &Environment) -> Result<(), Failure> {
    let reference = parse(&args.name)?;
    let platform = platform(args.platform.as_deref())?;
    let outputs = outputs(&args.outputs, Destinations::Files, environment)?;
    let desk = Desk::open(&args.common, environment)?;
    let image = desk.delivery.pull(&reference, &platform).map_err(|error| failure(&error))?;
    if reference.tag().is_some() {
        let named = desk.store().name_image(&reference, &image.descriptor);
        named.map_err(|error| Failure::from_error(Exit::Host, &error))?;
    }
    let tags = if reference.tag().is_some() { std::slice::from_ref(&reference) } else { &[] };
    desk.delivery.deliver(&image.descriptor, tags, &outputs).map_err(|error| failure(&error))?;
    let (_, mode, _) = desk.close();
    say(mode, &format!("pulled {}@{}", reference.name(), image.descriptor.digest));
    Ok(())
}

/// `--platform`, or this machine's.
pub(super) fn platform(text: Option<&str>) -> Result<Platform, Failure> {
    match text {
        None => Ok(Platform::host()),
        Some(text) => text.parse().map_err(|error| Failure::usage(format!("--platform {text}: {error}"))),
    }
}

/// Brings every image of what a registry has into the store.
pub(super) fn everything(desk: &Desk, reference: &Reference, found: &Descriptor) -> Result<(), Failure> {
    for (digest, platform) in images_of(desk, found)? {
        let one = reference.clone().with_digest(digest);
        desk.delivery.pull(&one, &platform).map_err(|error| failure(&error))?;
    }
    Ok(())
}

/// The images of a manifest or index, with the platforms to ask for them by.
fn images_of(desk: &Desk, found: &Descriptor) -> Result<Vec<(wbuild_oci::Digest, Platform)>, Failure> {
    let bytes = desk.store().read(&found.digest, MANIFEST_LIMIT);
    let bytes = bytes.map_err(|error| Failure::from_error(Exit::Host, &error))?;
    if found.kind() != media::Kind::Index {
        return Ok(vec![(found.digest, super::index::platform_of_manifest(desk, found)?)]);
    }
    let index = Index::parse(&bytes).map_err(|error| Failure::from_error(Exit::Registry, &error))?;
    index
        .manifests
        .iter()
        .map(|entry| {
            let platform = entry.platform.clone().ok_or_else(|| {
                Failure::new(
                    Exit::Registry,
                    format!("{} of the index {} has no platform", entry.digest, found.digest),
                )
            })?;
            Ok((entry.digest, platform))
        })
        .collect()
}
