//! The files of a commit, from a server into an archive of the store.
//!
//! What `git checkout` would write on Linux: files with mode 0644 or 0755, links, directories, submodules in their places. Names that lead
//! elsewhere, or to `.git` on any file system, stop it; so does anything twice in one directory. Files that git-lfs keeps elsewhere are the
//! small texts that the commit has in their place. Of `.gitattributes` nothing is carried out: no line ends, encodings or keywords are changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use cap_std::fs::Dir;
use gix_hash::ObjectId;
use gix_object::tree::EntryKind;
use gix_object::{CommitRef, Kind, TagRef, TreeRefIter};
use gix_validate::path::component;
use wbuild_oci::{Digest, GitDir, GitSource, GitTransport, Submodules};
use wbuild_store::{Admit, GitFound, Store};

use crate::dotgit::{DotGit, Tracked};
use crate::error::{GitError, host};
use crate::http::Http;
use crate::limits::Limits;
use crate::pack::Objects;
use crate::remote::{Named, Server};
use crate::submodules::{self, Submodule};
use crate::tarball::Tarball;

/// One checkout.
pub struct Checkout<'a> {
    /// Who asks servers.
    pub http: &'a dyn Http,
    /// Where the archive goes, and what is in between.
    pub store: &'a Store,
    /// What is wanted.
    pub source: &'a GitSource,
    /// The commit.
    pub found: &'a GitFound,
    /// Whether the repository of a submodule, at this URL and commit, may be fetched; why not.
    pub admit: &'a Admit,
    /// How much there may be.
    pub limits: Limits,
}

/// The kind of the records that say which archive a commit is.
const RECORDS: &str = "git";

/// Fetches a commit, unless the store has it; answers the digest of an uncompressed archive with its files.
///
/// # Errors
/// [`GitError`]; nothing is left behind then.
pub fn checkout(asked: &Checkout<'_>) -> Result<Digest, GitError> {
    let key = key(asked);
    if let Some(document) = asked.store.record(RECORDS, &key)? {
        let digest = std::str::from_utf8(&document).ok().and_then(|text| text.parse::<Digest>().ok());
        if let Some(digest) = digest
            && asked.store.has(&digest)?
        {
            return Ok(digest);
        }
    }
    let room = asked.store.tree()?;
    let result = Walk::new(asked, room.dir()).and_then(Walk::run);
    room.remove()?;
    let digest = result?;
    asked.store.put_record(RECORDS, &key, digest.to_string().as_bytes())?;
    Ok(digest)
}

/// Everything that decides an archive's bytes, each part with its length.
fn key(asked: &Checkout<'_>) -> Digest {
    let Checkout { source, found, .. } = asked;
    let submodules = match source.submodules {
        Submodules::Fetched => "submodules",
        Submodules::Empty => "no submodules",
    };
    let mut parts = vec!["wbuild git checkout 1", &found.commit, &source.subdir, submodules];
    if keeps_git_dir(source) {
        parts.extend([source.remote.as_str(), found.reference.as_deref().unwrap_or_default()]);
        parts.push(found.tag.as_deref().unwrap_or_default());
    }
    let framed: Vec<String> = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    Digest::of(framed.concat().as_bytes())
}

/// As BuildKit: a part of a repository is none.
fn keeps_git_dir(source: &GitSource) -> bool {
    source.git_dir == Some(GitDir::Kept) && source.subdir.is_empty()
}

/// A repository of the checkout.
struct Repository {
    objects: Objects,
    remote: String,
    /// By path within it.
    modules: BTreeMap<Vec<u8>, Submodule>,
    /// Where it stands in the checkout.
    prefix: Vec<u8>,
    /// In how many others it stands.
    nesting: u64,
}

/// A directory that is to be written.
struct Pending {
    repository: usize,
    /// In its repository; empty is the root.
    path: Vec<u8>,
    tree: ObjectId,
}

/// Every object that was reached, and the files by path.
type Kept = (BTreeSet<ObjectId>, BTreeMap<Vec<u8>, Tracked>);

struct Walk<'a> {
    asked: &'a Checkout<'a>,
    room: &'a Dir,
    out: Tarball,
    repositories: Vec<Repository>,
    pending: Vec<Pending>,
    entries: u64,
    written: u64,
    /// The commit, and whether it has parents.
    commit: ObjectId,
    shallow: bool,
    tree: ObjectId,
    /// What `.git` is to hold, if it is kept.
    kept: Option<Kept>,
    /// Left away from the names of files: the wanted directory.
    top: Vec<u8>,
}

/// One name in a tree.
struct Entry {
    name: Vec<u8>,
    kind: EntryKind,
    id: ObjectId,
}

