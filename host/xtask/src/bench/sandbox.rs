//! `cargo xtask bench sandbox`: what the sandbox costs, by the call and by the command, beside root in a chroot and PRoot.
//!
//! The contestants alternate; a ratio is taken within each round, and the table shows the median of the ratios. The CPU of a step is
//! that of its commands and of its broker (the supervisor process, which `WBUILD_COUNT_CALLS=1` makes tell it). Nothing of what starts
//! the pod and unpacks the tree is measured. npm is not here: its packages are not among the base's.

use super::Rounds;
use super::steps::{self, PACKAGES};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use wbuild_tests::base::Base;
use wbuild_tests::command::Outcome;
use wbuild_tests::oracle::Chroot;
use wbuild_tests::pod::Pod;
use wbuild_tests::project::{Journal, Project};
use wbuild_tests::session::Caller;
use wbuild_tests::{guest, image};

/// What is prepared before, and what is measured.
struct Case {
    name: &'static str,
    before: &'static str,
    measured: String,
}

fn cases() -> Vec<Case> {
    let case = |name, before, measured: &str| Case { name, before, measured: measured.to_owned() };
    vec![
        case("single calls", "true", "exec /calls"),
        case(
            "apt-get --reinstall install of 20 packages, offline",
            "true",
            &format!("apt-get install --reinstall --no-download -y {PACKAGES}"),
        ),
        case("make -j2 of a C project of 60 files", "make -C /project clean", "make -C /project -j2"),
        case(
            "git add and commit of 2,000 files",
            "mkdir /g && cd /g && git init -q && git config user.email a@b.c && git config user.name a && \
             for d in $(seq 40); do mkdir $d; for f in $(seq 50); do echo $d $f > $d/$f; done; done",
            "cd /g && git add . && git commit -q -m x",
        ),
        case(
            "tar c, x and rm of /usr/share",
            "mkdir /x",
            "tar cf /t.tar /usr/share && tar xf /t.tar -C /x && rm -rf /x /t.tar",
        ),
        case(
            "find /",
            "true",
            "for n in 1 2 3; do find / -path /proc -prune -o -path /sys -prune -o -path /dev -prune -o -print; done > /dev/null",
        ),
        case("cp -a and rm -rf of /usr", "true", "cp -a /usr /copied && rm -rf /copied"),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Contestant {
    Chroot,
    Wbuild,
    PRoot,
}

impl Contestant {
    const ALL: [Self; 3] = [Self::Chroot, Self::Wbuild, Self::PRoot];

    fn name(self) -> &'static str {
        match self {
            Self::Chroot => "root in a chroot",
            Self::Wbuild => "wbuild, restricted pod",
            Self::PRoot => "PRoot as a user",
        }
    }
}

/// What one contestant's run of a case took: a line of the table to seconds or nanoseconds.
type Taken = BTreeMap<String, f64>;

pub(super) fn run(rounds: &Rounds) -> Result<()> {
    let base = prepared()?;
    let rootfs = base.rootfs.as_deref().context("the prepared base has a tree")?;
    for case in cases().iter().filter(|case| rounds.selects(case.name)) {
        let mut all: [Vec<Taken>; 3] = Default::default();
        let mut calls = String::new();
        for round in 0..rounds.rounds {
            for (contestant, taken) in Contestant::ALL.into_iter().zip(&mut all) {
                if contestant != Contestant::Chroot && !rounds.runs(contestant.name()) {
                    continue;
                }
                let script = format!("{} && /measure sh -c '{}'", case.before, case.measured);
                let ran = match contestant {
                    Contestant::Chroot => {
                        let chroot = Chroot::copy_of(rootfs)?;
                        steps::written()?;
                        chroot.run(&script)
                    }
                    Contestant::Wbuild => in_the_pod(&base, &script),
                    // PRoot may not run everything: it is shown where it does.
                    Contestant::PRoot if round > 0 && taken.is_empty() => continue,
                    Contestant::PRoot => steps::under_proot(rootfs, &script),
                };
                match ran.and_then(Outcome::success).and_then(|outcome| parse(&outcome.text(), contestant)) {
                    Ok((sample, broker)) => {
                        eprintln!("{}: {}: {sample:?}", case.name, contestant.name());
                        taken.push(sample);
                        calls = broker.unwrap_or(calls);
                    }
                    Err(error) if contestant == Contestant::PRoot => {
                        println!("PRoot does not run: {error:#}")
                    }
                    Err(error) => {
                        return Err(error.context(format!("{}: {}", case.name, contestant.name())));
                    }
                }
            }
        }
        print(case.name, &all);
        println!("\n{calls}");
    }
    Ok(())
}

/// What was printed: measurements, and of a step the broker's own account.
fn parse(text: &str, contestant: Contestant) -> Result<(Taken, Option<String>)> {
    let field = |line: &str, name: &str| -> Option<f64> {
        line.split_whitespace().find_map(|word| word.strip_prefix(name))?.trim_end_matches(':').parse().ok()
    };
    let after = |mark: &str| text.lines().rev().find_map(|line| Some(line.split_once(mark)?.1.to_owned()));
    let mut taken = Taken::new();
    for line in text.lines().filter_map(|line| line.split_once("call: ").map(|(_, rest)| rest)) {
        if let Some((name, nanoseconds)) = line.split_once(" nanoseconds=") {
            taken.insert(format!("{name}, us"), nanoseconds.trim().parse::<f64>()? / 1e3);
        }
    }
    let broker = after("broker: ");
    if taken.is_empty() {
        let line = after("measure: ").with_context(|| format!("no measurement in:\n{text}"))?;
        let seconds =
            |name: &str| field(&line, name).map(|us| us / 1e6).context("a measurement lacks a field");
        let answered = match (contestant, &broker) {
            (Contestant::Wbuild, Some(line)) => field(line, "cpu_us=").context("no CPU of the broker")? / 1e6,
            (Contestant::Wbuild, None) => anyhow::bail!("the step told nothing of its broker:\n{text}"),
            _ => 0.0,
        };
        taken.insert("wall, s".into(), seconds("wall_us=")?);
        taken.insert("CPU with the broker's, s".into(), seconds("cpu_us=")? + answered);
        taken.insert("CPU of the commands, s".into(), seconds("cpu_us=")?);
    }
    Ok((taken, broker.map(|line| format!("The last step's calls: {line}"))))
}

fn print(case: &str, all: &[Vec<Taken>; 3]) {
    println!("\n### {case}\n");
    println!("| | chroot | wbuild | PRoot | wbuild / chroot, median (min-max) | PRoot / chroot |");
    println!("|---|--:|--:|--:|--:|--:|");
    let [native, ..] = all;
    for line in native.first().into_iter().flat_map(BTreeMap::keys) {
        let values = |of: &[Taken]| of.iter().filter_map(|taken| taken.get(line).copied()).collect();
        let ratios = |of: &[Taken]| {
            of.iter().zip(native).filter_map(|(one, root)| Some(one.get(line)? / root.get(line)?)).collect()
        };
        let middle = |of: usize| spread(values(&all[of])).map_or("-".into(), |(_, m, _)| format!("{m:.2}"));
        let ratio = |of: usize| {
            spread(ratios(&all[of]))
                .map_or("-".into(), |(low, m, high)| format!("{m:.2} ({low:.2}-{high:.2})"))
        };
        println!("| {line} | {} | {} | {} | {} | {} |", middle(0), middle(1), middle(2), ratio(1), ratio(2));
    }
}

/// Smallest, median and largest.
fn spread(mut values: Vec<f64>) -> Option<(f64, f64, f64)> {
    values.sort_unstable_by(f64::total_cmp);
    let (low, high) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    };
    Some((low, median, high))
}

