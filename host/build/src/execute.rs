//! The whole of a build: resolve, plan, run the stages, write the image, export it.
//!
//! Stages run one after another in the order of the plan, each after those it needs. A stage's tree is handed to the stage that is
//! built FROM it where nobody else reads it any more; else that stage unpacks the same layers again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use wbuild_plan::{
    Action, Base, ContextKind, CopyFrom, ImageOrigin, ImageRequest, Plan, Request, Stage, StageId,
};

use crate::background::Background;
use crate::context::ContextFiles;
use crate::epoch::Times;
use crate::error::{BuildError, FilesError};
use crate::export::export;
use crate::files::Files;
use crate::image::Growing;
use crate::images::ImageSet;
use crate::progress::Reporter;
use crate::request::{BuildRequest, Built, ContextDir, NamedContext, Wiring};
use crate::stage::{ParkedTree, Sources, StageRunner, StageState};

/// Builds an image.
///
/// # Errors
/// See [`BuildError`]. Trees and scratch directories are gone in any case; blobs of steps that were done stay.
pub fn build(request: &BuildRequest, wiring: &Wiring) -> Result<Built, BuildError> {
    let reporter = Reporter::new(Arc::clone(&wiring.progress));
    let running =
        reporter.start(&format!("[internal] load build definition from {}", request.dockerfile_name));
    let file = wbuild_dockerfile::parse(&request.dockerfile)?;
    running.done();
    let asked = plan_request(request);
    let mut images = ImageSet::new(
        &wiring.store,
        Arc::clone(&wiring.remote),
        &request.contexts,
        &reporter,
        &wiring.cancel,
    );
    loop {
        let wanted = wbuild_plan::sources(&file, &asked, &images.configs())?;
        if wanted.is_empty() {
            break;
        }
        images.resolve(wanted)?;
    }
    let plan = wbuild_plan::plan(&file, &asked, &images.configs())?;
    for warning in &plan.warnings {
        reporter.warn(warning.span, &warning.message);
    }
    let mut executor = Executor {
        request,
        wiring,
        reporter: &reporter,
        plan: &plan,
        images,
        done: BTreeMap::new(),
        image_trees: BTreeMap::new(),
        syncs: Arc::default(),
        removals: Background::default(),
        now: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0)),
    };
    executor.run()
}

fn plan_request(request: &BuildRequest) -> Request {
    let kind = |context: &NamedContext| match context {
        NamedContext::Directory(_) => ContextKind::Directory,
        NamedContext::Layout { .. } | NamedContext::Image(_) => ContextKind::Image,
    };
    Request {
        build_args: request.build_args.clone(),
        target: request.target.clone(),
        platform: request.platform.clone().unwrap_or_else(|| request.build_platform.clone()),
        build_platform: request.build_platform.clone(),
        contexts: request.contexts.iter().map(|(name, context)| (name.clone(), kind(context))).collect(),
        labels: request.labels.clone(),
        epoch: request.epoch,
    }
}

struct Executor<'a> {
    request: &'a BuildRequest,
    wiring: &'a Wiring,
    reporter: &'a Reporter,
    plan: &'a Plan,
    images: ImageSet<'a>,
    done: BTreeMap<StageId, StageState>,
    /// Trees of images that a COPY --from names.
    image_trees: BTreeMap<ImageRequest, ParkedTree>,
    /// Layers on their way to the disk.
    syncs: Arc<Background>,
    /// Trees that are being removed.
    removals: Background,
    /// Seconds since 1970 when the build began.
    now: i64,
}

