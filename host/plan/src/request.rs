//! What a build was asked to do, and what is known of the images it needs.

use std::collections::BTreeMap;

use wbuild_dockerfile::IgnoreFile;
use wbuild_oci::{ImageConfig, Platform};

use crate::mount::RunNetwork;
use crate::step::ImageRequest;

/// The arguments of a build that change its plan.
#[derive(Clone, Debug)]
pub struct Request {
    /// `--build-arg NAME=value`; a name without value is given only where the environment had one.
    pub build_args: BTreeMap<String, String>,
    /// `--target`: a stage by name or number; `None` is the last one.
    pub target: Option<String>,
    /// `--platform`: what the image is for.
    pub platform: Platform,
    /// Where the build runs.
    pub build_platform: Platform,
    /// `--build-context NAME=..`, by name. A name here wins over a stage and over a registry.
    pub contexts: BTreeMap<String, ContextKind>,
    /// `--label`: set on the target's configuration after its last step.
    pub labels: BTreeMap<String, String>,
    /// What times are held to, and what SOURCE_DATE_EPOCH steps see.
    pub epoch: EpochRule,
    /// What is hidden in the build context, for the lint rule about it.
    pub ignore: IgnoreFile,
    /// Which stages are planned.
    pub stages: Stages,
    /// `--network`: of each RUN that does not name one.
    pub network: RunNetwork,
}

/// Which stages are planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stages {
    /// Those that the target needs.
    #[default]
    Needed,
    /// All of them: to check a file without a target.
    All,
}

/// What a named build context is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextKind {
    /// A directory, usable by `COPY --from`.
    Directory,
    /// An image, usable by FROM and `COPY --from`.
    Image,
}

/// The build's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochRule {
    /// SOURCE_DATE_EPOCH from the build's environment, in seconds; a build argument of that name wins.
    Fixed(i64),
    /// The base image's `created`, else 0.
    FromBase,
    /// `--timestamp now`: steps see no SOURCE_DATE_EPOCH unless it is a build argument.
    Off,
}

/// The configurations of the images resolved so far.
pub type Images = BTreeMap<ImageRequest, ImageConfig>;
