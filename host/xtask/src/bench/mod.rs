//! `cargo xtask bench`: wbuild beside its peers, in alternating rounds of one run, as medians with their spread.
//!
//! A peer that fails is an error, but for PRoot, which is shown as not running with its message.

mod build;
mod cache;
mod sample;
mod sandbox;
pub(crate) mod steps;
mod transfer;

use crate::setup::{self, For};
use anyhow::{Result, ensure};
use clap::Args;

#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// Whole builds, cold and with push, beside buildah as root
    Build(Rounds),
    /// Single steps beside root in a chroot, and PRoot
    Steps(Rounds),
    /// The sandbox's own cost: single calls and whole commands beside root in a chroot, and PRoot
    Sandbox(Rounds),
    /// Rebuilds after changes beside buildah, trees that grow, what recording costs
    Cache(Rounds),
    /// Push, pull, unpack and commit beside skopeo, buildah, umoci and tar
    Transfer(Rounds),
}

#[derive(Args)]
pub(crate) struct Rounds {
    /// How often each contestant runs
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Only the cases whose name contains this
    #[arg(long)]
    case: Option<String>,
    /// Leave out the contestants whose name contains this
    #[arg(long)]
    without: Vec<String>,
}

impl Rounds {
    fn selects(&self, case: &str) -> bool {
        self.case.as_ref().is_none_or(|part| case.contains(part.as_str()))
    }

    fn runs(&self, contestant: &str) -> bool {
        !self.without.iter().any(|part| contestant.contains(part.as_str()))
    }
}

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        setup::ensure(&[For::Compiling, For::Benches])?;
        ensure!(wbuild_tests::workspace::is_root(), "the pod and the peers are started by root");
        wbuild_tests::workspace::use_release()?;
        let rooms = wbuild_tests::workspace::Scratch::new("rounds")?;
        rooms.hold_all()?;
        match self {
            Self::Build(rounds) => build::run(&rounds),
            Self::Steps(rounds) => steps::run(&rounds),
            Self::Sandbox(rounds) => sandbox::run(&rounds),
            Self::Cache(rounds) => cache::run(&rounds),
            Self::Transfer(rounds) => transfer::run(&rounds),
        }
    }
}
