//! A copy of files as they are, for a mount: owners, modes, times, links, devices and extended attributes are the source's.
//!
//! Unlike COPY it has no rules: what stands at the source stands at the target afterwards.

use std::collections::BTreeMap;
use std::io;

use wbuild_layer::RootPath;
use wbuild_monitor::Cancel;

use crate::error::FilesError;
use crate::files::{Files, Kind, Node, node, unreadable};
use crate::tree::{Attributes, Tree};

/// Copies what stands at `source`, a path without links, to `target` of `tree`, where nothing is and whose parent is there.
pub(super) fn replicate(
    from: &dyn Files,
    source: &RootPath,
    tree: &Tree,
    target: &RootPath,
    cancel: &Cancel,
) -> Result<(), FilesError> {
    let Some(what) = node(from, source)? else { return Ok(()) };
    Replica { from, tree, cancel, first: BTreeMap::new() }.copy(source, &what, target)
}

struct Replica<'a> {
    from: &'a dyn Files,
    tree: &'a Tree,
    cancel: &'a Cancel,
    /// Where the first name of a file with several went.
    first: BTreeMap<(u64, u64), RootPath>,
}

impl Replica<'_> {
    fn copy(&mut self, source: &RootPath, what: &Node, target: &RootPath) -> Result<(), FilesError> {
        if self.cancel.is_cancelled() {
            return Ok(());
        }
        if let Some(first) = what.shared.and_then(|inode| self.first.get(&inode)) {
            return self.tree.hard_link(first, target).map_err(write("link", target));
        }
        if let Some(inode) = what.shared {
            self.first.insert(inode, target.clone());
        }
        match what.kind {
            Kind::Directory => self.directory(source, what, target),
            Kind::File => self.file(source, what, target),
            // It leads to a process of the host, if to any.
            Kind::Socket => Ok(()),
            Kind::Symlink => {
                let text =
                    self.from.read_link(source).map_err(|error| unreadable(self.from, source, error))?;
                self.tree.symlink(&text, target).map_err(write("make the link", target))?;
                self.finish(source, what, target)
            }
            Kind::Fifo | Kind::CharDevice(_) | Kind::BlockDevice(_) => {
                self.tree.make_node(target, what.kind).map_err(write("make the special file", target))?;
                self.finish(source, what, target)
            }
        }
    }

    fn directory(&mut self, source: &RootPath, what: &Node, target: &RootPath) -> Result<(), FilesError> {
        self.tree.make_dir(target).map_err(write("make the directory", target))?;
        for name in self.from.list(source).map_err(|error| unreadable(self.from, source, error))? {
            let join = |path: &RootPath| {
                path.join(&name).map_err(|error| unreadable(self.from, path, io::Error::other(error)))
            };
            let (child, place) = (join(source)?, join(target)?);
            // What is excluded is listed and not there.
            if let Some(node) = node(self.from, &child)? {
                self.copy(&child, &node, &place)?;
            }
        }
        // Last: making the children moved the directory's time.
        self.finish(source, what, target)
    }

    fn file(&mut self, source: &RootPath, what: &Node, target: &RootPath) -> Result<(), FilesError> {
        let unread = |error| unreadable(self.from, source, error);
        let mut content = self.from.open(source).map_err(unread)?;
        let xattrs = self.from.xattrs(source, Some(&content)).map_err(unread)?;
        let mut file = self.tree.create_file(target, what.mode).map_err(write("create", target))?;
        io::copy(&mut content, &mut file).map_err(write("write", target))?;
        let set = self.tree.set_new_attributes(&file, &attributes(what, xattrs));
        set.map_err(write("set the attributes of", target))
    }

    fn finish(&self, source: &RootPath, what: &Node, target: &RootPath) -> Result<(), FilesError> {
        let xattrs = match what.kind {
            Kind::Directory => {
                self.from.xattrs(source, None).map_err(|error| unreadable(self.from, source, error))?
            }
            _ => Default::default(),
        };
        let set = self.tree.set_attributes(target, &attributes(what, xattrs));
        set.map_err(write("set the attributes of", target))
    }
}

fn attributes(what: &Node, xattrs: wbuild_layer::Xattrs) -> Attributes {
    let mode = (what.kind != Kind::Symlink).then_some(what.mode);
    Attributes { uid: what.uid, gid: what.gid, mode, mtime: Some(what.mtime), xattrs }
}

fn write(action: &'static str, path: &RootPath) -> impl FnOnce(io::Error) -> FilesError {
    let path = path.clone();
    move |source| FilesError::Write { action, path, source }
}
