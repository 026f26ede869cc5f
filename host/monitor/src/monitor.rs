//! The reference monitor of one step (or of the builder) over one tree.
//!
//! Each method is one guest operation, whole: resolve, permit, act.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{RenameFlags, StatFs, Statx, Timestamps};

use crate::request::{AccessAs, Executable, OpenRequest, Opened, Outcome, XattrWrite};
use crate::{At, Errno, Fault, Subject, Where};

/// See the module.
#[derive(Debug)]
pub struct Monitor {}

type Answer<T> = Result<Outcome<T>, Fault>;

#[expect(clippy::unused_self, unused_variables, missing_docs, reason = "the bodies follow in the next commit")]
impl Monitor {
    /// open, openat, openat2, creat.
    pub fn open(&self, subject: &Subject<'_>, at: At<'_>, request: &OpenRequest) -> Answer<Opened> {
        Err(Errno::NOSYS.into())
    }
    /// stat family; statx, and fstat by `Where::Fd`. The answer is the guest's view (mode with file type, ids, rdev).
    pub fn stat(&self, subject: &Subject<'_>, target: Where<'_>) -> Answer<Statx> {
        Err(Errno::NOSYS.into())
    }
    /// access family: `mode` is `R_OK|W_OK|X_OK` bits.
    pub fn access(&self, subject: &Subject<'_>, target: Where<'_>, mode: u32, who: AccessAs) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    /// readlink(at); an empty path reads the link the base descriptor is open on.
    pub fn read_link(&self, subject: &Subject<'_>, at: At<'_>) -> Answer<Vec<u8>> {
        Err(Errno::NOSYS.into())
    }
    pub fn make_dir(&self, subject: &Subject<'_>, at: At<'_>, mode: u32) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    pub fn remove_dir(&self, subject: &Subject<'_>, at: At<'_>) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    pub fn unlink(&self, subject: &Subject<'_>, at: At<'_>) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    pub fn rename(&self, subject: &Subject<'_>, from: At<'_>, to: At<'_>, flags: RenameFlags) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    pub fn link(&self, subject: &Subject<'_>, from: Where<'_>, to: At<'_>) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    pub fn symlink(&self, subject: &Subject<'_>, text: &[u8], at: At<'_>) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    /// `mode` with the file type; device numbers as major and minor.
    pub fn make_node(&self, subject: &Subject<'_>, at: At<'_>, mode: u32, device: (u32, u32)) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    pub fn chmod(&self, subject: &Subject<'_>, target: Where<'_>, mode: u32) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    /// `None` leaves an id alone (the guest's -1).
    pub fn chown(&self, subject: &Subject<'_>, target: Where<'_>, uid: Option<u32>, gid: Option<u32>) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    /// utimensat semantics: `UTIME_NOW` and `UTIME_OMIT` in the nanoseconds.
    pub fn set_times(&self, subject: &Subject<'_>, target: Where<'_>, times: &Timestamps) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    pub fn truncate(&self, subject: &Subject<'_>, target: Where<'_>, length: u64) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    pub fn stat_fs(&self, subject: &Subject<'_>, target: Where<'_>) -> Answer<StatFs> {
        Err(Errno::NOSYS.into())
    }
    pub fn get_xattr(&self, subject: &Subject<'_>, target: Where<'_>, name: &[u8]) -> Answer<Vec<u8>> {
        Err(Errno::NOSYS.into())
    }
    pub fn set_xattr(
        &self,
        subject: &Subject<'_>,
        target: Where<'_>,
        name: &[u8],
        value: &[u8],
        how: XattrWrite,
    ) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    /// Full names in order.
    pub fn list_xattrs(&self, subject: &Subject<'_>, target: Where<'_>) -> Answer<Vec<Vec<u8>>> {
        Err(Errno::NOSYS.into())
    }
    pub fn remove_xattr(&self, subject: &Subject<'_>, target: Where<'_>, name: &[u8]) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    /// chdir, fchdir: the `O_PATH` descriptor of the new working directory ([`Outcome::View`] for one in a view).
    pub fn chdir(&self, subject: &Subject<'_>, target: Where<'_>) -> Answer<OwnedFd> {
        Err(Errno::NOSYS.into())
    }
    /// The guest's path of a descriptor (getcwd, readlink of /proc/PID/fd/N); `None` if it is nothing of the tree or a graft.
    /// A removed file's ends in ` (deleted)`.
    pub fn path_of(&self, fd: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Fault> {
        Err(Errno::NOSYS.into())
    }
    /// Resolves and checks a program: regular file, virtual x bit, policy's `exec.native`.
    pub fn exec(&self, subject: &Subject<'_>, target: Where<'_>) -> Answer<Executable> {
        Err(Errno::NOSYS.into())
    }
    /// inotify_add_watch and the like: an `O_PATH` descriptor of what may be read.
    pub fn watch(&self, subject: &Subject<'_>, target: Where<'_>) -> Answer<OwnedFd> {
        Err(Errno::NOSYS.into())
    }
    /// bind of an AF_UNIX path: `bind` is called with the parent's `O_PATH` descriptor and the name, makes the socket there, and the
    /// monitor records its virtual owner and mode.
    pub fn bind_socket(
        &self,
        subject: &Subject<'_>,
        at: At<'_>,
        bind: &mut dyn FnMut(BorrowedFd<'_>, &[u8]) -> Result<(), Errno>,
    ) -> Answer<()> {
        Err(Errno::NOSYS.into())
    }
    /// connect to an AF_UNIX path: an `O_PATH` descriptor of the socket file, write permission checked.
    pub fn connect_socket(&self, subject: &Subject<'_>, at: At<'_>) -> Answer<OwnedFd> {
        Err(Errno::NOSYS.into())
    }
}
