//! COPY and ADD: files from a context, a directory or another tree into a stage's tree.
//!
//! The rules are BuildKit's (its file operation over fsutil's copy): missing directories of the destination are made with mode
//! 0755 and the owner of --chown; a directory stands for its content; a file goes into a directory that is there or that the
//! Dockerfile says is one; a directory that exists keeps its attributes if it is the destination itself and gets the
//! source's beneath it; a file replaces a file or link, never a directory. Nothing is followed out of either root.

mod archive;
mod filter;
mod mode;
mod select;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes its context with std")]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use wbuild_dockerfile::{IgnoreFile, glob};
use wbuild_layer::{RootPath, Timestamp};
use wbuild_oci::GitSource;
use wbuild_plan::{Archive, Chmod, CopyDest, CopyKind, CopySource, DestShape, Include, Presence, UrlSource};

use crate::checkout::Checkout;
use crate::error::FilesError;
use crate::files::{self, Files, Kind, Last, Node, node, unreadable};
use crate::tree::{Attributes, Tree};

pub(crate) use archive::detect;
pub(crate) use filter::{Filter, Verdict};

/// What every source of one COPY shares.
pub(crate) struct Copier<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) kind: CopyKind,
    /// `None` keeps the source's owner, which is root in a context.
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) chmod: Option<&'a Chmod>,
    /// What the URLs of an ADD gave.
    pub(crate) fetched: &'a [Fetched],
    /// The git repositories of an ADD.
    pub(crate) checkouts: &'a [(&'a GitSource, Arc<Checkout>)],
    /// `--exclude`
    pub(crate) exclude: &'a [String],
    /// Whose modification times the copies get.
    pub(crate) times: CopyTimes,
}

/// What a URL gave.
pub(crate) struct Fetched {
    pub(crate) url: String,
    pub(crate) file: File,
    pub(crate) mtime: Timestamp,
}

/// Whose modification times copies get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyTimes {
    /// The sources'.
    Kept,
    /// The end of the step sets them all.
    Set,
}

/// Whether a directory that is there already takes the source's attributes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Keeps,
    Takes,
}

