//! `RUN --mount`: what the plan asks for to what an engine grafts.
//!
//! Every source is a captured tree of its own, so owners and modes in it are the virtual ones: files of a context, a stage or an image are
//! copied into the step's scratch directory, and what a step writes to them goes with it; a cache is a tree beside the store.
//! Secrets are never written to a disk here. What a mount brings is decided before the step starts; an error names its flag.

mod cache;
mod replica;
pub(crate) mod secrets;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes its context with std")]
mod tests;
mod upkeep;

pub use upkeep::{PrunedMounts, StoredMount, cache_mounts, prune_mounts};

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use wbuild_layer::{RootPath, Timestamp};
use wbuild_monitor::{Cancel, Mount, MountAccess, MountSource, MtimeRule, SecretBytes, SecretPlace};
use wbuild_plan::{
    CacheMount, FileAttributes, MountAccess as Planned, MountFrom, Presence, Run, RunMount, RunMountKind,
    SecretMount, Span, SshMount, Step,
};
use wbuild_ssh::{Agent, Forward};

use crate::error::{BuildError, FilesError, Ignored};
use crate::files::{self, Files, Kind, Last};
use crate::run::give;
use crate::stage::Sources;
use crate::tree::{Attributes, Tree};
use cache::{CacheKey, InUse};
use secrets::Given;

/// The mounts of one step, ready for an engine. Caches are in use until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Mounted {
    pub(crate) mounts: Vec<Mount>,
    /// `NAME=value`: secrets in the environment.
    pub(crate) env: Vec<Vec<u8>>,
    /// Where the step finds each secret, by id.
    pub(crate) places: Vec<(String, SecretPlace)>,
    /// What the step was given to know.
    pub(crate) secrets: Vec<Given>,
    caches: BTreeMap<CacheKey, InUse>,
    /// Agents that are forwarded until this is dropped.
    agents: Vec<Forward>,
}

/// What mounts are made with.
pub(crate) struct MountContext<'a> {
    /// The store's directory on the host.
    pub(crate) store: &'a Path,
    /// The step's scratch directory on the host.
    pub(crate) scratch: &'a Path,
    /// `--secret`, by id.
    pub(crate) secrets: &'a BTreeMap<String, SecretBytes>,
    /// `--ssh`, by id.
    pub(crate) agents: &'a BTreeMap<String, Arc<Agent>>,
    pub(crate) cancel: &'a Cancel,
}

/// Where in its tree a mount's files lie: beside the directories that every tree has.
const PLACE: &str = "m";

/// Beside it in a tree that lasts.
const MARK: &str = "may-hold-fifos";

/// How long a mount's tree lasts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    /// As long as the step.
    Step,
    /// As long as the store.
    Store,
}

/// Prepares the mounts of a RUN, in order.
pub(crate) fn prepare(
    step: &Step,
    run: &Run,
    context: &MountContext<'_>,
    sources: &mut dyn Sources,
    note: &mut dyn FnMut(&str),
) -> Result<Mounted, BuildError> {
    let mut maker = Maker { step, context, sources, note, mounted: Mounted::default() };
    maker.acquire_caches(run)?;
    for (index, mount) in run.mounts.iter().enumerate() {
        maker.mount(index, mount)?;
    }
    Ok(maker.mounted)
}

struct Maker<'a, 'b> {
    step: &'a Step,
    context: &'a MountContext<'b>,
    sources: &'a mut dyn Sources,
    note: &'a mut dyn FnMut(&str),
    mounted: Mounted,
}

impl Maker<'_, '_> {
    fn refused(&self, span: Span, reason: String, hint: Option<&str>) -> BuildError {
        BuildError::Mount { name: self.step.name.clone(), span, reason, hint: hint.map(str::to_owned) }
    }

    fn files(&self, span: Span) -> impl Fn(FilesError) -> BuildError + use<> {
        let name = self.step.name.clone();
        move |source| BuildError::Files { name: name.clone(), span, source: Box::new(source) }
    }

    fn mount(&mut self, index: usize, mount: &RunMount) -> Result<(), BuildError> {
        let span = mount.span;
        match &mount.kind {
            RunMountKind::Bind(bind) => {
                let dir = self.context.scratch.join(format!("mount-{index}"));
                let attributes = FileAttributes::default();
                self.fill(&dir, &bind.from, &bind.source, attributes, Lifetime::Step, span)?;
                self.add(span, &bind.target, in_tree(dir), bind.access)
            }
            RunMountKind::Cache(cache) => {
                let key = self.key(cache)?;
                let used = self.mounted.caches.get(&key).ok_or(BuildError::Unplanned { what: "a cache" })?;
                let source = in_tree(used.tree.clone());
                self.add(span, &cache.target, source, cache.access)
            }
            RunMountKind::Tmpfs(tmpfs) => {
                self.add(span, &tmpfs.target, MountSource::Tmpfs { size: tmpfs.size }, tmpfs.access)
            }
            RunMountKind::Secret(secret) => self.secret(span, secret),
            RunMountKind::Ssh(ssh) => self.ssh(index, span, ssh),
        }
    }

