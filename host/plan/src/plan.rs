//! A Dockerfile to a [`Plan`]: the graph's stages in order, each with its steps.

use std::collections::BTreeMap;

use wbuild_dockerfile::{Dockerfile, DockerfileError, Instruction, Kind};
use wbuild_oci::{Execution, Platform};

use crate::budget::Budget;
use crate::globals::{self, HOSTNAME, PROXIES};
use crate::graph::{Body, Globals, Graph, Node, NodeBase, Source, syntax};
use crate::lint::{Finding, INVALID_BASE_IMAGE_PLATFORM, Linter, Place, check_file};
use crate::request::{EpochRule, Images, Request};
use crate::stage::{Builder, Inheritance, Planned, Setting, WINDOWS};
use crate::step::{Base, Plan, Stage, StageId, Wanted};
use crate::title::Titles;

/// The images that are needed and not in `images`.
///
/// Ask again when they are known: the triggers of a base can need more.
///
/// # Errors
/// Everything that is wrong with FROM lines, `--from` flags, triggers and the target; steps are not looked at.
pub fn sources(
    file: &Dockerfile,
    request: &Request,
    images: &Images,
) -> Result<Vec<Wanted>, DockerfileError> {
    let globals = globals::globals(file, request)?;
    Ok(Graph::new(file, request, &globals, images)?.missing)
}

/// What the build does.
///
/// # Errors
/// What [`sources`] refuses; an image that is missing in `images`; and all that is wrong with, or not supported in, an instruction of
/// a stage that the target needs. Stages it does not need are not looked at.
pub fn plan(file: &Dockerfile, request: &Request, images: &Images) -> Result<Plan, DockerfileError> {
    let linter = Linter::new(file, request)?;
    let plan = linted(&linter, file, request, images)?;
    linter.verdict()?;
    Ok(plan)
}

/// What the lint rules find, and whether a build would come further: the error of [`sources`] or [`plan`] where it would not.
///
/// # Errors
/// Check options that cannot be read.
pub fn check(
    file: &Dockerfile,
    request: &Request,
    images: &Images,
) -> Result<(Vec<Finding>, Option<DockerfileError>), DockerfileError> {
    let linter = Linter::new(file, request)?;
    let failed = linted(&linter, file, request, images).err();
    Ok((linter.findings(), failed))
}

fn linted(
    linter: &Linter,
    file: &Dockerfile,
    request: &Request,
    images: &Images,
) -> Result<Plan, DockerfileError> {
    let globals = globals::globals(file, request)?;
    check_file(linter, file, request, &globals);
    let graph = Graph::new(file, request, &globals, images)?;
    if let Some(wanted) = graph.missing.first() {
        return Err(syntax(wanted.span, format!("the image {} is not resolved", wanted.image.name), None));
    }
    let epoch = globals::epoch(request, &globals)?;
    let ids: BTreeMap<usize, StageId> =
        graph.nodes.iter().enumerate().map(|(id, node)| (node.number, StageId(id))).collect();
    let proxies = proxies(request);
    let setting = Setting {
        escape: file.directives.escape,
        globals: &globals,
        build_args: &request.build_args,
        ids: &ids,
        proxies: &proxies,
        network: request.network,
        lint: linter,
        ignore: &request.ignore,
    };
    let names = Names::new(file, &graph);
    let mut budget = Budget::new();
    let mut done: BTreeMap<usize, Planned> = BTreeMap::new();
    for node in &graph.nodes {
        let start = Start { request, images, done: &done, epoch };
        let planned = stage(node, &setting, &start, &names, &mut budget)?;
        done.insert(node.number, planned);
    }
    let mut stages: Vec<Stage> = done.into_values().map(|p| p.stage).collect();
    if let Some(target) = stages.last_mut() {
        target.config.labels.extend(request.labels.clone());
        if target.platform.os == WINDOWS {
            // Only here: what builds the image joins paths with slashes.
            target.config.working_dir = target.config.working_dir.replace('/', "\\");
        }
    }
    let hostname = hostname(request, &globals);
    Ok(Plan { stages, hostname, warnings: globals::warnings(file, request), findings: linter.findings() })
}

fn hostname(request: &Request, globals: &Globals) -> Option<String> {
    request.build_args.get(HOSTNAME).or_else(|| globals.get(HOSTNAME)).filter(|h| !h.is_empty()).cloned()
}

// Both spellings of each proxy argument, whichever was given.
fn proxies(request: &Request) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for proxy in PROXIES {
        let mut given = request.build_args.iter().filter(|(name, _)| name.eq_ignore_ascii_case(proxy));
        if let Some((_, value)) = given.next_back().filter(|(_, value)| !value.is_empty()) {
            all.push((proxy.to_uppercase(), value.clone()));
            all.push((proxy.to_owned(), value.clone()));
        }
    }
    all
}

// What a stage can start from.
struct Start<'a> {
    request: &'a Request,
    images: &'a Images,
    done: &'a BTreeMap<usize, Planned>,
    epoch: Option<i64>,
}

