//! What a build costs where nothing or little changed, over trees and Dockerfiles that grow; and what recording costs a step.

use super::median;
use crate::bench::Rounds;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Instant;
use wbuild_tests::base::{self, Base};
use wbuild_tests::command::{self, command};
use wbuild_tests::project::{Journal, Project};
use wbuild_tests::session::{Caller, Session};

/// A project of so many files and RUN steps.
fn project(files: usize, steps: usize) -> Result<Project> {
    let runs: String = (0..steps).map(|n| format!("RUN echo {n} > /step-{n}\n")).collect();
    let project = Project::new(&base::busybox()?, &format!("FROM base\nCOPY . /src\n{runs}"))?
        .journal(Journal::Trusted);
    project.file(".dockerignore", "Dockerfile\n.dockerignore\n")?;
    for number in 0..files {
        project.file(&format!("d{:04}/f{number}", number / 100), &format!("file {number}\n"))?;
    }
    Ok(project)
}

/// A build that leaves its image in the store.
struct Builder<'a> {
    project: &'a Project,
    session: Session,
    base: String,
    context: String,
}

impl<'a> Builder<'a> {
    fn new(project: &'a Project, base: &Base) -> Result<Self> {
        let mut session = Session::new(Caller::Root)?;
        let context = session.share(project.path())?;
        let base = format!("base=oci-layout://{}:{}", session.share(&base.layout)?, base.tag);
        Ok(Self { project, session, base, context })
    }

