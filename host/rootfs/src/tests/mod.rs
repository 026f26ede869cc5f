//! Tests of the tree, its records and its journal, on a disk filesystem and on tmpfs.

mod finish;
mod model;
mod mounts;
mod random;
mod records;
mod shared;
mod whereabouts;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;
use wbuild_layer::{Change, ChangeSet, EntryKind, RootPath, Timestamp};

use crate::raw::{self, Dir, Fresh, Inode};
use crate::root::stat_fd;
use crate::walk::Found;
use crate::{JournalCheck, MtimeRule, Owner, Root, Scope};

/// A tree in a temporary directory, with operations by path.
pub(crate) struct Tree {
    pub(crate) root: Root,
    pub(crate) path: PathBuf,
    _dir: tempfile::TempDir,
}

/// Where the tests' trees lie: a disk filesystem and tmpfs reuse inode numbers differently.
pub(crate) const PLACES: [&str; 2] = ["/tmp", "/dev/shm"];

pub(crate) fn path(text: &str) -> RootPath {
    RootPath::new(text).unwrap()
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanoseconds: 0 }
}

pub(crate) const ROOT: Fresh = Fresh { uid: 0, gid: 0, mode: 0o644 };

impl Tree {
    pub(crate) fn new(place: &str) -> Self {
        rustix::process::umask(rustix::fs::Mode::empty());
        let dir = tempfile::tempdir_in(place).unwrap();
        let path = dir.path().join("tree");
        let root = Root::create(&path, Owner::Caller).unwrap();
        Self { root, path, _dir: dir }
    }

    /// Persists and opens again, as between two steps.
    pub(crate) fn reopened(self) -> Self {
        self.root.persist().unwrap();
        let root = Root::open(&self.path, Owner::Caller).unwrap();
        Self { root, ..self }
    }

    /// A new tree in which this one's files are hard links.
    pub(crate) fn linked(&self, place: &str) -> Self {
        let new = Self::new(place);
        new.root.take_over(&self.root, crate::Sharing::Inodes).unwrap();
        new
    }

    pub(crate) fn begin(&self) {
        self.root.begin(JournalCheck::FullWalk).unwrap();
    }

    pub(crate) fn finish(&self) -> ChangeSet {
        self.root.finish(MtimeRule::Keep).unwrap().changes
    }

    pub(crate) fn found(&self, text: &str) -> Result<Found, Errno> {
        self.root.find(&path(text))?.ok_or(Errno::NOENT)
    }

