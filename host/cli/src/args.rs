//! The command line as typed: subcommands and what they share.

use clap::{Parser, Subcommand};

use crate::build::BuildArgs;
use crate::doctor::DoctorArgs;
use crate::version::VersionArgs;

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
    Doctor(DoctorArgs),
    Version(VersionArgs),
}
