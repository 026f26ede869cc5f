//! The arguments of `cargo xtask`; each doc comment is the task's help.

use crate::{bench, conformance, demo, docs, guest, image, setup, suite, tidy};
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tasks")]
pub(crate) struct Xtask {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the Debian packages that the tests, the demo and the benches use
    Setup,
    /// Check what clippy cannot: dependency arrows, unsafe, file sizes and names, headers, host names
    Tidy,
    /// Write the pages of docs/ that list a table
    Docs,
    /// Format check, clippy, tidy and every test; NAME runs only the tests whose name contains it
    Test {
        /// Only the tests whose name contains this, without the checks before them
        name: Option<String>,
    },
    /// The long checks: the same tests with a larger N; `soak fuzz` gives damaged input to everything that reads what strangers wrote
    Soak {
        /// Only the tests whose name contains this; `workloads`, or `workloads=NAME`: packages installed and used in the pod;
        /// `suites`, or `suites=NAME`: public test-suites in a step beside a chroot; `fuzz` for the fuzz targets
        name: Option<String>,
        /// With `fuzz`: only these targets
        targets: Vec<String>,
        /// With `fuzz`: how long the targets run, side by side
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Builds from BuildKit's, Buildah's, kaniko's and makisu's suites, where ../shared/conformance has them
    Conformance(conformance::Conformance),
    /// Build examples/git inside the restricted pod and push it to a registry on loopback
    Demo {
        /// A busybox image as an ordinary user, to an OCI layout, in seconds
        #[arg(long)]
        quick: bool,
    },
    /// Add the targets that tools are compiled for, and compile the template of one
    WasmToolchain,
    /// Build wbuild's own image with wbuild itself and write it as an OCI layout
    Image {
        /// The directory of the OCI layout; created when it does not exist
        dir: PathBuf,
    },
    /// Measure wbuild beside its peers in the same run
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
    },
}

impl Xtask {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.task {
            Task::Setup => setup::ensure(setup::ALL),
            Task::Tidy => tidy::run(),
            Task::Docs => docs::write(),
            Task::Test { name } => suite::test(name.as_deref()),
            Task::Soak { name: Some(name), targets, minutes } if name == "fuzz" => {
                suite::fuzz(&targets, minutes)
            }
            Task::Soak { name, .. } => suite::soak(name.as_deref()),
            Task::Conformance(conformance) => conformance.run(),
            Task::Demo { quick: true } => demo::quick(),
            Task::Demo { quick: false } => demo::pod(),
            Task::WasmToolchain => guest::toolchain(),
            Task::Image { dir } => image::run(&dir),
            Task::Bench { bench } => bench.run(),
        }
    }
}