impl<'a> Walk<'a> {
    fn new(asked: &'a Checkout<'a>, room: &'a Dir) -> Result<Self, GitError> {
        let Checkout { source, found, .. } = asked;
        let server = Server::connect(asked.http, &source.remote, &asked.limits)?;
        let named = if found.reference.is_some() && source.pinning == wbuild_oci::Pinning::ByReference {
            Named::ByReference
        } else {
            Named::ById
        };
        let first = sub(room, "0")?;
        let objects = server.objects(found.tag.as_ref().unwrap_or(&found.commit), named, &first)?;
        let mut kept = keeps_git_dir(source).then(Kept::default);
        let mut note = |id: &ObjectId| {
            if let Some((ids, _)) = &mut kept {
                ids.insert(*id);
            }
        };
        let commit = peel(&objects, found.tag.as_ref().unwrap_or(&found.commit), &mut note)?;
        if found.tag.is_some() && ObjectId::from_hex(found.commit.as_bytes()).ok() != Some(commit) {
            return Err(objects.broken(format!("the tag leads to {commit} and not to {}", found.commit)));
        }
        note(&commit);
        let content = objects.expect(&commit, Kind::Commit)?;
        let header = Header::of(&objects, &content)?;
        Ok(Self {
            out: Tarball::new(asked.store, header.time)?,
            asked,
            room,
            pending: Vec::new(),
            entries: 0,
            written: 0,
            commit,
            shallow: header.has_parents,
            tree: header.tree,
            kept,
            top: source.subdir.as_bytes().to_vec(),
            repositories: vec![Repository {
                modules: self::modules(&objects, &header.tree)?,
                objects,
                remote: source.remote.clone(),
                prefix: Vec::new(),
                nesting: 0,
            }],
        })
    }

    fn run(mut self) -> Result<Digest, GitError> {
        let begin = self.begin()?;
        self.pending.push(begin);
        while let Some(pending) = self.pending.pop() {
            self.directory(&pending)?;
        }
        if let Some((objects, tracked)) = &self.kept {
            let GitFound { tag, reference, .. } = self.asked.found;
            let from = &self.repositories[0].objects;
            let tag = tag.as_ref().and_then(|tag| ObjectId::from_hex(tag.as_bytes()).ok());
            DotGit {
                remote: &self.repositories[0].remote,
                commit: self.commit,
                tag,
                reference: reference.as_deref(),
                shallow: self.shallow,
                objects,
                tracked,
            }
            .write(from, self.room, &self.asked.limits, &mut self.out)?;
        }
        self.out.finish()
    }

