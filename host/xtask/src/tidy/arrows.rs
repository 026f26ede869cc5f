//! The arrows between our crates, and the rooms of the named dependencies.
//!
//! ARCHITECTURE.md is the one place where both are written, in blocks fenced as `arrows` and `rooms`; this check
//! compares them with `cargo metadata`. An arrow that is written and not used is allowed: it is the plan.
//! Development dependencies are not looked at: a test may use what it likes from below.

use super::Findings;
use crate::process;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

type Relation = BTreeMap<String, BTreeSet<String>>;

pub(super) fn check(findings: &mut Findings) -> Result<()> {
    let page =
        std::fs::read_to_string(process::workspace().join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    let arrows = block(&page, "arrows")?;
    let rooms = block(&page, "rooms")?;
    let metadata =
        process::output(process::cargo(&["metadata", "--format-version=1", "--no-deps", "--locked"]))?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata")?;
    for package in &metadata.packages {
        let Some(from) = package.name.strip_prefix("wbuild-") else {
            findings.error(format!("{}: a package is named wbuild-<folder>", package.name));
            continue;
        };
        check_package(from, package, &arrows, &rooms, findings);
    }
    let members: BTreeSet<&str> =
        metadata.packages.iter().filter_map(|p| p.name.strip_prefix("wbuild-")).collect();
    for (from, to) in &arrows {
        for name in std::iter::once(from).chain(to) {
            if !members.contains(name.as_str()) {
                findings.error(format!("ARCHITECTURE.md: arrows name {name}, and there is no such crate"));
            }
        }
    }
    if let Some(cycle) = cycle(&arrows) {
        findings.error(format!("ARCHITECTURE.md: the arrows go in a circle through {cycle}"));
    }
    Ok(())
}

fn check_package(
    from: &str,
    package: &Package,
    arrows: &Relation,
    rooms: &Relation,
    findings: &mut Findings,
) {
    let nothing = BTreeSet::new();
    let allowed = arrows.get(from).unwrap_or(&nothing);
    for dependency in package.dependencies.iter().filter(|d| d.kind.as_deref() != Some("dev")) {
        if let Some(to) = dependency.name.strip_prefix("wbuild-") {
            if !allowed.contains(to) {
                findings.error(format!("{from} -> {to}: ARCHITECTURE.md has no such arrow"));
            }
        } else if let Some(room) = rooms.get(&dependency.name)
            && !room.contains(from)
        {
            findings.error(format!(
                "{from} uses {}, whose rooms in ARCHITECTURE.md are {room:?}",
                dependency.name
            ));
        }
    }
}

/// The lines `a, b -> c, d` or `name: c, d` of the block fenced as `kind`.
fn block(page: &str, kind: &str) -> Result<Relation> {
    let fence = format!("```{kind}");
    let lines = page.lines().skip_while(|line| *line != fence).skip(1).take_while(|line| *line != "```");
    let mut relation = Relation::new();
    for line in lines {
        let Some((from, to)) = line.split_once("->").or_else(|| line.split_once(':')) else {
            bail!("ARCHITECTURE.md: a line of the block {kind} is not a relation: {line}");
        };
        for from in names(from) {
            relation.entry(from).or_default().extend(names(to));
        }
    }
    if relation.is_empty() {
        bail!("ARCHITECTURE.md has no block fenced as {kind}");
    }
    Ok(relation)
}

fn names(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// A crate on a circle, if there is one: what is left when the crates that point at nothing left are taken away.
fn cycle(arrows: &Relation) -> Option<String> {
    let mut left = arrows.clone();
    loop {
        let bottom: Vec<String> = left
            .iter()
            .filter(|(_, to)| to.iter().all(|to| !left.contains_key(to)))
            .map(|(from, _)| from.clone())
            .collect();
        if bottom.is_empty() {
            return left.into_keys().next();
        }
        for from in bottom {
            left.remove(&from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{block, cycle};

    #[test]
    fn blocks_are_read_and_circles_are_seen() {
        let page = "text\n```arrows\na -> b, c\nstore, layer -> b\n```\n```rooms\ntokio: b\n```\n";
        let arrows = block(page, "arrows").unwrap();
        assert_eq!(arrows["a"].len(), 2);
        assert!(arrows["layer"].contains("b"));
        assert_eq!(cycle(&arrows), None);
        let round = block("```arrows\na -> b\nb -> c\nc -> a\nd -> a\n```", "arrows").unwrap();
        assert!(cycle(&round).is_some());
        assert!(block(page, "nothing").is_err());
    }
}
