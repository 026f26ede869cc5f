//! `cargo xtask test` and `soak`: the checks, then every test, and one closing line that counts them.
//!
//! The closing line is `N passed, N failed, N skipped`, summed over the `test result:` lines of `cargo test`. A test
//! binary that died without such a line counts as a failure, and so does a run in which no test ran.

use crate::setup::{self, For};
use crate::{check, process, suites, workloads};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

#[derive(Default)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Checks and tests with the N that fits a run on every commit.
pub(crate) fn test(name: Option<&str>) -> Result<()> {
    setup::require(&[For::Compiling, For::Tests])?;
    let mut count = Count::default();
    match name {
        Some("sandbox") => return sandbox(&mut count),
        Some("cache") => return cache(&mut count),
        _ => {}
    }
    if name.is_none() {
        for (_, result) in check::all() {
            count.add_check(result.is_ok());
        }
    }
    suite(&mut count, &["--workspace"], name, "default")
}

/// What the sandbox stands on: the calls against Linux, the attacks and their controls, guests that want the broker to
/// crash or hang, random paths against a chroot; and the table of what the attacks came to.
fn sandbox(count: &mut Count) -> Result<()> {
    let made = wbuild_tests::workspace::cache("attacks")?;
    if made.exists() {
        std::fs::remove_dir_all(&made).context("cannot remove the table of the last run")?;
    }
    run_tests(count, &["--package", "wbuild-native", "--test", "calls"], None, "default")?;
    run_tests(count, &["--package", "wbuild-native", "--test", "steps"], Some("sandbox"), "default")?;
    let result = suite(count, &["--package", "wbuild-tests"], Some("sandbox"), "default");
    let mut reports: Vec<_> =
        std::fs::read_dir(&made).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    // The table first, then what each caller held.
    reports.sort_by_key(|path| !path.ends_with("table"));
    for report in reports {
        print!("{}", in_columns(&std::fs::read_to_string(report).context("cannot read a report")?));
    }
    result
}

/// What the cache stands on: keys, read sets, observations, the store; then whole builds, and the table of changes that they were put to.
fn cache(count: &mut Count) -> Result<()> {
    let made = wbuild_tests::workspace::cache("cache-scenarios")?;
    if made.exists() {
        std::fs::remove_dir_all(&made).context("cannot remove the table of the last run")?;
    }
    for (package, name) in [
        ("wbuild-build", "cache"),
        ("wbuild-build", "caching"),
        ("wbuild-build", "reads"),
        ("wbuild-monitor", "observ"),
    ] {
        run_tests(count, &["--package", package, "--lib"], Some(name), "default")?;
    }
    run_tests(count, &["--package", "wbuild-store", "--lib"], None, "default")?;
    run_tests(count, &["--package", "wbuild-tests", "--test", "faults"], Some("kill"), "default")?;
    let result = suite(count, &["--package", "wbuild-tests", "--test", "steps"], Some("cache"), "default");
    println!("the step | what changes | instructions | the change");
    let mut reports: Vec<_> =
        std::fs::read_dir(&made).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    reports.sort();
    let mut rows = 0;
    for report in reports {
        let text = std::fs::read_to_string(report).context("cannot read a report")?;
        rows += text.lines().count();
        print!("{text}");
    }
    println!("{rows} changes");
    result
}

