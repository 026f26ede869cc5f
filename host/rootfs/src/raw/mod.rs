//! The raw operations: system call, record and journal, in the order that keeps them consistent.
//!
//! They decide nothing and follow nothing: a caller gives a directory's descriptor and one name in it, or an inode's descriptor. Only the
//! reference monitor and unpacking may name this module. Before a change the journal is told; after it the records are. Making,
//! removing and replacing a name holds that name's guard (see [`Root::guard_names`]); attributes need none.

mod attributes;
mod names;
mod own_copy;

use std::os::fd::BorrowedFd;

use rustix::fs::Statx;
use rustix::io::Errno;
use wbuild_layer::RootPath;

use crate::record::Scope;

pub use attributes::{
    XattrWrite, chmod, chown, drop_setid, list_xattrs, remove_xattr, set_times, set_xattr, truncate,
};
pub use names::{
    Bind, bind_socket, create, create_nameless, link, make_dir, make_fifo, make_node, make_socket,
    remove_dir, rename, reopen, symlink, unlink,
};
pub(crate) use own_copy::copy_content;
pub use own_copy::{Content, Own, own_copy};

/// A directory in which a name is made or removed.
#[derive(Clone, Copy, Debug)]
pub struct Dir<'a> {
    /// Its descriptor; `O_PATH` is enough.
    pub fd: BorrowedFd<'a>,
    /// Its path in the tree; `None` in a graft, which has no journal.
    pub path: Option<&'a RootPath>,
    /// Whose it is.
    pub scope: Scope,
}

impl Dir<'_> {
    /// The path of `name` in it.
    fn child(&self, name: &[u8]) -> Result<Option<RootPath>, Errno> {
        self.path.map(|dir| dir.join(name)).transpose().map_err(|_| Errno::INVAL)
    }
}

/// An existing inode.
#[derive(Clone, Copy, Debug)]
pub struct Inode<'a> {
    /// Its descriptor; `O_PATH` is enough.
    pub fd: BorrowedFd<'a>,
    /// Its real stat.
    pub stat: &'a Statx,
    /// Whose it is.
    pub scope: Scope,
}

/// What a new inode pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// Virtual owner.
    pub uid: u32,
    /// Virtual group.
    pub gid: u32,
    /// Virtual permission bits (`0o7777`), umask applied.
    pub mode: u32,
}
