//! A step's way to the cache: which keys it has, in which order they are tried, and what is read for them.
//!
//! Keys that cost nothing come first: a COPY from another stage is known by that stage's ChainID alone, so that its tree is not
//! made; only where that misses, the selected files are read, and a stage that was built anew but holds the same files is found.

use wbuild_layer::RootPath;
use wbuild_monitor::MtimeRule;
use wbuild_oci::{Digest, GitDir, GitSource};
use wbuild_plan::{Action, Copy, CopyFrom, CopySource, Run, Step};
use wbuild_store::{Downloaded, GitFound};

use crate::cache::{
    self, Claim, Common, Found, Given, Inputs, Made, Origin, Reader, Record, Selection, StepKey,
};
use crate::epoch::Writer;
use crate::error::{BuildError, FilesError};
use crate::files::Files;
use crate::reads::{self, FoundBy, Lifetime};
use crate::request::BuildRequest;
use crate::run;
use crate::stage::{Sources, StageRunner, StageState};

/// What came of looking a step up.
pub(crate) enum Lookup {
    /// It was made before.
    Made(Made),
    /// It has to be made.
    Missing(Search),
}

/// A search that found nothing.
pub(crate) struct Search {
    /// One for each key under which the result is to be found.
    pub(crate) claims: Vec<Claim>,
    /// The digest of files of the host that are to be copied.
    pub(crate) content: Option<Digest>,
    /// What was looked for, for explanations.
    pub(crate) inputs: Inputs,
    /// Of a RUN whose reads may be known: the key of what it is without its tree.
    pub(crate) weak: Option<Digest>,
}

/// Where the files of a COPY come from, for their times.
pub(crate) fn writer(copy: &Copy) -> Writer {
    if copy.sources.iter().any(|source| matches!(source, CopySource::Url(_) | CopySource::Git(_))) {
        // A server's Last-Modified is no time of this host, and neither is a commit's.
        return Writer::Build;
    }
    match copy.from {
        CopyFrom::Context | CopyFrom::Named(_) => Writer::Context,
        CopyFrom::Stage(_) | CopyFrom::Image(_) => Writer::Build,
    }
}

/// What a git repository is for a key: its commit, wherever it comes from; `.git` also says where that was and by which name.
fn git_selection(source: &GitSource, found: &GitFound) -> (String, Digest) {
    let GitFound { commit, tag, reference } = found;
    let mut parts = vec![commit.as_str()];
    if source.git_dir == Some(GitDir::Kept) {
        parts.extend(
            [tag.as_deref(), reference.as_deref(), Some(source.remote.as_str())]
                .map(Option::unwrap_or_default),
        );
    }
    let framed: Vec<String> = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    ("a git repository".to_owned(), Digest::of(framed.concat().as_bytes()))
}

