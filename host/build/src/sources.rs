//! Where a COPY or a mount takes its files from: contexts, and the trees of stages and images.
//!
//! A tree is made when it is read first, from layers, and is shared by all that read it, one after another.

use std::sync::{Arc, PoisonError};

use wbuild_oci::{Descriptor, Digest, GitSource};
use wbuild_plan::{CopyFrom, ImageOrigin, ImageRequest, Span, Stage, StageId, UrlSource};
use wbuild_store::{Downloaded, GitFound};

use crate::cache::DigestCache;
use crate::checkout::Checkout;
use crate::context::ContextFiles;
use crate::error::{BuildError, FilesError};
use crate::files::Files;
use crate::image::Growing;
use crate::kept::{self, Made};
use crate::parked::ParkedTree;
use crate::request::{ContextDir, NamedContext};
use crate::solve::{Done, SharedTree, Solver};
use crate::stage::Sources;

type UseFiles<'u> = dyn FnMut(&dyn Files) -> Result<(), FilesError> + 'u;

/// The sources of one stage.
pub(crate) struct StageSources<'s, 'a> {
    pub(crate) solver: &'s Solver<'a>,
    pub(crate) stage: &'a Stage,
}

/// What a `from` means.
enum Place<'a> {
    /// A directory of the host; `None` is the build context.
    Directory(&'a ContextDir, Option<&'a str>),
    Stage(StageId),
    Image(ImageRequest),
}

impl<'a> StageSources<'_, 'a> {
    fn place(&self, from: &CopyFrom) -> Place<'a> {
        let request = self.solver.request;
        match from {
            CopyFrom::Context => Place::Directory(&request.context, None),
            CopyFrom::Named(name) => match request.contexts.get_key_value(name) {
                Some((name, NamedContext::Directory(context))) => Place::Directory(context, Some(name)),
                // The plan knows an image from a directory: it asks for an image's tree.
                _ => Place::Image(ImageRequest {
                    name: name.clone(),
                    origin: ImageOrigin::Context,
                    platform: request.build_platform.clone(),
                }),
            },
            CopyFrom::Stage(id) => Place::Stage(*id),
            CopyFrom::Image(image) => Place::Image(image.clone()),
        }
    }

    fn with_stage(
        &self,
        id: StageId,
        use_files: &mut UseFiles<'_>,
    ) -> Result<Result<(), FilesError>, BuildError> {
        let solver = self.solver;
        let stage = &solver.plan.stages[id.0];
        let Done { image, tree, .. } = solver.done(id)?;
        self.with_tree(&tree, &image, &stage.name, &format!("stage {}", stage.name), use_files, || {
            solver.fetch_bottom(stage)
        })
    }

    fn with_image(
        &self,
        request: &ImageRequest,
        use_files: &mut UseFiles<'_>,
    ) -> Result<Result<(), FilesError>, BuildError> {
        let solver = self.solver;
        let image = self.image(request)?;
        let tree = {
            let mut trees = solver.image_trees.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(trees.entry(request.clone()).or_default())
        };
        self.with_tree(&tree, &image, &request.name, &format!("image {}", request.name), use_files, || {
            solver.images.fetch(request)
        })
    }

    fn image(&self, request: &ImageRequest) -> Result<Growing, BuildError> {
        let resolved = self.solver.images.get(request).ok_or(BuildError::Unplanned { what: "an image" })?;
        Ok(Growing::from_base(&resolved.image))
    }

    /// Lets the files of a tree be used, which is made first where it is not there or lacks layers.
    fn with_tree(
        &self,
        tree: &SharedTree,
        image: &Growing,
        name: &str,
        place: &str,
        use_files: &mut UseFiles<'_>,
        fetch: impl FnOnce() -> Result<(), BuildError>,
    ) -> Result<Result<(), FilesError>, BuildError> {
        let Solver { wiring, reporter, syncs, shared, cache, .. } = self.solver;
        let mut tree = tree.lock().unwrap_or_else(PoisonError::into_inner);
        let layers = image.layers_with_diff_ids();
        if tree.as_ref().is_none_or(|tree| tree.lacks(&layers)) {
            fetch()?;
            shared.bring(cache, &layers)?;
            syncs.wait()?;
            let running = reporter.start(&format!("[{name}] unpack"));
            let (whole, made) = match tree.take() {
                Some(mut there) if !there.is_frozen() => {
                    there.extend(wiring, &layers, name)?;
                    (there, Made::Unpacked)
                }
                _ => kept::tree_of(wiring, &layers, name)?,
            };
            running.unpacked(made);
            *tree = Some(whole);
        }
        match &*tree {
            Some(tree) => Ok(use_files(&tree.open(place)?)),
            None => Err(BuildError::Unplanned { what: "a tree" }),
        }
    }
}

impl Sources for StageSources<'_, '_> {
    fn with_files(
        &mut self,
        from: &CopyFrom,
        use_files: &mut UseFiles<'_>,
    ) -> Result<Result<(), FilesError>, BuildError> {
        match self.place(from) {
            Place::Directory(context, name) => {
                let place = match name {
                    None => "the build context".to_owned(),
                    Some(name) => format!("the build context {name}"),
                };
                Ok(use_files(&ContextFiles::new(&context.dir, &context.ignore, place)))
            }
            Place::Stage(id) => self.with_stage(id, use_files),
            Place::Image(image) => self.with_image(&image, use_files),
        }
    }

    fn chain(&mut self, from: &CopyFrom) -> Result<Option<Digest>, BuildError> {
        match self.place(from) {
            Place::Directory(..) => Ok(None),
            Place::Stage(id) => Ok(Some(self.solver.done(id)?.image.chain_id())),
            Place::Image(image) => Ok(Some(self.image(&image)?.chain_id())),
        }
    }

    fn download(&mut self, source: &UrlSource, span: Span) -> Result<Downloaded, BuildError> {
        self.solver.images.download(source, span)
    }

    fn commit(&mut self, source: &GitSource, span: Span) -> Result<GitFound, BuildError> {
        self.solver.images.commit(source, span)
    }

    fn checkout(&mut self, source: &GitSource, span: Span) -> Result<Arc<Checkout>, BuildError> {
        self.solver.images.checkout(source, span)
    }

    fn digests(&mut self, from: &CopyFrom) -> Result<Option<Arc<DigestCache>>, BuildError> {
        match self.place(from) {
            Place::Directory(context, name) => Ok(Some(self.solver.cache.digests(name, &context.dir)?)),
            Place::Stage(_) | Place::Image(_) => Ok(None),
        }
    }

    fn bring(&mut self, layers: &[(Descriptor, Digest)]) -> Result<(), BuildError> {
        self.solver.shared.bring(self.solver.cache, layers)
    }

    fn base_tree(&mut self) -> Result<Option<ParkedTree>, BuildError> {
        match self.solver.take_base(self.stage)? {
            Some(tree) => Ok(Some(tree)),
            None => self.solver.fetch_bottom(self.stage).map(|()| None),
        }
    }
}
