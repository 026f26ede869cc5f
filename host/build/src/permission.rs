//! What a policy says of a build outside of its steps: instructions, sources, the image that is made, where it goes.
//!
//! Everything that can be said before a byte is fetched is said at once. Images that the command line names (`--build-context`) are
//! the caller's own word and are not asked about.

use std::sync::{Arc, Mutex, PoisonError};

use wbuild_dockerfile::{CopyOperand, CopyVerb, Dockerfile, Instruction, Kind, Span};
use wbuild_monitor::ImageChange;
use wbuild_oci::git::is_commit_id;
use wbuild_oci::{GitSource, ImageConfig, Reference};
use wbuild_plan::{Action, CopySource, ImageOrigin, Plan, UrlSource, Wanted};
use wbuild_policy::{Denied, Mode, Ruleset};
use wbuild_store::Admit;

use crate::cache::CacheDest;
use crate::error::BuildError;
use crate::image::Growing;
use crate::progress::Reporter;
use crate::request::{BuildRequest, Output};

/// One line of a Dockerfile, or one argument of the build, that a policy denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedLine {
    /// The instruction; `None` where the command line is meant.
    pub span: Option<Span>,
    /// What is denied, and by which rule.
    pub denied: Denied,
}

fn at(span: Span) -> impl Fn(Denied) -> DeniedLine {
    move |denied| DeniedLine { span: Some(span), denied }
}

/// What a policy denies of a Dockerfile as it is written: instructions, flags of RUN, and the sources that hold no variable.
#[must_use]
pub fn denied_by(rules: &Ruleset, file: &Dockerfile) -> Vec<DeniedLine> {
    let mut lines = Vec::new();
    for instruction in &file.globals {
        lines.extend(denied_instruction(rules, instruction));
    }
    for stage in &file.stages {
        lines.extend(rules.instruction("FROM").into_iter().map(at(stage.span)));
        lines
            .extend(stage.instructions.iter().flat_map(|instruction| denied_instruction(rules, instruction)));
    }
    lines
}

fn denied_instruction(rules: &Ruleset, instruction: &Instruction) -> Vec<DeniedLine> {
    let mut lines: Vec<DeniedLine> =
        rules.instruction(&instruction.keyword).into_iter().map(at(instruction.span)).collect();
    match &instruction.kind {
        Kind::Run(run) => {
            let flags =
                run.flags.iter().flat_map(|flag| rules.run_flag(&flag.name).into_iter().map(at(flag.span)));
            lines.extend(flags);
        }
        Kind::Copy(copy) if copy.verb == CopyVerb::Add => {
            let checksum =
                copy.flags.iter().find(|flag| flag.name == "checksum").map(|flag| flag.value.as_str());
            for source in &copy.sources {
                let CopyOperand::Path(word) = source else { continue };
                lines.extend(denied_source(rules, &word.text, checksum).into_iter().map(at(word.span)));
            }
        }
        Kind::OnBuild(trigger) => {
            let inner = denied_trigger(rules, &trigger.expression);
            lines.extend(inner.into_iter().map(at(instruction.span)));
        }
        _ => {}
    }
    lines
}

/// What a policy denies of a source of ADD; variables are expanded.
pub(crate) fn denied_source(rules: &Ruleset, source: &str, checksum: Option<&str>) -> Vec<Denied> {
    if let Some(parsed) = GitSource::parse(source) {
        // One that cannot be used stops the build when the plan reads it.
        let Ok(git) = parsed else { return Vec::new() };
        let pinned = checksum.or((!git.checksum.is_empty()).then_some(git.checksum.as_str()));
        let version = match pinned.filter(|id| is_commit_id(id)) {
            Some(commit) => Some(commit),
            None => (!git.reference.is_empty()).then_some(git.reference.as_str()),
        };
        return rules.git(&git.remote, version);
    }
    if source.starts_with("http://") || source.starts_with("https://") {
        return rules.http(source, checksum);
    }
    Vec::new()
}

/// Asks a policy about the repositories of submodules, which no line of a Dockerfile and no command line names.
pub struct SubmoduleGate {
    rules: Arc<Ruleset>,
    denied: Arc<Mutex<Vec<Denied>>>,
}

impl SubmoduleGate {
    /// Asks these rules.
    #[must_use]
    pub fn new(rules: Arc<Ruleset>) -> Self {
        Self { rules, denied: Arc::default() }
    }

    /// What asks; in audit mode it lets everything pass.
    #[must_use]
    pub fn admit(&self) -> Arc<Admit> {
        let (rules, denied) = (Arc::clone(&self.rules), Arc::clone(&self.denied));
        Arc::new(move |url: &str, commit: &str| {
            let found = rules.git(url, Some(commit));
            if found.is_empty() {
                return Ok(());
            }
            let why = found.iter().map(told).collect::<Vec<_>>().join("; ");
            if rules.mode() == Mode::Enforce {
                denied.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
                return Err(why);
            }
            tracing::warn!("a submodule: {why}");
            Ok(())
        })
    }

    /// What was denied, in words.
    #[must_use]
    pub fn denied(&self) -> Vec<String> {
        self.lines().iter().map(told).collect()
    }