impl Start<'_> {
    fn of(&self, node: &Node<'_>, setting: &Setting<'_>) -> Result<Begin, DockerfileError> {
        let unknown = |what: String| syntax(node.source.span, format!("{what} is not resolved"), None);
        match &node.base {
            NodeBase::Scratch => Ok(Begin {
                base: Base::Scratch,
                config: Execution { working_dir: "/".to_owned(), ..Execution::default() },
                inheritance: Inheritance::default(),
                author: None,
                epoch: self.epoch_of(Some(0)),
            }),
            NodeBase::Image(request) => {
                let image =
                    self.images.get(request).ok_or_else(|| unknown(format!("the image {}", request.name)))?;
                base_platform(setting.lint, node, &request.name, &image.platform());
                Ok(Begin {
                    base: Base::Image(request.clone()),
                    config: image.config.clone(),
                    inheritance: Inheritance::default(),
                    author: Some(image.author.clone()).filter(|a| !a.is_empty()),
                    epoch: self.epoch_of(Some(image.created.map_or(0, |t| t.unix()))),
                })
            }
            NodeBase::Stage(number) => {
                let (Some(planned), Some(id)) = (self.done.get(number), setting.ids.get(number)) else {
                    return Err(unknown(format!("stage {number}")));
                };
                Ok(Begin {
                    base: Base::Stage(*id),
                    config: planned.stage.config.clone(),
                    inheritance: planned.inheritance.clone(),
                    author: planned.stage.author.clone(),
                    epoch: planned.stage.epoch,
                })
            }
        }
    }

    fn epoch_of(&self, base: Option<i64>) -> Option<i64> {
        match (self.epoch, self.request.epoch) {
            (Some(given), _) | (None, EpochRule::Fixed(given)) => Some(given),
            (None, EpochRule::FromBase) => base,
            (None, EpochRule::Off) => None,
        }
    }
}

fn base_platform(lint: &Linter, node: &Node<'_>, image: &str, actual: &Platform) {
    let expected = &node.platform;
    if (&actual.os, &actual.architecture) == (&expected.os, &expected.architecture) {
        return;
    }
    let (actual, expected) = (actual.to_string(), expected.to_string());
    let detail = format!(
        "Base image {image} was pulled with platform {actual:?}, expected {expected:?} for current build"
    );
    let place = Place { span: node.source.span, comments: &node.source.comments };
    lint.report(INVALID_BASE_IMAGE_PLATFORM, place, detail);
}

struct Begin {
    base: Base,
    config: Execution,
    inheritance: Inheritance,
    author: Option<String>,
    epoch: Option<i64>,
}

fn stage(
    node: &Node<'_>,
    setting: &Setting<'_>,
    start: &Start<'_>,
    names: &Names,
    budget: &mut Budget,
) -> Result<Planned, DockerfileError> {
    let begin = start.of(node, setting)?;
    let mut titles = names.titles(node);
    let title = match &begin.base {
        Base::Image(image) => Some(titles.from(&image.name).shown),
        Base::Scratch | Base::Stage(_) => None,
    };
    let base = (begin.config, begin.inheritance, begin.author);
    let mut builder = Builder::new(setting, node, base, begin.epoch, titles, budget)?;
    let steps = builder.steps()?;
    let (config, inheritance, author) = builder.finish();
    let id = |number: &usize| setting.ids.get(number).copied();
    let base_stage = match &node.base {
        NodeBase::Stage(number) => id(number),
        NodeBase::Scratch | NodeBase::Image(_) => None,
    };
    let copied = node.copies.values().filter_map(|source| match source {
        Source::Stage(number) => id(number),
        Source::Image(_) | Source::Named(_) => None,
    });
    let mut needs: Vec<StageId> = base_stage.into_iter().chain(copied).collect();
    needs.sort_unstable();
    needs.dedup();
    let stage = Stage {
        id: setting.ids.get(&node.number).copied().unwrap_or(StageId(node.number)),
        name: stage_name(node),
        span: node.source.span,
        title,
        base: begin.base,
        platform: node.platform.clone(),
        needs,
        steps,
        config,
        author,
        epoch: begin.epoch,
    };
    Ok(Planned { stage, inheritance })
}

fn stage_name(node: &Node<'_>) -> String {
    match &node.source.from.name {
        Some(name) => name.text.clone(),
        None => format!("stage-{}", node.number),
    }
}

// Whether a display has to name the stage: not where there is only one and no image to copy from.
struct Names {
    shown: Shown,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Yes,
    No,
}

impl Names {
    fn new(file: &Dockerfile, graph: &Graph<'_>) -> Self {
        let images = graph.nodes.iter().any(|n| n.copies.values().any(|s| !matches!(s, Source::Stage(_))));
        Self { shown: if file.stages.len() > 1 || images { Shown::Yes } else { Shown::No } }
    }

    fn titles(&self, node: &Node<'_>) -> Titles {
        let name = if self.shown == Shown::Yes { stage_name(node) } else { String::new() };
        let counted = |i: &&Instruction| matches!(i.kind, Kind::Run(_) | Kind::Copy(_) | Kind::Workdir(_));
        let own = match node.body {
            Body::Instructions => node.source.instructions.iter().filter(counted).count(),
            Body::Replaced => 0,
        };
        let image = usize::from(matches!(node.base, NodeBase::Image(_)) || node.seed.is_some());
        Titles::new(name, image + own + node.triggers.iter().filter(counted).count())
    }
}

#[cfg(test)]
mod tests;