impl StageRunner<'_> {
    /// Where the inputs of a step are written down: the same for the same instruction of the same stage in later builds.
    pub(crate) fn place(&self, step: &Step) -> Digest {
        let lines = self.request.dockerfile.split(|byte| *byte == b'\n');
        let (from, to) = (step.span.start.line.saturating_sub(1), step.span.end.line);
        let mut text = Vec::new();
        for (number, line) in (0_u32..).zip(lines) {
            if (from..to).contains(&number) {
                text.extend_from_slice(line);
                text.push(b'\n');
            }
        }
        let name =
            self.request.tags.first().map_or(self.request.dockerfile_name.as_str(), |tag| tag.repository());
        let text = Digest::of(&text);
        Digest::of(format!("{name:?} {:?} {text}", self.stage.name).as_bytes())
    }

    /// Looks the step up by each of its keys.
    pub(crate) fn find(
        &self,
        step: &Step,
        state: &StageState,
        sources: &mut dyn Sources,
    ) -> Result<Lookup, BuildError> {
        let k = state.writers;
        let packing = self.request.packing.to_string();
        let common = |writer| Common {
            parent: state.image.chain_id(),
            platform: &self.stage.platform,
            mtimes: self.times.rule(k, writer),
            packing: &packing,
        };
        let one = |key: StepKey, life: Lifetime, weak: Option<Digest>| match self.cache.look_up_if(
            &self.stage.name,
            key.digest,
            &|record: &Record| {
                let ttl = self.request.cache_rules.network_ttl;
                life.holds(FoundBy::Key, record.network, self.age(record), ttl)
            },
        )? {
            Found::Made(made) => Ok(Lookup::Made(made)),
            Found::Missing(claim) => {
                let inputs = Inputs::new(key.digest, key.inputs, &[]);
                Ok(Lookup::Missing(Search { claims: vec![claim], content: None, inputs, weak }))
            }
        };
        match &step.action {
            Action::Config => Ok(Lookup::Made(Made::default())),
            Action::Run(run) => {
                let mounted = self.mounted(step, run, sources)?;
                let policy = run::policy_of(&self.request.policy, self.stage, run).fingerprint();
                let BuildRequest { hostname, extra_hosts: hosts, limits, shm_size, .. } = self.request;
                let given = Given { hostname, hosts, limits, shm_size: *shm_size, policy: &policy };
                let common = common(Writer::Build);
                let key = |common: &Common<'_>| cache::run(common, run, &mounted, &given, self.is_proxy);
                let weak = reads::is_observable(run).then(|| key(&reads::any_tree(&common)).digest);
                one(key(&common), Lifetime::of(&self.request.dockerfile, step.span)?, weak)
            }
            Action::Workdir(workdir) => {
                one(cache::workdir(&common(Writer::Context), workdir), Lifetime::Unsaid, None)
            }
            Action::Copy(copy) => self.find_copy(step, copy, &common(writer(copy)), k, sources),
        }
    }

    /// What each mount of a RUN brings: a tree by its ChainID, a directory of the host by its content.
    fn mounted(
        &self,
        step: &Step,
        run: &Run,
        sources: &mut dyn Sources,
    ) -> Result<Vec<Option<Origin>>, BuildError> {
        let files = |source| BuildError::Files { name: step.name.clone(), span: step.span, source };
        let mut all = Vec::new();
        for mount in &run.mounts {
            let Some((from, source)) = mount.content() else {
                all.push(None);
                continue;
            };
            if let Some(chain) = sources.chain(from)? {
                all.push(Some(Origin::Tree(chain)));
                continue;
            }
            let path = RootPath::new(source).map_err(|error| {
                let source = std::io::Error::other(error);
                let (path, place) = (RootPath::root(), "the build context".to_owned());
                files(Box::new(FilesError::Read { path, place, source }))
            })?;
            let selection = self.read(step, from, (None, &[]), sources, |reader| reader.read_at(&path))?;
            all.push(Some(Origin::Content(selection.digest())));
        }
        Ok(all)
    }

    fn find_copy(
        &self,
        step: &Step,
        copy: &Copy,
        common: &Common<'_>,
        k: u32,
        sources: &mut dyn Sources,
    ) -> Result<Lookup, BuildError> {
        let mut claims = Vec::new();
        let tree = sources.chain(&copy.from)?;
        if let Some(chain) = tree {
            let key = cache::copy(common, copy, Origin::Tree(chain));
            match self.cache.look_up(&self.stage.name, key.digest)? {
                Found::Made(made) => return Ok(Lookup::Made(made)),
                Found::Missing(claim) => claims.push(claim),
            }
        }
        let selection = self.select(step, copy, k, sources)?;
        let content = selection.digest();
        let key = cache::copy(common, copy, Origin::Content(content));
        match self.cache.look_up(&self.stage.name, key.digest)? {
            Found::Made(made) => {
                for claim in &claims {
                    self.cache.alias(claim.key(), key.digest)?;
                }
                Ok(Lookup::Made(made))
            }
            Found::Missing(claim) => {
                claims.push(claim);
                let inputs = Inputs::new(key.digest, key.inputs, &selection.files);
                Ok(Lookup::Missing(Search {
                    claims,
                    content: tree.is_none().then_some(content),
                    inputs,
                    weak: None,
                }))
            }
        }
    }

    /// Reads what a COPY selects.
    pub(crate) fn select(
        &self,
        step: &Step,
        copy: &Copy,
        k: u32,
        sources: &mut dyn Sources,
    ) -> Result<Selection, BuildError> {
        if copy.sources.iter().all(|source| matches!(source, CopySource::Inline { .. })) {
            return Ok(Selection::default());
        }
        let writer = writer(copy);
        let mtimes = (writer == Writer::Build).then(|| self.times.rule(k, writer));
        let mut selection = if copy.sources.iter().any(|source| matches!(source, CopySource::Path { .. })) {
            self.read(step, &copy.from, (mtimes, &copy.exclude), sources, |reader| {
                reader.read(&copy.sources)
            })?
        } else {
            Selection::default()
        };
        for source in &copy.sources {
            if let CopySource::Git(source) = source {
                selection.files.push(git_selection(source, &sources.commit(source, step.span)?));
            }
            let CopySource::Url(source) = source else { continue };
            let Downloaded { digest, last_modified, .. } = sources.download(source, step.span)?;
            let time = last_modified.map_or(0, |time| time.unix());
            selection.files.push((format!("{} of {time}", source.url), digest));
        }
        Ok(selection)
    }

    fn read(
        &self,
        step: &Step,
        from: &CopyFrom,
        (mtimes, exclude): (Option<MtimeRule>, &[String]),
        sources: &mut dyn Sources,
        read: impl Fn(&Reader<'_>) -> Result<Selection, FilesError>,
    ) -> Result<Selection, BuildError> {
        let mut selection = Selection::default();
        let known = sources.digests(from)?;
        let cancelled = || self.wiring.cancel.is_cancelled();
        let mut use_files = |files: &dyn Files| -> Result<(), FilesError> {
            let reader =
                Reader { from: files, mtimes, known: known.as_deref(), cancelled: &cancelled, exclude };
            selection = read(&reader)?;
            Ok(())
        };
        sources.with_files(from, &mut use_files)?.map_err(|source| BuildError::Files {
            name: step.name.clone(),
            span: step.span,
            source: Box::new(source),
        })?;
        if cancelled() { Err(BuildError::Cancelled) } else { Ok(selection) }
    }
}