impl Copier<'_> {
    /// Copies one source to its destination. What could not be copied but is no error is told to `note`.
    pub(crate) fn copy(
        &self,
        from: &dyn Files,
        source: &CopySource,
        dest: &CopyDest,
        note: &mut dyn FnMut(&str),
    ) -> Result<(), FilesError> {
        match source {
            CopySource::Inline { name, content } => {
                let node = plain(0o644, Timestamp::default());
                self.single(name, &mut content.as_bytes(), &node, dest)
            }
            CopySource::Url(source) => self.url(source, dest),
            CopySource::Git(source) => {
                let missing = || FilesError::Missing {
                    written: source.to_string(),
                    place: "the git repositories".to_owned(),
                    ignored: crate::error::Ignored::No,
                };
                let found = self.checkouts.iter().find(|(of, _)| *of == &**source).ok_or_else(missing)?;
                let filter = Filter::new(None, self.exclude)
                    .map_err(|error| FilesError::Pattern { reason: error.to_string() })?;
                let written = source.to_string();
                let named = Named { found: RootPath::root(), written: &written, filter: &filter };
                let ignore = IgnoreFile::default();
                self.one(&found.1.files(&ignore, written.clone()), &named, dest, note)
            }
            CopySource::Path { pattern, written, include } => {
                let filter = Filter::new(include.as_ref(), self.exclude)
                    .map_err(|error| FilesError::Pattern { reason: error.to_string() })?;
                if include.is_some() {
                    // It is there even where nothing is chosen.
                    let target = self.destination(dest, None)?;
                    if let Some(parent) = target.parent() {
                        self.make_dirs(&parent)?;
                    }
                }
                for found in chosen(from, pattern, written, include.as_ref())? {
                    let named = Named { found, written, filter: &filter };
                    self.one(from, &named, dest, note)?;
                }
                Ok(())
            }
        }
    }

    fn one(
        &self,
        from: &dyn Files,
        Named { found, written, filter }: &Named<'_>,
        dest: &CopyDest,
        note: &mut dyn FnMut(&str),
    ) -> Result<(), FilesError> {
        let source = files::resolve(from, found, Last::Follow)?;
        let what = node(from, &source)?.ok_or_else(|| missing(from, &source, written))?;
        if self.kind == CopyKind::Add && what.kind == Kind::File {
            let opened = from.open(&source).map_err(|error| unreadable(from, &source, error))?;
            if let Some(archive) = archive::detect(opened, written)? {
                let target = self.destination(dest, None)?;
                self.make_dirs(&target)?;
                return archive.unpack(self.tree, &target, self.owner);
            }
        }
        // The name is the written one's, whatever a link leads to.
        let name = if what.is_dir() { None } else { found.file_name() };
        let target = self.destination(dest, name)?;
        if what.is_dir() && node(self.tree, &target)?.is_none() {
            // As BuildKit makes it: only what is beneath the source has the source's attributes.
            self.make_dirs(&target)?;
            if let Some(chmod) = self.chmod {
                let mode = mode::apply(chmod, 0o755, true);
                self.tree.set_mode(&target, mode).map_err(write("set the mode of", &target))?;
            }
        } else if let Some(parent) = target.parent() {
            self.make_dirs(&parent)?;
        }
        let top = source.as_bytes().len();
        let mut walk =
            Walk { copier: self, from, note, inodes: BTreeMap::new(), filter, top, passed: Vec::new() };
        walk.copy(&source, &what, &target, Existing::Keeps)
    }

    fn url(&self, source: &UrlSource, dest: &CopyDest) -> Result<(), FilesError> {
        let failed =
            |error: io::Error| FilesError::Archive { written: source.url.clone(), reason: error.to_string() };
        let found = self.fetched.iter().find(|fetched| fetched.url == source.url);
        let found = found.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let mut file = found.file.try_clone().map_err(failed)?;
        io::Seek::rewind(&mut file).map_err(failed)?;
        if source.archive == Archive::Unpack {
            let again = file.try_clone().map_err(failed)?;
            if let Some(archive) = archive::detect(again, &source.url)? {
                let target = self.destination(dest, None)?;
                self.make_dirs(&target)?;
                return archive.unpack(self.tree, &target, self.owner);
            }
        }
        // As BuildKit and Docker: nobody but its owner may read it.
        self.single(&source.name, &mut file, &plain(0o600, found.mtime), dest)
    }

    /// One file with this content.
    fn single(
        &self,
        name: &str,
        content: &mut dyn io::Read,
        node: &Node,
        dest: &CopyDest,
    ) -> Result<(), FilesError> {
        let target = self.destination(dest, Some(name.as_bytes()))?;
        if let Some(parent) = target.parent() {
            self.make_dirs(&parent)?;
        }
        let attributes = self.wanted(node, Default::default());
        let mut file = self.create(name, &target, &attributes)?;
        io::copy(content, &mut file).map_err(write("write", &target))?;
        self.tree.set_new_attributes(&file, &attributes).map_err(write("set the attributes of", &target))
    }

    /// Makes an empty file, in the place of what is there.
    fn create(&self, source: &str, target: &RootPath, attributes: &Attributes) -> Result<File, FilesError> {
        let mode = attributes.mode.unwrap_or(0o644);
        match self.tree.create_file(target, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.make_room(target, source)?;
                self.tree.create_file(target, mode)
            }
            other => other,
        }
        .map_err(write("create", target))
    }

    /// The destination as a path without links: `name` within it where it is, or must be, a directory.
    fn destination(&self, dest: &CopyDest, name: Option<&[u8]>) -> Result<RootPath, FilesError> {
        let path = RootPath::new(&dest.path).map_err(|error| FilesError::Conflict {
            source_path: String::new(),
            target: RootPath::root(),
            reason: if matches!(error, wbuild_layer::RootPathError::Nul(_)) {
                "a NUL byte"
            } else {
                "a .. component"
            },
        })?;
        if dest.shape == DestShape::Directory {
            self.make_dirs(&files::resolve(self.tree, &path, Last::Follow)?)?;
        }
        let resolved = files::resolve(self.tree, &path, Last::Follow)?;
        match name {
            Some(name)
                if resolved.is_root() || node(self.tree, &resolved)?.is_some_and(|node| node.is_dir()) =>
            {
                resolved.join(name).map_err(|error| write("create", &resolved)(io::Error::other(error)))
            }
            _ => Ok(resolved),
        }
    }

    /// Makes a directory and its missing parents.
    fn make_dirs(&self, path: &RootPath) -> Result<(), FilesError> {
        make_dirs(self.tree, path, self.owner.unwrap_or((0, 0)))
    }

    /// Removes what a file is about to replace.
    fn make_room(&self, target: &RootPath, source: &str) -> Result<(), FilesError> {
        match node(self.tree, target)? {
            None => Ok(()),
            Some(there) if there.is_dir() => Err(FilesError::Conflict {
                source_path: source.to_owned(),
                target: target.clone(),
                reason: "a directory is there",
            }),
            Some(_) => self.tree.remove_file(target).map_err(write("replace", target)),
        }
    }

    fn attributes(
        &self,
        from: &dyn Files,
        source: &RootPath,
        node: &Node,
        target: &RootPath,
    ) -> Result<(), FilesError> {
        let xattrs = match node.kind {
            Kind::Directory => from.xattrs(source, None).map_err(|error| unreadable(from, source, error))?,
            _ => Default::default(),
        };
        let attributes = self.wanted(node, xattrs);
        self.tree.set_attributes(target, &attributes).map_err(write("set the attributes of", target))
    }

    /// What the copy of `node` is to have.
    fn wanted(&self, node: &Node, xattrs: wbuild_layer::Xattrs) -> Attributes {
        let (uid, gid) = self.owner.unwrap_or((node.uid, node.gid));
        let mode = match (self.chmod, node.kind) {
            (_, Kind::Symlink) => None,
            (Some(chmod), _) => Some(mode::apply(chmod, node.mode, node.is_dir())),
            (None, _) => Some(node.mode),
        };
        let mtime = (self.times == CopyTimes::Kept).then_some(node.mtime);
        Attributes { uid, gid, mode, mtime, xattrs }
    }
}

