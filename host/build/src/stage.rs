//! One stage: its tree, its steps in order, the image it becomes.
//!
//! The tree is made when a step needs it first, so a stage that only changes the configuration never unpacks its base. After a
//! failure nothing of a stage is used again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use wbuild_layer::{Blob, ChangeSet, Expected};
use wbuild_monitor::{JournalCheck, MtimeRule};
use wbuild_oci::Descriptor;
use wbuild_plan::{Action, Copy, CopyFrom, LayerKind, Run, Stage, Step, Workdir};
use wbuild_rootfs::Layer;
use wbuild_store::{StoreError, Tree as Home};

use crate::background::Background;
use crate::commit::commit;
use crate::copy::{Copier, CopyTimes, make_dirs};
use crate::epoch::{Times, Writer};
use crate::error::{BuildError, FilesError};
use crate::files::Files;
use crate::image::Growing;
use crate::progress::{Reporter, Running};
use crate::request::Wiring;
use crate::run::{self, RunContext};
use crate::tree::Tree;

/// A tree on disk that nobody has open.
pub(crate) struct ParkedTree {
    home: Home,
    path: PathBuf,
    /// How many step directories were made beside it.
    scratches: u32,
}

impl ParkedTree {
    /// Unpacks `layers`, lowest first, into a new tree.
    pub(crate) fn unpack(
        wiring: &Wiring,
        layers: &[(Descriptor, wbuild_oci::Digest)],
        name: &str,
    ) -> Result<Self, BuildError> {
        let home = wiring.store.tree()?;
        let path = wiring.store_path.join(home.path()).join("root");
        let mut blobs = layers.iter().map(|(layer, diff_id)| {
            if wiring.cancel.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let blob = wiring.store.blob(&layer.digest).map_err(io::Error::other)?.into_std();
            let expected = Expected { digest: layer.digest, size: layer.size, diff_id: Some(*diff_id) };
            Ok(Layer { blob: Box::new(blob), expected })
        });
        let made = Tree::make(&path, &mut blobs);
        if wiring.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        made.map_err(|source| BuildError::Tree { name: name.to_owned(), source: Box::new(source) })?;
        Ok(Self { home, path, scratches: 0 })
    }

    /// Opens the tree for reading.
    pub(crate) fn open(&self, place: &str) -> Result<Tree, BuildError> {
        self.open_checked(place, JournalCheck::Off)
    }