    fn arguments<'b>(&'b self, more: &[&'b str]) -> Vec<&'b str> {
        let own = ["build", "--progress=plain", "-t", "app", "--build-context", &self.base];
        [&own, more, &[self.context.as_str()]].concat()
    }

    fn seconds(&self, more: &[&str]) -> Result<f64> {
        let began = Instant::now();
        self.session.succeed(&self.arguments(more))?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// Files that changed a moment ago are read again: what is measured is a tree at rest.
    fn rest(&self) {
        std::thread::sleep(std::time::Duration::from_millis(2_100));
    }
}

/// What a build without a change does, by strace.
pub(super) fn warm() -> Result<()> {
    let project = project(500, 8)?;
    let builder = Builder::new(&project, &base::busybox()?)?;
    builder.seconds(&[])?;
    builder.rest();
    builder.seconds(&[])?;
    let wall = median((0..9).map(|_| builder.seconds(&[])).collect::<Result<Vec<_>>>()?.into_iter());
    let trace = builder.session.store().join("trace");
    let build = builder.session.command(&builder.arguments(&[]))?;
    let mut traced = command("strace", ["-f", "-s", "200", "-o"]);
    traced.arg(&trace).arg(build.get_program()).args(build.get_args());
    for (name, value) in build.get_envs() {
        if let Some(value) = value {
            traced.env(name, value);
        }
    }
    command::run(traced)?.success()?;
    let text = fs::read_to_string(&trace)?;
    let layers = layers(&builder.session.store())?;
    ensure!(!layers.is_empty(), "the store has no layer: nothing is shown");
    let count = |wanted: &dyn Fn(&str) -> bool| text.lines().filter(|line| wanted(line)).count();
    let opened = count(&|line| {
        line.contains("open") && !line.contains("O_PATH") && layers.iter().any(|layer| line.contains(layer))
    });
    println!("\n### a build without a change: 500 files, 8 RUN steps\n");
    println!("| | |\n|---|--:|");
    println!("| wall, median of 9 | {wall:.3} s |");
    println!("| system calls | {} |", text.lines().count());
    println!("| layers opened, of {} | {opened} |", layers.len());
    println!(
        "| files of the context opened | {} |",
        count(&|line| line.contains("open") && line.contains("\"f") && !line.contains("O_PATH"))
    );
    println!(
        "| fsync, fdatasync | {} |",
        count(&|line| line.contains("fsync(") || line.contains("fdatasync("))
    );
    println!(
        "| programs executed besides wbuild | {} |",
        count(&|line| line.contains("execve(")).saturating_sub(1)
    );
    Ok(())
}

/// The blobs of a store that are no JSON.
fn layers(store: &Path) -> Result<Vec<String>> {
    let mut layers = Vec::new();
    for blob in fs::read_dir(store.join("blobs/sha256"))? {
        let blob = blob?;
        if fs::read(blob.path())?.first() != Some(&b'{') {
            layers.push(blob.file_name().into_string().ok().context("a digest")?);
        }
    }
    Ok(layers)
}

/// First builds, builds without a change and builds after a change of one file.
pub(super) fn growth(rounds: &Rounds) -> Result<()> {
    println!("\n### trees that grow\n");
    println!(
        "| files | RUN steps | first build s | nothing changed s | one file changed s | a step of the first build ms |"
    );
    println!("|--:|--:|--:|--:|--:|--:|");
    for files in [1_000, 10_000, 100_000] {
        let mut ten = 0.0;
        for steps in [10_usize, 100] {
            let (mut first, mut warm, mut touched) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..rounds.rounds {
                let project = project(files, steps)?;
                let builder = Builder::new(&project, &base::busybox()?)?;
                builder.rest();
                first.push(builder.seconds(&[])?);
                builder.seconds(&[])?;
                warm.push(builder.seconds(&[])?);
                builder.project.file("d0000/f1", "changed\n")?;
                touched.push(builder.seconds(&[])?);
            }
            let [first, warm, touched] = [first, warm, touched].map(|all| median(all.into_iter()));
            let step = if steps == 10 {
                ten = first;
                "-".to_owned()
            } else {
                format!("{:.1}", (first - ten) / 90.0 * 1e3)
            };
            println!("| {files} | {steps} | {first:.2} | {warm:.3} | {touched:.2} | {step} |");
        }
    }
    Ok(())
}

/// Steps that read much, with their reads recorded and without: what the cache says that they took.
pub(super) fn recording(rounds: &Rounds) -> Result<()> {
    let base = super::projects::prepared()?;
    println!("\n### what recording costs a step\n");
    println!("| step | recorded s | not recorded s | ratio |");
    println!("|---|--:|--:|--:|");
    let cases = [
        ("find over Debian", "find / -xdev > /dev/null"),
        ("every file of Debian's /usr read", "find /usr -xdev -type f -exec cat {} + > /dev/null"),
        ("every file of /usr/include copied", "cp -a /usr/include /copy"),
        (
            "gcc, 40 times",
            "echo '#include <stdio.h>' > a.c; for i in $(seq 40); do gcc -c a.c -o $i.o || exit; done",
        ),
    ];
    for (name, script) in cases {
        let project =
            Project::new(&base, &format!("FROM base\nWORKDIR /w\nRUN {script}\n"))?.journal(Journal::Trusted);
        let builder = Builder::new(&project, &base)?;
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..rounds.rounds.max(3) {
            for (all, flag) in [(&mut with, "--cache-verify=0%"), (&mut without, "--cache-read-sets=false")] {
                builder.seconds(&["--no-cache", flag])?;
                all.push(took(&builder.session)?);
            }
        }
        let [with, without] = [with, without].map(|all| median(all.into_iter()));
        println!("| {name} | {with:.2} | {without:.2} | {:.3} |", with / without);
    }
    Ok(())
}

/// How long the RUN step of the last build took, in seconds.
fn took(session: &Session) -> Result<f64> {
    let text = session.succeed(&["cache", "ls", "--json"])?.stdout;
    let mut steps = Vec::new();
    for line in text.lines() {
        let entry: serde_json::Value = serde_json::from_str(line)?;
        if entry["step"].as_str().is_some_and(|step| step.contains("] RUN")) {
            steps.push(entry["tookMilliseconds"].as_f64().context("how long it took")?);
        }
    }
    ensure!(steps.len() == 1, "one RUN step is known, not {}", steps.len());
    Ok(steps[0] / 1e3)
}