    fn add(
        &mut self,
        span: Span,
        target: &str,
        source: MountSource,
        access: Planned,
    ) -> Result<(), BuildError> {
        let target = RootPath::new(target)
            .map_err(|error| self.refused(span, format!("invalid mount target {target:?}: {error}"), None))?;
        let access = match access {
            Planned::ReadOnly => MountAccess::ReadOnly,
            Planned::ReadWrite => MountAccess::ReadWrite,
        };
        let caches = |mount: &&Mount| match (&mount.source, &source) {
            (MountSource::Tree { dir: a, .. }, MountSource::Tree { dir: b, .. }) => a == b,
            _ => false,
        };
        if self.mounted.mounts.iter().find(caches).is_some_and(|other| other.access != access) {
            let reason = "the same cache is mounted twice, once to read and once to write".to_owned();
            return Err(self.refused(span, reason, Some("the same access for both, or another id")));
        }
        if self.mounted.mounts.iter().any(|other| other.target == target) {
            let reason = format!("two mounts at {target}");
            return Err(self.refused(span, reason, Some("one mount for each target")));
        }
        self.mounted.mounts.push(Mount { target, source, access });
        Ok(())
    }

    fn secret(&mut self, span: Span, secret: &SecretMount) -> Result<(), BuildError> {
        let Some(content) = self.context.secrets.get(&secret.id) else {
            if secret.presence == Presence::Optional {
                return Ok(());
            }
            let hint = format!("--secret id={},src=FILE or --secret id={0},env=NAME", secret.id);
            return Err(self.refused(span, format!("secret {:?} is not given", secret.id), Some(&hint)));
        };
        if let Some(name) = &secret.env {
            if content.0.contains(&0) || name.is_empty() || name.contains(['=', '\0']) {
                let reason = format!("secret {:?} cannot be the environment variable {name:?}", secret.id);
                return Err(self.refused(span, reason, Some("a name without = and a value without NUL")));
            }
            self.mounted.env.push([name.as_bytes(), b"=", content.0.as_slice()].concat());
            self.mounted.places.push((secret.id.clone(), SecretPlace::Variable(name.clone())));
        }
        if let Some(target) = &secret.target {
            let FileAttributes { uid, gid, mode } = secret.attributes;
            let source = MountSource::Memory {
                content: content.clone(),
                uid: uid.unwrap_or(0),
                gid: gid.unwrap_or(0),
                mode: mode.unwrap_or(0o400),
            };
            self.add(span, target, source, Planned::ReadOnly)?;
            self.mounted.places.push((secret.id.clone(), SecretPlace::File(target.clone())));
        }
        if !self.mounted.secrets.iter().any(|given| given.id == secret.id) {
            self.mounted.secrets.push(Given { id: secret.id.clone(), content: content.clone() });
        }
        Ok(())
    }

    /// Forwards an agent through a socket of the step's own, in its scratch directory.
    fn ssh(&mut self, index: usize, span: Span, ssh: &SshMount) -> Result<(), BuildError> {
        let Some(agent) = self.context.agents.get(&ssh.id) else {
            if ssh.presence == Presence::Optional {
                return Ok(());
            }
            let hint = match ssh.id.as_str() {
                "default" => "--ssh default, with a running agent, or --ssh default=KEYFILE".to_owned(),
                id => format!("--ssh {id}=SOCKET or --ssh {id}=KEYFILE"),
            };
            return Err(self.refused(span, format!("no SSH agent {:?} is given", ssh.id), Some(&hint)));
        };
        let scratch = self.context.scratch;
        let name = format!("ssh-{index}");
        let path = scratch.join(&name);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let made = rustix::fs::open(scratch, flags, Mode::empty())
            .map_err(std::io::Error::from)
            .and_then(|dir| Forward::start(dir.as_fd(), &name, agent))
            .and_then(|forward| give(&path).map(|()| forward));
        let forward =
            made.map_err(|source| BuildError::Host { action: "make", path: path.clone(), source })?;
        self.mounted.agents.push(forward);
        let FileAttributes { uid, gid, mode } = ssh.attributes;
        let (uid, gid, mode) = (uid.unwrap_or(0), gid.unwrap_or(0), mode.unwrap_or(0o600));
        self.add(span, &ssh.target, MountSource::Socket { path, uid, gid, mode }, Planned::ReadOnly)
    }

    /// Takes the caches of the step in the order of their keys, whatever the order of the flags.
    fn acquire_caches(&mut self, run: &Run) -> Result<(), BuildError> {
        let mut wanted: BTreeMap<CacheKey, (&CacheMount, Span)> = BTreeMap::new();
        for mount in &run.mounts {
            let RunMountKind::Cache(cache) = &mount.kind else { continue };
            wanted.entry(self.key(cache)?).or_insert((cache, mount.span));
        }
        for (key, (cache, span)) in wanted {
            let (store, cancel) = (self.context.store, self.context.cancel);
            let mut notes = Vec::new();
            let mut note = |text: &str| notes.push(text.to_owned());
            let start = &cache.start;
            let from = if is_bare(cache) { &MountFrom::Scratch } else { &start.from };
            let mut fill =
                |dir: &Path| self.fill(dir, from, &start.source, start.attributes, Lifetime::Store, span);
            let used = cache::acquire(store, &key, cache.sharing, cancel, &mut note, &mut fill);
            notes.iter().for_each(|text| (self.note)(text));
            self.mounted.caches.insert(key, used?);
        }
        Ok(())
    }