/// Lines whose fields are separated by ` | `, each field as wide as the widest of its column.
fn in_columns(text: &str) -> String {
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(" | ").collect()).collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|field| field.chars().count()).max().unwrap_or(0)
    };
    let line = |row: &Vec<&str>| {
        let padded = row.iter().enumerate().map(|(column, field)| format!("{field:<0$}", width(column)));
        format!("{}\n", padded.collect::<Vec<_>>().join(" | ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// The tests that have an N, with a large one, one at a time.
pub(crate) fn soak(name: Option<&str>) -> Result<()> {
    if let Some(("workloads", one)) = name.map(|name| name.split_once('=').unwrap_or((name, ""))) {
        return workloads::run(Some(one).filter(|one| !one.is_empty()));
    }
    if let Some(("suites", one)) = name.map(|name| name.split_once('=').unwrap_or((name, ""))) {
        return suites::run(Some(one).filter(|one| !one.is_empty()));
    }
    setup::require(&[For::Compiling, For::Tests])?;
    // Random builds, with the cache and without it; `cache` alone would also name what has no N.
    let name = if name == Some("cache") { Some("cache::random") } else { name };
    let packages = ["wbuild-tests", "wbuild-monitor", "wbuild-rootfs", "wbuild-native"];
    let packages: Vec<&str> = packages.iter().flat_map(|package| ["--package", package]).collect();
    suite(&mut Count::default(), &packages, name, "soak")
}

/// Every fuzz target, or these, for so many minutes.
pub(crate) fn fuzz(targets: &[String], minutes: u64) -> Result<()> {
    setup::require(&[For::Compiling])?;
    let mut run =
        process::cargo(&["run", "--locked", "--quiet", "--package", "wbuild-fuzz", "--", "--seconds"]);
    run.arg((minutes * 60).to_string()).args(targets);
    process::succeed(run)
}

fn suite(count: &mut Count, packages: &[&str], name: Option<&str>, scale: &str) -> Result<()> {
    println!("== tests");
    let built = process::succeed(process::cargo(&["build", "--locked", "--quiet", "--bin", "wbuild"]));
    match built {
        Ok(()) => run_tests(count, packages, name, scale)?,
        Err(error) => {
            println!("build: {error:#}");
            count.failed += 1;
        }
    }
    println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped);
    if count.failed > 0 {
        bail!("{} failed", count.failed);
    }
    if count.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

fn run_tests(count: &mut Count, packages: &[&str], name: Option<&str>, scale: &str) -> Result<()> {
    let mut command = process::cargo(&["test", "--locked", "--no-fail-fast"]);
    command.args(packages).env("WBUILD_TEST_SCALE", scale).stdout(Stdio::piped());
    if let Some(name) = name {
        command.arg(name);
    }
    if scale == "soak" {
        command.args(["--", "--test-threads=1"]);
    }
    let mut child = command.spawn().context("cannot start cargo test")?;
    let pipe = child.stdout.take().context("cargo test has no standard output")?;
    let mut lines = BufReader::new(pipe).split(b'\n');
    let mut failed_binaries = 0;
    while let Some(line) = lines.next().transpose().context("cannot read what cargo test printed")? {
        let line = String::from_utf8_lossy(&line);
        writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")?;
        failed_binaries += u64::from(count.add_result_line(&line));
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    // A binary that crashed, or one that does not compile, prints no result line and still fails the command.
    if !status.success() && failed_binaries == 0 {
        count.failed += 1;
    }
    Ok(())
}

impl Count {
    fn add_check(&mut self, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Adds `test result: ok. 3 passed; 0 failed; 1 ignored; ..`; whether this line reported a failure.
    fn add_result_line(&mut self, line: &str) -> bool {
        let Some(rest) = line.strip_prefix("test result: ") else { return false };
        let mut words = rest.split([';', '.']).flat_map(|part| part.split_whitespace()).peekable();
        let mut failed = 0;
        while let Some(word) = words.next() {
            let (Ok(number), Some(what)) = (word.parse::<u64>(), words.peek()) else { continue };
            match *what {
                "passed" => self.passed += number,
                "failed" => failed = number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
        self.failed += failed;
        failed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, in_columns};

    #[test]
    fn fields_stand_beneath_each_other() {
        assert_eq!(in_columns("a | bb | c\nddd | e | f\nalone\n"), "a     | bb | c\nddd   | e  | f\nalone\n");
    }

    #[test]
    fn result_lines_are_summed() {
        let mut count = Count::default();
        assert!(!count.add_result_line(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s"
        ));
        assert!(count.add_result_line("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 12.50s"));
        assert!(!count.add_result_line("test some::name ... ok"));
        assert_eq!((count.passed, count.failed, count.skipped), (5, 4, 1));
    }
}
