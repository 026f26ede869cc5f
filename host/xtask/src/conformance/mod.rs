//! `cargo xtask conformance`: builds from the peers' own test suites, judged by what BuildKit makes of each.
//!
//! The suites are no part of this repository: they are looked for beside it, in `../shared/conformance`, and where they are not there
//! this says so and nothing else. Their registry and base images are made once, beneath `target/conformance`; the builds have a store of
//! their own, which is empty at the start. An item that fails fails the task: no list of known failures is kept here.

mod table;

use crate::process;
use crate::setup::{self, For};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use table::{Item, Table, Verdict};
use wbuild_tests::workspace::{self, Profile};

/// What the suites' files say about where their base images are.
const PORT: &str = "5055";

#[derive(Args)]
pub(crate) struct Conformance {
    /// Judge the release binary instead of the debug one
    #[arg(long)]
    release: bool,
    /// Only the builds whose name (suite/item) matches this regular expression, and no other check
    #[arg(long, value_name = "REGEX")]
    only: Option<String>,
    /// Builds at a time
    #[arg(short, long, default_value_t = 2, value_name = "N")]
    jobs: u32,
    /// Images that are put before other tools
    #[arg(long, default_value_t = 40, value_name = "N")]
    valid: u32,
}

/// The suites and the place where this run keeps its files.
struct Bench {
    suites: PathBuf,
    work: PathBuf,
    wbuild: PathBuf,
}

impl Conformance {
    /// Runs what is there and prints one table.
    pub(crate) fn run(self) -> Result<()> {
        let suites = process::workspace().join("../shared/conformance");
        if !suites.join("bin/compare.py").is_file() {
            println!("conformance: there are no suites in {}; nothing was checked", suites.display());
            return Ok(());
        }
        setup::require(&[For::Conformance])?;
        schemas()?;
        let profile = if self.release { Profile::Release } else { Profile::Dev };
        let built = workspace::artifacts(profile)?.wbuild;
        let work = workspace::target().join("conformance");
        std::fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
        // Others may compile while this runs: what is judged stays what it was at the start.
        let wbuild = work.join("wbuild");
        let _gone = std::fs::remove_file(&wbuild);
        std::fs::copy(&built, &wbuild).with_context(|| format!("cannot copy {}", built.display()))?;
        let bench = Bench {
            suites: suites.canonicalize().context("cannot resolve the suites' directory")?,
            work,
            wbuild,
        };
        let _registry = Registry::start(&bench)?;
        bench.bases()?;
        bench.empty("store")?;
        bench.empty("tmp")?;
        let mut table = Table::default();
        table.extend(bench.compare(&self)?);
        if self.only.is_none() {
            table.extend(bench.printed("lint", &mut bench.lint())?);
            table.extend(bench.printed("validity", &mut bench.validity(self.valid))?);
        }
        bench.empty("tmp")?;
        println!("{table}");
        ensure!(table.count(Verdict::Pass) > 0, "no item was checked");
        match table.count(Verdict::Fail) {
            0 => Ok(()),
            failed => bail!("{failed} failed"),
        }
    }
}

