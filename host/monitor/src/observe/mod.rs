//! Observations: what a step learnt of the tree it started from, and nothing else.
//!
//! Two trees in which every observation of a step is the same are the same to that step: so what it made over one of them is what it would
//! make over the other, as far as clock, random numbers, network and machine are not looked at. An observation is a canonical path, on which
//! there is no link, with the facts that were asked for; links that were followed are observations of their own. It speaks of the tree before
//! the step: what the step itself made or changed is no input (`record` keeps the two apart). Over-recording makes a step run too often;
//! under-recording would make it not run when it must, so whatever is not understood here is a [`Taint`].
//!
//! `evidence` beside this tells what a step did to somebody who judges it; this tells what it depends on.

mod record;
mod trace;
mod views;

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, Statx};
use serde::{Deserialize, Serialize};
use wbuild_layer::{Digest, Hasher, RootPath};
use wbuild_rootfs::{Root, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, stat_fd};

use crate::{Errno, Monitor};

pub(crate) use record::{Keeps, Observer};
pub(crate) use trace::End;

/// What a step learnt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observations {
    /// Of the tree, in path order, each path once.
    pub paths: Vec<Observation>,
    /// Whether it had an internet socket.
    pub network: NetworkUse,
    /// Why the paths are not all there is.
    pub taints: Vec<Taint>,
}

/// Whether a step used the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkUse {
    /// No internet socket was connected, bound or asked for.
    #[default]
    None,
    /// One was.
    Used,
}

/// Why what a step made depends on more than its observations say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Taint {
    /// It read this file of /proc or /sys, which tells of the machine.
    Machine(Vec<u8>),
    /// It changed a file of the tree that has other names.
    Shared(RootPath),
    /// It went through a descriptor, or a process's directory in /proc, to this path.
    Magic(Vec<u8>),
    /// A change at this path began and failed.
    Failed(RootPath),
    /// This path could not be looked at.
    Unreadable(RootPath),
    /// It looked at more paths than are kept.
    Overflow,
}

/// What was asked of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Facts(u8);

impl Facts {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// What kind of file stands there, if any; of a link, where it leads.
    pub const KIND: Self = Self(1);
    /// Owner, group, mode, device number, extended attributes.
    pub const ATTRIBUTES: Self = Self(1 | 2);
    /// The modification time; of a file also its size and the number of its names.
    pub const TIMES: Self = Self(1 | 4);
    /// What a file holds.
    pub const CONTENT: Self = Self(1 | 8);
    /// The names in a directory, with the kinds of what they name.
    pub const NAMES: Self = Self(1 | 16);
    /// What stat tells.
    pub const STAT: Self = Self(1 | 2 | 4);
    /// All of it.
    pub const ALL: Self = Self(31);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// As bits, for what is written down.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From bits; unknown ones are dropped.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 31)
    }

    /// The facts that a file of this type has.
    pub(crate) fn of_kind(self, kind: u32) -> Self {
        let bits = match kind {
            S_IFREG => 15,
            S_IFDIR => 23,
            _ => 7,
        };
        Self(self.0 & bits)
    }
}

/// One path with what was asked of it and what the answer was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Canonical.
    pub path: RootPath,
    /// What was asked.
    pub facts: Facts,
    /// The answer.
    pub state: State,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Nothing.
    Absent,
    /// Nothing can: a link or a file stands in the way there.
    Astray,
    /// This.
    There(Box<Seen>),
}

/// What was learnt of what stands somewhere: what was not asked for is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The type (`S_IFMT` bits) that a guest sees.
    pub kind: u32,
    /// Where a symbolic link leads.
    pub link: Option<Vec<u8>>,
    /// [`Facts::ATTRIBUTES`]
    pub attributes: Option<SeenAttributes>,
    /// [`Facts::TIMES`]
    pub times: Option<SeenTimes>,
    /// [`Facts::CONTENT`]; `None` also where it is still to be read from the tree, in which it has not changed.
    pub content: Option<Digest>,
    /// [`Facts::NAMES`]
    pub names: Option<Digest>,
}

/// [`Facts::ATTRIBUTES`]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenAttributes {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Over names and values of the extended attributes; `None` without any.
    pub xattrs: Option<Digest>,
}

