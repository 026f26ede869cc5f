//! One stage: its tree, its steps in order, the image it becomes.
//!
//! The tree is made when a step needs it first, so a stage that only changes the configuration never unpacks its base. After a
//! failure nothing of a stage is used again.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use wbuild_layer::{ChangeSet, Timestamp};
use wbuild_monitor::{EngineError, Errno, ImageChange, JournalCheck, MtimeRule, NetworkUse};
use wbuild_oci::{Descriptor, Digest, GitSource};
use wbuild_plan::{
    Action, Copy, CopyFrom, CopySource, LayerKind, Link, Run, Span, Stage, Step, UrlSource, Workdir,
};
use wbuild_store::{Downloaded, GitFound};

use crate::background::Background;
use crate::cache::{Claim, Decision, DigestCache, Made, PARENT_CHANGED, Record, StepCache};
use crate::checkout::Checkout;
use crate::commit::commit;
use crate::copy::{Copier, CopyTimes, Fetched, make_dirs};
use crate::epoch::{Times, Writer};
use crate::error::{BuildError, FilesError};
use crate::evidence::{Ended, Ledger};
use crate::files::Files;
use crate::image::Growing;
use crate::kept;
use crate::mounts::secrets::Given;
use crate::mounts::{self, MountContext};
use crate::parked::ParkedTree;
use crate::permission::Permission;
use crate::progress::{Reporter, Running};
use crate::reads::{Hit, Learnt, Replay};
use crate::request::{BuildRequest, Wiring};
use crate::run::{self, Ran, RunContext};
use crate::search::{Lookup, Search, writer};
use crate::tree::Tree;

/// A stage that is done, or so far.
pub(crate) struct StageState {
    pub(crate) image: Growing,
    /// `None` where no step needed it yet, or a later stage took it. It lacks the layers of steps that the cache had.
    pub(crate) tree: Option<ParkedTree>,
    /// Steps that wrote files, those of the base stages counted.
    pub(crate) writers: u32,
    /// Why steps of this stage ran, as far as that is known.
    pub(crate) ran: Vec<String>,
}

/// What came of a step.
struct Acted {
    changes: ChangeSet,
    tree: Tree,
    /// Of a RUN: what it read.
    learnt: Option<Learnt>,
    /// What its tools changed of the image.
    image: Vec<ImageChange>,
    network: NetworkUse,
}

/// Gives a COPY the files of other stages, images and directories.
pub(crate) trait Sources {
    /// The files that `from` means; `use_files` is called once with them.
    fn with_files(
        &mut self,
        from: &CopyFrom,
        use_files: &mut dyn FnMut(&dyn Files) -> Result<(), FilesError>,
    ) -> Result<Result<(), FilesError>, BuildError>;

    /// The ChainID of the tree that `from` means; `None` for a directory of the host.
    fn chain(&mut self, from: &CopyFrom) -> Result<Option<Digest>, BuildError>;

    /// Brings those of `layers` into the store that a shared cache promised.
    fn bring(&mut self, layers: &[(Descriptor, Digest)]) -> Result<(), BuildError>;

    /// A tree to work on in the place of the base's, if there is one to be had; else the base's layers are in the store.
    fn base_tree(&mut self) -> Result<Option<ParkedTree>, BuildError>;

    /// What a URL gives, in the store.
    fn download(&mut self, source: &UrlSource, span: Span) -> Result<Downloaded, BuildError>;

    /// The commit that a git source names.
    fn commit(&mut self, source: &GitSource, span: Span) -> Result<GitFound, BuildError>;

    /// The files of that commit.
    fn checkout(&mut self, source: &GitSource, span: Span) -> Result<Arc<Checkout>, BuildError>;

