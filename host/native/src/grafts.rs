//! The sources of a step's grafts: opened before anything is given up, grafted once the monitor stands, given back at the end.
//!
//! Invariant: a source that must not be written is under a Landlock rule without write rights, besides the monitor's own refusal, unless
//! the place of another mount may have to be made in it. A secret is written to sealed memory only.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FlockOperation, MemfdFlags, Mode, OFlags, ResolveFlags, SealFlags};
use rustix::io::Errno;
use wbuild_broker::views::ShownMount;
use wbuild_monitor::{
    Broken, Fault, GuestPath, Lent, Monitor, Mount, MountAccess, MountSource, Owner, Root, RootError,
    RootPath, SecretBytes, StepSpec,
};

use crate::confine;

/// What is grafted.
pub(crate) struct Source {
    /// `O_PATH`
    pub(crate) fd: OwnedFd,
    pub(crate) access: MountAccess,
    pub(crate) backing: Backing,
    /// Another mount lies in it: its place may have to be made.
    pub(crate) is_seat: bool,
}

/// What stands behind a source.
pub(crate) enum Backing {
    /// A file or directory of the builder's.
    Host,
    /// A directory in the step's scratch directory, with the most it may hold.
    Tmpfs { size: Option<u64> },
    /// A captured tree and its directory.
    Tree { root: Box<Root>, dir: OwnedFd },
    /// A file in memory, with its virtual attributes.
    Memory { owner: (u32, u32), mode: u32 },
    /// A socket of the builder's, with its virtual attributes.
    Socket { owner: (u32, u32), mode: u32 },
}

/// Records of a tree that must be given back.
pub(crate) struct Loan {
    dir: OwnedFd,
    lent: Lent,
}

/// What the root of a tmpfs has.
const TMPFS_MODE: u32 = 0o1777;

/// Opens the source of each mount; `make` makes a directory in the step's scratch directory.
pub(crate) fn open(
    spec: &StepSpec,
    make: &dyn Fn(&str) -> Result<std::path::PathBuf, Broken>,
) -> Result<Vec<Source>, Broken> {
    let mut sources = Vec::new();
    for (index, mount) in spec.mounts.iter().enumerate() {
        let (fd, backing) = match &mount.source {
            MountSource::Host(path) => (open_path(path)?, Backing::Host),
            MountSource::Tmpfs { size } => {
                (open_path(&make(&format!("tmpfs-{index}"))?)?, Backing::Tmpfs { size: *size })
            }
            MountSource::Tree { dir, path } => tree(dir, path)?,
            MountSource::Memory { content, uid, gid, mode } => {
                let fd =
                    memory(content).map_err(|errno| Broken::new("cannot make a file in memory", errno))?;
                (fd, Backing::Memory { owner: (*uid, *gid), mode: *mode })
            }
            MountSource::Socket { path, uid, gid, mode } => {
                (open_path(path)?, Backing::Socket { owner: (*uid, *gid), mode: *mode })
            }
        };
        let within = [mount.target.as_bytes(), b"/"].concat();
        let is_seat = spec.mounts.iter().any(|other| other.target.as_bytes().starts_with(&within));
        sources.push(Source { fd, access: mount.access, backing, is_seat });
    }
    Ok(sources)
}

fn open_path(path: &std::path::Path) -> Result<OwnedFd, Broken> {
    confine::open_path(path).map_err(|errno| Broken::new(format!("cannot open {}", path.display()), errno))
}

fn tree(dir: &std::path::Path, path: &RootPath) -> Result<(OwnedFd, Backing), Broken> {
    let root = Root::open(dir, Owner::Caller)
        .map_err(|error| Broken::new(format!("cannot open {}", dir.display()), error))?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let name = if path.is_root() { std::path::Path::new(".") } else { path.as_path() };
    let fd = rustix::fs::openat2(root.fd(), name, flags, Mode::empty(), how)
        .map_err(|errno| Broken::new(format!("cannot open {path} of {}", dir.display()), errno))?;
    Ok((fd, Backing::Tree { root: Box::new(root), dir: open_path(dir)? }))
}

