//! What a build does, as data: stages of steps.
//!
//! Everything is expanded: no `$` is left to replace, every path in a tree is absolute and clean, every stage that is named
//! exists and stands earlier. A plan holds no state of its run; ownership names (`--chown=app`) stay names, because
//! only the tree that a step finds can resolve them.

use serde::{Deserialize, Serialize};
use wbuild_dockerfile::Span;
use wbuild_oci::{Digest, Execution, GitSource, Platform};

use crate::chmod::Chmod;
use crate::lint::Finding;
use crate::mount::{Presence, RunMount, RunNetwork};

/// What BuildKit writes as the comment of each history entry.
pub const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// A whole build: the stages the target needs, each after those it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Stages in the order of the Dockerfile; only those that the target needs. The target is the last.
    pub stages: Vec<Stage>,
    /// `BUILDKIT_SANDBOX_HOSTNAME`: what steps see as the host's name; `None` leaves it to the builder.
    pub hostname: Option<String>,
    /// What the user should hear of, in the order of the Dockerfile.
    pub warnings: Vec<Warning>,
    /// What the lint rules found, by place.
    pub findings: Vec<Finding>,
}

/// Names a stage of a [`Plan`]: an index into [`Plan::stages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StageId(pub usize);

/// One stage: a tree that starts from its base and is changed by its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Where it stands in [`Plan::stages`].
    pub id: StageId,
    /// `AS name`, or its number in the Dockerfile (`stage-2`), for display.
    pub name: String,
    /// The FROM line.
    pub span: Span,
    /// For display: `[build 1/7] FROM docker.io/library/debian:12`; only where the base is an image.
    pub title: Option<String>,
    /// What the first step finds.
    pub base: Base,
    /// The platform its steps run on and its image is for.
    pub platform: Platform,
    /// Stages whose result it needs: its base and the sources of its copies; sorted, without itself.
    pub needs: Vec<StageId>,
    /// In order.
    pub steps: Vec<Step>,
    /// The image's configuration after the last step; equals the base's where there is no step.
    pub config: Execution,
    /// MAINTAINER: the `author` of the image configuration.
    pub author: Option<String>,
    /// Seconds since 1970 that times in this stage are held to; `None` with [`crate::EpochRule::Off`].
    pub epoch: Option<i64>,
}

/// What a stage starts from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    /// `FROM scratch`: an empty tree.
    Scratch,
    /// An image that was asked for through `sources`.
    Image(ImageRequest),
    /// An earlier stage.
    Stage(StageId),
}

/// An image a build needs, before any registry was asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRequest {
    /// A whole reference (`docker.io/library/debian:12`), or the name of a `--build-context` that stands for an image.
    pub name: String,
    /// Whether `name` is a reference or the name of a build context.
    pub origin: ImageOrigin,
    /// The platform to choose from an index.
    pub platform: Platform,
}

/// An image a build needs and does not know yet, with the place that asks for it first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The image.
    pub image: ImageRequest,
    /// The FROM line or the `--from` flag.
    pub span: Span,
}

/// Where an image is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageOrigin {
    /// A registry, by reference.
    Registry,
    /// `--build-context NAME=docker-image://..` or `oci-layout://..`.
    Context,
}

/// One instruction that this build carries out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it stands in the Dockerfile; for an ONBUILD trigger, the FROM line that fired it.
    pub span: Span,
    /// For display: `[build 3/7] RUN make`; build arguments are expanded, so it may hold what somebody gave as one.
    pub name: String,
    /// For records that are kept: as `name`, with variables as the Dockerfile has them.
    pub written: String,
    /// What is done to the tree.
    pub action: Action,
    /// What the image's history says of it; `None` for ONBUILD, which leaves no entry.
    pub history: Option<History>,
}

/// One entry of an image's history; its comment is [`HISTORY_COMMENT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// In BuildKit's form: `RUN /bin/sh -c make # buildkit`.
    pub created_by: String,
    /// Whether a layer stands for this entry.
    pub layer: LayerKind,
}

/// Whether a history entry has a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerKind {
    /// There is a layer, even where nothing changed.
    Layer,
    /// `empty_layer`: only the configuration changed.
    Empty,
}

/// What a step does to the stage's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: it changes only the configuration.
    Config,
    /// Run a process in the tree.
    Run(Run),
    /// Copy files into the tree.
    Copy(Copy),
    /// Make a directory with its parents, mode 0755, where nothing is there yet.
    Workdir(Workdir),
}

/// WORKDIR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workdir {
    /// Absolute and clean; never `/`.
    pub path: String,
    /// `user[:group]` that owns what is made; empty for root.
    pub owner: String,
}

/// RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Program and arguments; the shell is in it. The program is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// `NAME=value`: the configuration's Env, then the ARGs in scope, proxy arguments and SOURCE_DATE_EPOCH; no name twice.
    pub env: Vec<String>,
    /// Absolute; it exists where a WORKDIR of this Dockerfile made it. The builder makes it where it is missing.
    pub cwd: String,
    /// `user[:group]` of the configuration, names or numbers; empty for root.
    pub user: String,
    /// Files the step sees read-only in [`Run::FILES_DIR`] while it runs (a heredoc that starts with `#!`).
    pub files: Vec<RunFile>,
    /// `--mount`, in order: a later one can lie in an earlier one.
    pub mounts: Vec<RunMount>,
    /// `--network`
    pub network: RunNetwork,
}

impl Run {
    /// Where [`Run::files`] appear; the directory enters no layer.
    pub const FILES_DIR: &str = "/dev/pipes";
}

/// A file made for one RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFile {
    /// Its name in [`Run::FILES_DIR`]; one path component.
    pub name: String,
    /// Its content; mode 0755.
    pub content: String,
}

/// COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Which of the two.
    pub kind: CopyKind,
    /// Where [`CopySource::Path`] is looked up.
    pub from: CopyFrom,
    /// In order.
    pub sources: Vec<CopySource>,
    /// Where it goes.
    pub dest: CopyDest,
    /// `user[:group]`, names or numbers, resolved in the stage's tree; `None`: 0:0.
    pub chown: Option<String>,
    /// Changes the mode of everything that is copied; `None` keeps the source's.
    pub chmod: Option<Chmod>,
    /// `--exclude`: patterns of an ignore file, in order; paths are those beneath what a source names.
    pub exclude: Vec<String>,
    /// `--link`
    pub link: Link,
}

/// Whether a COPY makes its layer without the tree below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// It copies into the stage's tree: links there are followed, directories that are there stay as they are.
    Tree,
    /// `--link`: it copies into an empty tree, and that tree's layer is laid over the stage's.
    Layer,
}

/// Which instruction a [`Copy`] came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopyKind {
    /// COPY, and ADD with `--unpack=false`: everything as it is.
    Copy,
    /// ADD: a regular file that is a tar, plain or compressed, is unpacked at the destination as a directory.
    Add,
}

/// Where a COPY takes its files from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CopyFrom {
    /// The build context, with `.dockerignore` applied.
    Context,
    /// `--build-context NAME=dir`: another directory.
    Named(String),
    /// The tree of an earlier stage.
    Stage(StageId),
    /// The tree of an image that was asked for through `sources`.
    Image(ImageRequest),
}

/// One source of a COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// A path or glob below the root of [`Copy::from`].
    ///
    /// Clean, with a leading `/` (the root is `/`); `..` cannot leave it. It may hold `wbuild_dockerfile::glob` wildcards. Symlinks in
    /// directories of the path are followed below that root; a directory stands for its content. A glob without a match copies
    /// nothing; a path without wildcards must exist.
    Path {
        /// The pattern.
        pattern: String,
        /// As written, for messages.
        written: String,
        /// `--parents`: what is copied of the directory that the pattern names, with its directories.
        include: Option<Include>,
    },
    /// ADD of a URL: a file with mode 0600, owned by root, whose time is the server's Last-Modified.
    Url(UrlSource),
    /// ADD of a git repository: the files of a commit as a directory; its transport can be reached, and it holds no login.
    Git(Box<GitSource>),
    /// A file whose content stands in the Dockerfile (heredoc); mode 0644.
    Inline {
        /// Its name where the destination is a directory.
        name: String,
        /// Its content.
        content: String,
    },
}

/// A file from a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlSource {
    /// `https://`, or `http://` on loopback.
    pub url: String,
    /// Its name where the destination is a directory: the last part of the URL's path.
    pub name: String,
    /// `--checksum`: what the content has to be.
    pub checksum: Option<Digest>,
    /// `--unpack`: what happens to it if it is an archive.
    pub archive: Archive,
}

/// What happens to an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Archive {
    /// It is copied like any file.
    Keep,
    /// It is unpacked.
    Unpack,
}

/// What `--parents` copies of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    /// A pattern of an ignore file, relative to the directory; empty for all of it.
    pub pattern: String,
    /// Whether it may name nothing: only where wildcards stand in it.
    pub presence: Presence,
}

/// The destination of a COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyDest {
    /// Absolute and clean, without a trailing slash except for `/`.
    pub path: String,
    /// Whether the Dockerfile says it is a directory.
    pub shape: DestShape,
}

/// Whether a destination must be a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DestShape {
    /// It ends in `/` (or is `.`-like): files go into it.
    Directory,
    /// A single file becomes this name unless a directory stands there.
    AsIs,
}

/// What the user should hear of though the build goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where; `None` where no line is meant.
    pub span: Option<Span>,
    /// A sentence fragment.
    pub message: String,
}