/// [`Facts::TIMES`]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenTimes {
    /// Modification time: seconds and nanoseconds.
    pub modified: (i64, u32),
    /// Size in bytes and number of names; zero for a directory, where they are the host filesystem's affair.
    pub size: (u64, u32),
}

/// A path of the tree, no link followed.
fn open(root: &Root, path: &RootPath, flags: OFlags) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(root.fd(), path.as_path(), flags | OFlags::CLOEXEC, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// What stands at a path now, as far as `facts` ask; content is not read.
fn look(root: &Root, path: &RootPath, facts: Facts) -> Result<State, Errno> {
    let fd = match open(root, path, OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(State::Absent),
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(State::Astray),
        Err(errno) => return Err(errno),
    };
    let stat = stat_fd(fd.as_fd())?;
    Ok(State::There(Box::new(seen(root, &fd, &stat, facts)?)))
}

fn seen(root: &Root, fd: &OwnedFd, real: &Statx, facts: Facts) -> Result<Seen, Errno> {
    let mut stat = *real;
    root.show(&mut stat);
    let kind = u32::from(stat.stx_mode) & S_IFMT;
    let link = match kind {
        S_IFLNK => Some(rustix::fs::readlinkat(fd, c"", Vec::new())?.into_bytes()),
        _ => None,
    };
    let attributes = facts.has(Facts::ATTRIBUTES).then(|| SeenAttributes {
        mode: u32::from(stat.stx_mode) & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        device: (stat.stx_rdev_major, stat.stx_rdev_minor),
        xattrs: xattrs(root, real),
    });
    let times = facts.has(Facts::TIMES).then_some(SeenTimes {
        modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        size: if kind == S_IFDIR { (0, 0) } else { (stat.stx_size, stat.stx_nlink) },
    });
    Ok(Seen { kind, link, attributes, times, content: None, names: None })
}

fn xattrs(root: &Root, real: &Statx) -> Option<Digest> {
    let record = root.records().get(real);
    if record.xattrs.is_empty() {
        return None;
    }
    let mut hasher = Hasher::new();
    for (name, value) in &record.xattrs {
        framed(&mut hasher, name);
        framed(&mut hasher, value);
    }
    Some(hasher.finish())
}

fn framed(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// What the file at a path holds.
fn content(root: &Root, path: &RootPath) -> Result<Digest, Errno> {
    let file = open(root, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match rustix::io::read(&file, &mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The names in a directory with the types that getdents tells (`d_type` as bits of a mode).
type Names = std::collections::BTreeMap<Vec<u8>, u32>;

fn names(root: &Root, path: &RootPath) -> Result<Names, Errno> {
    let dir = open(root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
    let mut names = Names::new();
    for entry in rustix::fs::Dir::new(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.insert(name.to_vec(), entry.file_type().as_raw_mode() & S_IFMT);
        }
    }
    Ok(names)
}

fn digest_of_names(names: &Names) -> Digest {
    let mut hasher = Hasher::new();
    for (name, kind) in names {
        framed(&mut hasher, name);
        hasher.update(&kind.to_le_bytes());
    }
    hasher.finish()
}

impl Monitor {
    /// What stands at a path of the tree now, as far as `facts` ask; content is not read. For the builder, to hold observations against a tree.
    ///
    /// # Errors
    /// The host's.
    pub fn observe(&self, path: &RootPath, facts: Facts) -> Result<State, Errno> {
        let root = self.root();
        let mut state = look(root, path, facts)?;
        if let State::There(seen) = &mut state
            && facts.of_kind(seen.kind).has(Facts::NAMES)
        {
            seen.names = Some(digest_of_names(&names(root, path)?));
        }
        Ok(state)
    }

    /// The digest of what the file at a path of the tree holds.
    ///
    /// # Errors
    /// The host's.
    pub fn observe_content(&self, path: &RootPath) -> Result<Digest, Errno> {
        content(self.root(), path)
    }

    /// The real stat of what stands at a path of the tree: two that are equal in inode, size and change time hold the same.
    ///
    /// # Errors
    /// The host's.
    pub fn observe_stat(&self, path: &RootPath) -> Result<Statx, Errno> {
        stat_fd(open(self.root(), path, OFlags::PATH | OFlags::NOFOLLOW)?.as_fd())
    }
}