/// A sealed file without a name.
fn memory(content: &SecretBytes) -> Result<OwnedFd, Errno> {
    // The name is what /proc/self/fd shows: a graft is found by it, so it is like no other.
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let name = random.iter().fold("wbuild-".to_owned(), |name, byte| format!("{name}{byte:02x}"));
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = content.0.as_slice();
    while !rest.is_empty() {
        match rustix::io::write(&file, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    confine::open_path(path_of(&file))
}

fn path_of(fd: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Why a mount is not there.
pub(crate) enum NotGrafted {
    /// Its place is none.
    Refused { target: String, errno: Errno },
    /// Our own failure.
    Broken(Broken),
}

impl From<Broken> for NotGrafted {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// Grafts every source at its target, in order; the loans are for [`give_back`].
pub(crate) fn graft(
    monitor: &mut Monitor,
    mounts: &[Mount],
    sources: &[Source],
) -> Result<Vec<Loan>, NotGrafted> {
    let mut loans = Vec::new();
    for (mount, source) in mounts.iter().zip(sources) {
        let target = [b"/", mount.target.as_bytes()].concat();
        let at = || format!("cannot mount at {}", mount.target);
        let fault = |fault: Fault| Broken::new(at(), fault);
        let fd = rustix::io::fcntl_dupfd_cloexec(&source.fd, 0).map_err(|errno| Broken::new(at(), errno))?;
        let target = GuestPath::new(target).map_err(fault)?;
        let id = monitor.graft(&target, fd, source.access).map_err(|found| match found {
            Fault::Errno(errno) => NotGrafted::Refused { target: mount.target.to_string(), errno },
            Fault::Broken(_) => fault(found).into(),
        })?;
        match &source.backing {
            Backing::Host => {}
            Backing::Tmpfs { .. } => {
                monitor.describe_graft(id, source.fd.as_fd(), (0, 0), TMPFS_MODE).map_err(fault)?;
            }
            Backing::Memory { owner, mode } | Backing::Socket { owner, mode } => {
                monitor.describe_graft(id, source.fd.as_fd(), *owner, *mode).map_err(fault)?;
            }
            Backing::Tree { root, dir } => {
                let lent = monitor.borrow_records(root, id);
                if source.access == MountAccess::ReadWrite {
                    let dir =
                        rustix::io::fcntl_dupfd_cloexec(dir, 0).map_err(|errno| Broken::new(at(), errno))?;
                    loans.push(Loan { dir, lent });
                }
            }
        }
    }
    Ok(loans)
}

/// Persists what the step recorded in the trees that it could write. Every guest process is gone, and the grafts are off.
///
/// # Errors
/// The host's, with the path.
pub(crate) fn give_back(monitor: &Monitor, loans: Vec<Loan>) -> Result<(), RootError> {
    for Loan { dir, lent } in loans {
        // By its descriptor: the way there may be closed to whoever this is by now.
        let path = std::path::PathBuf::from(path_of(&dir)).join(".");
        let host = |source| RootError::Host { action: "lock", path: path.clone(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = rustix::fs::open(&path, flags, Mode::empty()).map_err(host)?;
        // Another step may have the same cache mounted, and end at this moment.
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(host)?;
        let tree = Root::open(&path, Owner::Caller)?;
        monitor.return_records(&tree, lent)?;
        drop(lock);
    }
    Ok(())
}

/// The step's mounts as /proc/PID/mounts tells of them; what every step has (resolv.conf, ..) is not among them.
pub(crate) fn shown(mounts: &[Mount]) -> Vec<ShownMount> {
    let shown = |mount: &Mount| {
        let (kind, access) = match (&mount.source, mount.access) {
            (MountSource::Host(_), _) => return None,
            (MountSource::Tmpfs { .. } | MountSource::Memory { .. } | MountSource::Socket { .. }, access) => {
                ("tmpfs", access)
            }
            (MountSource::Tree { .. }, access) => ("overlay", access),
        };
        let access = if access == MountAccess::ReadOnly { "ro" } else { "rw" };
        let options = match &mount.source {
            MountSource::Tmpfs { size: Some(size) } => {
                format!("{access},nosuid,relatime,size={}k", size.div_ceil(1024))
            }
            MountSource::Tmpfs { size: None } | MountSource::Memory { .. } | MountSource::Socket { .. } => {
                format!("{access},nosuid,relatime")
            }
            _ => format!("{access},relatime"),
        };
        Some(ShownMount { target: mount.target.to_string(), kind, options })
    };
    mounts.iter().filter_map(shown).collect()
}