/// The tree of `bench steps` with git and `/calls`; kept in the cache.
fn prepared() -> Result<Base> {
    steps::kept("bench-sandbox", &steps::prepared()?, |chroot| {
        chroot.run("apt-get update && apt-get install -y --no-install-recommends git")?.success()?;
        fs::copy(guest::program("calls")?, chroot.path().join("calls"))?;
        Ok(())
    })
}

fn in_the_pod(base: &Base, script: &str) -> Result<Outcome> {
    let project = Project::new(base, &format!("FROM base\nRUN {script}\n"))?.journal(Journal::Trusted);
    let mut pod = Pod::new(&image::pod_rootfs()?)?;
    pod.env("WBUILD_COUNT_CALLS", "1");
    Ok(project.try_build(Caller::Pod(Box::new(pod)), &[])?.outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_counts_as_the_steps_cpu() {
        let text = "#5 0.1 measure: wall_us=2000000 cpu_us=1000000 peak_kib=3\n#5 broker: notifications=7 cpu_us=500000: openat 7 x 3.0 us\n";
        let (taken, broker) = parse(text, Contestant::Wbuild).unwrap();
        assert_eq!(taken["wall, s"], 2.0);
        assert_eq!(taken["CPU with the broker's, s"], 1.5);
        assert!(broker.unwrap().contains("openat 7"));
        let alone = text.lines().next().unwrap();
        assert!(parse(alone, Contestant::Wbuild).is_err(), "a step that tells nothing of its broker");
        assert_eq!(parse(alone, Contestant::Chroot).unwrap().0["CPU with the broker's, s"], 1.0);
    }

    #[test]
    fn calls_are_told_in_microseconds() {
        let (taken, _) = parse("#5 0.2 call: open ENOENT nanoseconds=1500\n", Contestant::Chroot).unwrap();
        assert_eq!(taken["open ENOENT, us"], 1.5);
    }

    #[test]
    fn the_median_of_ratios() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(spread(vec![1.0, 2.0]), Some((1.0, 1.5, 2.0)));
        assert_eq!(spread(Vec::new()), None);
    }
}
