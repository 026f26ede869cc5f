//! The graph of stages: each runs in a thread of its own as soon as those it needs are done.
//!
//! The first failure cancels the others and is the one that is told; nobody waits for what will not come. A stage's tree goes to the
//! stage that is built FROM it where nobody else needs it any more, and is removed once nobody does. Lock order: the board, which is
//! never held while work is done; then one tree, which is held while it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use wbuild_plan::{Action, Base, CopyFrom, ImageRequest, Plan, Stage, StageId};

use crate::background::Background;
use crate::cache::StepCache;
use crate::epoch::Times;
use crate::error::BuildError;
use crate::evidence::Ledger;
use crate::image::Growing;
use crate::images::ImageSet;
use crate::parked::ParkedTree;
use crate::progress::Reporter;
use crate::request::{BuildRequest, Wiring};
use crate::shared_cache::SharedCaches;
use crate::sources::StageSources;
use crate::stage::{StageRunner, StageState};

/// A tree that several may want; `None` where it was not made, or was given away.
pub(crate) type SharedTree = Arc<Mutex<Option<ParkedTree>>>;

/// Stages that work at once on few processors: most of them wait for the network or the disk.
const LEAST: usize = 4;

/// A stage that is done.
#[derive(Clone)]
pub(crate) struct Done {
    pub(crate) image: Growing,
    writers: u32,
    pub(crate) tree: SharedTree,
}

/// What the stages know of each other.
#[derive(Default)]
struct Board {
    done: BTreeMap<StageId, Done>,
    /// Stages that will do nothing more.
    ended: BTreeSet<StageId>,
    running: usize,
    failure: Option<BuildError>,
}

/// Runs the stages of one plan.
pub(crate) struct Solver<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) wiring: &'a Wiring,
    pub(crate) reporter: &'a Reporter,
    pub(crate) plan: &'a Plan,
    pub(crate) images: &'a ImageSet<'a>,
    pub(crate) cache: &'a StepCache,
    pub(crate) shared: &'a SharedCaches<'a>,
    pub(crate) ledger: &'a Ledger,
    now: i64,
    board: Mutex<Board>,
    changed: Condvar,
    /// Trees of images that a COPY --from names.
    pub(crate) image_trees: Mutex<BTreeMap<ImageRequest, SharedTree>>,
    /// Layers on their way to the disk.
    pub(crate) syncs: Arc<Background>,
    /// Trees that are being removed.
    removals: Background,
}

