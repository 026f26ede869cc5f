//! `wbuild push`: an image of the store, a layout or a registry to registries.

use wbuild_build::{MediaTypes, Output};

use super::{CommonArgs, Desk, failure, parse, say};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::registry;

/// Push an image to registries
///
/// IMAGE is a name that `wbuild build -t` or `wbuild pull` left in the store, `oci-layout://PATH[:TAG]`, or
/// `docker-image://NAME` for an image of a registry. Without DEST it goes where its name says. An index goes with every image
/// of it. A blob that a registry has is not sent, and one it can take from another of its repositories neither.
#[derive(Debug, clap::Args)]
pub(crate) struct PushArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Where to [default: IMAGE's own name]
    #[arg(value_name = "DEST")]
    to: Vec<String>,

    /// Under Docker's schema 2 media types in place of OCI's
    #[arg(long)]
    docker_media_types: bool,

    /// What every command about images has.
    #[command(flatten)]
    common: CommonArgs,
}

/// Pushes an image.
///
/// # Errors
/// The failure with its exit code.
pub(crate) fn run(args: &PushArgs, environment: &Environment) -> Result<(), Failure> {
    let mut names = args.to.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    let desk = Desk::open(&args.common, environment)?;
    let found = if names.is_empty() {
        let reference = parse(&args.image)
            .map_err(|failure| failure.hint("name where it goes after an image that is not the store's"))?;
        let descriptor = desk.named(&reference)?.ok_or_else(|| {
            Failure::usage(format!("the store has no image {}", reference.familiar()))
                .hint("`wbuild build -t NAME` and `wbuild pull NAME` leave images there")
        })?;
        names.push(reference);
        descriptor
    } else {
        let found = desk.find_to_send(&args.image)?;
        if let Some(remote) = &found.remote {
            super::pull::everything(&desk, remote, &found.descriptor)?;
        }
        found.descriptor
    };
    registry::log_in(&desk.client, &names)?;
    let media_types = if args.docker_media_types { MediaTypes::Docker } else { MediaTypes::Oci };
    let outputs = [Output::Registry { names, media_types }];
    let pushed = desk.delivery.deliver(&found, &[], &outputs).map_err(|error| failure(&error))?;
    let (_, mode, _) = desk.close();
    for one in pushed {
        say(mode, &format!("pushed {}@{}", one.reference, one.digest));
    }
    Ok(())
}
