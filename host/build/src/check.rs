//! `--check` and `--call`: what can be said of a Dockerfile without building it.
//!
//! Images are resolved as for a build, because a rule may need what a base sets; no layer is fetched and nothing runs.

use std::sync::Arc;

use wbuild_plan::{DockerfileError, Finding, Images, Outline, Stages, Target};

use crate::error::BuildError;
use crate::execute::plan_request;
use crate::images::ImageSet;
use crate::progress::Reporter;
use crate::request::{BuildRequest, Wiring};

/// What the lint rules say.
#[derive(Debug)]
pub struct Checked {
    /// What they found, by place.
    pub findings: Vec<Finding>,
    /// Why a build of this file would not begin.
    pub failure: Option<DockerfileError>,
}

/// Checks a Dockerfile: all of its stages, or those the target needs.
///
/// # Errors
/// A file that cannot be parsed, and images that cannot be resolved.
pub fn check(request: &BuildRequest, wiring: &Wiring) -> Result<Checked, BuildError> {
    let reporter = Reporter::new(Arc::clone(&wiring.progress));
    let file = wbuild_dockerfile::parse(&request.dockerfile)?;
    let mut asked = plan_request(request);
    if asked.target.is_none() {
        asked.stages = Stages::All;
    }
    let (images, failure) =
        resolve(request, wiring, &reporter, |images| wbuild_plan::sources(&file, &asked, images))?;
    let (findings, later) = wbuild_plan::check(&file, &asked, &images)?;
    Ok(Checked { findings, failure: failure.or(later) })
}

/// The arguments, secrets and the like that the target takes.
///
/// # Errors
/// What [`check`] refuses, and what is wrong with the stages that the target needs.
pub fn outline(request: &BuildRequest, wiring: &Wiring) -> Result<Outline, BuildError> {
    let reporter = Reporter::new(Arc::clone(&wiring.progress));
    let file = wbuild_dockerfile::parse(&request.dockerfile)?;
    let asked = plan_request(request);
    let (images, failure) =
        resolve(request, wiring, &reporter, |images| wbuild_plan::sources(&file, &asked, images))?;
    match failure {
        Some(failure) => Err(failure.into()),
        None => Ok(wbuild_plan::outline(&file, &asked, &images)?),
    }
}

/// The stages of the file.
///
/// # Errors
/// A file that cannot be parsed.
pub fn targets(request: &BuildRequest) -> Result<Vec<Target>, BuildError> {
    Ok(wbuild_plan::targets(&wbuild_dockerfile::parse(&request.dockerfile)?))
}

/// The configurations of the images that `sources` asks for, as far as it comes.
fn resolve(
    request: &BuildRequest,
    wiring: &Wiring,
    reporter: &Reporter,
    sources: impl Fn(&Images) -> Result<Vec<wbuild_plan::Wanted>, DockerfileError>,
) -> Result<(Images, Option<DockerfileError>), BuildError> {
    let remote = Arc::clone(&wiring.remote);
    let mut images =
        ImageSet::new(&wiring.store, remote, &request.contexts, reporter, &wiring.cancel, &request.policy);
    loop {
        match sources(&images.configs()) {
            Ok(wanted) if wanted.is_empty() => return Ok((images.configs(), None)),
            Ok(wanted) => images.resolve(wanted)?,
            Err(error) => return Ok((images.configs(), Some(error))),
        }
    }
}