    fn place<T>(
        &self,
        text: &str,
        act: impl FnOnce(&Dir<'_>, &CString) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let full = path(text);
        let parent = full.parent().ok_or(Errno::BUSY)?;
        let dir = self.found(std::str::from_utf8(parent.as_bytes()).unwrap())?;
        let name = CString::new(full.file_name().unwrap()).unwrap();
        act(&Dir { fd: dir.fd.as_fd(), path: Some(&parent), scope: Scope::Tree }, &name)
    }

    fn inode<T>(&self, text: &str, act: impl FnOnce(&Inode<'_>) -> Result<T, Errno>) -> Result<T, Errno> {
        let found = self.found(text)?;
        act(&Inode { fd: found.fd.as_fd(), stat: &found.stat, scope: Scope::Tree })
    }

    pub(crate) fn make_dir(&self, text: &str) -> Result<(), Errno> {
        self.place(text, |d, n| raw::make_dir(&self.root, d, n, &Fresh { mode: 0o755, ..ROOT }))
    }

    pub(crate) fn create(&self, text: &str, content: &[u8]) -> Result<(), Errno> {
        let fd = self.place(text, |d, n| raw::create(&self.root, d, n, OFlags::WRONLY, &ROOT))?;
        write(&fd, content)
    }

    pub(crate) fn open(&self, text: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.inode(text, |i| raw::reopen(&self.root, i, flags))
    }

    pub(crate) fn write(&self, text: &str, content: &[u8]) -> Result<(), Errno> {
        write(&self.open(text, OFlags::WRONLY | OFlags::NONBLOCK)?, content)
    }

    pub(crate) fn unlink(&self, text: &str) -> Result<(), Errno> {
        self.place(text, |d, n| raw::unlink(&self.root, d, n))
    }

    pub(crate) fn remove_dir(&self, text: &str) -> Result<(), Errno> {
        self.place(text, |d, n| raw::remove_dir(&self.root, d, n))
    }

    pub(crate) fn symlink(&self, target: &str, text: &str) -> Result<(), Errno> {
        let target = CString::new(target).unwrap();
        self.place(text, |d, n| raw::symlink(&self.root, d, n, &target, &ROOT))
    }

    pub(crate) fn make_fifo(&self, text: &str) -> Result<(), Errno> {
        self.place(text, |d, n| raw::make_fifo(&self.root, d, n, &ROOT))
    }

    pub(crate) fn make_node(&self, text: &str, special: crate::Special) -> Result<(), Errno> {
        self.place(text, |d, n| raw::make_node(&self.root, d, n, special, &ROOT))
    }

    pub(crate) fn make_socket(&self, text: &str) -> Result<(), Errno> {
        self.place(text, |d, n| raw::bind_socket(&self.root, d, n, &ROOT, &mut raw::make_socket))
    }

    pub(crate) fn rename(&self, from: &str, to: &str, flags: RenameFlags) -> Result<(), Errno> {
        self.place(from, |d, n| self.place(to, |e, m| raw::rename(&self.root, (d, n), (e, m), flags)))
    }

    pub(crate) fn link(&self, from: &str, to: &str) -> Result<(), Errno> {
        self.inode(from, |i| self.place(to, |d, n| raw::link(&self.root, i, d, n)))
    }

    /// `O_TMPFILE`, written and linked.
    pub(crate) fn link_nameless(&self, to: &str, content: &[u8]) -> Result<(), Errno> {
        self.place(to, |dir, name| {
            let fd = raw::create_nameless(&self.root, dir, OFlags::WRONLY, &ROOT)?;
            write(&fd, content)?;
            let stat = stat_fd(fd.as_fd())?;
            raw::link(&self.root, &Inode { fd: fd.as_fd(), stat: &stat, scope: Scope::Tree }, dir, name)
        })
    }

    pub(crate) fn chmod(&self, text: &str, mode: u32) -> Result<(), Errno> {
        self.inode(text, |i| raw::chmod(&self.root, i, mode))
    }

    pub(crate) fn chown(&self, text: &str, uid: u32, gid: u32) -> Result<(), Errno> {
        self.inode(text, |i| raw::chown(&self.root, i, Some(uid), Some(gid)))
    }

    pub(crate) fn set_mtime(&self, text: &str, time: Timestamp) -> Result<(), Errno> {
        let spec = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
        let times = Timestamps { last_access: spec, last_modification: spec };
        self.inode(text, |i| raw::set_times(&self.root, i, &times))
    }

    pub(crate) fn set_xattr(&self, text: &str, name: &str, value: &[u8]) -> Result<(), Errno> {
        self.inode(text, |i| raw::set_xattr(&self.root, i, name.as_bytes(), value, raw::XattrWrite::Set))
    }

    pub(crate) fn remove_xattr(&self, text: &str, name: &str) -> Result<(), Errno> {
        self.inode(text, |i| raw::remove_xattr(&self.root, i, name.as_bytes()))
    }

    pub(crate) fn truncate(&self, text: &str, length: u64) -> Result<(), Errno> {
        self.inode(text, |i| raw::truncate(&self.root, i, length))
    }
}

fn write(fd: &OwnedFd, content: &[u8]) -> Result<(), Errno> {
    assert_eq!(rustix::io::write(fd, content)?, content.len());
    Ok(())
}

/// The changes as short lines, for comparisons in tests.
pub(crate) fn lines(changes: &ChangeSet) -> Vec<String> {
    let kind = |kind: &EntryKind| match kind {
        EntryKind::File { size } => format!("file {size}"),
        EntryKind::Directory => "dir".to_owned(),
        EntryKind::Symlink { target } => format!("symlink {}", String::from_utf8_lossy(target)),
        EntryKind::HardLink { target } => format!("link {target}"),
        EntryKind::CharDevice(d) => format!("char {}:{}", d.major, d.minor),
        EntryKind::BlockDevice(d) => format!("block {}:{}", d.major, d.minor),
        EntryKind::Fifo => "fifo".to_owned(),
    };
    changes
        .iter()
        .map(|(path, change)| match change {
            Change::Remove => format!("- {path}"),
            Change::Opaque(entry) => format!("! {path} {}", kind(&entry.kind)),
            Change::Upsert(entry) => format!("+ {path} {}", kind(&entry.kind)),
        })
        .collect()
}

/// How often the random tests run what they run: once, or twenty times for `WBUILD_TEST_SCALE=soak`.
pub(crate) fn rounds() -> u64 {
    if std::env::var("WBUILD_TEST_SCALE").as_deref() == Ok("soak") { 20 } else { 1 }
}