    /// The wanted directory, which may be within submodules. As in BuildKit, no link leads there.
    fn begin(&mut self) -> Result<Pending, GitError> {
        let mut at = Pending { repository: 0, path: Vec::new(), tree: self.tree };
        let none = || GitError::Subdir {
            remote: self.asked.source.remote.clone(),
            subdir: self.asked.source.subdir.clone(),
            commit: self.commit.to_string(),
        };
        let error = none();
        let top = self.top.clone();
        for part in top.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            let entries = self.entries(&at)?;
            let Some(entry) = entries.into_iter().find(|entry| entry.name == part) else { return Err(error) };
            let path = joined(&at.path, part);
            at = match entry.kind {
                EntryKind::Tree => Pending { path, tree: entry.id, ..at },
                EntryKind::Commit => match self.submodule(at.repository, &path, &entry.id)? {
                    Some(within) => within,
                    None => return Err(error),
                },
                _ => return Err(error),
            };
        }
        Ok(at)
    }

    /// The names in a directory, each of which is usable.
    fn entries(&self, at: &Pending) -> Result<Vec<Entry>, GitError> {
        let repository = &self.repositories[at.repository];
        let objects = &repository.objects;
        let content = objects.expect(&at.tree, Kind::Tree)?;
        let (mut entries, mut names) = (Vec::new(), HashSet::new());
        for entry in TreeRefIter::from_bytes(&content, objects.kind) {
            let entry = entry.map_err(|error| objects.broken(format!("the tree {}: {error}", at.tree)))?;
            let (name, kind) = (entry.filename, entry.mode.kind());
            let wrong = |why: String| {
                let path = joined(&joined(&repository.prefix, &at.path), name);
                let path = String::from_utf8_lossy(&path).into_owned();
                GitError::Name { remote: repository.remote.clone(), path, why }
            };
            // As git itself on Linux, and what only macOS takes for `.git`, too.
            let options =
                component::Options { protect_windows: false, protect_hfs: true, protect_ntfs: true };
            let mode = (kind == EntryKind::Link).then_some(component::Mode::Symlink);
            component(name, mode, options).map_err(|error| wrong(error.to_string()))?;
            if name.contains(&0) || name.len() > 255 {
                return Err(wrong("it is longer than a name may be, or has a NUL byte".to_owned()));
            }
            if !names.insert(name.to_vec()) {
                return Err(wrong("the name stands twice in its directory".to_owned()));
            }
            entries.push(Entry { name: name.to_vec(), kind, id: entry.oid.to_owned() });
        }
        Ok(entries)
    }

    fn directory(&mut self, at: &Pending) -> Result<(), GitError> {
        if let Some((ids, _)) = self.kept.as_mut().filter(|_| at.repository == 0) {
            ids.insert(at.tree);
        }
        let mut below = Vec::new();
        for Entry { name, kind, id } in self.entries(at)? {
            let inner = joined(&at.path, &name);
            let path = self.place(at.repository, &inner)?;
            self.count(1, 0)?;
            if let Some((ids, tracked)) = self.kept.as_mut().filter(|_| at.repository == 0) {
                if matches!(kind, EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link) {
                    ids.insert(id);
                }
                if kind != EntryKind::Tree {
                    tracked.insert(inner.clone(), Tracked { mode: u32::from(kind as u16), id });
                }
            }
            match kind {
                EntryKind::Tree => {
                    self.out.directory(&path)?;
                    below.push(Pending { repository: at.repository, path: inner, tree: id });
                }
                EntryKind::Blob => self.file(at.repository, &path, 0o644, &id)?,
                EntryKind::BlobExecutable => self.file(at.repository, &path, 0o755, &id)?,
                EntryKind::Link => self.link(at.repository, &path, &id)?,
                EntryKind::Commit => {
                    self.out.directory(&path)?;
                    below.extend(self.submodule(at.repository, &inner, &id)?);
                }
            }
        }
        // The last is taken first.
        self.pending.extend(below.into_iter().rev());
        Ok(())
    }

    fn file(&mut self, repository: usize, path: &[u8], mode: u32, id: &ObjectId) -> Result<(), GitError> {
        let content = self.repositories[repository].objects.expect(id, Kind::Blob)?;
        self.count(0, content.len() as u64)?;
        self.out.file(path, mode, content.len() as u64, content.as_slice())
    }

    fn link(&mut self, repository: usize, path: &[u8], id: &ObjectId) -> Result<(), GitError> {
        let text = self.repositories[repository].objects.expect(id, Kind::Blob)?;
        if text.is_empty() || text.len() > 4095 || text.contains(&0) {
            return Err(GitError::Name {
                remote: self.repositories[repository].remote.clone(),
                path: String::from_utf8_lossy(path).into_owned(),
                why: "it is a link to what no path can be".to_owned(),
            });
        }
        self.out.link(path, &text)
    }

    /// Where a path of a repository stands in the checkout.
    fn place(&self, repository: usize, path: &[u8]) -> Result<Vec<u8>, GitError> {
        let Repository { prefix, remote, .. } = &self.repositories[repository];
        let whole = joined(prefix, path);
        let short = match self.top.is_empty() {
            true => whole.as_slice(),
            false => whole.get(self.top.len() + 1..).unwrap_or_default(),
        };
        if short.len() > 4095 {
            let why = "it is longer than a path may be".to_owned();
            let path = String::from_utf8_lossy(&whole[..80.min(whole.len())]).into_owned();
            return Err(GitError::Name { remote: remote.clone(), path, why });
        }
        Ok(short.to_vec())
    }

    fn count(&mut self, entries: u64, bytes: u64) -> Result<(), GitError> {
        self.entries += entries;
        self.written = self.written.saturating_add(bytes);
        let Limits { entries, written, .. } = self.asked.limits;
        let over = |what, limit| GitError::Limit { remote: self.asked.source.remote.clone(), what, limit };
        if self.entries > entries {
            return Err(over("files", entries));
        }
        if self.written > written {
            return Err(over("the files' bytes", written));
        }
        Ok(())
    }

    /// Fetches a submodule's commit; `None` where its directory stays empty.
    fn submodule(&mut self, parent: usize, path: &[u8], id: &ObjectId) -> Result<Option<Pending>, GitError> {
        let Checkout { source, limits, http, admit, .. } = self.asked;
        let Repository { modules, remote, prefix, nesting, .. } = &self.repositories[parent];
        let whole = joined(prefix, path);
        let shown = String::from_utf8_lossy(&whole).into_owned();
        if source.submodules == Submodules::Empty {
            return Ok(None);
        }
        let wrong = |why: String| GitError::Submodule { remote: remote.clone(), path: shown.clone(), why };
        let module = modules.get(path).filter(|module| !module.url.is_empty());
        let module = module.ok_or_else(|| wrong("no url of it stands in .gitmodules".to_owned()))?;
        if module.left_out {
            return Ok(None);
        }
        let over = |what, limit| GitError::Limit { remote: remote.clone(), what, limit };
        if nesting + 1 > limits.nesting {
            return Err(over("submodules within submodules", limits.nesting));
        }
        if self.repositories.len() as u64 > limits.submodules {
            return Err(over("submodules", limits.submodules));
        }
        let found = submodules::resolve(remote, &module.url).map_err(&wrong)?;
        usable(&found).map_err(|why| wrong(format!("{}: {why}", found.remote)))?;
        let commit = id.to_string();
        admit(&found.remote, &commit).map_err(|why| GitError::Denied { why })?;
        let within = |error: GitError| GitError::Within { path: shown.clone(), source: Box::new(error) };
        let room = sub(self.room, &self.repositories.len().to_string())?;
        let fetch = || -> Result<(Objects, ObjectId), GitError> {
            let objects =
                Server::connect(*http, &found.remote, limits)?.objects(&commit, Named::ById, &room)?;
            let content = objects.expect(id, Kind::Commit)?;
            let tree = Header::of(&objects, &content)?.tree;
            Ok((objects, tree))
        };
        let (objects, tree) = fetch().map_err(&within)?;
        let modules = self::modules(&objects, &tree).map_err(within)?;
        let nesting = nesting + 1;
        self.repositories.push(Repository { objects, remote: found.remote, modules, prefix: whole, nesting });
        Ok(Some(Pending { repository: self.repositories.len() - 1, path: Vec::new(), tree }))
    }
}