    /// What is remembered of the files of `from`, if it is a directory of the host.
    fn digests(&mut self, from: &CopyFrom) -> Result<Option<Arc<DigestCache>>, BuildError>;
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
    pub(crate) cache: &'a StepCache,
    pub(crate) ledger: &'a Ledger,
    pub(crate) request: &'a BuildRequest,
    /// Names that are the build's proxy arguments.
    pub(crate) is_proxy: &'a (dyn Fn(&str) -> bool + Sync),
    /// Seconds since 1970 when the build began.
    pub(crate) now: i64,
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
        state.writers += 1;
        let found = self.find(step, state, sources).inspect_err(|_| {
            // Told as the step's own failure.
            drop(self.reporter.start(&step.name));
        })?;
        let search = match found {
            Lookup::Made(made) => {
                self.take(step, state, made)?;
                self.reporter.start(&step.name).cached();
                self.ledger.cached(self.stage, step);
                self.decide(step, true, Vec::new());
                return Ok(());
            }
            Lookup::Missing(search) => search,
        };
        let (mut unread, mut doubted) = (Vec::new(), None);
        if let Action::Run(run) = &step.action {
            match self.replay(step, run, &search, state, sources)? {
                Replay::Found(hit) if self.doubts(&search) => {
                    unread.push("--cache-verify runs it, though all that it read is as it was".to_owned());
                    doubted = Some(hit);
                }
                Replay::Found(hit) => return self.replayed(step, state, &search, *hit),
                Replay::Unknown(reasons) => unread = reasons,
            }
        }
        let place = self.place(step);
        let (mut reasons, built) = self.cache.reasons(&self.stage.name, &place, &search.inputs)?;
        reasons.extend(unread);
        let is_linked = matches!(&step.action, Action::Copy(copy) if copy.link == Link::Layer);
        if !is_linked {
            self.ensure_tree(state, sources)?;
        }
        let running = self.reporter.start(&step.name);
        // What follows from another step's running is no change of its own.
        state.ran.extend(reasons.iter().filter(|reason| *reason != PARENT_CHANGED).cloned());
        if let (Some(built), Some(first)) = (built.filter(|built| *built > 0), reasons.first_mut()) {
            first.push_str(&format!(", since the build of {}", crate::evidence::time(built)));
        }
        for reason in &reasons {
            running.note(&format!("not cached: {reason}"));
        }
        self.decide(step, false, reasons);
        let began = Instant::now();
        self.ledger.begin(self.stage, step);
        let made = if is_linked {
            self.make_linked(step, state, sources, &search, &running)
        } else {
            self.make(step, state, sources, &search, &running)
        };
        let ended = if made.is_ok() { Ended::Done } else { Ended::Failed };
        if let Some(line) = self.ledger.end(step, began.elapsed(), ended) {
            running.note(&line);
        }
        match made {
            Ok(made) => {
                if let Some(hit) = doubted {
                    self.prove(step, &search, &hit, &made)?;
                    running.note("read set: it made what it made before");
                }
                self.take(step, state, made)?;
                let store = self.wiring.store.clone();
                let inputs = crate::cache::Inputs { built: self.now, ..search.inputs.clone() };
                self.syncs.start(move || inputs.write(&store, &place))?;
                // The tree gets a layer that was made beside it when a step needs it.
                if let Some(tree) = state.tree.as_mut().filter(|_| !is_linked) {
                    tree.holds = state.image.layer_count();
                }
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

    /// A step that need not run, because all that it read is as it was when it ran.
    fn replayed(
        &self,
        step: &Step,
        state: &mut StageState,
        search: &Search,
        hit: Hit,
    ) -> Result<(), BuildError> {
        let Hit { record, made, paths } = hit;
        for claim in &search.claims {
            claim.fulfil(&made);
            self.cache.found_by_reads(&claim.key(), &record)?;
        }
        self.take(step, state, made)?;
        let running = self.reporter.start(&step.name);
        let mut reasons = vec![format!("the {paths} paths that it looked at are as they were when it ran")];
        reasons.extend(state.ran.iter().map(|reason| format!("it does not depend on this: {reason}")));
        for reason in &reasons {
            running.note(&format!("read set: {reason}"));
        }
        running.cached();
        self.ledger.cached(self.stage, step);
        self.decide(step, true, reasons);
        Ok(())
    }

    /// Puts what a step made on the image, whether it ran or was found.
    fn take(&self, step: &Step, state: &mut StageState, made: Made) -> Result<(), BuildError> {
        let Made { layer, image } = made;
        Permission { rules: &self.request.policy, reporter: self.reporter }.changed(step.span, &image)?;
        state.image.push(step.history.as_ref(), layer.as_ref(), self.times.created());
        state.image.change(image, &self.stage.config);
        Ok(())
    }

    fn decide(&self, step: &Step, cached: bool, reasons: Vec<String>) {
        let step = step.name.clone();
        self.cache.decide(Decision { step, cached, reasons, remarks: Vec::new() });
    }

    /// Makes the tree, or brings it to where the image is: steps that the cache had are not in it.
    pub(crate) fn ensure_tree(
        &self,
        state: &mut StageState,
        sources: &mut dyn Sources,
    ) -> Result<(), BuildError> {
        let layers = state.image.layers_with_diff_ids();
        let name = &self.stage.name;
        if state.tree.is_none() {
            state.tree = sources.base_tree()?;
        }
        if state.tree.as_ref().is_some_and(|tree| !tree.lacks(&layers)) {
            return Ok(());
        }
        sources.bring(&layers)?;
        self.syncs.wait()?;
        if layers.is_empty() {
            state.tree = Some(ParkedTree::unpack(self.wiring, &layers, name)?);
            return Ok(());
        }
        match &mut state.tree {
            Some(tree) => {
                let running = self.reporter.start(&format!("[{name}] unpack what the cache had"));
                tree.extend(self.wiring, &layers, name)?;
                running.done();
            }
            None => {
                let running = self.reporter.start(&format!("[{name}] unpack the base"));
                let (tree, made) = kept::tree_of(self.wiring, &layers, name)?;
                state.tree = Some(tree);
                running.unpacked(made);
            }
        }
        Ok(())
    }

    /// As [`Self::make`], in an empty tree of the step's own: the layer knows nothing of what is below it.
    fn make_linked(
        &self,
        step: &Step,
        state: &StageState,
        sources: &mut dyn Sources,
        search: &Search,
        running: &Running,
    ) -> Result<Made, BuildError> {
        let tree = ParkedTree::unpack(self.wiring, &[], &step.name)?;
        let mut own = StageState {
            image: state.image.clone(),
            tree: Some(tree),
            writers: state.writers,
            ran: Vec::new(),
        };
        let made = self.make(step, &mut own, sources, search, running);
        match own.tree.map(ParkedTree::remove) {
            Some(Err(error)) if made.is_ok() => Err(error.into()),
            _ => made,
        }
    }

    /// Does what the step says, commits its layer, if it has one, and remembers it.
    fn make(
        &self,
        step: &Step,
        state: &mut StageState,
        sources: &mut dyn Sources,
        search: &Search,
        running: &Running,
    ) -> Result<Made, BuildError> {
        let began = Instant::now();
        let k = state.writers;
        let Some(parked) = state.tree.as_mut() else { return Ok(Made::default()) };
        let Acted { changes, tree, learnt, image, network } = self.act(step, parked, k, sources, running)?;
        self.ledger
            .wrote(step, &changes, &tree)
            .map_err(|(path, source)| self.unreadable(step, path, source))?;
        // Files of the host may change while they are copied: then the key is not that of what was copied.
        let same = match (&step.action, search.content) {
            (Action::Copy(copy), Some(content)) => self.select(step, copy, k, sources)?.digest() == content,
            _ => true,
        };
        let keys = if same { search.claims.iter().map(Claim::key).collect() } else { Vec::new() };
        let learnt = learnt.zip(search.weak);
        // What is denied is not remembered.
        Permission { rules: &self.request.policy, reporter: self.reporter }.changed(step.span, &image)?;
        let made = self.commit(step, (&tree, &changes), (keys, learnt), (image, network), began)?;
        if same {
            search.claims.iter().for_each(|claim| claim.fulfil(&made));
        }
        Ok(made)
    }

    /// Does what the step says; answers what changed.
    fn act(
        &self,
        step: &Step,
        parked: &mut ParkedTree,
        k: u32,
        sources: &mut dyn Sources,
        running: &Running,
    ) -> Result<Acted, BuildError> {
        match &step.action {
            Action::Config => Ok(Acted {
                changes: ChangeSet::default(),
                tree: parked.open(&self.stage.name)?,
                learnt: None,
                image: Vec::new(),
                network: NetworkUse::None,
            }),
            Action::Run(run) => self.run_step(step, run, parked, k, sources, running),
            Action::Copy(copy) => {
                let writer = writer(copy);
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

    /// Lets `write` change the tree; answers what it changed.
    fn write_files(
        &self,
        step: &Step,
        parked: &mut ParkedTree,
        k: u32,
        writer: Writer,
        write: impl FnOnce(&Tree) -> Result<(), BuildError>,
    ) -> Result<Acted, BuildError> {
        let tree = parked.open_checked(&self.stage.name, self.journal_check)?;
        write(&tree)?;
        let (changes, tree) = tree
            .finish(self.times.rule(k, writer))
            .map_err(|error| BuildError::Tree { name: step.name.clone(), source: Box::new(error.into()) })?;
        Ok(Acted { changes, tree, learnt: None, image: Vec::new(), network: NetworkUse::None })
    }

    /// Writes the layer, and then what leads to it.
    fn commit(
        &self,
        step: &Step,
        (tree, changes): (&Tree, &ChangeSet),
        (keys, learnt): (Vec<Digest>, Option<(Learnt, Digest)>),
        (image, network): (Vec<ImageChange>, NetworkUse),
        began: Instant,
    ) -> Result<Made, BuildError> {
        let (store, name, now) = (self.wiring.store.clone(), step.name.clone(), self.now);
        let took = began.elapsed();
        let changed = image.clone();
        let remember = move |layer: Option<&wbuild_layer::Blob>| {
            let made = Made { layer: layer.copied(), image: changed };
            let record = Record::new(&name, now, took, &made, network);
            StepCache::write(&store, &keys, &record)?;
            match (learnt, keys.first()) {
                (Some((learnt, weak)), Some(key)) => learnt.remember(&store, (&weak, *key), &record),
                _ => Ok(()),
            }
        };
        let wanted = step.history.as_ref().is_some_and(|history| history.layer == LayerKind::Layer);
        if !wanted && changes.is_empty() {
            self.syncs.start(move || remember(None))?;
            return Ok(Made { layer: None, image });
        }
        let then = move |blob: &wbuild_layer::Blob| remember(Some(blob));
        commit(&self.wiring.store, &self.syncs, changes, self.request.packing, |path| tree.open(path), then)
            .map(|blob| Made { layer: Some(blob), image })
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
        let fetched = self.fetched(step, copy, sources)?;
        let mut checkouts = Vec::new();
        for source in &copy.sources {
            if let CopySource::Git(source) = source {
                checkouts.push((&**source, sources.checkout(source, step.span)?));
            }
        }
        let copier = Copier {
            tree,
            kind: copy.kind,
            owner,
            chmod: copy.chmod.as_ref(),
            exclude: &copy.exclude,
            fetched: &fetched,
            checkouts: &checkouts,
            times,
        };
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

    /// The files that the URLs of an ADD give.
    fn fetched(
        &self,
        step: &Step,
        copy: &Copy,
        sources: &mut dyn Sources,
    ) -> Result<Vec<Fetched>, BuildError> {
        let mut fetched = Vec::new();
        for source in &copy.sources {
            let CopySource::Url(source) = source else { continue };
            let Downloaded { digest, last_modified, .. } = sources.download(source, step.span)?;
            let file = self.wiring.store.blob(&digest)?.into_std();
            let seconds = last_modified.map_or(0, |time| time.unix());
            fetched.push(Fetched {
                url: source.url.clone(),
                file,
                mtime: Timestamp { seconds, nanoseconds: 0 },
            });
        }
        Ok(fetched)
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

    pub(crate) fn user_files(&self, step: &Step, tree: &Tree) -> Result<crate::users::UserFiles, BuildError> {
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
        sources: &mut dyn Sources,
        running: &Running,
    ) -> Result<Acted, BuildError> {
        let tree = parked.open(&self.stage.name)?;
        let user = self.user_files(step, &tree)?.process(&run.user).map_err(|source| BuildError::Files {
            name: step.name.clone(),
            span: step.span,
            source: Box::new(source),
        })?;
        drop(tree);
        let (dir, path, name) = parked.scratch()?;
        let mount_context = MountContext {
            store: &self.wiring.store_path,
            scratch: &path,
            secrets: &self.request.secrets,
            agents: &self.request.agents,
            cancel: &self.wiring.cancel,
        };
        let mut note = |text: &str| running.note(text);
        let mounted = mounts::prepare(step, run, &mount_context, sources, &mut note)?;
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
            observing: self.observing(),
            mounted: &mounted,
            extra_hosts: &self.request.extra_hosts,
            limits: &self.request.limits,
            shm_size: self.request.shm_size,
            policy: run::policy_of(&self.request.policy, self.stage, run),
            ledger: self.ledger,
            stage: self.stage,
            build_platform: &self.request.build_platform,
        };
        let known_user = format!("{:?}", context.user);
        let Ran { changes, observed, image } =
            run::run(step, run, &context, running).map_err(|error| self.of_platform(step, error))?;
        parked.remove_scratch(&name).map_err(|source| BuildError::Host {
            action: "remove",
            path: path.clone(),
            source,
        })?;
        let tree = parked.open(&self.stage.name)?;
        self.refuse_secrets(step, &changes, &tree, &mounted.secrets)?;
        // An engine that saw nothing saw no network either way.
        let network = observed.as_ref().map_or(NetworkUse::Used, |observed| observed.network);
        let learnt = self.learn(step, run, observed, known_user, &tree)?;
        Ok(Acted { changes, tree, learnt, image, network })
    }

    /// In an image for another machine, WASI programs run; a native one that this machine cannot execute is told as what it is.
    fn of_platform(&self, step: &Step, error: BuildError) -> BuildError {
        let host = wbuild_oci::Platform::host();
        let platform = &self.stage.platform;
        let foreign = (&platform.os, &platform.architecture) != (&host.os, &host.architecture);
        let BuildError::Engine { source, .. } = &error else { return error };
        match &**source {
            EngineError::Start { source, .. }
                if foreign && source.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) =>
            {
                BuildError::Platform {
                    name: step.name.clone(),
                    span: step.span,
                    platform: platform.to_string(),
                    host: host.to_string(),
                }
            }
            _ => error,
        }
    }

    /// A file that a step changed cannot be read.
    pub(crate) fn unreadable(
        &self,
        step: &Step,
        path: wbuild_layer::RootPath,
        source: io::Error,
    ) -> BuildError {
        let place = self.stage.name.clone();
        let source = Box::new(FilesError::Read { path, place, source });
        BuildError::Files { name: step.name.clone(), span: step.span, source }
    }

    /// Fails a step that wrote a secret into a file: it would be in the layer.
    fn refuse_secrets(
        &self,
        step: &Step,
        changes: &ChangeSet,
        tree: &Tree,
        secrets: &[Given],
    ) -> Result<(), BuildError> {
        let found = mounts::secrets::find(changes, tree, secrets)
            .map_err(|(path, source)| self.unreadable(step, path, source))?;
        match found {
            None => Ok(()),
            Some((path, id)) => {
                Err(BuildError::SecretFound { name: step.name.clone(), span: step.span, path, id })
            }
        }
    }
}