impl Executor<'_> {
    fn run(&mut self) -> Result<Built, BuildError> {
        let plan = self.plan;
        for stage in &plan.stages {
            let state = self.stage(stage)?;
            self.done.insert(stage.id, state);
            self.drop_unneeded(stage.id)?;
        }
        // A plan has at least its target.
        let target = plan.stages.last().ok_or(BuildError::Unplanned { what: "a target" })?;
        self.finish(target)
    }

    fn stage(&mut self, stage: &Stage) -> Result<StageState, BuildError> {
        let mut state = match &stage.base {
            Base::Scratch => StageState { image: Growing::scratch(&stage.platform), tree: None, writers: 0 },
            Base::Image(image) => {
                let base = self.images.get(image).ok_or(BuildError::Unplanned { what: "a base image" })?;
                StageState { image: Growing::from_base(&base.image), tree: None, writers: 0 }
            }
            Base::Stage(base) => self.continue_from(*base, stage.id)?,
        };
        let works = stage.steps.iter().any(|step| step.action != Action::Config);
        if works && state.tree.is_none() {
            self.fetch_bottom(stage)?;
        }
        let runner = StageRunner {
            wiring: self.wiring,
            reporter: self.reporter,
            resolv_conf: &self.request.resolv_conf,
            hostname: &self.request.hostname,
            journal_check: self.request.journal_check,
            times: Times::new(stage.epoch, self.now),
            syncs: Arc::clone(&self.syncs),
            stage,
        };
        let mut sources = StageSources { executor: self };
        runner.run(&mut state, &mut sources)?;
        Ok(state)
    }

    /// The state of `base` for a stage built FROM it: with its tree, if no other stage and no COPY needs that one.
    fn continue_from(&mut self, base: StageId, stage: StageId) -> Result<StageState, BuildError> {
        let shared = self.readers_after(base, stage) > 0 || self.copies_from(base, stage);
        let done = self.done.get_mut(&base).ok_or(BuildError::Unplanned { what: "a base stage" })?;
        Ok(StageState {
            image: done.image.clone(),
            tree: if shared { None } else { done.tree.take() },
            writers: done.writers,
        })
    }

    /// How many stages after `stage` need the result of `of`.
    fn readers_after(&self, of: StageId, stage: StageId) -> usize {
        self.plan.stages.iter().filter(|later| later.id > stage && later.needs.contains(&of)).count()
    }

    fn copies_from(&self, of: StageId, stage: StageId) -> bool {
        let copies = |step: &wbuild_plan::Step| match &step.action {
            Action::Copy(copy) => copy.from == CopyFrom::Stage(of),
            _ => false,
        };
        self.plan.stages[stage.0].steps.iter().any(copies)
    }

    /// Removes the trees that nothing needs any more: a build's disk use is what it still works with.
    fn drop_unneeded(&mut self, now: StageId) -> Result<(), BuildError> {
        let unneeded: Vec<StageId> =
            self.done.keys().copied().filter(|id| self.readers_after(*id, now) == 0).collect();
        for id in unneeded {
            if let Some(tree) = self.done.get_mut(&id).and_then(|state| state.tree.take()) {
                self.removals.start(move || tree.remove())?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, target: &Stage) -> Result<Built, BuildError> {
        self.fetch_bottom(target)?;
        self.syncs.wait()?;
        let running = self.reporter.start("exporting to image");
        let times = Times::new(target.epoch, self.now);
        let state = self.done.get(&target.id);
        let growing = state.ok_or(BuildError::Unplanned { what: "the target" })?.image.clone();
        let (manifest, config) =
            growing.write(&self.wiring.store, &target.config, target.author.as_deref(), times.created())?;
        running.note(&format!("manifest {}", manifest.digest));
        running.note(&format!("config {}", config.digest));
        running.done();
        let BuildRequest { tags, outputs, .. } = self.request;
        let pushed = export(&self.wiring.store, &mut self.images, self.reporter, &manifest, tags, outputs)?;
        self.removals.wait()?;
        Ok(Built { manifest, config: config.digest, platform: growing.platform(), pushed })
    }

    /// Brings the layers of the image at the bottom of a chain of stages into the store.
    fn fetch_bottom(&mut self, stage: &Stage) -> Result<(), BuildError> {
        match self.bottom(stage) {
            Some(image) => self.images.fetch(&image),
            None => Ok(()),
        }
    }

    /// The image at the bottom of a chain of stages.
    fn bottom(&self, stage: &Stage) -> Option<ImageRequest> {
        match &stage.base {
            Base::Scratch => None,
            Base::Image(image) => Some(image.clone()),
            Base::Stage(base) => self.bottom(&self.plan.stages[base.0]),
        }
    }

    /// The tree of a stage that a COPY reads; made from its layers where no step of it needed one.
    fn stage_tree(&mut self, id: StageId) -> Result<&ParkedTree, BuildError> {
        let stage = &self.plan.stages[id.0];
        if self.done.get(&id).is_some_and(|state| state.tree.is_none()) {
            self.fetch_bottom(stage)?;
        }
        self.syncs.wait()?;
        let state = self.done.get_mut(&id).ok_or(BuildError::Unplanned { what: "a stage" })?;
        let tree = match state.tree.take() {
            Some(tree) => tree,
            None => {
                let running = self.reporter.start(&format!("[{}] unpack", stage.name));
                let tree = ParkedTree::unpack(self.wiring, &state.image.layers_with_diff_ids(), &stage.name)?;
                running.done();
                tree
            }
        };
        Ok(state.tree.insert(tree))
    }

    fn image_tree(&mut self, image: &ImageRequest) -> Result<&ParkedTree, BuildError> {
        if !self.image_trees.contains_key(image) {
            self.images.fetch(image)?;
            let layers = self
                .images
                .get(image)
                .map(|resolved| Growing::from_base(&resolved.image).layers_with_diff_ids())
                .unwrap_or_default();
            let running = self.reporter.start(&format!("[{}] unpack", image.name));
            let tree = ParkedTree::unpack(self.wiring, &layers, &image.name)?;
            running.done();
            self.image_trees.insert(image.clone(), tree);
        }
        Ok(&self.image_trees[image])
    }
}

struct StageSources<'e, 'a> {
    executor: &'e mut Executor<'a>,
}

impl Sources for StageSources<'_, '_> {
    fn with_files(
        &mut self,
        from: &CopyFrom,
        use_files: &mut dyn FnMut(&dyn Files) -> Result<(), FilesError>,
    ) -> Result<Result<(), FilesError>, BuildError> {
        let directory = |context: &ContextDir, place: String, use_files: &mut dyn FnMut(&dyn Files) -> _| {
            use_files(&ContextFiles::new(&context.dir, &context.ignore, place))
        };
        let request = self.executor.request;
        match from {
            CopyFrom::Context => Ok(directory(&request.context, "the build context".to_owned(), use_files)),
            CopyFrom::Named(name) => match request.contexts.get(name) {
                Some(NamedContext::Directory(context)) => {
                    Ok(directory(context, format!("the build context {name}"), use_files))
                }
                _ => {
                    // The plan knows an image from a directory: it asks for an image's tree.
                    let image = ImageRequest {
                        name: name.clone(),
                        origin: ImageOrigin::Context,
                        platform: request.build_platform.clone(),
                    };
                    let tree = self.executor.image_tree(&image)?.open(name)?;
                    Ok(use_files(&tree))
                }
            },
            CopyFrom::Stage(id) => {
                let name = self.executor.plan.stages[id.0].name.clone();
                let tree = self.executor.stage_tree(*id)?.open(&format!("stage {name}"))?;
                Ok(use_files(&tree))
            }
            CopyFrom::Image(image) => {
                let name = format!("image {}", image.name);
                let tree = self.executor.image_tree(image)?.open(&name)?;
                Ok(use_files(&tree))
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test looks at the host with std")]
mod tests;
