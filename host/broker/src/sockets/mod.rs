//! AF_UNIX sockets of a step: what stands behind the guest's descriptors, their names and their owners.
//!
//! Natively a path given to connect or bind would be resolved in the pod's own root, and any thread of the guest can
//! put another socket under a descriptor number while a call is looked at. So a guest never holds an AF_UNIX socket
//! that connect or bind could do anything with: socket(2) gives a *placeholder*, one end of a pair whose other end is
//! closed, and the real socket takes its place (in the same number) when it is connected or listens. Connected
//! and listening sockets refuse connect in the kernel; a native bind to a path is refused by Landlock.
//!
//! Invariant: no unconnected AF_UNIX socket is ever installed in a guest, so that calls on anything which is no
//! placeholder may run natively. Abstract names are files of the step's scratch directory: steps do not meet.
//! Not here: datagram sockets, which are refused, but for pairs: those are message-wise pairs in truth.

pub(crate) mod address;
pub(crate) mod diagnostics;
mod ports;

use std::collections::HashMap;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use wbuild_monitor::Broken;

use address::Name;
pub use ports::Ports;

/// Who made a socket, as SO_PEERCRED tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// A socket a guest made and has not connected yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placeholder {
    pub(crate) kind: SocketType,
}

/// A real socket that was bound and waits for listen or connect.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: OwnedFd,
    pub(crate) name: Name,
}

/// A name some socket of the step is bound to.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) name: Name,
    pub(crate) owner: Owner,
    /// Who connected to it last.
    pub(crate) client: Option<Owner>,
}

/// A socket that took a placeholder's place.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) owner: Owner,
    /// What it is connected to, as the kernel names it; `None` if it listens.
    pub(crate) peer: Option<Vec<u8>>,
}

/// All AF_UNIX sockets of one step. Inode numbers of sockets are not used twice within a step.
#[derive(Debug)]
pub struct Sockets {
    /// Where the files of abstract names are.
    abstract_names: PathBuf,
    next_file: AtomicU64,
    inner: Mutex<Inner>,
    /// Of the internet, that this host refused.
    pub ports: Ports,
}

#[derive(Debug, Default)]
struct Inner {
    placeholders: HashMap<u64, Placeholder>,
    bound: HashMap<u64, Bound>,
    /// By the address the kernel knows.
    names: HashMap<Vec<u8>, Known>,
    /// Files of abstract names.
    files: HashMap<Vec<u8>, PathBuf>,
    /// Connected and listening sockets, by inode.
    made: HashMap<u64, Made>,
}

