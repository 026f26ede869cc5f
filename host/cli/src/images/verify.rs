//! `wbuild verify`: an image rebuilt, and what differs.

use std::io::Write as _;

use wbuild_build::{Difference, Place, compare};
use wbuild_oci::Platform;

use super::{Desk, Found, failure, say};
use crate::build::{self, BuildArgs};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::stdout_failure;
use crate::terminal::Style;

/// How many differences are printed; the rest is counted.
const MOST: usize = 200;

const HELP: &str = "\
Exit codes are those of `wbuild build`; 1 also says that the image differs. Give the flags that the image was built
with: --build-arg, --target, --platform, --timestamp, --compression and the like.

Example:
    wbuild verify registry.example/team/app:1.4 --file Dockerfile .";

/// Rebuild an image and say what differs
///
/// IMAGE is a name of a registry, or of the store, `oci-layout://PATH[:TAG]` or `docker-image://NAME`. Every step runs, whatever the
/// cache knows. Differences are printed to standard output, one a line: the layer, the path, the field, what IMAGE has and what the
/// build gave.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct VerifyArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,

    /// How it is built.
    #[command(flatten)]
    build: BuildArgs,
}

/// Verifies an image.
///
/// # Errors
/// Exit 1 where it differs; else the failure with its exit code.
pub(crate) fn run(args: &VerifyArgs, environment: &Environment) -> Result<(), Failure> {
    args.build.nothing_goes_out()?;
    let desk = Desk::of_build(&args.build, environment)?;
    let found = desk.find(&args.image)?;
    let platform = super::pull::platform(args.build.platform.as_deref())?;
    let descriptor = image(&desk, &found, &platform)?;
    let (store, mode, paint) = desk.close();
    let built = build::rebuild(&args.build, environment)?;
    let differences = compare(&store, &descriptor, &built.manifest).map_err(|error| failure(&error))?;
    if differences.is_empty() {
        let verified = paint.of(Style::Good, "verified");
        say(
            mode,
            &format!("{verified} {} {}: the build gives the same image", args.image, descriptor.digest),
        );
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    for difference in differences.iter().take(MOST) {
        writeln!(out, "{}", line(difference)).map_err(stdout_failure)?;
    }
    if let Some(more) = differences.len().checked_sub(MOST).filter(|more| *more > 0) {
        writeln!(out, "and {more} more").map_err(stdout_failure)?;
    }
    Err(Failure::new(
        Exit::Step,
        format!("{} is not what the build gives: {} differences", args.image, differences.len()),
    ))
}

/// The manifest of the image to verify, with all its layers in the store.
fn image(desk: &Desk, found: &Found, platform: &Platform) -> Result<wbuild_oci::Descriptor, Failure> {
    match &found.remote {
        Some(remote) => {
            let image = desk.delivery.pull(remote, platform).map_err(|error| failure(&error))?;
            Ok(image.descriptor)
        }
        None => Ok(super::inspect::of_platform(desk, found, platform)?.descriptor),
    }
}

fn line(difference: &Difference) -> String {
    let place = match &difference.place {
        Place::Manifest => "manifest".to_owned(),
        Place::Config => "config".to_owned(),
        Place::Layer(number, None) => format!("layer {number}"),
        Place::Layer(number, Some(path)) => format!("layer {number}: {path}"),
    };
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    format!(
        "{place}: {}: {} in the image, {} rebuilt",
        difference.field,
        shown(&difference.one),
        shown(&difference.other)
    )
}
