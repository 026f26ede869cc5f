//! `wbuild warm`: images into the store, before builds need them.

use wbuild_oci::Reference;

use super::{CommonArgs, Desk, failure, parse, say};
use crate::environment::Environment;
use crate::failure::Failure;

/// Fill the store with images that builds will start from
///
/// Brings each image with all its layers into the store, so that builds find them there; what is there already is not fetched again. The names are not
/// kept: `wbuild cache prune` removes what no build has used.
#[derive(Debug, clap::Args)]
pub(crate) struct WarmArgs {
    /// The images' names
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,

    /// Platform of the images, `os/arch[/variant]` [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,

    /// What every command about images has.
    #[command(flatten)]
    common: CommonArgs,
}

/// Brings them.
///
/// # Errors
/// The first failure with its exit code; images before it are in the store.
pub(crate) fn run(args: &WarmArgs, environment: &Environment) -> Result<(), Failure> {
    let images: Vec<Reference> = args.images.iter().map(|name| parse(name)).collect::<Result<_, _>>()?;
    let platform = super::pull::platform(args.platform.as_deref())?;
    let desk = Desk::open(&args.common, environment)?;
    let mut told = Vec::new();
    for reference in &images {
        let image = desk.delivery.pull(reference, &platform).map_err(|error| failure(&error))?;
        told.push(format!("{}@{}", reference.name(), image.descriptor.digest));
    }
    let (_, mode, _) = desk.close();
    told.iter().for_each(|name| say(mode, &format!("the store has {name}")));
    Ok(())
}