fn plain(mode: u32, mtime: Timestamp) -> Node {
    Node { kind: Kind::File, mode, uid: 0, gid: 0, mtime, shared: None }
}

/// One path that a source names.
struct Named<'a> {
    found: RootPath,
    written: &'a str,
    filter: &'a Filter,
}

/// What a source names: wildcards may name nothing, and a path without has to be there.
pub(crate) fn chosen(
    from: &dyn Files,
    pattern: &str,
    written: &str,
    include: Option<&Include>,
) -> Result<Vec<RootPath>, FilesError> {
    let found = match select::sources(from, pattern, written) {
        Err(FilesError::Missing { .. }) if include.is_some_and(|i| i.presence == Presence::Optional) => {
            return Ok(Vec::new());
        }
        other => other?,
    };
    if let Some(Include { pattern, presence: Presence::Required }) = include {
        for base in &found {
            let path = base.as_path().join(glob::unescape(pattern));
            let path = RootPath::new(path.as_os_str().as_bytes())
                .map_err(|error| unreadable(from, base, io::Error::other(error)))?;
            let path = files::resolve(from, &path, Last::Keep)?;
            node(from, &path)?.ok_or_else(|| missing(from, &path, written))?;
        }
    }
    Ok(found)
}

fn missing(from: &dyn Files, path: &RootPath, written: &str) -> FilesError {
    FilesError::Missing {
        written: written.to_owned(),
        place: from.place().to_owned(),
        ignored: if from.hides(path) { crate::error::Ignored::Yes } else { crate::error::Ignored::No },
    }
}

/// The copy of one source: a file, or a directory with what is beneath it.
struct Walk<'a> {
    copier: &'a Copier<'a>,
    from: &'a dyn Files,
    note: &'a mut dyn FnMut(&str),
    /// Where the first name of a file with several went.
    inodes: BTreeMap<(u64, u64), RootPath>,
    filter: &'a Filter,
    /// The length of the source's path, which is no part of what the filter sees.
    top: usize,
    /// The directories around the one that is copied that are made only for something chosen.
    passed: Vec<Passed>,
}

/// A directory that is not chosen itself.
struct Passed {
    source: RootPath,
    what: Node,
    target: RootPath,
    state: Way,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// It was there.
    Found,
    Made,
}

