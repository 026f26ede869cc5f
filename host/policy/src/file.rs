//! One policy file as its types: what TOML must hold, and the JSON schema's source.
//!
//! A value of a rule remembers where it stands. Nothing is checked here but shapes; unknown keys are errors.

use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Verdict;

/// A value with its place in the file.
#[derive(Clone, Debug)]
pub(crate) struct Item<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        let span = spanned.span();
        Ok(Self { value: spanned.into_inner(), span })
    }
}

impl<T: JsonSchema> JsonSchema for Item<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A list of strings.
pub(crate) type List = Vec<Item<String>>;

/// A wbuild policy file: what a build and its steps may do. Deny beats allow; a section that is present is closed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    /// Policies this one narrows: names of built-in ones (trusted, ci, untrusted, hermetic, wasm-only) or paths relative to this file.
    pub(crate) extends: List,
    /// enforce (the default) denies; audit only records what would be denied.
    pub(crate) mode: Option<Item<Mode>>,
    /// Where content may come from.
    pub(crate) sources: Sources,
    /// What the Dockerfile may say.
    pub(crate) dockerfile: Option<Dockerfile>,
    /// What steps may do; every block whose match fits a step applies to it.
    pub(crate) step: Vec<Step>,
    /// What may leave the build.
    pub(crate) output: Option<Output>,
    /// What the host must offer.
    pub(crate) host: Option<Host>,
}

/// Whether denials happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What is denied fails.
    #[default]
    Enforce,
    /// What would be denied is recorded and happens.
    Audit,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sources {
    /// Images of FROM and --from.
    pub(crate) images: Option<Images>,
    /// URLs of ADD.
    pub(crate) http: Option<Http>,
    /// Git repositories of ADD.
    pub(crate) git: Option<Git>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Images {
    /// Whole references that may be used; * is anything. Nothing else may.
    pub(crate) allow: List,
    /// References that may not.
    pub(crate) deny: List,
    /// digest: every reference names one.
    pub(crate) require: Vec<Item<ImageRequirement>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ImageRequirement {
    Digest,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    /// URLs that may be fetched; * is anything.
    pub(crate) allow: List,
    /// checksum: ADD has --checksum; https: no plain http.
    pub(crate) require: Vec<Item<HttpRequirement>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HttpRequirement {
    Checksum,
    Https,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Git {
    /// Repositories that may be fetched, without the part after #; * is anything.
    pub(crate) allow: List,
    /// commit: the part after # is a whole commit id.
    pub(crate) require: Vec<Item<GitRequirement>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GitRequirement {
    Commit,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dockerfile {
    /// Instructions that may not be used.
    pub(crate) deny: List,
    /// Flags of RUN that may not be used, without dashes: mount, network, security.
    pub(crate) deny_run_flags: List,
    /// non-root: the image's user is neither root nor 0.
    pub(crate) final_user: Option<Item<FinalUser>>,
    /// Labels the image must have.
    pub(crate) require_labels: List,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FinalUser {
    NonRoot,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Step {
    /// The steps that are meant; all, where this is missing.
    #[serde(rename = "match")]
    pub(crate) matching: Match,
    /// Programs.
    pub(crate) exec: Exec,
    /// Files.
    pub(crate) fs: Fs,
    /// The network.
    pub(crate) net: Net,
    /// What bounds the step.
    pub(crate) limits: StepLimits,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Match {
    /// Name of the stage; * is anything.
    pub(crate) stage: Option<String>,
    /// RUN is the only instruction that runs programs.
    pub(crate) instruction: Option<Item<String>>,
    /// The command as the Dockerfile has it; * is anything.
    pub(crate) command: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Exec {
    /// Whether native programs may run at all; wasm modules may in any case.
    pub(crate) native: Option<Item<Verdict>>,
    /// Paths of programs that may run, wasm:PATH for modules. Nothing else may.
    pub(crate) allow: Option<Item<List>>,
    /// Paths of programs that may not.
    pub(crate) deny: List,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Fs {
    /// Reading.
    pub(crate) read: Read,
    /// Writing.
    pub(crate) write: Write,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Read {
    /// Paths that may not be read, listed, moved or linked.
    pub(crate) deny: List,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Write {
    /// Paths that may be changed. Nothing else may.
    pub(crate) allow: Option<Item<List>>,
    /// Paths that may not be changed.
    pub(crate) deny: List,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Net {
    /// deny: the step has no internet socket at all.
    pub(crate) default: Option<Item<Verdict>>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StepLimits {
    /// Time by the clock: "10m".
    pub(crate) wall: Option<Item<String>>,
    /// Processor time of all processes together: "5m".
    pub(crate) cpu: Option<Item<String>>,
    /// Memory of all processes together: "2GiB".
    pub(crate) memory: Option<Item<String>>,
    /// Processes at one time.
    pub(crate) processes: Option<Item<u64>>,
    /// Open descriptors of each process.
    pub(crate) files: Option<Item<u64>>,
    /// Size of what the step writes: "4GiB".
    pub(crate) write: Option<Item<String>>,
    /// Size of what it prints: "16MiB".
    pub(crate) log: Option<Item<String>>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Output {
    /// References the image may be pushed to; * is anything. Nothing else may.
    pub(crate) push: List,
    /// Tags it may not be pushed under; * is anything.
    pub(crate) deny_tags: List,
    /// The most layers the image may have, the base's counted.
    pub(crate) max_layers: Option<Item<u64>>,
    /// The most bytes its compressed layers may have: "1GiB".
    pub(crate) max_bytes: Option<Item<String>>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Host {
    /// What the kernel must offer: landlock>=N, seccomp-notify.
    pub(crate) require: List,
    /// fail (the default): no build where a rule cannot be enforced; warn: it is said.
    pub(crate) degrade: Option<Item<Degrade>>,
}

/// What happens where the host cannot give what a policy asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Degrade {
    /// No build.
    #[default]
    Fail,
    /// The user is told.
    Warn,
}

/// Keys of the vocabulary that are not enforced yet: a rule that would be read and not kept is an error.
pub(crate) const LATER: &[(&str, &str)] = &[
    ("pin", "digests of references are not enforced yet; name them in FROM and give require = [\"digest\"]"),
    ("cache", "the build cache does not take rules yet"),
    ("context", "rules on the build context are not enforced yet; use .dockerignore"),
    ("env", "rules on the environment are not enforced yet"),
    ("args", "rules on build arguments are not enforced yet"),
    ("secrets", "rules on secrets are not enforced yet; deny RUN --mount with dockerfile.deny_run_flags"),
    ("ssh", "rules on ssh are not enforced yet; deny RUN --mount with dockerfile.deny_run_flags"),
    ("mounts", "rules on mounts are not enforced yet; deny RUN --mount with dockerfile.deny_run_flags"),
    ("wasm", "rules on wasm modules are not enforced yet"),
    ("setuid", "setuid bits are recorded, never real, in a step; a rule on them is not enforced yet"),
    ("devices", "device nodes are recorded, never real, in a step; a rule on them is not enforced yet"),
    ("capabilities", "file capabilities are recorded, never real; a rule on them is not enforced yet"),
    ("lint", "lint rules as errors are not enforced yet"),
];