impl Sockets {
    /// None yet; files of abstract names go beneath `scratch`, a directory of the step's own.
    ///
    /// # Errors
    /// The scratch directory cannot be written.
    pub fn new(scratch: &Path) -> Result<Self, Broken> {
        let path = scratch.join("abstract");
        match rustix::fs::mkdir(&path, rustix::fs::Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Broken::new(format!("cannot make {}", path.display()), errno)),
        }
        Ok(Self {
            abstract_names: path,
            next_file: AtomicU64::new(0),
            inner: Mutex::default(),
            ports: Ports::default(),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A placeholder for a guest's new socket; the guest gets the descriptor.
    pub(crate) fn make_placeholder(&self, kind: SocketType, flags: SocketFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | SocketFlags::CLOEXEC;
        let (kept, _closed) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)?;
        let inode = rustix::fs::fstat(&kept)?.st_ino;
        self.inner().placeholders.insert(inode, Placeholder { kind });
        Ok(kept)
    }

    /// What is known of the socket with this inode, if it is a placeholder.
    pub(crate) fn placeholder(&self, inode: u64) -> Option<Placeholder> {
        self.inner().placeholders.get(&inode).copied()
    }

    /// True once any socket was made here: before, every socket is somebody else's.
    pub(crate) fn any(&self) -> bool {
        let inner = self.inner();
        !(inner.placeholders.is_empty() && inner.names.is_empty() && inner.made.is_empty())
    }

    /// Takes note of a real socket bound for the placeholder `inode`.
    pub(crate) fn bound(&self, inode: u64, socket: OwnedFd, name: Name, owner: Owner) -> Result<(), Errno> {
        let real = diagnostics::own_name(&socket)?;
        let mut inner = self.inner();
        inner.names.insert(real, Known { name: name.clone(), owner, client: None });
        inner.bound.insert(inode, Bound { socket, name });
        Ok(())
    }

    /// The name the placeholder `inode` was bound to.
    pub(crate) fn bound_name(&self, inode: u64) -> Option<Name> {
        self.inner().bound.get(&inode).map(|bound| bound.name.clone())
    }

    /// Takes the real socket that was bound for the placeholder `inode`.
    pub(crate) fn take_bound(&self, inode: u64) -> Option<Bound> {
        self.inner().bound.remove(&inode)
    }

    /// Puts a bound socket back whose use failed.
    pub(crate) fn restore_bound(&self, inode: u64, bound: Bound) {
        self.inner().bound.insert(inode, bound);
    }

    /// The placeholder has been replaced by `socket`, which `owner` connected or lets listen.
    pub(crate) fn replaced(&self, inode: u64, socket: &OwnedFd, owner: Owner) -> Result<(), Errno> {
        let real = rustix::fs::fstat(socket)?.st_ino;
        let peer = diagnostics::peer_name(socket)?;
        let mut inner = self.inner();
        inner.placeholders.remove(&inode);
        if let Some(known) = peer.as_ref().and_then(|peer| inner.names.get_mut(peer)) {
            known.client = Some(owner.clone());
        }
        inner.made.insert(real, Made { owner, peer });
        Ok(())
    }

    /// What is known of the connected or listening socket `inode`.
    pub(crate) fn made(&self, inode: u64) -> Option<Made> {
        self.inner().made.get(&inode).cloned()
    }

    /// What is known of an address the kernel tells.
    pub(crate) fn known(&self, real: &[u8]) -> Option<Known> {
        self.inner().names.get(real).cloned()
    }

    /// Binds `socket` to `name` in `directory`. It is made under a name of its own and renamed: so the address that the
    /// kernel remembers tells it from every other socket of the step, and any name fits.
    pub(crate) fn bind_in(
        &self,
        socket: &OwnedFd,
        directory: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<(), Errno> {
        let made = format!(".wbuild-socket-{}", self.next_file.fetch_add(1, Ordering::Relaxed));
        let path = format!("/proc/self/fd/{}/{made}", directory.as_raw_fd());
        rustix::net::bind(socket, &SocketAddrUnix::new(path)?)?;
        let renamed = rustix::fs::renameat_with(directory, &made, directory, name, RenameFlags::NOREPLACE);
        renamed.map_err(|errno| {
            // It fails only where somebody has removed it already.
            let _gone = rustix::fs::unlinkat(directory, &made, AtFlags::empty());
            if errno == Errno::EXIST { Errno::ADDRINUSE } else { errno }
        })
    }

    /// A new file for the abstract name, if nobody has the name.
    pub(crate) fn claim_abstract(&self, name: &[u8]) -> Result<PathBuf, Errno> {
        let mut inner = self.inner();
        if inner.files.contains_key(name) {
            return Err(Errno::ADDRINUSE);
        }
        let path = self.abstract_names.join(self.next_file.fetch_add(1, Ordering::Relaxed).to_string());
        inner.files.insert(name.to_vec(), path.clone());
        Ok(path)
    }

    /// Gives a name back whose bind failed.
    pub(crate) fn release_abstract(&self, name: &[u8]) {
        self.inner().files.remove(name);
    }

    /// An abstract name nobody has, as the kernel's autobind makes them: a NUL and five hexadecimal digits.
    pub(crate) fn unused_abstract(&self) -> Vec<u8> {
        let inner = self.inner();
        let mut number = self.next_file.load(Ordering::Relaxed);
        loop {
            let name = format!("\0{:05x}", number & 0xf_ffff).into_bytes();
            if !inner.files.contains_key(&name) {
                return name;
            }
            number += 1;
        }
    }

    /// The file of an abstract name.
    pub(crate) fn abstract_file(&self, name: &[u8]) -> Option<PathBuf> {
        self.inner().files.get(name).cloned()
    }
}

/// The address by which our own process reaches the file behind an `O_PATH` descriptor.
pub(crate) fn address_of(file: BorrowedFd<'_>) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn sockets() -> (tempfile::TempDir, Sockets) {
        let scratch = tempfile::tempdir().unwrap();
        let sockets = Sockets::new(scratch.path()).unwrap();
        (scratch, sockets)
    }

    /// The whole design stands on this: what a guest holds before it connects cannot be connected by the kernel.
    #[test]
    fn the_kernel_refuses_to_connect_a_placeholder() {
        let (scratch, sockets) = sockets();
        let path = scratch.path().join("outside");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        for kind in [SocketType::STREAM, SocketType::SEQPACKET] {
            let placeholder = sockets.make_placeholder(kind, SocketFlags::empty()).unwrap();
            let address = SocketAddrUnix::new(&path).unwrap();
            let refused = rustix::net::connect(&placeholder, &address).unwrap_err();
            assert!(
                [Errno::ISCONN, Errno::INVAL, Errno::PROTOTYPE].contains(&refused),
                "{kind:?}: {refused}"
            );
        }
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test's own directory")]
    fn any_name_fits_and_no_two_sockets_have_one_address() {
        let (scratch, sockets) = sockets();
        let open = |path: &std::path::Path| {
            rustix::fs::open(path, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap()
        };
        let mut addresses = Vec::new();
        for name in ["s".repeat(108), "s".repeat(255), "t".into()] {
            let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
            let directory = open(scratch.path());
            sockets.bind_in(&socket, directory.as_fd(), name.as_bytes()).unwrap();
            addresses.push(diagnostics::own_name(&socket).unwrap());
            rustix::net::listen(&socket, 1).unwrap();
            let file = open(&scratch.path().join(&name));
            let client = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
            rustix::net::connect(&client, &address_of(file.as_fd()).unwrap()).unwrap();
            let second = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
            let taken = sockets.bind_in(&second, directory.as_fd(), name.as_bytes());
            assert_eq!(taken, Err(Errno::ADDRINUSE));
        }
        assert!(addresses[0] != addresses[1] && addresses[1] != addresses[2]);
        let names = std::fs::read_dir(scratch.path()).unwrap().count();
        assert_eq!(names, 3 + 1, "nothing else is left beside the directory of abstract names");
    }

    #[test]
    fn abstract_names_are_taken_once() {
        let (_scratch, sockets) = sockets();
        let first = sockets.claim_abstract(b"\0name").unwrap();
        assert_eq!(sockets.claim_abstract(b"\0name"), Err(Errno::ADDRINUSE));
        assert_eq!(sockets.abstract_file(b"\0name"), Some(first));
        assert_ne!(sockets.unused_abstract(), sockets.unused_abstract().repeat(2));
        sockets.release_abstract(b"\0name");
        assert!(sockets.claim_abstract(b"\0name").is_ok());
    }
}
