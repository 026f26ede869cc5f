//! Extended attributes: all in the records, none of the host's.
//!
//! Namespaces as man 7 xattr has them, for a container: `user.` on files and directories, `security.` for whoever may set file capabilities (or
//! administrate), `trusted.` for CAP_SYS_ADMIN; access lists and anything else are not supported.

use wbuild_rootfs::raw;
use wbuild_rootfs::{S_IFDIR, S_IFMT, S_IFREG};

use super::attributes::Held;
use super::{Answer, done};
use crate::dac::{Want, may, owns};
use crate::observe::Facts;
use crate::permit::{Concern, Operation, Permit};
use crate::request::XattrWrite;
use crate::{Capability, Errno, Fault, Monitor, Outcome, Subject, Where};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Namespace {
    User,
    Security,
    Trusted,
}

fn namespace(name: &[u8]) -> Result<Namespace, Errno> {
    // XATTR_NAME_MAX
    if name.is_empty() || name.len() > 255 {
        return Err(Errno::RANGE);
    }
    let known: [(&[u8], Namespace); 3] =
        [(b"user.", Namespace::User), (b"security.", Namespace::Security), (b"trusted.", Namespace::Trusted)];
    for (prefix, namespace) in known {
        match name.strip_prefix(prefix) {
            Some([]) => return Err(Errno::INVAL),
            Some(_) => return Ok(namespace),
            None => {}
        }
    }
    Err(Errno::OPNOTSUPP)
}

struct Change<'a> {
    held: Held,
    name: &'a [u8],
    what: What<'a>,
}

enum What<'a> {
    Set(&'a [u8], XattrWrite),
    Remove,
}

impl Operation for Change<'_> {
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault> {
        let namespace = namespace(self.name)?;
        self.held.writable()?;
        let who = subject.credentials;
        let seen = monitor.seen(&self.held.node);
        let kind = u32::from(seen.stx_mode) & S_IFMT;
        let allowed = match namespace {
            Namespace::Trusted => who.can(Capability::SYS_ADMIN),
            Namespace::Security if self.name == b"security.capability" => who.can(Capability::SETFCAP),
            Namespace::Security => who.can(Capability::SYS_ADMIN),
            Namespace::User => {
                let sticky = kind == S_IFDIR && u32::from(seen.stx_mode) & 0o1000 != 0;
                if kind != S_IFREG && kind != S_IFDIR || sticky && !owns(who, &seen) {
                    return Err(Errno::PERM.into());
                }
                return Ok(may(who, &seen, Want::WRITE)?);
            }
        };
        if allowed { Ok(()) } else { Err(Errno::PERM.into()) }
    }

    fn concern(&self) -> Concern<'_> {
        self.held.concern()
    }
}

impl Permit<Change<'_>> {
    fn act(self, monitor: &Monitor) -> Result<(), Errno> {
        let Change { held, name, what } = self.op;
        match what {
            What::Set(value, how) => {
                let how = match how {
                    XattrWrite::Set => raw::XattrWrite::Set,
                    XattrWrite::Create => raw::XattrWrite::Create,
                    XattrWrite::Replace => raw::XattrWrite::Replace,
                };
                raw::set_xattr(monitor.root(), &held.inode(), name, value, how)
            }
            What::Remove => raw::remove_xattr(monitor.root(), &held.inode(), name),
        }
    }
}

impl Monitor {
    fn change(&self, subject: &Subject<'_>, change: Change<'_>) -> Result<(), Fault> {
        let permit = self.permit(subject, change)?;
        self.announce_attributes(&permit.op.held.node);
        // Whether the attribute is there stands among the attributes: a refusal changes nothing.
        Ok(permit.act(self)?)
    }

    /// getxattr family: the whole value; its length against the guest's buffer is the caller's to compare.
    ///
    /// # Errors
    /// As Linux has them (man 2 getxattr): ENODATA, EOPNOTSUPP, EACCES.
    pub fn get_xattr(&self, subject: &Subject<'_>, target: Where<'_>, name: &[u8]) -> Answer<Vec<u8>> {
        let node = done!(self.node(subject, target, Facts::ATTRIBUTES)?);
        let seen = self.seen(&node);
        match namespace(name)? {
            Namespace::Trusted if !subject.credentials.can(Capability::SYS_ADMIN) => {
                return Err(Errno::NODATA.into());
            }
            Namespace::User => {
                let kind = u32::from(seen.stx_mode) & S_IFMT;
                if kind != S_IFREG && kind != S_IFDIR {
                    return Err(Errno::NODATA.into());
                }
                may(subject.credentials, &seen, Want::READ)?;
            }
            _ => {}
        }
        let value = self
            .root()
            .records()
            .with(&node.stat, |record| record.and_then(|record| record.xattrs.get(name).cloned()));
        Ok(Outcome::Done(value.ok_or(Errno::NODATA)?))
    }

    /// setxattr family.
    ///
    /// # Errors
    /// As Linux has them (man 2 setxattr): EPERM, EOPNOTSUPP, EEXIST, ENODATA, ENOSPC, E2BIG.
    pub fn set_xattr(
        &self,
        subject: &Subject<'_>,
        target: Where<'_>,
        name: &[u8],
        value: &[u8],
        how: XattrWrite,
    ) -> Answer<()> {
        // XATTR_SIZE_MAX
        if value.len() > 1 << 16 {
            return Err(Errno::TOOBIG.into());
        }
        let held = self.held(done!(self.node(subject, target, Facts::KIND)?))?;
        self.change(subject, Change { held, name, what: What::Set(value, how) })?;
        Ok(Outcome::Done(()))
    }

    /// listxattr family: full names in order.
    ///
    /// # Errors
    /// As Linux has them for the way there.
    pub fn list_xattrs(&self, subject: &Subject<'_>, target: Where<'_>) -> Answer<Vec<Vec<u8>>> {
        let held = self.held(done!(self.node(subject, target, Facts::ATTRIBUTES)?))?;
        let mut names = raw::list_xattrs(self.root(), &held.inode());
        if !subject.credentials.can(Capability::SYS_ADMIN) {
            names.retain(|name| !name.starts_with(b"trusted."));
        }
        Ok(Outcome::Done(names))
    }

    /// removexattr family.
    ///
    /// # Errors
    /// As Linux has them (man 2 removexattr).
    pub fn remove_xattr(&self, subject: &Subject<'_>, target: Where<'_>, name: &[u8]) -> Answer<()> {
        let held = self.held(done!(self.node(subject, target, Facts::KIND)?))?;
        self.change(subject, Change { held, name, what: What::Remove })?;
        Ok(Outcome::Done(()))
    }
}
