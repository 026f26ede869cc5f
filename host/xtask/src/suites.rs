//! `cargo xtask soak suites`: public test-suites, each run by its own `make check` as root and as a user, in a root chroot and as a step in the
//! restricted pod; a test that passes in one and not in the other must be explained in docs/suites.md.
//!
//! Sources and what builds them come by apt when the check runs, and are built once, in the chroot. Only automake's suites can be
//! here: results are the global results of their `.trs` files.

use crate::bench::steps::kept;
use crate::process;
use crate::setup::{self, For};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use wbuild_tests::base::{self, Base};
use wbuild_tests::command::Outcome;
use wbuild_tests::oracle::Chroot;
use wbuild_tests::project::{Journal, Project, pod};

/// Debian's source packages.
const SUITES: [&str; 4] = ["coreutils", "findutils", "sed", "grep"];

/// What autotools generated is as the source package has it, whatever Debian's patches touched.
const FRESH: &str = "find . -name aclocal.m4 -exec touch {} + && sleep 1 && find . -name configure -exec touch {} + && \
                     find . -name \"config.h*in\" -exec touch {} + && sleep 1 && find . -name Makefile.in -exec touch {} +";

/// Who runs a suite.
#[derive(Clone, Copy, PartialEq, Eq)]
enum As {
    Root,
    User,
}

impl As {
    const BOTH: [Self; 2] = [Self::Root, Self::User];

    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "a user",
        }
    }
}

/// Test to PASS, FAIL, SKIP, ..
type Results = BTreeMap<String, String>;

/// Runs those whose name contains `name`, or all, and prints their tables.
pub(crate) fn run(name: Option<&str>) -> Result<()> {
    setup::require(&[For::Compiling, For::Tests])?;
    let explained = std::fs::read_to_string(process::workspace().join("docs/suites.md"))
        .context("cannot read docs/suites.md")?;
    let (mut ran, mut unexplained) = (0, Vec::new());
    for suite in SUITES.iter().filter(|suite| name.is_none_or(|name| suite.contains(name))) {
        let base = prepared(suite)?;
        println!("{suite} | as | where | passed | failed or error | skipped");
        for who in As::BOTH {
            let script = script(suite, who);
            let rootfs = base.rootfs.as_deref().context("the prepared base has a tree")?;
            let native = results(Chroot::copy_of(rootfs)?.run(&script)?)?;
            print_counts(suite, who, "chroot", &native);
            let step = results(in_the_pod(&base, &script)?)?;
            print_counts(suite, who, "step", &step);
            for (test, [native, step]) in differences(&native, &step) {
                let known = explained.contains(&test);
                println!(
                    "  {test} | {native} | {step}{}",
                    if known { "" } else { " | not in docs/suites.md" }
                );
                if !known {
                    unexplained.push(test);
                }
            }
            ran += 1;
        }
    }
    ensure!(ran > 0, "no suite has this name");
    if !unexplained.is_empty() {
        bail!("{} differences are not explained: {}", unexplained.len(), unexplained.join(" "));
    }
    Ok(())
}

/// A Debian tree with the package's source built in /suite, owned by the user `tester`.
fn prepared(suite: &str) -> Result<Base> {
    kept(&format!("suite-{suite}"), &base::debian()?, |chroot| {
        let script = format!(
            "export DEBIAN_FRONTEND=noninteractive FORCE_UNSAFE_CONFIGURE=1 && \
             sed 's/^deb /deb-src /' /etc/apt/sources.list > /etc/apt/sources.list.d/source.list && apt-get update && \
             apt-get install -y --no-install-recommends build-essential dpkg-dev procps && apt-get build-dep -y {suite} && \
             useradd -m tester && mkdir /suite && cd /suite && apt-get source {suite} && cd {suite}-*/ && {FRESH} && ./configure && \
             make -j2 && make -k check TESTS= && chown -R tester:tester /suite"
        );
        chroot.run(&script)?.success().map(|_| ())
    })
}

/// Runs the suite and tells what each test came to; what `make` itself comes to says no more.
fn script(suite: &str, who: As) -> String {
    let check = format!("cd /suite/{suite}-*/ && make -k check > /tmp/check.log 2>&1");
    let check = match who {
        As::Root => format!("({check})"),
        As::User => format!("su tester -c \"{check}\""),
    };
    format!(
        "{check}; cd /suite/{suite}-*/ && find . -name \"*.trs\" | sort | while read f; do \
         echo \"result: $f $(sed -n \"s/^:global-test-result: //p\" $f)\"; done"
    )
}

fn in_the_pod(base: &Base, script: &str) -> Result<Outcome> {
    let project = Project::new(base, &format!("FROM base\nRUN {script}\n"))?.journal(Journal::Trusted);
    Ok(project.try_build(pod()?, &[])?.outcome)
}

fn results(outcome: Outcome) -> Result<Results> {
    let text = outcome.success()?.text();
    let words = text.lines().filter_map(|line| line.split_once("result: ")?.1.split_once(' '));
    let results: Results = words
        // What the progress shows of the command itself is no result.
        .filter(|(test, _)| test.starts_with("./") && test.ends_with(".trs"))
        .map(|(test, result)| {
            let test = test.trim_start_matches("./").trim_start_matches("tests/").trim_end_matches(".trs");
            (test.to_owned(), result.trim().to_owned())
        })
        .collect();
    ensure!(!results.is_empty(), "no test has a result:\n{text}");
    Ok(results)
}

fn print_counts(suite: &str, who: As, place: &str, results: &Results) {
    let count = |wanted: &[&str]| results.values().filter(|result| wanted.contains(&result.as_str())).count();
    println!(
        "{suite} | {} | {place} | {} | {} | {}",
        who.name(),
        count(&["PASS", "XFAIL"]),
        count(&["FAIL", "ERROR", "XPASS"]),
        count(&["SKIP"])
    );
}

/// The tests that did not come to the same, with both results.
fn differences(native: &Results, step: &Results) -> Vec<(String, [String; 2])> {
    let of =
        |results: &Results, test: &String| results.get(test).cloned().unwrap_or_else(|| "none".to_owned());
    let mut tests: Vec<&String> = native.keys().chain(step.keys()).collect();
    tests.sort_unstable();
    tests.dedup();
    tests
        .into_iter()
        .map(|test| (test.clone(), [of(native, test), of(step, test)]))
        .filter(|(_, [native, step])| native != step)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_one_side_lacks_is_a_difference() {
        let of = |list: &[(&str, &str)]| -> Results {
            list.iter().map(|(test, result)| ((*test).to_owned(), (*result).to_owned())).collect()
        };
        let (native, step) =
            (of(&[("a", "PASS"), ("b", "PASS"), ("c", "SKIP")]), of(&[("a", "PASS"), ("b", "FAIL")]));
        let found = differences(&native, &step);
        let names: Vec<_> =
            found.iter().map(|(test, [native, step])| [test, native, step].map(String::as_str)).collect();
        assert_eq!(names, [["b", "PASS", "FAIL"], ["c", "SKIP", "none"]]);
    }
}
