//! What is typed after `wbuild build`, before anything is made of it.
//!
//! Spelled as `docker buildx build` spells it. [`super::settings`] turns it into objects.

use std::path::PathBuf;

use super::not_built::NotBuilt;
use super::run_flags::RunArgs;
use crate::failure::Failure;
use crate::registry::RegistryArgs;

const EXAMPLES: &str = "\
Examples:
  Build the Dockerfile of this directory and push the image:
    wbuild build -t registry.example/team/app:1.2 --push .

  Write the image as an OCI archive, or as an OCI layout directory:
    wbuild build -t app -o type=oci,dest=app.tar .
    wbuild build -t app -o type=oci,tar=false,dest=app-layout .

  Write what `docker load` takes and the files of the image, and push it, all at once:
    wbuild build -t registry.example/app --push -o type=docker,dest=app.tar -o type=local,dest=rootfs .

  Take the base image from an OCI layout on disk instead of a registry:
    wbuild build --build-context debian:12=oci-layout://./debian:12 .

  Read the Dockerfile from standard input, build one stage of it:
    wbuild build -f - --target test . < Dockerfile

Exit codes:
  0 done   1 a step failed   2 usage   3 Dockerfile   4 policy   5 limit
  6 the registry refused   7 network, worth retrying   8 the host lacks something, or its disk is full
  70 a defect of wbuild   130 interrupted";

