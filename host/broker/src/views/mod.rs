//! /proc, /dev and /sys as the processes of a step see them.
//!
//! Invariant: the broker is no deputy. procfs is an allow-list of files, and of processes only those that carry this
//! step's tag: /proc/PID is opened, the tag checked, and everything else opened beneath that descriptor, which the
//! kernel binds to the process and not to its number. Nothing in a view can be created, renamed or removed.
//! Links that lead to objects (`fd/N`, `exe`, `cwd`) are never followed by the kernel: they are answered with a
//! descriptor of the object, and the monitor decides what may be done with it.
//!
//! Each view is a folder or file of its own; [`Caller`] asks them on behalf of one task.

mod dev;
mod listing;
mod proc;
mod synthetic;
mod sys;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use wbuild_monitor::{Broken, Fault, ViewKind, ViewNode, ViewPath, Views};

use crate::identity::State;
use crate::step::Step;
use crate::task::Task;

/// A graft as /proc/PID/mounts tells of it.
#[derive(Clone, Debug)]
pub struct ShownMount {
    /// Absolute.
    pub target: String,
    /// `tmpfs`, or what a bind mount of the store would have.
    pub kind: &'static str,
    /// As mount(8) prints them: `rw,nosuid,relatime,size=64k`.
    pub options: String,
}

/// What the views of one step share.
#[derive(Debug)]
pub struct StepViews {
    proc: OwnedFd,
    sys: Option<OwnedFd>,
    listings: listing::Listings,
    terminals: dev::Terminals,
    hostname: String,
    mounts: Vec<ShownMount>,
    /// Device numbers of procfs and sysfs, by which descriptors on them are recognised.
    devices: [Option<(u32, u32)>; 2],
}

impl StepViews {
    /// Opens the host's /proc and /sys and makes the listings beneath `scratch`, a directory of the step's own.
    ///
    /// # Errors
    /// /proc cannot be opened, or the scratch directory not written.
    pub fn new(scratch: &Path, hostname: &str) -> Result<Self, Broken> {
        let open = |path: &str| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty())
        };
        let proc = open("/proc").map_err(|errno| Broken::new("cannot open /proc", errno))?;
        // A pod may hide /sys; then the view is empty.
        let sys = open("/sys").ok();
        let device = |fd: BorrowedFd<'_>| {
            let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE).ok()?;
            Some((stat.stx_dev_major, stat.stx_dev_minor))
        };
        let devices = [device(proc.as_fd()), sys.as_ref().and_then(|fd| device(fd.as_fd()))];
        let listings = listing::Listings::new(scratch)?;
        let (terminals, hostname) = (dev::Terminals::default(), hostname.to_owned());
        Ok(Self { proc, sys, listings, terminals, hostname, mounts: Vec::new(), devices })
    }

    /// Says what stands in /proc/PID/mounts beside what every step has. Before the first guest process.
    pub fn show_mounts(&mut self, mounts: Vec<ShownMount>) {
        self.mounts = mounts;
    }

    /// True if the step has mounts of its own.
    pub(crate) fn shows_mounts(&self) -> bool {
        !self.mounts.is_empty()
    }

    fn mounts(&self) -> &[ShownMount] {
        &self.mounts
    }

    /// What `uname` and /proc/sys/kernel/hostname say.
    #[must_use]
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// True if what has this stat may stand in a view: then [`StepViews::locate`] says where.
    pub(crate) fn may_hold(&self, stat: &Statx) -> bool {
        let device = Some((stat.stx_dev_major, stat.stx_dev_minor));
        self.devices.contains(&device) || self.listings.place_of(stat).is_some()
    }

    /// The place a descriptor is open on, if that is in a view: `fd` is our own copy of the guest's.
    ///
    /// # Errors
    /// What statx or readlink answer.
    pub fn locate(&self, fd: BorrowedFd<'_>) -> Result<Option<ViewPath>, Fault> {
        let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        let device = Some((stat.stx_dev_major, stat.stx_dev_minor));
        let Some(index) = self.devices.iter().position(|known| *known == device) else {
            return Ok(self.listings.place_of(&stat));
        };
        let kind = [ViewKind::Proc, ViewKind::Sys][index];
        let path = read_descriptor_link(fd)?;
        let root = format!("/{}", kind.name());
        let rest = path.strip_prefix(root.as_bytes()).ok_or(Errno::NOENT)?;
        if rest.ends_with(b" (deleted)") {
            return Err(Errno::NOENT.into());
        }
        Ok(Some(ViewPath { kind, rest: rest.strip_prefix(b"/").unwrap_or(rest).to_vec() }))
    }
}

/// What /proc/self/fd/N of our own descriptor says.
fn read_descriptor_link(fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    use std::os::fd::AsRawFd;
    let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::readlinkat(rustix::fs::CWD, name, Vec::new()).map(std::ffi::CString::into_bytes)
}

/// One task looking at the views.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// What its step shares.
    pub step: &'a Step,
    /// The task.
    pub task: &'a Task,
    /// Who it is.
    pub state: &'a State,
}