    /// Opens the tree for one instruction that writes.
    fn open_checked(&self, place: &str, check: JournalCheck) -> Result<Tree, BuildError> {
        Tree::open(&self.path, place, check)
            .map_err(|error| BuildError::Tree { name: place.to_owned(), source: Box::new(error.into()) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the tree.
    pub(crate) fn remove(self) -> Result<(), StoreError> {
        self.home.remove()
    }

    /// A new empty directory for one step.
    fn scratch(&mut self) -> Result<(Dir, PathBuf, String), BuildError> {
        self.scratches += 1;
        let name = format!("step-{}", self.scratches);
        let path = self.path.with_file_name(&name);
        let host = |source| BuildError::Host { action: "make", path: path.clone(), source };
        let dir =
            self.home.dir().create_dir(&name).and_then(|()| self.home.dir().open_dir(&name)).map_err(host)?;
        Ok((dir, path, name))
    }
}

/// A stage that is done, or so far.
pub(crate) struct StageState {
    pub(crate) image: Growing,
    /// `None` where no step needed it yet, or a later stage took it.
    pub(crate) tree: Option<ParkedTree>,
    /// Steps that wrote files, those of the base stages counted.
    pub(crate) writers: u32,
}

/// Gives a COPY the files of other stages, images and directories.
pub(crate) trait Sources {
    /// The files that `from` means; `use_files` is called once with them.
    fn with_files(
        &mut self,
        from: &CopyFrom,
        use_files: &mut dyn FnMut(&dyn Files) -> Result<(), FilesError>,
    ) -> Result<Result<(), FilesError>, BuildError>;
}

/// What the steps of a stage share.
pub(crate) struct StageRunner<'a> {
    pub(crate) wiring: &'a Wiring,
    pub(crate) reporter: &'a Reporter,
    pub(crate) resolv_conf: &'a [u8],
    pub(crate) hostname: &'a str,
    pub(crate) journal_check: JournalCheck,
    pub(crate) times: Times,
    /// Layers on their way to the disk.
    pub(crate) syncs: Arc<Background>,
    pub(crate) stage: &'a Stage,
}

impl StageRunner<'_> {
    /// Runs every step of the stage on `state`.
    pub(crate) fn run(&self, state: &mut StageState, sources: &mut dyn Sources) -> Result<(), BuildError> {
        for step in &self.stage.steps {
            if self.wiring.cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
            self.step(step, state, sources)?;
        }
        Ok(())
    }

    fn step(&self, step: &Step, state: &mut StageState, sources: &mut dyn Sources) -> Result<(), BuildError> {
        if step.action == Action::Config {
            state.image.push(step.history.as_ref(), None, self.times.created());
            return Ok(());
        }
        self.ensure_tree(state)?;
        let running = self.reporter.start(&step.name);
        state.writers += 1;
        let done = self.act(step, state, sources, &running);
        match done {
            Ok(layer) => {
                state.image.push(step.history.as_ref(), layer.as_ref(), self.times.created());
                running.done();
                Ok(())
            }
            Err(BuildError::Cancelled) => {
                running.cancelled();
                Err(BuildError::Cancelled)
            }
            Err(error) => Err(error),
        }
    }

    fn ensure_tree(&self, state: &mut StageState) -> Result<(), BuildError> {
        if state.tree.is_some() {
            return Ok(());
        }
        self.syncs.wait()?;
        let layers = state.image.layers_with_diff_ids();
        let tree = if layers.is_empty() {
            ParkedTree::unpack(self.wiring, &layers, &self.stage.name)?
        } else {
            let running = self.reporter.start(&format!("[{}] unpack the base", self.stage.name));
            let tree = ParkedTree::unpack(self.wiring, &layers, &self.stage.name)?;
            running.done();
            tree
        };
        state.tree = Some(tree);
        Ok(())
    }

    /// Does what the step says and commits its layer, if it has one.
    fn act(
        &self,
        step: &Step,
        state: &mut StageState,
        sources: &mut dyn Sources,
        running: &Running,
    ) -> Result<Option<Blob>, BuildError> {
        let k = state.writers;
        let Some(parked) = state.tree.as_mut() else { return Ok(None) };
        match &step.action {
            Action::Config => Ok(None),
            Action::Run(run) => {
                let changes = self.run_step(step, run, parked, k, running)?;
                let tree = parked.open(&self.stage.name)?;
                self.commit(step, &tree, &changes)
            }
            Action::Copy(copy) => {
                let writer = match copy.from {
                    CopyFrom::Context | CopyFrom::Named(_) => Writer::Context,
                    CopyFrom::Stage(_) | CopyFrom::Image(_) => Writer::Build,
                };
                // Times that the end of the step sets need not be copied.
                let times = match self.times.rule(k, writer) {
                    MtimeRule::SetTo(_) => CopyTimes::Set,
                    MtimeRule::Keep | MtimeRule::NoLaterThan(_) => CopyTimes::Kept,
                };
                self.write_files(step, parked, k, writer, |tree| {
                    self.copy(step, copy, times, tree, sources, running)
                })
            }
            Action::Workdir(workdir) => {
                self.write_files(step, parked, k, Writer::Context, |tree| self.workdir(step, workdir, tree))
            }
        }
    }

    /// Lets `write` change the tree and commits what it changed.
    fn write_files(
        &self,
        step: &Step,
        parked: &mut ParkedTree,
        k: u32,
        writer: Writer,
        write: impl FnOnce(&Tree) -> Result<(), BuildError>,
    ) -> Result<Option<Blob>, BuildError> {
        let tree = parked.open_checked(&self.stage.name, self.journal_check)?;
        write(&tree)?;
        let (changes, tree) = tree
            .finish(self.times.rule(k, writer))
            .map_err(|error| BuildError::Tree { name: step.name.clone(), source: Box::new(error.into()) })?;
        self.commit(step, &tree, &changes)
    }

    fn commit(&self, step: &Step, tree: &Tree, changes: &ChangeSet) -> Result<Option<Blob>, BuildError> {
        let wanted = step.history.as_ref().is_some_and(|history| history.layer == LayerKind::Layer);
        if !wanted && changes.is_empty() {
            return Ok(None);
        }
        commit(&self.wiring.store, &self.syncs, changes, |path| tree.open(path))
            .map(Some)
            .map_err(|error| BuildError::Tree { name: step.name.clone(), source: Box::new(error.into()) })
    }

    fn copy(
        &self,
        step: &Step,
        copy: &Copy,
        times: CopyTimes,
        tree: &Tree,
        sources: &mut dyn Sources,
        running: &Running,
    ) -> Result<(), BuildError> {
        let files =
            |source| BuildError::Files { name: step.name.clone(), span: step.span, source: Box::new(source) };
        let owner = match &copy.chown {
            None => None,
            Some(text) => Some(self.user_files(step, tree)?.owner(text).map_err(files)?),
        };
        let copier = Copier { tree, kind: copy.kind, owner, chmod: copy.chmod.as_ref(), times };
        let mut note = |text: &str| running.note(text);
        let mut each = |from: &dyn Files| -> Result<(), FilesError> {
            for source in &copy.sources {
                if self.wiring.cancel.is_cancelled() {
                    break;
                }
                copier.copy(from, source, &copy.dest, &mut note)?;
            }
            Ok(())
        };
        sources.with_files(&copy.from, &mut each)?.map_err(files)?;
        if self.wiring.cancel.is_cancelled() { Err(BuildError::Cancelled) } else { Ok(()) }
    }

    fn workdir(&self, step: &Step, workdir: &Workdir, tree: &Tree) -> Result<(), BuildError> {
        let files =
            |source| BuildError::Files { name: step.name.clone(), span: step.span, source: Box::new(source) };
        let owner = if workdir.owner.is_empty() {
            (0, 0)
        } else {
            self.user_files(step, tree)?.owner(&workdir.owner).map_err(files)?
        };
        let path = wbuild_layer::RootPath::new(&workdir.path).map_err(|error| {
            files(FilesError::Write {
                action: "make",
                path: wbuild_layer::RootPath::root(),
                source: std::io::Error::other(error),
            })
        })?;
        make_dirs(tree, &path, owner).map_err(files)
    }

    fn user_files(&self, step: &Step, tree: &Tree) -> Result<crate::users::UserFiles, BuildError> {
        tree.user_files().map_err(|source| BuildError::Files {
            name: step.name.clone(),
            span: step.span,
            source: Box::new(FilesError::Read {
                path: wbuild_layer::RootPath::new("etc/passwd").unwrap_or_default(),
                place: self.stage.name.clone(),
                source,
            }),
        })
    }

    fn run_step(
        &self,
        step: &Step,
        run: &Run,
        parked: &mut ParkedTree,
        k: u32,
        running: &Running,
    ) -> Result<ChangeSet, BuildError> {
        let host = wbuild_oci::Platform::host();
        if (&self.stage.platform.os, &self.stage.platform.architecture) != (&host.os, &host.architecture) {
            return Err(BuildError::Platform {
                name: step.name.clone(),
                span: step.span,
                platform: self.stage.platform.to_string(),
                host: host.to_string(),
            });
        }
        let tree = parked.open(&self.stage.name)?;
        let user = self.user_files(step, &tree)?.process(&run.user).map_err(|source| BuildError::Files {
            name: step.name.clone(),
            span: step.span,
            source: Box::new(source),
        })?;
        drop(tree);
        let (dir, path, name) = parked.scratch()?;
        let context = RunContext {
            engine: &*self.wiring.engine,
            cancel: &self.wiring.cancel,
            tree: parked.path(),
            scratch: (&dir, &path),
            user,
            mtimes: self.times.rule(k, Writer::Build),
            resolv_conf: self.resolv_conf,
            hostname: self.hostname,
            journal_check: self.journal_check,
        };
        let changes = run::run(step, run, &context, running)?;
        parked.home.dir().remove_dir_all(&name).map_err(|source| BuildError::Host {
            action: "remove",
            path: path.clone(),
            source,
        })?;
        Ok(changes)
    }
}
