//! The command line as typed: subcommands and what they share.

use clap::{Parser, Subcommand};

use crate::build::BuildArgs;
use crate::cache::CacheArgs;
use crate::doctor::DoctorArgs;
use crate::images::{IndexArgs, InspectArgs, PullArgs, PushArgs, VerifyArgs, WarmArgs};
use crate::policy::PolicyArgs;
use crate::version::VersionArgs;
use crate::wasm::WasmArgs;
use crate::why::WhyArgs;

/// Build OCI images from Dockerfiles without a daemon, without root, without any privilege
#[derive(Debug, Parser)]
#[command(name = "wbuild", disable_version_flag = true, args_override_self = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Log what wbuild does to standard error; WBUILD_LOG=FILTER chooses more finely
    #[arg(long, global = true)]
    pub(crate) debug: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(args_override_self = true)]
    Build(Box<BuildArgs>),
    Push(PushArgs),
    Pull(PullArgs),
    Warm(WarmArgs),
    Inspect(InspectArgs),
    Index(IndexArgs),
    #[command(args_override_self = true)]
    Verify(Box<VerifyArgs>),
    Cache(CacheArgs),
    Why(WhyArgs),
    Doctor(DoctorArgs),
    Policy(PolicyArgs),
    Version(VersionArgs),
    Wasm(WasmArgs),
}
