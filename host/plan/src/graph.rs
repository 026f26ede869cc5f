//! Which stages and images a target needs.
//!
//! Stages are found by name or number among those that stand earlier, so there are no cycles. Triggers of a base are parsed here,
//! because they can need more images; they are known only once the base's configuration is.

use std::collections::{BTreeMap, BTreeSet};

use wbuild_dockerfile::{
    Dockerfile, DockerfileError, Expander, Instruction, Kind, NoVariables, Span, StageSource, Word, nearest,
    parse_trigger,
};
use wbuild_oci::{Platform, Reference};

use crate::request::{ContextKind, Images, Request, Stages};
use crate::step::{ImageOrigin, ImageRequest, Wanted};

/// The stages a target needs, in the order of the Dockerfile.
pub(crate) struct Graph<'a> {
    pub(crate) nodes: Vec<Node<'a>>,
    /// Images that `images` does not have yet.
    pub(crate) missing: Vec<Wanted>,
}

/// One stage of the Dockerfile that is needed.
pub(crate) struct Node<'a> {
    /// Its number in the Dockerfile.
    pub(crate) number: usize,
    pub(crate) source: &'a StageSource,
    pub(crate) base: NodeBase,
    pub(crate) platform: Platform,
    /// ONBUILD triggers of the base.
    pub(crate) triggers: Vec<Instruction>,
    /// The build context, a directory, that it begins with.
    pub(crate) seed: Option<Seed>,
    /// Whether its own instructions run; a stage that a build context stands for has none.
    pub(crate) body: Body,
    /// What each `--from` of it means, by the span of the flag and the text.
    pub(crate) copies: BTreeMap<(Span, String), Source>,
}

/// A directory as the base of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seed {
    pub(crate) name: String,
    pub(crate) span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Instructions,
    Replaced,
}

/// What a stage starts from; stages by their number in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeBase {
    Scratch,
    Image(ImageRequest),
    Stage(usize),
}

/// What a `--from` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stage(usize),
    Image(ImageRequest),
    Named(String),
}

/// Variables of FROM lines: predefined ones and global ARGs.
pub(crate) type Globals = BTreeMap<String, String>;

impl<'a> Graph<'a> {
    pub(crate) fn new(
        file: &'a Dockerfile,
        request: &Request,
        globals: &Globals,
        images: &Images,
    ) -> Result<Self, DockerfileError> {
        let resolver = Resolver { file, request, globals };
        let heads = resolver.heads()?;
        let target = resolver.target()?;
        let mut nodes: BTreeMap<usize, Node<'a>> = BTreeMap::new();
        let mut missing: BTreeMap<ImageRequest, Span> = BTreeMap::new();
        let mut open = match request.stages {
            Stages::Needed => vec![target],
            Stages::All => (0..heads.len()).collect(),
        };
        while let Some(number) = open.pop() {
            if nodes.contains_key(&number) {
                continue;
            }
            let mut node = resolver.node(number, &heads, images)?;
            resolver.copies(&mut node)?;
            let mut want = |image: &ImageRequest, span| {
                if !images.contains_key(image) {
                    missing.entry(image.clone()).or_insert(span);
                }
            };
            match &node.base {
                NodeBase::Scratch => {}
                NodeBase::Image(image) => want(image, node.source.from.base.span),
                NodeBase::Stage(number) => open.push(*number),
            }
            for ((span, _), source) in &node.copies {
                match source {
                    Source::Stage(number) => open.push(*number),
                    Source::Image(image) => want(image, *span),
                    Source::Named(_) => {}
                }
            }
            nodes.insert(number, node);
        }
        let mut missing: Vec<Wanted> =
            missing.into_iter().map(|(image, span)| Wanted { image, span }).collect();
        missing.sort_by_key(|wanted| wanted.span);
        Ok(Self { nodes: nodes.into_values().collect(), missing })
    }
}

// The FROM line of a stage, resolved.
#[derive(Clone)]
struct Head {
    base: NodeBase,
    platform: Platform,
    body: Body,
    seed: Option<Seed>,
}

struct Resolver<'a, 'b> {
    file: &'a Dockerfile,
    request: &'b Request,
    globals: &'b Globals,
}

