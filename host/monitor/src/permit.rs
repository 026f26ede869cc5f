//! Permission: the one gate between a resolved target and an effect.
//!
//! An operation holds what it is aimed at (descriptors, never paths); [`Monitor::permit`] checks Linux's own rules for the subject and then
//! asks the policy. Effects exist only on [`Permit`], which nothing else can make.

use std::os::fd::BorrowedFd;

use wbuild_policy::{Access, Verdict};

use crate::audit::AccessKind;
use crate::{Errno, Fault, Monitor, Subject};

/// What one operation wants to do, to what.
pub(crate) trait Operation {
    /// Linux's own rules: permission bits, ownership, read-only mounts, capabilities.
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault>;

    /// What the policy is asked about.
    fn concern(&self) -> Concern<'_>;
}

/// What a policy is asked about.
pub(crate) enum Concern<'a> {
    /// Content or listing of what is behind this descriptor.
    Read(BorrowedFd<'a>),
    /// A change of what is behind this descriptor, or of a name in the directory behind it.
    Write(BorrowedFd<'a>, Option<&'a [u8]>),
    /// Starting the native program behind this descriptor.
    Exec(BorrowedFd<'a>),
    /// Attributes and existence, which no rule is about.
    Nothing,
}

/// Proof that `O` may happen; it carries what the operation is aimed at.
pub(crate) struct Permit<O> {
    pub(super) op: O,
}

impl Monitor {
    /// Checks an operation.
    ///
    /// # Errors
    /// What Linux would answer; EACCES where the policy denies it.
    pub(crate) fn permit<O: Operation>(&self, subject: &Subject<'_>, op: O) -> Result<Permit<O>, Fault> {
        op.check(self, subject)?;
        let (kind, fd, name) = match op.concern() {
            Concern::Nothing => return Ok(Permit { op }),
            Concern::Read(_) if !self.policy().restricts_reads() => return Ok(Permit { op }),
            Concern::Read(fd) => (AccessKind::Read, fd, None),
            Concern::Write(_, _) if !self.policy().restricts_writes() => return Ok(Permit { op }),
            Concern::Write(fd, name) => (AccessKind::Write, fd, name),
            Concern::Exec(fd) => (AccessKind::ExecNative, fd, None),
        };
        let mut path = self.path_of(fd)?.unwrap_or_default();
        if let Some(name) = name {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        let decision = self.policy().decide(match kind {
            AccessKind::Read => Access::Read(&path),
            AccessKind::Write => Access::Write(&path),
            AccessKind::ExecNative => Access::ExecNative(&path),
        });
        match decision.verdict {
            Verdict::Allow => Ok(Permit { op }),
            Verdict::Deny => {
                self.audit().denied(kind, &path, decision);
                Err(Errno::ACCESS.into())
            }
        }
    }
}
