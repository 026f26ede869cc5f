//! `cargo xtask bench cache`: what a change costs.
//!
//! Three projects after a change of the README, of a source file, of the lock file, beside buildah in the same rounds: which steps ran, and the
//! wall time. Then what a build without any change does, what a tree that grows costs, and what the recording of reads costs. Packages come from
//! the registries that this machine's clients are set up for, and are in no file of the repository.

mod growth;
mod projects;

use super::Rounds;
use super::sample::Sample;
use anyhow::{Context, Result};
use projects::{CHANGES, Case};
use std::collections::BTreeMap;
use std::path::PathBuf;
use wbuild_tests::command::{self, Outcome, command};
use wbuild_tests::pod::{Access, Pod};
use wbuild_tests::registry::Registry;
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace::Scratch;
use wbuild_tests::{guest, image};

pub(super) fn run(rounds: &Rounds) -> Result<()> {
    let base = projects::prepared()?;
    let registry = Registry::start()?;
    registry.seed(&base.layout, base.tag, "tools:latest")?;
    let builders = Builders { registry, measure: guest::program("measure")?, rootfs: image::pod_rootfs()? };
    for case in projects::all(&base)?.iter().filter(|case| rounds.selects(case.name)) {
        let mut table = Table::default();
        for round in 0..rounds.rounds {
            // A new place each time: what a build knows of files is by path.
            let context = Scratch::new("project")?;
            for contestant in [Contestant::Wbuild, Contestant::Buildah] {
                if rounds.runs(contestant.name()) {
                    builders.round(case, contestant, &context.path().join(contestant.name()), &mut table)?;
                }
            }
            eprintln!("{}: round {round} is done", case.name);
        }
        table.print(case.name);
    }
    if rounds.selects("warm") {
        growth::warm()?;
    }
    if rounds.selects("growth") {
        growth::growth(rounds)?;
    }
    if rounds.selects("recording") {
        growth::recording(rounds)?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Contestant {
    Wbuild,
    Buildah,
}

impl Contestant {
    fn name(self) -> &'static str {
        match self {
            Self::Wbuild => "wbuild",
            Self::Buildah => "buildah",
        }
    }
}

/// What was measured of each change, by each contestant.
#[derive(Default)]
struct Table(BTreeMap<(usize, Contestant), Vec<Rebuild>>);

/// How long a build took in seconds, and the steps that ran.
type Rebuild = (f64, Vec<String>);

impl Table {
    fn print(&self, name: &str) {
        println!("\n### {name}\n");
        println!(
            "| change | wbuild, restricted pod: s | which steps ran | buildah --layers, root: s | which steps ran |"
        );
        println!("|---|--:|---|--:|---|");
        for (number, (change, _)) in CHANGES.iter().enumerate() {
            let cell = |contestant| match self.0.get(&(number, contestant)) {
                None => "- | -".to_owned(),
                Some(all) => {
                    let steps = all.last().map(|(_, steps)| steps.join(", ")).unwrap_or_default();
                    let steps = if steps.is_empty() { "none".to_owned() } else { steps };
                    format!("{:.2} | {steps}", median(all.iter().map(|(wall, _)| *wall)))
                }
            };
            println!("| {change} | {} | {} |", cell(Contestant::Wbuild), cell(Contestant::Buildah));
        }
    }
}

/// The middle one.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

struct Builders {
    registry: Registry,
    measure: PathBuf,
    rootfs: PathBuf,
}

impl Builders {
    /// Builds a project after each of the changes, one after the other, from an empty store.
    fn round(
        &self,
        case: &Case,
        contestant: Contestant,
        context: &std::path::Path,
        table: &mut Table,
    ) -> Result<()> {
        case.write(context)?;
        let base = format!("BASE={}", self.registry.reference("tools:latest"));
        let mut build = self.builder(contestant, context, &base)?;
        for (number, (change, edit)) in CHANGES.iter().enumerate() {
            case.change(context, *edit)?;
            let outcome = build().with_context(|| format!("{}: {change}", case.name))?;
            let text = outcome.text();
            let steps = match contestant {
                Contestant::Wbuild => steps_of_wbuild(&text),
                Contestant::Buildah => steps_of_buildah(&text),
            };
            let wall = Sample::of(outcome)?.seconds();
            table.0.entry((number, contestant)).or_default().push((wall, steps));
        }
        Ok(())
    }

    fn builder<'b>(
        &'b self,
        contestant: Contestant,
        context: &'b std::path::Path,
        base: &'b str,
    ) -> Result<Box<dyn FnMut() -> Result<Outcome> + 'b>> {
        if contestant == Contestant::Buildah {
            let storage = Scratch::new("buildah")?;
            return Ok(Box::new(move || {
                let mut run = command(&self.measure, ["buildah", "--storage-driver", "overlay"]);
                run.arg("--root").arg(storage.path().join("root"));
                run.arg("--runroot").arg(storage.path().join("run"));
                run.args(["build", "--isolation", "oci", "--runtime", "runc", "--network", "host"]);
                run.args(["--tls-verify=false", "--layers=true", "--build-arg", base, "-t", "app"])
                    .arg(context);
                command::run(run)
            }));
        }
        let mut pod = Pod::new(&self.rootfs)?;
        pod.entrypoint("/measure")
            .bind(&self.measure, "/measure", Access::ReadOnly)
            .volume("context", context);
        let session = Session::new(Caller::Pod(Box::new(pod)))?;
        Ok(Box::new(move || {
            session.run(&[
                "/wbuild",
                "build",
                "--progress=plain",
                "-t",
                "app",
                "--build-arg",
                base,
                "/context",
            ])
        }))
    }
}

/// The instructions that ran, by what wbuild says.
fn steps_of_wbuild(text: &str) -> Vec<String> {
    let named = text.lines().filter(|line| line.starts_with('#') && line.contains("] "));
    let mut ran = Vec::new();
    for line in named {
        let Some((vertex, rest)) = line.split_once(' ') else { continue };
        let Some((place, step)) = rest.split_once("] ") else { continue };
        let is_step = place.starts_with('[') && place.contains('/');
        let is_cached = text.lines().any(|line| line == format!("{vertex} CACHED"));
        if is_step && !is_cached {
            ran.push(step.to_owned());
        }
    }
    ran
}

/// The instructions that ran, by what buildah says; those that only change the configuration are left out.
fn steps_of_buildah(text: &str) -> Vec<String> {
    let mut ran: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some((_, step)) = line.strip_prefix("STEP ").and_then(|rest| rest.split_once(": ")) {
            if ["RUN", "COPY", "ADD", "WORKDIR"].iter().any(|word| step.starts_with(word)) {
                ran.push(step.to_owned());
            } else {
                ran.push(String::new());
            }
        } else if line.contains("Using cache") {
            ran.pop();
            ran.push(String::new());
        }
    }
    ran.retain(|step| !step.is_empty());
    ran
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_that_ran_are_read_from_what_both_say() {
        let wbuild = "#3 [internal] load build definition\n#3 DONE 0.0s\n#4 [2/4] COPY . /src\n#4 DONE 0.1s\n#5 [3/4] RUN make\n#5 read set: x\n\n#5 CACHED\n";
        assert_eq!(steps_of_wbuild(wbuild), ["COPY . /src"]);
        let buildah = "STEP 1/4: FROM base\nSTEP 2/4: COPY . /src\n--> Using cache 12ab\n--> 12ab\nSTEP 3/4: RUN make\nmake: done\nSTEP 4/4: ENV a=b\n--> 56cd\n";
        assert_eq!(steps_of_buildah(buildah), ["RUN make"]);
    }
}