impl Bench {
    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(self.suites.join("bin").join(name));
        command.current_dir(&self.suites).stdin(Stdio::null()).env("WBUILD", &self.wbuild);
        command.env("WBUILD_ROOT", self.work.join("store")).env("TMPDIR", self.work.join("tmp"));
        command
    }

    fn template(&self) -> PathBuf {
        self.suites.join("templates/wbuild.json")
    }

    fn empty(&self, name: &str) -> Result<()> {
        let dir = self.work.join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))
    }

    /// The base images, in the registry and as layouts; what was begun and not ended is made again.
    fn bases(&self) -> Result<()> {
        let done = self.work.join("bases.done");
        if done.exists() {
            return Ok(());
        }
        println!("conformance: making the base images");
        let mut make = self.script("mkbases.py");
        make.args(["--registry", &format!("127.0.0.1:{PORT}"), "--out"])
            .arg(self.work.join("bases"))
            .env_remove("TMPDIR");
        process::succeed(make)?;
        std::fs::write(&done, "").with_context(|| format!("cannot write {}", done.display()))
    }

    /// Every build, twice: the second one from the cache.
    fn compare(&self, asked: &Conformance) -> Result<Vec<Item>> {
        println!("conformance: builds");
        let json = self.work.join("compare.json");
        let _gone = std::fs::remove_file(&json);
        let mut compare = self.script("compare.py");
        compare.arg("--template").arg(self.template()).arg("--bases").arg(self.work.join("bases"));
        compare.args(["-j", &asked.jobs.to_string(), "--twice", "--json"]).arg(&json);
        compare.args(asked.only.iter().flat_map(|only| ["--only", only]));
        let (_, text) = self.run("compare", &mut compare)?;
        let report = std::fs::read(&json)
            .with_context(|| format!("compare.py wrote no report:\n{}", last_lines(&text)))?;
        table::of_report(&report)
    }

    fn lint(&self) -> Command {
        let command = format!("{} build --check -f {{dockerfile}} {{context}}", self.wbuild.display());
        let mut lint = self.script("lintcheck.py");
        lint.args(["-v", "--registry", &format!("127.0.0.1:{PORT}"), "--cmd", &command]);
        lint
    }

    fn validity(&self, images: u32) -> Command {
        let mut validity = self.script("validity.py");
        validity.arg("--template").arg(self.template()).arg("--bases").arg(self.work.join("bases"));
        // The tables of words make images whose USER is any text at all: umoci looks it up, and nothing can be there.
        validity.args(["--n", &images.to_string(), "--only", "^(?!tbl-)"]);
        validity
    }

    /// A script that says what failed in lines, and counts in its last one.
    fn printed(&self, suite: &str, script: &mut Command) -> Result<Vec<Item>> {
        println!("conformance: {suite}");
        let (status, text) = self.run(suite, script)?;
        table::of_lines(suite, &text)
            .with_context(|| format!("the {suite} script ended with {status}:\n{}", last_lines(&text)))
    }

    /// Runs a script; what it printed is also kept beside the store.
    fn run(&self, name: &str, script: &mut Command) -> Result<(std::process::ExitStatus, String)> {
        let output = script.output().with_context(|| format!("cannot start {script:?}"))?;
        let text = [output.stdout, output.stderr].concat();
        let log = self.work.join(name).with_extension("txt");
        std::fs::write(&log, &text).with_context(|| format!("cannot write {}", log.display()))?;
        Ok((output.status, String::from_utf8_lossy(&text).into_owned()))
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// Without this the validity checks would skip the schemas.
fn schemas() -> Result<()> {
    let mut python = Command::new("python3");
    python.args(["-c", "import jsonschema, referencing"]).stdin(Stdio::null());
    process::output(python)
        .context("the image schemas need Python's jsonschema: `pip install jsonschema`")?;
    Ok(())
}

/// The suites' registry; it ends with this value if it began with it.
struct Registry {
    pid: Option<PathBuf>,
}

impl Registry {
    fn start(bench: &Bench) -> Result<Self> {
        let dir = bench.work.join("registry");
        let pid = dir.join("pid");
        let mut start = bench.script("registry.sh");
        start.arg(PORT).arg(&dir);
        let text = process::output(start)?;
        let ours = !text.contains("already running");
        Ok(Self { pid: ours.then_some(pid) })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let Some(pid) = self.pid.as_deref().and_then(read_pid) else { return };
        // It holds nothing that is not on disk; one that is gone already is as well.
        let _gone = Command::new("kill").arg(&pid).status();
    }
}

fn read_pid(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let pid = text.trim();
    pid.parse::<u32>().is_ok().then(|| pid.to_owned())
}