    pub(crate) fn lines(&self) -> Vec<Denied> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn told(denied: &Denied) -> String {
    let Denied { code, tried, rule, .. } = denied;
    format!("{code} {}: {tried}, by {} ({}:{})", code.title(), rule.key, rule.file, rule.line)
}

/// What a policy denies of the text of a trigger.
fn denied_trigger(rules: &Ruleset, expression: &str) -> Vec<Denied> {
    // A trigger that cannot be read stops the build when the plan reads it.
    let Ok(file) = wbuild_dockerfile::parse(format!("FROM scratch\n{expression}\n").as_bytes()) else {
        return Vec::new();
    };
    let inner = file.stages.iter().flat_map(|stage| &stage.instructions);
    inner.flat_map(|instruction| denied_instruction(rules, instruction)).map(|line| line.denied).collect()
}

/// The names under which something is to be pushed.
fn pushed(request: &BuildRequest) -> Vec<&Reference> {
    let mut names = Vec::new();
    for output in &request.outputs {
        if let Output::Registry { names: more, .. } = output {
            names.extend(request.tags.iter().chain(more));
        }
    }
    // A cache is an image, too.
    names.extend(request.cache_to.iter().filter_map(|export| match &export.to {
        CacheDest::Registry(name) => Some(name),
        CacheDest::Local { .. } => None,
    }));
    names
}

/// A policy as the builder asks it.
pub(crate) struct Permission<'a> {
    pub(crate) rules: &'a Ruleset,
    pub(crate) reporter: &'a Reporter,
}

impl Permission<'_> {
    /// Denies, or in audit mode says what would be denied.
    fn settle(&self, lines: Vec<DeniedLine>) -> Result<(), BuildError> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.rules.mode() == Mode::Enforce {
            return Err(BuildError::Denied { lines });
        }
        for line in &lines {
            self.reporter.warn(line.span, &told(&line.denied));
        }
        Ok(())
    }

    /// Before anything is fetched: the Dockerfile, and where the image is to go.
    pub(crate) fn before(&self, file: &Dockerfile, request: &BuildRequest) -> Result<(), BuildError> {
        let mut lines = denied_by(self.rules, file);
        for name in pushed(request) {
            let denied = self.rules.push(&name.to_string(), name.tag().unwrap_or("latest"));
            lines.extend(denied.into_iter().map(|denied| DeniedLine { span: None, denied }));
        }
        self.settle(lines)
    }

    /// What a tool of the step at `span` changed of the image: as if an instruction said it.
    pub(crate) fn changed(&self, span: Span, changes: &[ImageChange]) -> Result<(), BuildError> {
        let denied = |change: &ImageChange| self.rules.instruction(change.instruction());
        self.settle(changes.iter().flat_map(denied).map(at(span)).collect())
    }

    /// Before images are resolved.
    pub(crate) fn images(&self, wanted: &[Wanted]) -> Result<(), BuildError> {
        let registry = wanted.iter().filter(|wanted| wanted.image.origin == ImageOrigin::Registry);
        let denied = registry.flat_map(|wanted| {
            let digest = wanted.image.name.split_once('@').map(|(_, digest)| digest);
            self.rules.image(&wanted.image.name, digest).into_iter().map(at(wanted.span))
        });
        self.settle(denied.collect())
    }

    /// Once an image is resolved: what it does to builds on top of it.
    pub(crate) fn triggers(&self, span: Span, config: &ImageConfig) -> Result<(), BuildError> {
        let triggers = config.config.on_build.iter();
        let denied = triggers.flat_map(|trigger| denied_trigger(self.rules, trigger));
        self.settle(denied.map(at(span)).collect())
    }

    /// Before steps run: what the image will be, and what ADD fetches, with every variable expanded.
    pub(crate) fn planned(&self, plan: &Plan) -> Result<(), BuildError> {
        let Some(target) = plan.stages.last() else { return Ok(()) };
        let labels = &target.config.labels;
        let config = self.rules.image_config(&target.config.user, &|name| labels.contains_key(name));
        let mut lines: Vec<DeniedLine> = config.into_iter().map(at(target.span)).collect();
        for step in plan.stages.iter().flat_map(|stage| &stage.steps) {
            let Action::Copy(copy) = &step.action else { continue };
            for source in &copy.sources {
                let CopySource::Url(UrlSource { url, checksum, .. }) = source else { continue };
                let checksum = checksum.as_ref().map(ToString::to_string);
                let denied = denied_source(self.rules, url, checksum.as_deref());
                lines.extend(denied.into_iter().map(at(step.span)));
            }
        }
        self.settle(lines)
    }

    /// Before the image leaves.
    pub(crate) fn made(&self, image: &Growing) -> Result<(), BuildError> {
        let layers = image.layers_with_diff_ids();
        let (layers, bytes) = (layers.len() as u64, layers.iter().map(|(layer, _)| layer.size).sum());
        let denied = self.rules.size(layers, bytes);
        self.settle(denied.into_iter().map(|denied| DeniedLine { span: None, denied }).collect())
    }
}
