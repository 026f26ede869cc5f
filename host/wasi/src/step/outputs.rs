//! `wbuild:step/outputs`: owners, modes, times and extended attributes, by the system calls that have them.

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::View;
use super::bindings::wbuild::step::outputs::{Code, Error, Host};
use crate::names::{Directory, Purpose};

/// Names that a tool may declare.
const MOST: usize = 4096;

impl Host for View<'_> {
    fn declare(&mut self, path: String) -> wasmtime::Result<Result<(), Error>> {
        if path.is_empty() || path.contains('\0') || self.step.declared.len() == MOST {
            return Ok(Err(explain("declare", &path, Errno::INVAL)));
        }
        self.step.declared.push(path);
        Ok(Ok(()))
    }

    fn set_owner(&mut self, path: String, uid: u32, gid: u32) -> wasmtime::Result<Result<(), Error>> {
        // The last number means "leave it" to the call.
        if uid == u32::MAX || gid == u32::MAX {
            return Ok(Err(explain("set the owner of", &path, Errno::INVAL)));
        }
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        Ok(self.set("set the owner of", &path, |dir, path| {
            rustix::fs::chownat(dir, path, uid, gid, AtFlags::empty())
        }))
    }

    fn set_mode(&mut self, path: String, mode: u32) -> wasmtime::Result<Result<(), Error>> {
        let Some(mode) = Mode::from_bits(mode).filter(|mode| mode.bits() <= 0o7777) else {
            return Ok(Err(explain("set the mode of", &path, Errno::INVAL)));
        };
        Ok(self.set("set the mode of", &path, |dir, path| {
            rustix::fs::chmodat(dir, path, mode, AtFlags::empty())
        }))
    }

    fn set_mtime(&mut self, path: String, seconds: i64) -> wasmtime::Result<Result<(), Error>> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            last_modification: Timespec { tv_sec: seconds, tv_nsec: 0 },
        };
        Ok(self.set("set the time of", &path, |dir, path| {
            rustix::fs::utimensat(dir, path, &times, AtFlags::empty())
        }))
    }

    fn set_xattr(
        &mut self,
        path: String,
        name: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        use rustix::fs::{OFlags, fsetxattr, openat};
        Ok(self.set("set an extended attribute of", &path, |dir, path| {
            let file = openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
            fsetxattr(&file, name.as_str(), &value, XattrFlags::empty())
        }))
    }
}

impl View<'_> {
    fn set(
        &self,
        what: &str,
        path: &str,
        act: impl Fn(std::os::fd::BorrowedFd<'_>, &[u8]) -> Result<(), Errno>,
    ) -> Result<(), Error> {
        let done = placed(&self.step.given, path).and_then(|(dir, path)| act(dir, &path));
        done.map_err(|errno| explain(what, path, errno))
    }
}

/// Where a tool's name leads: where its file calls find it, whose C library removes the leading slash.
fn placed<'a>(
    given: &'a Directory,
    path: &'a str,
) -> Result<(std::os::fd::BorrowedFd<'a>, std::borrow::Cow<'a, [u8]>), Errno> {
    let relative = path.trim_start_matches('/');
    let relative = if relative.is_empty() && !path.is_empty() { "." } else { relative };
    given.place(relative.as_bytes(), Purpose::Find)
}

/// Whether there is something of this name, a dangling link too.
pub(super) fn is_there(given: &Directory, path: &str) -> bool {
    placed(given, path)
        .and_then(|(dir, path)| rustix::fs::statat(dir, path.as_ref(), AtFlags::SYMLINK_NOFOLLOW))
        .is_ok()
}

fn explain(what: &str, path: &str, errno: Errno) -> Error {
    let code = match errno {
        Errno::NOENT | Errno::NOTDIR => Code::NotFound,
        Errno::ACCESS | Errno::PERM => Code::Denied,
        Errno::ROFS => Code::ReadOnly,
        Errno::INVAL | Errno::NAMETOOLONG | Errno::LOOP | Errno::OPNOTSUPP | Errno::RANGE => Code::Invalid,
        _ => Code::Failed,
    };
    Error { code, message: format!("cannot {what} {path:?}: {errno}") }
}
