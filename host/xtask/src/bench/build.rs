//! `cargo xtask bench build`: whole builds, from an empty store to the pushed image.
//!
//! wbuild runs in the restricted pod; buildah runs as root with overlay and runc, once with a layer per instruction as
//! wbuild makes them (`--layers`), and once as it does by default (one layer for all). Every run pulls its base from, and
//! pushes gzip layers to, one registry on loopback, into a repository of its own. What starts the container of wbuild is not
//! measured; both are measured from inside by the same program.

use super::Rounds;
use super::sample::{self, Sample, Series};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use wbuild_tests::command::{self, command};
use wbuild_tests::pod::{Access, Pod};
use wbuild_tests::registry::Registry;
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace::{self, Scratch};
use wbuild_tests::{base, guest, image};

struct Case {
    name: &'static str,
    base: &'static str,
    context: PathBuf,
}

#[derive(Clone, Copy)]
enum Contestant {
    Wbuild,
    BuildahLayers,
    Buildah,
}

impl Contestant {
    const ALL: [Self; 3] = [Self::Wbuild, Self::BuildahLayers, Self::Buildah];

    fn name(self) -> &'static str {
        match self {
            Self::Wbuild => "wbuild, restricted pod",
            Self::BuildahLayers => "buildah --layers, root, overlay",
            Self::Buildah => "buildah, root, overlay, one layer",
        }
    }
}

pub(super) fn run(rounds: &Rounds) -> Result<()> {
    let made = Scratch::new("bench")?;
    let registry = Registry::start()?;
    let bases = [("busybox:latest", base::busybox()?), ("debian:bookworm-slim", base::debian()?)];
    for (name, base) in &bases {
        registry.seed(&base.layout, base.tag, name)?;
    }
    let bench = Builders { registry, measure: guest::program("measure")?, rootfs: image::pod_rootfs()? };
    for case in cases(made.path())?.iter().filter(|case| rounds.selects(case.name)) {
        let mut all = Contestant::ALL.map(|contestant| Series::new(contestant.name()));
        for round in 0..rounds.rounds {
            let pairs = Contestant::ALL.into_iter().zip(&mut all);
            for (contestant, series) in pairs.filter(|(contestant, _)| rounds.runs(contestant.name())) {
                let sample = bench.sample(case, contestant, round);
                let sample = sample.with_context(|| format!("{}: {}", case.name, contestant.name()))?;
                eprintln!("{}: {}: {sample:?}", case.name, contestant.name());
                series.samples.push(sample);
            }
        }
        sample::print(case.name, &all);
    }
    Ok(())
}

fn cases(made: &Path) -> Result<Vec<Case>> {
    let ten: String = (0..10).map(|n| format!("RUN echo {n} > /file-{n}\n")).collect();
    let case = |name, base, dockerfile: &str| -> Result<Case> {
        let context = made.join(name);
        fs::create_dir(&context)?;
        fs::write(context.join("Dockerfile"), format!("ARG BASE\nFROM ${{BASE}}\n{dockerfile}"))?;
        Ok(Case { name, base, context })
    };
    let files =
        case("20,000 files, touch of one", "busybox:latest", "COPY . /app\nRUN touch /app/d007/f013\n")?;
    for number in 0..20_000 {
        let dir = files.context.join(format!("d{:03}", number / 100));
        if number % 100 == 0 {
            fs::create_dir(&dir)?;
        }
        let text = format!("file {number} of the context\n").repeat(1 + number % 90);
        fs::write(dir.join(format!("f{:03}", number % 100)), text)?;
    }
    Ok(vec![
        case("ten RUN lines", "busybox:latest", &ten)?,
        Case {
            name: "git on Debian",
            base: "debian:bookworm-slim",
            context: workspace::root().join("examples/git"),
        },
        files,
        case("1 GiB random layer", "busybox:latest", "RUN head -c 1073741824 /dev/urandom > /random\n")?,
    ])
}

struct Builders {
    registry: Registry,
    measure: PathBuf,
    rootfs: PathBuf,
}

impl Builders {
    fn sample(&self, case: &Case, contestant: Contestant, round: u32) -> Result<Sample> {
        // What the run before left to be written is not this one's work.
        command::output("sync", [""; 0])?;
        let base = format!("BASE={}", self.registry.reference(case.base));
        let repository = case.name.replace(|c: char| !c.is_ascii_alphanumeric(), "").to_lowercase();
        let target =
            self.registry.reference(&format!("bench/{repository}-{}-{round}:latest", contestant as u8));
        match contestant {
            Contestant::Wbuild => self.wbuild(case, &base, &target),
            Contestant::BuildahLayers => self.buildah(case, &base, &target, "--layers=true"),
            Contestant::Buildah => self.buildah(case, &base, &target, "--layers=false"),
        }
    }

    fn wbuild(&self, case: &Case, base: &str, target: &str) -> Result<Sample> {
        let mut pod = Pod::new(&self.rootfs)?;
        pod.entrypoint("/measure")
            .bind(&self.measure, "/measure", Access::ReadOnly)
            .volume("context", &case.context);
        let session = Session::new(Caller::Pod(Box::new(pod)))?;
        let build = ["/wbuild", "build", "--push", "--tag", target, "--build-arg", base, "/context"];
        Sample::of(session.run(&build)?)
    }

    fn buildah(&self, case: &Case, base: &str, target: &str, layers: &str) -> Result<Sample> {
        let storage = Scratch::new("buildah")?;
        let script = "set -e; d=$1; shift; layers=$1; shift; base=$1; shift; target=$1; shift; \
            b=\"buildah --storage-driver overlay --root $d/root --runroot $d/run\"; \
            $b build --isolation oci --runtime runc --network host --tls-verify=false $layers --build-arg $base -t $target \"$1\"; \
            $b push --tls-verify=false $target docker://$target";
        let mut run = command(&self.measure, ["sh", "-c", script, "sh"]);
        run.arg(storage.path()).args([layers, base, target]).arg(&case.context);
        Sample::of(command::run(run)?)
    }
}
