//! What operations take and answer: open requests, outcomes, what an open led to.
//!
//! Spellings (open, openat2, creat) are decoded into these by the broker; the words are the kernel's.

use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, ResolveFlags, Statx};

use crate::ViewPath;

/// Where an operation on behalf of a guest ended.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It was done in the tree or a graft.
    Done(T),
    /// Its object is in a view; nothing was done: the broker's to answer.
    View(ViewPath),
    /// Its object is no file of the tree or a graft (a pipe, socket, memfd); nothing was done. The descriptor is `O_PATH` or a
    /// duplicate of what was given.
    Object(OwnedFd),
}

/// What a guest asks of open.
#[derive(Clone, Copy, Debug)]
pub struct OpenRequest {
    /// The guest's flags (man 2 open), as they came.
    pub flags: OFlags,
    /// The mode of a file that is created, before the umask.
    pub mode: u32,
    /// `RESOLVE_*` of openat2, else empty.
    pub resolve: ResolveFlags,
}

/// What an open led to. Descriptors are close-on-exec here; the guest's `O_CLOEXEC` is for the broker to apply.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "moved once, straight to whoever asked: a box would cost more")]
pub enum Opened {
    /// A real descriptor with the guest's flags, to inject.
    File(OpenedFile),
    /// The guest asked for `O_PATH`: our real `O_PATH` descriptor, for a handle.
    Path(OwnedFd),
    /// A FIFO (`O_PATH` descriptor), unopened because that may block: reopen it through `/proc/self/fd`.
    Fifo(OwnedFd),
    /// A virtual device, unopened: the broker has an allow-list. The stat is the guest's view.
    Device(Statx),
}

/// A descriptor for a guest.
#[derive(Debug)]
pub struct OpenedFile {
    /// Ours, close-on-exec.
    pub fd: OwnedFd,
    /// Whether it can be written through (then it must be closed here before the guest runs on).
    pub access: OpenedAccess,
}

/// Whether a descriptor can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenedAccess {
    /// `O_RDONLY`
    Read,
    /// `O_WRONLY` or `O_RDWR`
    Write,
}

/// Whose ids `access` asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessAs {
    /// The real ids (access, faccessat without `AT_EACCESS`).
    Real,
    /// The filesystem ids (`AT_EACCESS`).
    Effective,
}

/// What to do about an existing extended attribute (`XATTR_CREATE`, `XATTR_REPLACE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrWrite {
    /// Create or replace.
    Set,
    /// EEXIST if it is there.
    Create,
    /// ENODATA if it is not.
    Replace,
}

/// A program that may be executed.
#[derive(Debug)]
pub struct Executable {
    /// Open for reading, close-on-exec; to be injected.
    pub fd: OwnedFd,
    /// The guest's view of it: setuid bits and owner are the virtual ones.
    pub stat: Statx,
    /// Its canonical guest path (what `/proc/self/exe` shows).
    pub path: Vec<u8>,
    /// `security.capability`, if it has one.
    pub file_capabilities: Option<Vec<u8>>,
}

/// A program, or the place in a view where it should be.
pub type ExecOutcome = Outcome<Executable>;