impl<'a> Caller<'a> {
    fn views(&self) -> &'a StepViews {
        &self.step.views
    }

    /// Opens what stands at `place`, which is no link that leads elsewhere: those the monitor has followed.
    ///
    /// # Errors
    /// EACCES for a write where the view has none, ENXIO for a device the step does not have, else the kernel's answer.
    pub fn open(&self, place: &ViewPath, flags: OFlags) -> Result<OwnedFd, Fault> {
        if flags.contains(OFlags::CREATE | OFlags::EXCL) {
            return Err(Errno::EXIST.into());
        }
        // O_CREAT of what is there opens it, O_TRUNC empties no view, and a new controlling terminal would be ours.
        let flags = flags.difference(OFlags::CREATE | OFlags::TRUNC) | OFlags::NOCTTY | OFlags::CLOEXEC;
        match place.kind {
            ViewKind::Proc => proc::open(self, &place.rest, flags),
            ViewKind::Dev => dev::open(self, &place.rest, flags),
            ViewKind::Sys => sys::open(self, &place.rest, flags),
        }
    }

    /// lstat of what stands at `place`, as the guest sees it.
    ///
    /// # Errors
    /// ENOENT, else the kernel's answer.
    pub fn stat(&self, place: &ViewPath) -> Result<Statx, Fault> {
        match place.kind {
            ViewKind::Proc => proc::stat(self, &place.rest),
            ViewKind::Dev => dev::stat(self, &place.rest),
            ViewKind::Sys => sys::stat(self, &place.rest),
        }
    }

    /// The text of the link at `place`.
    ///
    /// # Errors
    /// EINVAL where no link stands.
    pub fn read_link(&self, place: &ViewPath) -> Result<Vec<u8>, Fault> {
        match self.node(place)? {
            ViewNode::Link(text) => Ok(text),
            ViewNode::Elsewhere(other) => Ok(other.to_guest_path()),
            ViewNode::Object(object) => match self.step.monitor.path_of(object.as_fd())? {
                Some(path) => Ok(path),
                // A pipe, a socket, a device: its name says nothing of the host.
                None => Ok(read_descriptor_link(object.as_fd())?),
            },
            ViewNode::Directory | ViewNode::Leaf => Err(Errno::INVAL.into()),
        }
    }

    /// Whether `place` may be accessed by `mode` (`R_OK|W_OK|X_OK` bits).
    ///
    /// # Errors
    /// EACCES by the mode bits the view shows; root may read and write, as everywhere.
    pub fn access(&self, place: &ViewPath, mode: u32) -> Result<(), Fault> {
        const WRITE: u32 = 2;
        const EXECUTE: u32 = 1;
        let stat = self.stat(place)?;
        let bits = u32::from(stat.stx_mode);
        let any_execute = bits & 0o111 != 0;
        if mode & EXECUTE != 0 && !any_execute {
            return Err(Errno::ACCESS.into());
        }
        if mode & WRITE != 0 && place.kind == ViewKind::Sys {
            return Err(Errno::ROFS.into());
        }
        let credentials = &self.state.identity.credentials;
        let wanted = mode & 7;
        let class = if credentials.uid.real == stat.stx_uid {
            bits >> 6
        } else if credentials.in_group(stat.stx_gid) {
            bits >> 3
        } else {
            bits
        };
        let root = credentials.uid.real == 0;
        if wanted & !class & 7 == 0 || root { Ok(()) } else { Err(Errno::ACCESS.into()) }
    }
}

impl Views for Caller<'_> {
    fn node(&self, place: &ViewPath) -> Result<ViewNode, Fault> {
        match place.kind {
            ViewKind::Proc => proc::node(self, &place.rest),
            ViewKind::Dev => dev::node(&place.rest),
            ViewKind::Sys => sys::node(self, &place.rest),
        }
    }

    fn caller(&self) -> Option<u32> {
        Some(self.task.tgid())
    }
}

/// The components of a place.
fn components(rest: &[u8]) -> Vec<&[u8]> {
    rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect()
}

/// What a real entry of procfs or sysfs is, by its own type; `None` where nothing stands.
fn node_of(directory: BorrowedFd<'_>, path: &[u8]) -> Result<ViewNode, Fault> {
    use rustix::fs::FileType;
    let stat = real_stat(directory, path)?;
    Ok(match FileType::from_raw_mode(u32::from(stat.stx_mode)) {
        FileType::Directory => ViewNode::Directory,
        FileType::Symlink => {
            ViewNode::Link(rustix::fs::readlinkat(directory, path, Vec::new())?.into_bytes())
        }
        _ => ViewNode::Leaf,
    })
}

/// lstat beneath a directory of procfs or sysfs; an empty path is the directory itself.
fn real_stat(directory: BorrowedFd<'_>, path: &[u8]) -> Result<Statx, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::statx(directory, path, flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)
}

/// Opens a directory of procfs or sysfs for its names, without those that `shows` refuses: what is listed can be looked at.
fn open_listed(
    caller: &Caller<'_>,
    place: (ViewKind, &[u8]),
    directory: BorrowedFd<'_>,
    shows: &dyn Fn(&[u8]) -> bool,
    flags: OFlags,
) -> Result<OwnedFd, Fault> {
    use rustix::fs::FileType;
    let (kind, rest) = place;
    let real = real_open(directory, rest, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut names = std::collections::BTreeMap::new();
    for entry in rustix::fs::Dir::new(real)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") || !shows(name) {
            continue;
        }
        let shown = match entry.file_type() {
            FileType::Directory => listing::Shown::Directory,
            FileType::Symlink => listing::Shown::Link,
            _ => listing::Shown::File,
        };
        names.insert(name.to_vec(), shown);
    }
    caller.views().listings.open(kind, rest, names, flags)
}

/// Opens a real entry beneath a directory of procfs or sysfs; links on the way are not followed.
fn real_open(directory: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Fault> {
    use rustix::fs::ResolveFlags;
    let path = if path.is_empty() { b"." } else { path };
    let confined = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(directory, path, flags | OFlags::CLOEXEC, Mode::empty(), confined)?)
}

/// True if the open asks to write.
fn writes(flags: OFlags) -> bool {
    flags.intersects(OFlags::WRONLY | OFlags::RDWR) && !flags.contains(OFlags::PATH)
}
