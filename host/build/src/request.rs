//! What a build is asked to do and what it works with, as objects that `cli` made.
//!
//! No path is opened here: directories come as capabilities, text as bytes, engines and registries as traits.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use cap_std::fs::Dir;
use wbuild_dockerfile::IgnoreFile;
use wbuild_layer::Packing;
use wbuild_monitor::{Cancel, Engine, JournalCheck, Limit, SecretBytes};
use wbuild_oci::{Descriptor, Digest, Platform, Reference};
use wbuild_plan::RunNetwork;
use wbuild_policy::Ruleset;
use wbuild_ssh::Agent;
use wbuild_store::{LayoutSource, Pick, Pushed, Remote, Store};

use crate::attest::Attest;
use crate::cache::{CacheExport, CacheRules, CacheSource, NoCache};
use crate::evidence::Auditing;
use crate::progress::Progress;

/// One build.
pub struct BuildRequest {
    /// The Dockerfile's text.
    pub dockerfile: Vec<u8>,
    /// Its name, for progress.
    pub dockerfile_name: String,
    /// `--build-arg`, expanded against the environment.
    pub build_args: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// What the image is for; `None` is the build's own platform.
    pub platform: Option<Platform>,
    /// Where the build runs.
    pub build_platform: Platform,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// What times are held to.
    pub epoch: EpochRule,
    /// The build context.
    pub context: ContextDir,
    /// Named contexts.
    pub contexts: BTreeMap<String, NamedContext>,
    /// The image's names.
    pub tags: Vec<Reference>,
    /// Where the image goes.
    pub outputs: Vec<Output>,
    /// How new layers are compressed. Layers of base images stay as they are.
    pub packing: Packing,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// The host's resolv.conf, for the steps; empty where there is none.
    pub resolv_conf: Vec<u8>,
    /// The host name of the steps.
    pub hostname: String,
    /// `--secret`, by id: in memory only.
    pub secrets: BTreeMap<String, SecretBytes>,
    /// `--ssh`, by id.
    pub agents: BTreeMap<String, Arc<Agent>>,
    /// `--network`: of each RUN that does not name one.
    pub network: RunNetwork,
    /// `--add-host`: names with their addresses, in order.
    pub extra_hosts: Vec<(String, String)>,
    /// `--ulimit`
    pub limits: Vec<Limit>,
    /// `--shm-size`: the most that /dev/shm may hold, in bytes.
    pub shm_size: Option<u64>,
    /// Hold the journal of each step against full walks.
    pub journal_check: JournalCheck,
    /// Which steps run though the cache knows them.
    pub no_cache: NoCache,
    /// How far the cache is trusted.
    pub cache_rules: CacheRules,
    /// The git commits that contexts are made of.
    pub materials: Vec<GitMaterial>,
    /// Shared caches to read.
    pub cache_from: Vec<CacheSource>,
    /// Shared caches to write.
    pub cache_to: Vec<CacheExport>,
    /// What the build and its steps may do.
    pub policy: Arc<Ruleset>,
    /// What is recorded of the steps, and who gets it.
    pub auditing: Auditing,
    /// What is attested of the image.
    pub attest: Attest,
}

/// A git commit that went into a build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitMaterial {
    /// The repository without login, with what was asked for: `URL#REF:SUBDIR`.
    pub source: String,
    /// The commit's id in full.
    pub commit: String,
}

/// What times are held to.
pub use wbuild_plan::EpochRule;

/// A directory that COPY reads from.
pub struct ContextDir {
    /// The directory.
    pub dir: Dir,
    /// What is hidden in it.
    pub ignore: IgnoreFile,
}

/// A `--build-context`.
pub enum NamedContext {
    /// A directory.
    Directory(ContextDir),
    /// An image of a layout.
    Layout {
        /// The layout.
        source: LayoutSource,
        /// Which of its images.
        pick: Pick,
        /// Where it is, for messages.
        path: PathBuf,
    },
    /// An image of a registry.
    Image(Reference),
}

/// One place the image goes to.
pub enum Output {
    /// An OCI layout directory.
    Layout {
        /// The directory.
        dir: Dir,
        /// Where it is, for messages.
        path: PathBuf,
    },
    /// An archive in a file, which appears when it is complete.
    Archive {
        /// What it holds.
        form: Archive,
        /// The file's directory.
        dir: Dir,
        /// Its name there.
        name: OsString,
        /// Where it is, for messages.
        path: PathBuf,
    },
    /// An archive to a stream.
    Stream {
        /// What it holds.
        form: Archive,
        /// The stream.
        stream: Mutex<Box<dyn Write + Send>>,
        /// What it is, for messages: `standard output`.
        what: String,
    },
    /// The root filesystem in a directory, which is filled in place.
    Directory {
        /// The directory.
        dir: Dir,
        /// Where it is, for messages.
        path: PathBuf,
    },
    /// Registries.
    Registry {
        /// Under these names besides the image's own.
        names: Vec<Reference>,
        /// Under which media types.
        media_types: MediaTypes,
    },
}

/// What an archive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    /// An OCI layout.
    Oci,
    /// What `docker load` takes.
    Docker,
    /// The root filesystem.
    Rootfs,
}

/// Whose media types a manifest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaTypes {
    /// The OCI image-spec's.
    Oci,
    /// Docker's schema 2.
    Docker,
}

/// Which builds share the files of trees that layers are unpacked to; what is shared is copied before it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeSharing {
    /// The stages of one build: for Dockerfiles that are not trusted.
    WithinBuild,
    /// All builds with this store: what one unpacked, the next finds.
    BetweenBuilds,
}

/// What a build works with.
#[derive(Clone)]
pub struct Wiring {
    /// Where blobs, trees and scratch directories are.
    pub store: Store,
    /// The store's directory on the host: engines get trees by path.
    pub store_path: PathBuf,
    /// Registries.
    pub remote: Arc<dyn Remote>,
    /// Which builds share the trees that layers are unpacked to.
    pub trees: TreeSharing,
    /// What runs RUN steps.
    pub engine: Arc<dyn Engine>,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
    /// Ends the build.
    pub cancel: Cancel,
}

/// What came of a build.
#[derive(Clone, Debug)]
pub struct Built {
    /// The manifest, in the store.
    pub manifest: Descriptor,
    /// The index of the image and its attestations, in the store, if there are any: it is what the outputs hold.
    pub attested: Option<Descriptor>,
    /// The predicate of the image's provenance.
    pub provenance: Option<serde_json::Value>,
    /// The config's digest: the image's id.
    pub config: Digest,
    /// What the image is for.
    pub platform: Platform,
    /// Under which names it was pushed.
    pub pushed: Vec<Pushed>,
    /// The git commits that contexts and ADDs were made of, in order, each once.
    pub materials: Vec<GitMaterial>,
}

impl Built {
    /// What the outputs hold and names point to: the index with the attestations, or the image alone.
    #[must_use]
    pub fn whole(&self) -> &Descriptor {
        self.attested.as_ref().unwrap_or(&self.manifest)
    }
}