    /// What tells this cache from others. As in BuildKit, caches of one id that begin differently are different caches.
    fn key(&mut self, cache: &CacheMount) -> Result<CacheKey, BuildError> {
        let start = &cache.start;
        let number = |value: Option<u32>| value.map_or_else(String::new, |value| value.to_string());
        let FileAttributes { uid, gid, mode } = start.attributes;
        let mut fields = Vec::new();
        if is_bare(cache) {
            if start.attributes != FileAttributes::default() {
                fields = vec!["empty".to_owned(), number(uid), number(gid), number(mode)];
            }
        } else if let MountFrom::Files(from) = &start.from {
            let origin = match self.sources.chain(from)? {
                Some(chain) => chain.to_string(),
                None => format!("{from:?}"),
            };
            fields = vec!["from".to_owned(), origin, start.source.clone()];
        }
        Ok(CacheKey { id: cache.id.clone(), start: fields })
    }

    /// Makes the tree `dir` with the files of a mount in it.
    fn fill(
        &mut self,
        dir: &Path,
        from: &MountFrom,
        source: &str,
        attributes: FileAttributes,
        lifetime: Lifetime,
        span: Span,
    ) -> Result<(), BuildError> {
        let name = self.step.name.clone();
        let broken = |error| BuildError::Tree { name: name.clone(), source: Box::new(error) };
        Tree::make(dir, &mut std::iter::empty()).map_err(broken)?;
        let tree = Tree::open(dir, &name, wbuild_monitor::JournalCheck::Off)
            .map_err(|error| broken(error.into()))?;
        let files = self.files(span);
        let place = RootPath::new(PLACE).unwrap_or_default();
        match from {
            MountFrom::Scratch => empty(&tree, &place, attributes).map_err(&files)?,
            MountFrom::Files(origin) => {
                let path = RootPath::new(source).map_err(|error| {
                    self.refused(span, format!("invalid mount source {source:?}: {error}"), None)
                })?;
                let cancel = self.context.cancel;
                let mut each = |from: &dyn Files| copy(from, &path, source, &tree, &place, cancel);
                self.sources.with_files(origin, &mut each)?.map_err(&files)?;
            }
        }
        if self.context.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        if lifetime == Lifetime::Store {
            // A tree with a FIFO is known as one: a step that is killed cannot say that it left one in the cache, and no step may block on it.
            let mark = RootPath::new(MARK).unwrap_or_default();
            tree.make_node(&mark, Kind::Fifo)
                .map_err(|source| files(FilesError::Write { action: "make", path: mark.clone(), source }))?;
        }
        tree.finish(MtimeRule::Keep).map(drop).map_err(|error| broken(error.into()))
    }
}

/// True if the cache begins empty: without `from`, and, as in BuildKit, also where it gives attributes for a whole `from`.
fn is_bare(cache: &CacheMount) -> bool {
    let given = cache.start.attributes != FileAttributes::default();
    cache.start.from == MountFrom::Scratch || given && cache.start.source == "/"
}

fn in_tree(dir: PathBuf) -> MountSource {
    MountSource::Tree { dir, path: RootPath::new(PLACE).unwrap_or_default() }
}

fn empty(tree: &Tree, place: &RootPath, given: FileAttributes) -> Result<(), FilesError> {
    let attributes = Attributes {
        uid: given.uid.unwrap_or(0),
        gid: given.gid.unwrap_or(0),
        mode: Some(given.mode.unwrap_or(0o755)),
        mtime: Some(Timestamp::default()),
        xattrs: Default::default(),
    };
    let made = tree.make_dir(place).and_then(|()| tree.set_attributes(place, &attributes));
    made.map_err(|source| FilesError::Write { action: "make", path: place.clone(), source })
}

/// Copies what `written` leads to, links followed beneath the root of `from`.
fn copy(
    from: &dyn Files,
    path: &RootPath,
    written: &str,
    tree: &Tree,
    place: &RootPath,
    cancel: &Cancel,
) -> Result<(), FilesError> {
    // A path through something that is not there is nothing, too.
    let found = files::resolve(from, path, Last::Follow).and_then(|source| {
        let there = files::node(from, &source)?.is_some();
        Ok((source, there))
    });
    let (source, there) = match found {
        Err(FilesError::Read { path, source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            (path, false)
        }
        other => other?,
    };
    if !there {
        let ignored = if from.hides(&source) { Ignored::Yes } else { Ignored::No };
        let (written, place) = (written.to_owned(), from.place().to_owned());
        return Err(FilesError::Missing { written, place, ignored });
    }
    replica::replicate(from, &source, tree, place, cancel)
}
