//! Permission: the one gate between a resolved target and an effect.
//!
//! An operation holds what it is aimed at (descriptors, never paths); [`Monitor::permit`] checks Linux's own rules for the subject and then
//! asks the policy. Effects exist only on [`Permit`], which nothing else can make. Without a rule about its kind an operation costs one
//! comparison; with one, the canonical path is asked of the kernel.

use std::os::fd::BorrowedFd;

use rustix::fs::OFlags;
use wbuild_policy::{Access, Policy, Verdict};

use crate::audit::AccessKind;
use crate::monitor::joined;
use crate::{Errno, Fault, ModuleKind, Monitor, Subject};

/// What one operation wants to do, to what.
pub(crate) trait Operation {
    /// Linux's own rules: permission bits, ownership, read-only mounts, capabilities.
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault>;

    /// What the policy is asked about.
    fn concern(&self) -> Concern<'_>;
}

/// A name in the directory behind a descriptor.
pub(crate) type Named<'a> = (BorrowedFd<'a>, &'a [u8]);

/// What a policy is asked about.
pub(crate) enum Concern<'a> {
    /// Content or listing of what is behind this descriptor.
    Read(BorrowedFd<'a>),
    /// A change of what is behind this descriptor, or of a name in the directory behind it.
    Write(BorrowedFd<'a>, Option<&'a [u8]>),
    /// A name for what may lead to other names: a symbolic link.
    Place(Named<'a>),
    /// What has the first name gets the second.
    Rename(Named<'a>, Named<'a>),
    /// Each gets the other's name.
    Exchange(Named<'a>, Named<'a>),
    /// What is behind the descriptor gets one more name.
    Link(BorrowedFd<'a>, Named<'a>),
    /// Starting the program or the wasm module behind this descriptor.
    Exec(BorrowedFd<'a>),
    /// Attributes and existence, which no rule is about.
    Nothing,
}

/// Proof that `O` may happen; it carries what the operation is aimed at.
pub(crate) struct Permit<O> {
    pub(super) op: O,
}

/// What the kernel writes behind the path of a file without a name.
const DELETED: &[u8] = b" (deleted)";

impl Monitor {
    /// Checks an operation.
    ///
    /// # Errors
    /// What Linux would answer; EACCES where the policy denies it.
    pub(crate) fn permit<O: Operation>(&self, subject: &Subject<'_>, op: O) -> Result<Permit<O>, Fault> {
        op.check(self, subject)?;
        let policy = self.policy();
        if !policy.is_open() {
            self.comply(subject, &op.concern())?;
        }
        Ok(Permit { op })
    }

    fn comply(&self, subject: &Subject<'_>, concern: &Concern<'_>) -> Result<(), Fault> {
        let policy = self.policy();
        let asked = match concern {
            Concern::Nothing => false,
            Concern::Read(_) => policy.restricts_reads(),
            Concern::Exec(_) => policy.restricts_programs(),
            _ => policy.restricts_writes(),
        };
        if !asked {
            return Ok(());
        }
        match concern {
            Concern::Nothing => Ok(()),
            Concern::Read(fd) => self.ask(subject, AccessKind::Read, (*fd, None)),
            Concern::Exec(fd) => self.ask(subject, program_kind(*fd)?, (*fd, None)),
            Concern::Write(fd, name) => self.ask(subject, AccessKind::Write, (*fd, *name)),
            Concern::Place(place) => self.ask_named(subject, AccessKind::Place, *place),
            Concern::Rename(from, to) => {
                self.ask_named(subject, AccessKind::Move, *from)?;
                self.ask_named(subject, AccessKind::Place, *to)
            }
            Concern::Exchange(one, other) => {
                self.ask_named(subject, AccessKind::Move, *one)?;
                self.ask_named(subject, AccessKind::Move, *other)
            }
            Concern::Link(source, to) => {
                self.ask(subject, AccessKind::Move, (*source, None))?;
                self.ask_named(subject, AccessKind::Write, *to)
            }
        }
    }

    fn ask_named(
        &self,
        subject: &Subject<'_>,
        kind: AccessKind,
        (dir, name): Named<'_>,
    ) -> Result<(), Fault> {
        self.ask(subject, kind, (dir, Some(name)))
    }

    fn ask(
        &self,
        subject: &Subject<'_>,
        kind: AccessKind,
        (fd, name): (BorrowedFd<'_>, Option<&[u8]>),
    ) -> Result<(), Fault> {
        let mut path = self.path_of(fd)?.unwrap_or_default();
        if let Some(name) = name {
            path = joined(path, name);
        }
        self.decide(subject, kind, &path)?;
        // A file that lost its name is still what the rule was about; and a name may end so of its own.
        match path.strip_suffix(DELETED) {
            Some(path) => self.decide(subject, kind, path),
            None => Ok(()),
        }
    }

    fn decide(&self, subject: &Subject<'_>, kind: AccessKind, path: &[u8]) -> Result<(), Fault> {
        let decision = self.policy().decide(kind.access(path));
        let (Verdict::Deny, Some(rule)) = (decision.verdict, decision.rule) else { return Ok(()) };
        self.audit().denied(kind, path, rule, subject.views.caller());
        answer(self.policy())
    }

    /// Whether the step may have an internet socket, asked for the process `caller`.
    ///
    /// # Errors
    /// EACCES where the policy denies it.
    pub fn permit_internet(&self, caller: Option<u32>) -> Result<(), Fault> {
        self.note_network();
        let decision = self.policy().decide(Access::Internet);
        let (Verdict::Deny, Some(rule)) = (decision.verdict, decision.rule) else { return Ok(()) };
        self.audit().denied(AccessKind::Internet, b"", rule, caller);
        answer(self.policy())
    }
}

/// What follows from a denial that was recorded.
fn answer(policy: &Policy) -> Result<(), Fault> {
    if policy.enforces(Verdict::Deny) { Err(Errno::ACCESS.into()) } else { Ok(()) }
}

/// Whether a program is a native one or a wasm module, by its first bytes. Where native programs may not run at all, nobody is there to
/// change them before the exec reads them again: a module that runs cannot execute anything.
fn program_kind(fd: BorrowedFd<'_>) -> Result<AccessKind, Errno> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    let mut head = [0; 8];
    let read = rustix::io::pread(&file, &mut head, 0)?;
    Ok(if ModuleKind::of(&head[..read]).is_some() { AccessKind::ExecModule } else { AccessKind::ExecNative })
}