/// Whether a submodule's repository can be spoken to.
fn usable(source: &GitSource) -> Result<(), String> {
    match (source.unreachable(), source.transport) {
        (Some(why), _) => Err(format!("{why}; its https:// URL is needed, or ?submodules=false")),
        (None, GitTransport::Http) if !source.is_loopback() => {
            Err("plain HTTP is used only on loopback".to_owned())
        }
        (None, _) => Ok(()),
    }
}

fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    match (path.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => path.to_vec(),
        _ => [path, b"/", name].concat(),
    }
}

fn sub(room: &Dir, name: &str) -> Result<Dir, GitError> {
    room.create_dir(name).and_then(|()| room.open_dir(name)).map_err(host("make a directory for a pack"))
}

/// Follows annotated tags to their commit; `note` hears of each.
fn peel(objects: &Objects, id: &str, note: &mut dyn FnMut(&ObjectId)) -> Result<ObjectId, GitError> {
    let mut id = ObjectId::from_hex(id.as_bytes()).map_err(|error| objects.broken(error.to_string()))?;
    for _ in 0..16 {
        let (kind, content) = objects.get(&id)?;
        match kind {
            Kind::Commit => return Ok(id),
            Kind::Tag => {
                note(&id);
                let tag = TagRef::from_bytes(&content, objects.kind);
                id = tag.map_err(|error| objects.broken(format!("the tag {id}: {error}")))?.target();
            }
            other => return Err(objects.broken(format!("{id} is a {other} and no commit"))),
        }
    }
    Err(objects.broken("tags of tags without end".to_owned()))
}

/// What a commit says of itself.
struct Header {
    tree: ObjectId,
    time: i64,
    has_parents: bool,
}

impl Header {
    fn of(objects: &Objects, content: &[u8]) -> Result<Self, GitError> {
        let broken = |error: &dyn std::fmt::Display| objects.broken(format!("a commit: {error}"));
        let commit = CommitRef::from_bytes(content, objects.kind).map_err(|error| broken(&error))?;
        let time =
            commit.committer().and_then(|committer| committer.time()).map_err(|error| broken(&error))?;
        Ok(Self { tree: commit.tree(), time: time.seconds, has_parents: !commit.parents.is_empty() })
    }
}

/// What `.gitmodules` of a commit says.
fn modules(objects: &Objects, tree: &ObjectId) -> Result<BTreeMap<Vec<u8>, Submodule>, GitError> {
    let content = objects.expect(tree, Kind::Tree)?;
    for entry in TreeRefIter::from_bytes(&content, objects.kind) {
        let entry = entry.map_err(|error| objects.broken(format!("the tree {tree}: {error}")))?;
        let is_file = matches!(entry.mode.kind(), EntryKind::Blob | EntryKind::BlobExecutable);
        if entry.filename == ".gitmodules" && is_file {
            let text = objects.expect(&entry.oid.to_owned(), Kind::Blob)?;
            if text.len() > submodules::LONGEST {
                return Err(objects.broken("its .gitmodules is too long".to_owned()));
            }
            return submodules::parse(&text).map_err(|why| objects.broken(why));
        }
    }
    Ok(BTreeMap::new())
}