impl Walk<'_> {
    fn verdict(&self, source: &RootPath) -> Verdict {
        self.filter.verdict_beneath(source, self.top)
    }

    /// Makes the directories on the way to something chosen.
    fn make_way(&mut self) -> Result<(), FilesError> {
        let tree = self.copier.tree;
        for passed in self.passed.iter_mut().filter(|passed| passed.state == Way::Open) {
            let Passed { source, what, target, state } = passed;
            *state = match node(tree, target)? {
                None => {
                    tree.make_dir(target).map_err(write("make the directory", target))?;
                    Way::Made
                }
                Some(there) if there.is_dir() => {
                    tree.set_mode(target, what.mode).map_err(write("set the mode of", target))?;
                    Way::Found
                }
                Some(_) => return Err(not_a_directory(source.to_string(), target)),
            };
        }
        Ok(())
    }

    fn copy(
        &mut self,
        source: &RootPath,
        what: &Node,
        target: &RootPath,
        existing: Existing,
    ) -> Result<(), FilesError> {
        let Copier { tree, .. } = self.copier;
        if what.is_dir() {
            return self.directory(source, what, target, existing);
        }
        if self.verdict(source) != Verdict::Chosen {
            return Ok(());
        }
        self.make_way()?;
        if what.kind == Kind::Socket {
            (self.note)(&format!("{source} is a socket and was left out"));
            return Ok(());
        }
        if let Some(first) = what.shared.and_then(|inode| self.inodes.get(&inode)) {
            self.copier.make_room(target, &source.to_string())?;
            return tree.hard_link(first, target).map_err(write("link", target));
        }
        if let Some(inode) = what.shared {
            self.inodes.insert(inode, target.clone());
        }
        let unread = |error| unreadable(self.from, source, error);
        if what.kind == Kind::File {
            let mut content = self.from.open(source).map_err(unread)?;
            let xattrs = self.from.xattrs(source, Some(&content)).map_err(unread)?;
            let attributes = self.copier.wanted(what, xattrs);
            let mut file = self.copier.create(&source.to_string(), target, &attributes)?;
            io::copy(&mut content, &mut file).map_err(write("write", target))?;
            return tree
                .set_new_attributes(&file, &attributes)
                .map_err(write("set the attributes of", target));
        }
        self.copier.make_room(target, &source.to_string())?;
        if what.kind == Kind::Symlink {
            let text = self.from.read_link(source).map_err(unread)?;
            tree.symlink(&text, target).map_err(write("make the link", target))?;
        } else {
            tree.make_node(target, what.kind).map_err(write("make the special file", target))?;
        }
        self.copier.attributes(self.from, source, what, target)
    }

    fn directory(
        &mut self,
        source: &RootPath,
        what: &Node,
        target: &RootPath,
        existing: Existing,
    ) -> Result<(), FilesError> {
        let tree = self.copier.tree;
        let takes = match self.verdict(source) {
            Verdict::Closed => return Ok(()),
            Verdict::Passed => {
                let (source, target) = (source.clone(), target.clone());
                self.passed.push(Passed { source, what: what.clone(), target, state: Way::Open });
                None
            }
            Verdict::Chosen => {
                self.make_way()?;
                Some(match node(tree, target)? {
                    None => {
                        tree.make_dir(target).map_err(write("make the directory", target))?;
                        Existing::Takes
                    }
                    Some(there) if there.is_dir() => existing,
                    Some(_) => return Err(not_a_directory(source.to_string(), target)),
                })
            }
        };
        for name in self.from.list(source).map_err(|error| unreadable(self.from, source, error))? {
            let join = |path: &RootPath| {
                path.join(&name).map_err(|error| unreadable(self.from, path, io::Error::other(error)))
            };
            let (child, child_target) = (join(source)?, join(target)?);
            // What is excluded is listed and not there.
            if let Some(node) = node(self.from, &child)? {
                self.copy(&child, &node, &child_target, Existing::Takes)?;
            }
        }
        let takes = match takes {
            Some(takes) => takes == Existing::Takes,
            None => self.passed.pop().is_some_and(|passed| passed.state == Way::Made),
        };
        // Last: making the children moved the directory's time.
        if takes { self.copier.attributes(self.from, source, what, target) } else { Ok(()) }
    }
}

fn not_a_directory(source_path: String, target: &RootPath) -> FilesError {
    FilesError::Conflict {
        source_path,
        target: target.clone(),
        reason: "something that is not a directory is there",
    }
}

/// Makes the directory `path` and its missing parents, mode 0755. Links in it are followed within the tree; returns where it
/// really is.
pub(crate) fn make_dirs(tree: &Tree, path: &RootPath, owner: (u32, u32)) -> Result<(), FilesError> {
    let resolved = files::resolve(tree, path, Last::Follow)?;
    let mut missing = Vec::new();
    let mut at = Some(resolved);
    while let Some(path) = at.filter(|path| !path.is_root()) {
        match node(tree, &path)? {
            None => {
                at = path.parent();
                missing.push(path);
            }
            Some(there) if there.is_dir() => break,
            Some(_) => return Err(not_a_directory("a directory".to_owned(), &path)),
        }
    }
    for path in missing.iter().rev() {
        tree.make_dir(path).map_err(write("make the directory", path))?;
        let attributes = Attributes {
            uid: owner.0,
            gid: owner.1,
            mode: Some(0o755),
            mtime: None,
            xattrs: Default::default(),
        };
        tree.set_attributes(path, &attributes).map_err(write("set the attributes of", path))?;
    }
    Ok(())
}

pub(crate) fn write(action: &'static str, path: &RootPath) -> impl FnOnce(io::Error) -> FilesError {
    let path = path.clone();
    move |source| FilesError::Write { action, path, source }
}
