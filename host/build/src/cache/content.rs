//! The content of the files that a COPY selects, as one digest: names, types, modes, links, attributes and bytes.
//!
//! What is not hidden is walked as the copy walks it, so that two selections with one digest make the same layer. Times of a context are
//! no content; times of another stage are, as far as the rule of the step lets them through. The directory that a source
//! names is not in it: a copy takes what is beneath it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

use wbuild_layer::{RootPath, Timestamp, Xattrs};
use wbuild_monitor::MtimeRule;
use wbuild_oci::{Digest, Hasher};
use wbuild_plan::CopySource;

use super::digests::DigestCache;
use crate::copy::{self, Filter, Verdict};
use crate::error::{FilesError, Ignored};
use crate::files::{self, Files, Kind, Last, Node, node, unreadable};

/// What was selected.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// Each path beneath the root it was selected from, with the digest of what stands there; for explanations.
    pub(crate) files: Vec<(String, Digest)>,
}

impl Selection {
    /// The digest of the whole.
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        for (path, digest) in &self.files {
            frame(&mut hasher, path.as_bytes());
            frame(&mut hasher, digest.as_bytes());
        }
        hasher.finish()
    }
}

/// Reads the content of one selection.
pub(crate) struct Reader<'a> {
    pub(crate) from: &'a dyn Files,
    /// What happens to times, where they mean something.
    pub(crate) mtimes: Option<MtimeRule>,
    /// Digests of files that were read before; `None` for files that are new each time.
    pub(crate) known: Option<&'a DigestCache>,
    pub(crate) cancelled: &'a dyn Fn() -> bool,
    /// `--exclude`
    pub(crate) exclude: &'a [String],
}

impl Reader<'_> {
    /// Walks all that `sources` select.
    pub(crate) fn read(&self, sources: &[CopySource]) -> Result<Selection, FilesError> {
        let mut selection = Selection::default();
        for source in sources {
            let CopySource::Path { pattern, written, include } = source else { continue };
            let filter = Filter::new(include.as_ref(), self.exclude)
                .map_err(|error| FilesError::Pattern { reason: error.to_string() })?;
            for found in copy::chosen(self.from, pattern, written, include.as_ref())? {
                let place = files::resolve(self.from, &found, Last::Follow)?;
                let what = node(self.from, &place)?.ok_or_else(|| FilesError::Missing {
                    written: written.clone(),
                    place: self.from.place().to_owned(),
                    ignored: if self.from.hides(&place) { Ignored::Yes } else { Ignored::No },
                })?;
                let (inodes, top) = (BTreeMap::new(), place.as_bytes().len());
                let mut walk = Walk { reader: self, selection: &mut selection, inodes, filter: &filter, top };
                if what.is_dir() {
                    walk.within(&place, &found)?;
                } else {
                    walk.one(&place, &found, &what)?;
                }
            }
        }
        Ok(selection)
    }

    /// Walks what stands at `path`, itself included. Nothing is selected where nothing is there.
    pub(crate) fn read_at(&self, path: &RootPath) -> Result<Selection, FilesError> {
        let mut selection = Selection::default();
        let place = files::resolve(self.from, path, Last::Follow)?;
        if let Some(what) = node(self.from, &place)? {
            let filter = Filter::default();
            let (inodes, top) = (BTreeMap::new(), place.as_bytes().len());
            let mut walk = Walk { reader: self, selection: &mut selection, inodes, filter: &filter, top };
            walk.one(&place, &RootPath::root(), &what)?;
        }
        Ok(selection)
    }
}

struct Walk<'a> {
    reader: &'a Reader<'a>,
    selection: &'a mut Selection,
    /// Where the first name of a file with several was found.
    inodes: BTreeMap<(u64, u64), RootPath>,
    filter: &'a Filter,
    /// The length of the source's path, which is no part of what the filter sees.
    top: usize,
}

impl Walk<'_> {
    /// What is beneath the directory at `place`, which was asked for as `name`.
    fn within(&mut self, place: &RootPath, name: &RootPath) -> Result<(), FilesError> {
        let from = self.reader.from;
        if (self.reader.cancelled)() {
            // The caller looks again, and nothing is made of what was read.
            return Ok(());
        }
        for entry in from.list(place).map_err(|error| unreadable(from, place, error))? {
            let join = |path: &RootPath| {
                path.join(&entry).map_err(|error| unreadable(from, path, io::Error::other(error)))
            };
            let (child, child_name) = (join(place)?, join(name)?);
            if let Some(what) = node(from, &child)? {
                self.one(&child, &child_name, &what)?;
            }
        }
        Ok(())
    }

    fn one(&mut self, place: &RootPath, name: &RootPath, what: &Node) -> Result<(), FilesError> {
        let from = self.reader.from;
        let unread = |error| unreadable(from, place, error);
        let verdict = self.filter.verdict_beneath(place, self.top);
        let left_out = verdict == Verdict::Closed || (verdict == Verdict::Passed && !what.is_dir());
        if what.kind == Kind::Socket || left_out {
            return Ok(());
        }
        let mut hasher = Hasher::new();
        if let Some(first) = what.shared.and_then(|inode| self.inodes.get(&inode)) {
            frame(&mut hasher, b"link");
            frame(&mut hasher, first.as_bytes());
            self.selection.files.push((name.to_string(), hasher.finish()));
            return Ok(());
        }
        if let Some(inode) = what.shared {
            self.inodes.insert(inode, name.clone());
        }
        let (kind, content, xattrs) = match what.kind {
            Kind::File => {
                let mut file = from.open(place).map_err(unread)?;
                let xattrs = from.xattrs(place, Some(&file)).map_err(unread)?;
                let digest = match self.reader.known {
                    Some(known) => known.digest(&mut file),
                    None => of_file(&mut file),
                };
                ("file", digest.map_err(unread)?.as_bytes().to_vec(), xattrs)
            }
            Kind::Directory => ("directory", Vec::new(), from.xattrs(place, None).map_err(unread)?),
            Kind::Symlink => ("symlink", from.read_link(place).map_err(unread)?, Xattrs::new()),
            Kind::Fifo => ("fifo", Vec::new(), Xattrs::new()),
            Kind::Socket => return Ok(()),
            Kind::CharDevice(device) => ("character device", device_bytes(device), Xattrs::new()),
            Kind::BlockDevice(device) => ("block device", device_bytes(device), Xattrs::new()),
        };
        frame(&mut hasher, kind.as_bytes());
        frame(&mut hasher, &content);
        let mode = if what.kind == Kind::Symlink { 0 } else { what.mode };
        for number in [mode, what.uid, what.gid] {
            frame(&mut hasher, &number.to_le_bytes());
        }
        for (name, value) in &xattrs {
            frame(&mut hasher, name);
            frame(&mut hasher, value);
        }
        if let Some(rule) = self.reader.mtimes {
            let Timestamp { seconds, nanoseconds } = rule.apply(what.mtime);
            frame(&mut hasher, b"time");
            frame(&mut hasher, &seconds.to_le_bytes());
            frame(&mut hasher, &nanoseconds.to_le_bytes());
        }
        self.selection.files.push((name.to_string(), hasher.finish()));
        if what.is_dir() { self.within(place, name) } else { Ok(()) }
    }
}

fn device_bytes(device: wbuild_layer::Device) -> Vec<u8> {
    [device.major.to_le_bytes(), device.minor.to_le_bytes()].concat()
}

fn frame(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// The digest of the rest of a file.
pub(super) fn of_file(file: &mut File) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0_u8; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes its context with std")]
mod tests;