impl<'a> Resolver<'a, '_> {
    fn expand(&self, word: &Word) -> Result<String, DockerfileError> {
        let escape = self.file.directives.escape;
        let expanded = Expander::words(escape).expand(&word.text, self.globals);
        expanded.map(|e| e.text).map_err(|e| syntax(word.span, e.to_string(), None))
    }

    fn heads(&self) -> Result<Vec<Head>, DockerfileError> {
        let mut heads: Vec<Head> = Vec::new();
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, stage) in self.file.stages.iter().enumerate() {
            heads.push(self.head(stage, &names, &heads)?);
            if let Some(name) = &stage.from.name {
                names.insert(&name.text, number);
            }
        }
        Ok(heads)
    }

    fn head(
        &self,
        stage: &StageSource,
        names: &BTreeMap<&str, usize>,
        heads: &[Head],
    ) -> Result<Head, DockerfileError> {
        let from = &stage.from;
        let base = self.expand(&from.base)?;
        if base.is_empty() {
            let message = format!("the base name {} is blank", from.base.text);
            let expected = "an ARG with a default before the first FROM, or --build-arg";
            return Err(syntax(from.base.span, message, Some(expected)));
        }
        let platform = match &from.platform {
            None => self.request.platform.clone(),
            Some(word) => self.platform(word)?,
        };
        let head = |base, body| Head { base, platform: platform.clone(), body, seed: None };
        let seed = |name: &str| Some(Seed { name: name.to_owned(), span: from.base.span });
        if let Some(name) = &from.name {
            match self.request.contexts.get(&name.text) {
                Some(ContextKind::Image) => {
                    let image = self.context_image(&name.text, &platform);
                    return Ok(head(NodeBase::Image(image), Body::Replaced));
                }
                Some(ContextKind::Directory) => {
                    return Ok(Head { seed: seed(&name.text), ..head(NodeBase::Scratch, Body::Replaced) });
                }
                None => {}
            }
        }
        if let Some(number) = names.get(base.as_str()) {
            // A stage keeps its platform, as BuildKit has it.
            let platform = heads.get(*number).map_or(platform.clone(), |h| h.platform.clone());
            return Ok(Head { platform, ..head(NodeBase::Stage(*number), Body::Instructions) });
        }
        if base == "scratch" {
            return Ok(head(NodeBase::Scratch, Body::Instructions));
        }
        match self.image(&base, from.base.span, &platform)? {
            Source::Image(image) => Ok(head(NodeBase::Image(image), Body::Instructions)),
            Source::Named(name) => {
                Ok(Head { seed: seed(&name), ..head(NodeBase::Scratch, Body::Instructions) })
            }
            Source::Stage(number) => Ok(head(NodeBase::Stage(number), Body::Instructions)),
        }
    }

    fn platform(&self, word: &Word) -> Result<Platform, DockerfileError> {
        let text = self.expand(word)?;
        text.parse().map_err(|e| {
            let message = format!("--platform={}: {e}", word.text);
            syntax(word.span, message, Some("--platform=OS/ARCHITECTURE[/VARIANT]"))
        })
    }

    fn context_image(&self, name: &str, platform: &Platform) -> ImageRequest {
        ImageRequest { name: name.to_owned(), origin: ImageOrigin::Context, platform: platform.clone() }
    }

    // An image or a named context.
    fn image(&self, name: &str, span: Span, platform: &Platform) -> Result<Source, DockerfileError> {
        let reference = name.parse::<Reference>();
        let familiar = reference.as_ref().map(Reference::familiar).unwrap_or_default();
        let short = familiar.strip_suffix(":latest").unwrap_or(&familiar);
        for key in [name, familiar.as_str(), short] {
            match self.request.contexts.get(key) {
                Some(ContextKind::Image) => return Ok(Source::Image(self.context_image(key, platform))),
                Some(ContextKind::Directory) => return Ok(Source::Named(key.to_owned())),
                None => {}
            }
        }
        let reference = reference.map_err(|e| {
            let stages = self.file.stages.iter().filter_map(|s| s.from.name.as_ref());
            let near = nearest(name, stages.map(|n| n.text.as_str()));
            let expected = near.map_or("an image reference or a stage".to_owned(), |n| format!("stage {n}?"));
            syntax(span, e.to_string(), Some(&expected))
        })?;
        let name = reference.to_string();
        Ok(Source::Image(ImageRequest { name, origin: ImageOrigin::Registry, platform: platform.clone() }))
    }

    fn target(&self) -> Result<usize, DockerfileError> {
        let stages = &self.file.stages;
        let Some(target) = &self.request.target else { return Ok(stages.len() - 1) };
        let lower = target.to_lowercase();
        let named = |s: &StageSource| s.from.name.as_ref().is_some_and(|n| n.text == lower);
        let number = || target.parse::<usize>().ok().filter(|n| *n < stages.len());
        stages.iter().rposition(named).or_else(number).ok_or_else(|| {
            let names = stages.iter().filter_map(|s| s.from.name.as_ref()).map(|n| n.text.as_str());
            DockerfileError::Target { name: target.clone(), nearest: nearest(target, names) }
        })
    }

    fn node(&self, number: usize, heads: &[Head], images: &Images) -> Result<Node<'a>, DockerfileError> {
        let head = &heads[number];
        let source = &self.file.stages[number];
        let mut triggers = Vec::new();
        if head.body == Body::Instructions {
            let expressions: Vec<&str> = match &head.base {
                NodeBase::Scratch => Vec::new(),
                NodeBase::Image(image) => {
                    let config = images.get(image).map(|c| c.config.on_build.as_slice()).unwrap_or_default();
                    config.iter().map(String::as_str).collect()
                }
                NodeBase::Stage(base) if heads[*base].body == Body::Replaced => Vec::new(),
                NodeBase::Stage(base) => {
                    let own = self.file.stages[*base].instructions.iter();
                    own.filter_map(|i| match &i.kind {
                        Kind::OnBuild(o) => Some(o.expression.as_str()),
                        _ => None,
                    })
                    .collect()
                }
            };
            for expression in expressions {
                triggers.push(parse_trigger(expression, source.span)?);
            }
        }
        Ok(Node {
            number,
            source,
            base: head.base.clone(),
            platform: head.platform.clone(),
            triggers,
            seed: head.seed.clone(),
            body: head.body,
            copies: BTreeMap::new(),
        })
    }

    fn copies(&self, node: &mut Node<'a>) -> Result<(), DockerfileError> {
        if node.body == Body::Replaced {
            return Ok(());
        }
        let mut found = BTreeMap::new();
        for instruction in node.triggers.iter().chain(&node.source.instructions) {
            if let Kind::Run(run) = &instruction.kind {
                let mounts = run.flags.iter().filter(|flag| flag.name == "mount");
                for from in mounts.filter_map(crate::run::mounts::from_of) {
                    let source = self.source(&from, node.number)?;
                    found.insert((from.span, from.text), source);
                }
            }
            let Kind::Copy(copy) = &instruction.kind else { continue };
            let Some(from) = &copy.from else { continue };
            if from.text.is_empty() {
                continue;
            }
            found.insert((from.span, from.text.clone()), self.source(from, node.number)?);
        }
        node.copies = found;
        Ok(())
    }

    // What `--from` of a COPY in stage `user` means.
    fn source(&self, from: &Word, user: usize) -> Result<Source, DockerfileError> {
        let plain = Expander::words(self.file.directives.escape).expand(&from.text, &NoVariables);
        if plain.is_ok_and(|e| e.text != from.text) {
            let expected = "a stage of its own, FROM ${..} AS name, to copy from";
            return Err(syntax(from.span, "variables are not expanded in --from", Some(expected)));
        }
        if let Ok(number) = from.text.parse::<usize>() {
            if number < user {
                return Ok(self.stage_source(number));
            }
            let message = format!("there is no stage {number} before this one");
            return Err(syntax(from.span, message, None));
        }
        let lower = from.text.to_lowercase();
        let named = |s: &StageSource| s.from.name.as_ref().is_some_and(|n| n.text == lower);
        if let Some(number) = self.file.stages[..user].iter().rposition(named) {
            return Ok(self.stage_source(number));
        }
        if self.file.stages[user..].iter().any(named) {
            let message = format!("cannot copy from stage {lower:?}: it must stand before this one");
            return Err(syntax(from.span, message, None));
        }
        if from.text == "scratch" {
            return Err(syntax(from.span, "scratch has no files to copy", Some("a stage or an image")));
        }
        self.image(&from.text, from.span, &self.request.platform)
    }

    // A stage, unless a directory stands for it.
    fn stage_source(&self, number: usize) -> Source {
        let name = self.file.stages[number].from.name.as_ref();
        match name.filter(|n| self.request.contexts.get(&n.text) == Some(&ContextKind::Directory)) {
            Some(name) => Source::Named(name.text.clone()),
            None => Source::Stage(number),
        }
    }
}

pub(crate) fn syntax(span: Span, message: impl Into<String>, expected: Option<&str>) -> DockerfileError {
    DockerfileError::Syntax { span, message: message.into(), expected: expected.map(str::to_owned) }
}

/// Names that ARG declares anywhere in the file.
pub(crate) fn declared(file: &Dockerfile) -> BTreeSet<&str> {
    let all = file.globals.iter().chain(file.stages.iter().flat_map(|s| &s.instructions));
    let args = all.filter_map(|i| match &i.kind {
        Kind::Arg(list) => Some(list),
        _ => None,
    });
    args.flatten().map(|d| d.name.as_str()).collect()
}