/// Build an image from a Dockerfile
///
/// Builds the image that a Dockerfile describes and writes it where -o and --push say; without either it stays in the
/// store. The same inputs give the same digests, whoever builds: times come from SOURCE_DATE_EPOCH, else from the
/// base image, else they are zero.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BuildArgs {
    /// Name of the image, `[registry/]repository[:tag]`; repeatable
    #[arg(short, long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<String>,

    /// The Dockerfile; `-` reads it from standard input [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Value of an ARG; without a value, that of the environment variable; repeatable
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<String>,

    /// The stage to build [default: the last one]
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,

    /// Platform of the image, `os/arch[/variant]` [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,

    /// Push the image under every -t name; short for `-o type=registry`
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub(crate) push: Option<bool>,

    /// Give the image to this machine's docker or podman (`docker load`); short for `-o type=docker`
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub(crate) load: Option<bool>,

    /// Where the image goes; repeatable. `type=oci,dest=FILE` and `type=oci,tar=false,dest=DIR` are OCI layouts,
    /// `type=docker,dest=FILE` is what `docker load` takes, `type=tar,dest=FILE` and `type=local,dest=DIR` are the files of the
    /// image, `type=registry` pushes it; a FILE of `-` is standard output
    #[arg(short, long = "output", value_name = "type=..,dest=..")]
    pub(crate) outputs: Vec<String>,

    /// A directory or image by name for FROM and --from: `NAME=DIR`, `NAME=oci-layout://PATH[:TAG|@DIGEST]`; repeatable
    #[arg(long = "build-context", value_name = "NAME=SOURCE")]
    pub(crate) build_contexts: Vec<String>,

    /// Run every step, whatever the cache knows; what they make is cached again
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub(crate) no_cache: Option<bool>,

    /// Run every step of these stages, whatever the cache knows; several with commas; repeatable
    #[arg(long, value_name = "STAGE,..", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,

    /// How long a step that used the network counts (`12h`, `7d`), whatever it read; a comment `# wbuild: cache=12h` above an
    /// instruction says it for that one [default: a week where a step is found by what it read]
    #[arg(long, value_name = "AGE")]
    pub(crate) cache_network_ttl: Option<String>,

    /// Whether steps are found by what they read, besides by their keys; false records nothing [default: true]
    #[arg(long, require_equals = true, value_name = "BOOL", hide_possible_values = true)]
    pub(crate) cache_read_sets: Option<bool>,

    /// Of the steps that are found by what they read, run so many all the same and fail where they make something else
    #[arg(long, value_name = "N%")]
    pub(crate) cache_verify: Option<String>,

    /// A cache to read: `type=registry,ref=NAME`, NAME, or `type=local,src=DIR`; repeatable
    #[arg(long, value_name = "type=..")]
    pub(crate) cache_from: Vec<String>,

    /// A cache to write: `type=registry,ref=NAME` or `type=local,dest=DIR`, with `mode=min|max`, `ignore-error=BOOL`; repeatable
    #[arg(long, value_name = "type=..")]
    pub(crate) cache_to: Vec<String>,

    /// Ask the registry what a tag means now. wbuild always does; only layers are kept in the store
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub(crate) pull: Option<bool>,

    /// What the build and its steps may do: a policy file, or trusted, ci, untrusted, hermetic, wasm-only
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) policy: Option<String>,

    /// enforce denies; audit only says what would be denied [default: as the policy says]
    #[arg(long, value_name = "MODE", requires = "policy")]
    pub(crate) policy_mode: Option<String>,

    /// Write what each step did to this file, a JSON document a line (docs/audit.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) audit: Option<PathBuf>,

    /// What the audit says of files: count (the default), paths, or digests
    #[arg(long, value_name = "DETAIL")]
    pub(crate) audit_files: Option<String>,

    /// Attach provenance (SLSA v1) to the image: true, false, `mode=min|max`, `builder-id=URI`
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "mode=..")]
    pub(crate) provenance: Option<String>,

    /// An attestation, as `type=provenance,mode=max`; repeatable
    #[arg(long, value_name = "type=..")]
    pub(crate) attest: Vec<String>,

    /// How progress is shown on standard error: auto, plain, tty, rawjson or quiet
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub(crate) progress: String,

    /// Check the Dockerfile in place of building it; findings are exit 3. Short for `--call=check`
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub(crate) check: Option<bool>,

    /// What to do: build, check, outline (what the target takes) or targets (the stages)
    #[arg(long, value_name = "METHOD")]
    pub(crate) call: Option<String>,

    /// How new layers are compressed: gzip, zstd or none, with a level as in `zstd:19` [default: gzip:3]
    #[arg(long, value_name = "TYPE[:LEVEL]")]
    pub(crate) compression: Option<String>,

    /// The level of the compression: gzip 0 to 12, zstd 1 to 22
    #[arg(long, value_name = "LEVEL", allow_hyphen_values = true)]
    pub(crate) compression_level: Option<i32>,

    /// An annotation of the manifest; repeatable
    #[arg(long = "annotation", value_name = "[manifest:]NAME=VALUE")]
    pub(crate) annotations: Vec<String>,

    /// A label of the image; repeatable
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,

    /// Write the image's digests as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,

    /// Write the image's id (the digest of its config) to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,

    /// The time the image carries: seconds since 1970, or `now`, which makes the build irreproducible
    #[arg(long, value_name = "SECONDS|now")]
    pub(crate) timestamp: Option<String>,

    /// Directory of the store [default: $WBUILD_ROOT, /scratch, $XDG_CACHE_HOME/wbuild, $HOME/.cache/wbuild]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,

    /// Show nothing but errors; print the image's id
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub(crate) quiet: Option<bool>,

    /// What steps are given and held to.
    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// How registries are reached.
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,

    /// What is refused by name.
    #[command(flatten)]
    pub(crate) not_built: NotBuilt,

    /// The build context: a directory, a git URL, a tar (file, https:// URL, or `-` for stdin)
    #[arg(value_name = "PATH")]
    pub(crate) path: String,
}

impl BuildArgs {
    /// Refuses flags by which an image would leave the store.
    ///
    /// # Errors
    /// Exit 2.
    pub(crate) fn nothing_goes_out(&self) -> Result<(), Failure> {
        if self.audit.is_some() || self.provenance.is_some() || !self.attest.is_empty() {
            return Err(Failure::usage("--audit, --provenance and --attest do not go with this command"));
        }
        if self.outputs.is_empty() && self.push != Some(true) && self.load != Some(true) {
            Ok(())
        } else {
            Err(Failure::usage(
                "-o, --push and --load do not go with this command: nothing is written but what differs",
            ))
        }
    }
}