impl<'a> Solver<'a> {
    pub(crate) fn new(
        request: &'a BuildRequest,
        wiring: &'a Wiring,
        reporter: &'a Reporter,
        plan: &'a Plan,
        (cache, shared): (&'a StepCache, &'a SharedCaches<'a>),
        (ledger, now): (&'a Ledger, i64),
    ) -> Self {
        Self {
            request,
            wiring,
            reporter,
            plan,
            images: shared.images,
            cache,
            shared,
            ledger,
            now,
            board: Mutex::default(),
            changed: Condvar::new(),
            image_trees: Mutex::default(),
            syncs: Arc::default(),
            removals: Background::default(),
        }
    }

    /// Runs every stage; answers the target with its image, whose blobs are all in the store.
    pub(crate) fn solve(&self) -> Result<(&'a Stage, Growing), BuildError> {
        // A plan has at least its target.
        let target = self.plan.stages.last().ok_or(BuildError::Unplanned { what: "a target" })?;
        std::thread::scope(|scope| {
            for stage in &self.plan.stages {
                let thread = std::thread::Builder::new().name(format!("stage {}", stage.id.0));
                if let Err(source) = thread.spawn_scoped(scope, || self.turn(stage)) {
                    let path = std::path::PathBuf::from(&stage.name);
                    self.fail(BuildError::Host { action: "start a thread for stage", path, source });
                    break;
                }
            }
        });
        if let Some(failure) = self.lock().failure.take() {
            return Err(failure);
        }
        self.fetch_bottom(target)?;
        self.syncs.wait()?;
        let image = self.done(target.id)?.image;
        self.shared.bring(self.cache, &image.layers_with_diff_ids())?;
        self.removals.wait()?;
        Ok((target, image))
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first failure counts: those that follow from it are interruptions.
    fn fail(&self, error: BuildError) {
        self.wiring.cancel.cancel();
        let mut board = self.lock();
        // An interrupted stage may end before the one that failed could say so.
        if matches!(board.failure, None | Some(BuildError::Cancelled)) {
            board.failure = Some(error);
        }
        self.changed.notify_all();
    }

    /// One stage from waiting to its end.
    fn turn(&self, stage: &'a Stage) {
        let most = std::thread::available_parallelism().map_or(LEAST, |n| n.get().max(LEAST));
        let ready = |board: &Board| {
            board.running < most && stage.needs.iter().all(|need| board.done.contains_key(need))
        };
        let waiting = |board: &mut Board| board.failure.is_none() && !ready(board);
        let mut board = self.changed.wait_while(self.lock(), waiting).unwrap_or_else(PoisonError::into_inner);
        if board.failure.is_some() {
            return;
        }
        board.running += 1;
        drop(board);
        // Whatever happens in it, a stage ends, and those that wait for it hear of that.
        let ending = Ending { solver: self, stage };
        match self.stage(stage) {
            Ok(StageState { image, tree, writers, ran: _ }) => {
                let done = Done { image, writers, tree: Arc::new(Mutex::new(tree)) };
                self.lock().done.insert(stage.id, done);
            }
            Err(error) => self.fail(error),
        }
        drop(ending);
        if let Err(error) = self.drop_unneeded() {
            self.fail(error);
        }
    }

    fn stage(&self, stage: &'a Stage) -> Result<StageState, BuildError> {
        let mut state = match &stage.base {
            Base::Scratch => StageState {
                image: Growing::scratch(&stage.platform),
                tree: None,
                writers: 0,
                ran: Vec::new(),
            },
            Base::Image(image) => {
                let base = self.images.get(image).ok_or(BuildError::Unplanned { what: "a base image" })?;
                StageState { image: Growing::from_base(&base.image), tree: None, writers: 0, ran: Vec::new() }
            }
            Base::Stage(base) => {
                let Done { image, writers, .. } = self.done(*base)?;
                StageState { image, tree: None, writers, ran: Vec::new() }
            }
        };
        let arguments = &self.request.build_args;
        // Given for this build, whatever the Dockerfile says: no part of what a step is.
        let is_proxy = |name: &str| {
            wbuild_plan::is_proxy_argument(name)
                && arguments.keys().any(|given| given.eq_ignore_ascii_case(name))
        };
        let runner = StageRunner {
            wiring: self.wiring,
            reporter: self.reporter,
            resolv_conf: &self.request.resolv_conf,
            hostname: &self.request.hostname,
            journal_check: self.request.journal_check,
            times: Times::new(stage.epoch, self.now),
            syncs: Arc::clone(&self.syncs),
            stage,
            cache: self.cache,
            ledger: self.ledger,
            request: self.request,
            is_proxy: &is_proxy,
            now: self.now,
        };
        runner.run(&mut state, &mut StageSources { solver: self, stage })?;
        Ok(state)
    }

    /// A stage that is done.
    pub(crate) fn done(&self, id: StageId) -> Result<Done, BuildError> {
        self.lock().done.get(&id).cloned().ok_or(BuildError::Unplanned { what: "a stage" })
    }

    /// The tree of the base of `stage`, if there is one; where others need it, too, a tree that shares its files.
    pub(crate) fn take_base(&self, stage: &Stage) -> Result<Option<ParkedTree>, BuildError> {
        let Base::Stage(base) = stage.base else { return Ok(None) };
        let copies = |step: &wbuild_plan::Step| match &step.action {
            Action::Copy(copy) => copy.from == CopyFrom::Stage(base),
            Action::Run(run) => {
                run.mounts.iter().filter_map(|m| m.content()).any(|(from, _)| *from == CopyFrom::Stage(base))
            }
            _ => false,
        };
        let reads_it_too = stage.steps.iter().any(copies);
        let (tree, needed) = {
            let board = self.lock();
            let mut others = self.plan.stages.iter().filter(|other| other.id != stage.id);
            let needed = others.any(|other| other.needs.contains(&base) && !board.ended.contains(&other.id));
            let Some(done) = board.done.get(&base) else { return Ok(None) };
            (Arc::clone(&done.tree), needed)
        };
        let mut tree = tree.lock().unwrap_or_else(PoisonError::into_inner);
        let linked = match &mut *tree {
            Some(there) if reads_it_too || needed || there.is_frozen() => there,
            // Nobody else wants it.
            _ => return Ok(tree.take()),
        };
        Ok(linked.link(self.wiring, &stage.name)?.map(|(tree, _)| tree))
    }

    /// Removes the trees that nothing needs any more: a build's disk use is what it still works with.
    fn drop_unneeded(&self) -> Result<(), BuildError> {
        let unneeded: Vec<SharedTree> = {
            let board = self.lock();
            let needed = |id: &StageId| {
                self.plan
                    .stages
                    .iter()
                    .any(|stage| stage.needs.contains(id) && !board.ended.contains(&stage.id))
            };
            board.done.iter().filter(|(id, _)| !needed(id)).map(|(_, done)| Arc::clone(&done.tree)).collect()
        };
        for tree in unneeded {
            let tree = tree.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(tree) = tree {
                self.removals.start(move || tree.remove())?;
            }
        }
        Ok(())
    }

    /// Brings the layers of the image at the bottom of a chain of stages into the store.
    pub(crate) fn fetch_bottom(&self, stage: &Stage) -> Result<(), BuildError> {
        match &stage.base {
            Base::Scratch => Ok(()),
            Base::Image(image) => self.images.fetch(image),
            Base::Stage(base) => self.fetch_bottom(&self.plan.stages[base.0]),
        }
    }
}

/// Ends a stage's turn.
struct Ending<'s, 'a> {
    solver: &'s Solver<'a>,
    stage: &'a Stage,
}

impl Drop for Ending<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The panic itself goes on when the threads are joined.
            self.solver.fail(BuildError::Cancelled);
        }
        let mut board = self.solver.lock();
        board.running -= 1;
        board.ended.insert(self.stage.id);
        self.solver.changed.notify_all();
    }
}
