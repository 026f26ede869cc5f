//! `--call=outline` and `--call=targets`: what a Dockerfile offers, as data.
//!
//! A comment above a stage or an argument describes it where it begins with its name: `# name description`.

use std::collections::{BTreeMap, BTreeSet};

use wbuild_dockerfile::{Dockerfile, DockerfileError, Expander, Instruction, Kind, Span};

use crate::globals;
use crate::graph::Graph;
use crate::mount::{Presence, RunMountKind};
use crate::plan::plan;
use crate::request::{Images, Request};
use crate::step::Action;

/// What one target takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The stage's name, if it has one.
    pub name: Option<String>,
    /// From its comment.
    pub description: Option<String>,
    /// Arguments that the stages of the target declare, by place.
    pub args: Vec<OutlineArg>,
    /// `--mount=type=secret`, by id.
    pub secrets: Vec<OutlineMount>,
    /// `--mount=type=ssh`, by id.
    pub ssh: Vec<OutlineMount>,
    /// `--mount=type=cache`, by id, each where it is used first.
    pub caches: Vec<(String, Span)>,
}

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What it is in this build; `None` where nothing gives it a value.
    pub value: Option<String>,
    /// From the comment above it.
    pub description: Option<String>,
    /// Where it is declared.
    pub span: Span,
}

/// A secret or an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub id: String,
    /// Whether a step fails without it.
    pub presence: Presence,
    /// The step that asks for it first; one that requires it goes before.
    pub span: Span,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// From its comment.
    pub description: Option<String>,
    /// Whether it is built where no target is named.
    pub default: TargetDefault,
    /// As written.
    pub base: String,
    /// `--platform`, as written.
    pub platform: Option<String>,
    /// The FROM line.
    pub span: Span,
}

/// Whether a stage is built where no target is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetDefault {
    /// It is the last one.
    Yes,
    /// It is not.
    No,
}

/// The stages of a file.
#[must_use]
pub fn targets(file: &Dockerfile) -> Vec<Target> {
    let last = file.stages.len().saturating_sub(1);
    let target = |(number, stage): (usize, &wbuild_dockerfile::StageSource)| {
        let name = stage.from.name.as_ref().map(|name| name.text.clone());
        Target {
            description: name.as_deref().and_then(|name| description(&stage.comments, name)),
            name,
            default: if number == last { TargetDefault::Yes } else { TargetDefault::No },
            base: stage.from.base.text.clone(),
            platform: stage.from.platform.as_ref().map(|platform| platform.text.clone()),
            span: stage.span,
        }
    };
    file.stages.iter().enumerate().map(target).collect()
}

/// What the request's target takes.
///
/// # Errors
/// As [`plan`].
pub fn outline(file: &Dockerfile, request: &Request, images: &Images) -> Result<Outline, DockerfileError> {
    let planned = plan(file, request, images)?;
    let globals = globals::globals(file, request)?;
    let graph = Graph::new(file, request, &globals, images)?;
    let mut args = Vec::new();
    let mut from_above = BTreeSet::new();
    let expander = Expander::words(file.directives.escape);
    for (node, stage) in graph.nodes.iter().zip(&planned.stages) {
        let from = &node.source.from;
        for word in std::iter::once(&from.base).chain(&from.platform) {
            let used = expander.expand(&word.text, &globals).map(|e| e.used).unwrap_or_default();
            from_above.extend(used);
        }
        let own = node
            .source
            .instructions
            .iter()
            .zip(stage.steps.iter().skip(node.triggers.len() + usize::from(node.seed.is_some())));
        for (instruction, step) in own {
            let Kind::Arg(declarations) = &instruction.kind else { continue };
            let shown = step.history.as_ref().map_or("", |history| history.created_by.as_str());
            for declaration in declarations {
                let name = &declaration.name;
                if declaration.value.is_none() && !request.build_args.contains_key(name) {
                    from_above.insert(name.clone());
                    if file_global(file, name).is_some() || globals.contains_key(name) {
                        continue;
                    }
                }
                let value = value_in(shown, name, declarations.iter().map(|d| d.name.as_str()));
                args.push(arg(instruction, name, value, declaration.span));
            }
        }
    }
    for name in &from_above {
        if let Some((instruction, span)) = file_global(file, name) {
            args.push(arg(instruction, name, globals.get(name).cloned(), span));
        }
    }
    args.sort_by_key(|arg| arg.span);
    let target = graph.nodes.last().map(|node| node.source);
    let name = target.and_then(|stage| stage.from.name.as_ref()).map(|name| name.text.clone());
    let (mut secrets, mut ssh, mut caches) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for step in planned.stages.iter().flat_map(|stage| &stage.steps) {
        let Action::Run(run) = &step.action else { continue };
        for mount in &run.mounts {
            match &mount.kind {
                RunMountKind::Secret(secret) => wanted(&mut secrets, &secret.id, secret.presence, step.span),
                RunMountKind::Ssh(agent) => wanted(&mut ssh, &agent.id, agent.presence, step.span),
                RunMountKind::Cache(cache) => {
                    caches.entry(cache.id.clone()).or_insert(step.span);
                }
                RunMountKind::Bind(_) | RunMountKind::Tmpfs(_) => {}
            }
        }
    }
    Ok(Outline {
        description: target.zip(name.as_deref()).and_then(|(stage, name)| description(&stage.comments, name)),
        name,
        args,
        secrets: secrets.into_values().collect(),
        ssh: ssh.into_values().collect(),
        caches: caches.into_iter().collect(),
    })
}

fn wanted(found: &mut BTreeMap<String, OutlineMount>, id: &str, presence: Presence, span: Span) {
    let mount = OutlineMount { id: id.to_owned(), presence, span };
    let known = found.entry(id.to_owned()).or_insert_with(|| mount.clone());
    if presence == Presence::Required && known.presence != Presence::Required {
        *known = mount;
    }
}

fn arg(instruction: &Instruction, name: &str, value: Option<String>, span: Span) -> OutlineArg {
    let description = description(&instruction.comments, name);
    OutlineArg { name: name.to_owned(), value, description, span }
}

fn description(comments: &[String], name: &str) -> Option<String> {
    comments.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned)
}

fn file_global<'f>(file: &'f Dockerfile, name: &str) -> Option<(&'f Instruction, Span)> {
    file.globals.iter().rev().find_map(|instruction| match &instruction.kind {
        Kind::Arg(list) => list.iter().find(|d| d.name == name).map(|d| (instruction, d.span)),
        _ => None,
    })
}

// The history of an ARG has each name with its value: `ARG A=1 B C=x y`. Values can hold blanks: one ends where the next of the
// instruction's own names begins.
fn value_in<'n>(shown: &str, name: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let mut rest = shown.strip_prefix("ARG ")?;
    let names: Vec<&str> = names.collect();
    for (at, this) in names.iter().enumerate() {
        rest = rest.strip_prefix(this)?;
        let end = match names.get(at + 1) {
            None => rest.len(),
            Some(next) => {
                let begins = |(i, _): &(usize, &str)| {
                    let after = &rest[i + 1 + next.len()..];
                    after.is_empty() || after.starts_with(['=', ' '])
                };
                rest.match_indices(&format!(" {next}")).find(begins).map_or(rest.len(), |(i, _)| i)
            }
        };
        if *this == name {
            return rest[..end].strip_prefix('=').map(str::to_owned);
        }
        rest = rest.get(end + 1..)?;
    }
    None
}
