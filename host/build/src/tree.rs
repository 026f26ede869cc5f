//! A stage's tree as the builder uses it: through the reference monitor, as the virtual root user.
//!
//! A tree belongs either to the builder or to a step: the builder opens it for one instruction, [`Tree::finish`] writes its
//! records down, and an engine opens it by itself. A tree that a step left half done is never opened again.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{OFlags, ResolveFlags, Statx, Timespec, Timestamps};
use wbuild_layer::{ChangeSet, Device, RootPath, Timestamp, Xattrs};
use wbuild_monitor::{
    At, Base, Credentials, Cwd, Errno, Facts, Fault, GuestPath, JournalCheck, LastLink, Monitor, MtimeRule,
    NoViews, OpenRequest, Opened, Outcome, State, Subject, Where, XattrWrite,
};
use wbuild_oci::Digest;
use wbuild_policy::Policy;
use wbuild_rootfs::{Layer, Likeness, MaterialiseError, Owner, Root, RootError, Sharing};

use crate::files::{Files, Kind, Node};
use crate::users::UserFiles;

/// Why a tree could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The tree's own files failed.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The layers could not be unpacked.
    #[error("cannot unpack the layers")]
    Unpack(#[from] MaterialiseError),
    /// A layer could not be written.
    #[error("cannot commit the layer")]
    Commit(#[from] crate::commit::CommitError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] wbuild_store::StoreError),
}

/// What a file in a tree is given after it is made.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// `None` for a symbolic link, which has none.
    pub(crate) mode: Option<u32>,
    /// `None` where the end of the step sets it.
    pub(crate) mtime: Option<Timestamp>,
    pub(crate) xattrs: Xattrs,
}

/// An open tree.
pub(crate) struct Tree {
    monitor: Monitor,
    credentials: Credentials,
    place: String,
}

/// Who owns trees on this host: an unprivileged user even where wbuild runs as root.
pub(crate) fn owner() -> Owner {
    if rustix::process::geteuid().is_root() {
        Owner::Scratch { uid: SCRATCH_ID, gid: SCRATCH_ID }
    } else {
        Owner::Caller
    }
}

/// The uid and gid of trees and steps where wbuild runs as root.
const SCRATCH_ID: u32 = 65321;

impl TreeError {
    /// Whether the volume cannot share files this way.
    pub(crate) fn is_unable_to_share(&self) -> bool {
        let Self::Unpack(MaterialiseError::Copy { source, .. }) = self else { return false };
        matches!(
            *source,
            Errno::XDEV | Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL | Errno::NOSYS | Errno::NOTTY
        )
    }
}

impl Tree {
    /// Makes a tree in `path`, which is not there yet, with the files of the one in `from`, which nobody has open and
    /// nobody changes any more; says what that one looked like.
    pub(crate) fn share(path: &Path, from: &Path, how: Sharing) -> Result<Likeness, TreeError> {
        let from = Root::open(from, owner())?;
        from.open_views()?;
        let root = Root::create(path, owner())?;
        let likeness = root.take_over(&from, how)?;
        root.persist()?;
        Ok(likeness)
    }

    /// Makes a tree in `path`, which is not there yet, fills it from layers, lowest first, and leaves it for [`Tree::open`].
    pub(crate) fn make(
        path: &Path,
        layers: &mut dyn Iterator<Item = io::Result<Layer>>,
    ) -> Result<(), TreeError> {
        let root = Root::create(path, owner())?;
        root.unpack(layers, wbuild_layer::Limits::default())?;
        Ok(root.persist()?)
    }

    /// Applies more layers to a tree that nobody has open.
    pub(crate) fn extend(
        path: &Path,
        layers: &mut dyn Iterator<Item = io::Result<Layer>>,
    ) -> Result<(), TreeError> {
        let root = Root::open(path, owner())?;
        root.unpack(layers, wbuild_layer::Limits::default())?;
        Ok(root.persist()?)
    }

    /// Takes back a tree that nobody has open. What changes in it from here on is recorded.
    pub(crate) fn open(path: &Path, place: &str, check: JournalCheck) -> Result<Self, RootError> {
        Self::over(Root::open(path, owner())?, place.to_owned(), check)
    }

    fn over(root: Root, place: String, check: JournalCheck) -> Result<Self, RootError> {
        let monitor = Monitor::for_builder(root, Policy::default(), check)?;
        Ok(Self { monitor, credentials: Credentials::builder(), place })
    }

    /// What changed since [`Tree::open`], with the rule for times applied; the tree's records are written down. The tree that
    /// is returned is for reading.
    pub(crate) fn finish(self, rule: MtimeRule) -> Result<(ChangeSet, Self), RootError> {
        let (finished, root) = self.monitor.finish(rule)?;
        Ok((finished.changes, Self::over(root, self.place, JournalCheck::Off)?))
    }

    /// What stands at a path, no link followed; content is not read.
    pub(crate) fn observe(&self, path: &RootPath, facts: Facts) -> Result<State, Errno> {
        self.monitor.observe(path, facts)
    }

    /// The digest of what a file holds.
    pub(crate) fn observe_content(&self, path: &RootPath) -> Result<Digest, Errno> {
        self.monitor.observe_content(path)
    }

    /// The real stat of what stands at a path.
    pub(crate) fn observe_stat(&self, path: &RootPath) -> Result<Statx, Errno> {
        self.monitor.observe_stat(path)
    }

    /// /etc/passwd and /etc/group, links followed within the tree.
    pub(crate) fn user_files(&self) -> io::Result<UserFiles> {
        let read = |path: &str| -> io::Result<Option<Vec<u8>>> {
            let opened = self.open_at(path.as_bytes(), OFlags::RDONLY, 0);
            let mut file = match opened {
                Ok(file) => file,
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let mut bytes = Vec::new();
            // An image is not trusted to be small.
            file.by_ref().take(16 << 20).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        };
        Ok(UserFiles { passwd: read("/etc/passwd")?, group: read("/etc/group")? })
    }

    fn with<T>(
        &self,
        path: &[u8],
        act: impl FnOnce(&Subject<'_>, At<'_>) -> Result<Outcome<T>, Fault>,
    ) -> io::Result<T> {
        let path = GuestPath::new(path).map_err(io_error)?;
        let subject = Subject {
            credentials: &self.credentials,
            umask: 0,
            cwd: Cwd::Dir(self.monitor.root_fd()),
            views: &NoViews,
        };
        match act(&subject, At { base: Base::Root, path: &path }).map_err(io_error)? {
            Outcome::Done(value) => Ok(value),
            // The builder has no /proc, /dev or /sys: what an image holds there is hidden in every container.
            Outcome::View(_) => Err(Errno::ROFS.into()),
            Outcome::Object(_) => Err(Errno::INVAL.into()),
        }
    }

    fn stat(&self, path: &[u8]) -> io::Result<Statx> {
        self.with(path, |subject, at| self.monitor.stat(subject, Where::Path(at, LastLink::NoFollow)))
    }

    fn open_at(&self, path: &[u8], flags: OFlags, mode: u32) -> io::Result<File> {
        let request = OpenRequest { flags: flags | OFlags::CLOEXEC, mode, resolve: ResolveFlags::empty() };
        match self.with(path, |subject, at| self.monitor.open(subject, at, &request))? {
            Opened::File(file) => Ok(File::from(file.fd)),
            Opened::Path(_) | Opened::Fifo(_) | Opened::Device(_) => Err(Errno::INVAL.into()),
        }
    }

    pub(crate) fn make_dir(&self, path: &RootPath) -> io::Result<()> {
        self.with(&absolute(path), |subject, at| self.monitor.make_dir(subject, at, 0o755))
    }

    /// Makes an empty file with this mode where nothing stands.
    pub(crate) fn create_file(&self, path: &RootPath, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        self.open_at(&absolute(path), flags, mode)
    }

    /// As [`Tree::set_attributes`] for a file that was made with its mode just now; cheaper, because no path is looked up.
    pub(crate) fn set_new_attributes(&self, file: &File, attributes: &Attributes) -> io::Result<()> {
        let Attributes { uid, gid, mode, mtime, xattrs } = attributes;
        let target = Where::Fd(file.as_fd());
        let stat = self.on_fd(|subject| self.monitor.stat(subject, target))?;
        if (stat.stx_uid, stat.stx_gid) != (*uid, *gid) {
            self.on_fd(|subject| self.monitor.chown(subject, target, Some(*uid), Some(*gid)))?;
            if let Some(mode) = mode {
                self.on_fd(|subject| self.monitor.chmod(subject, target, *mode))?;
            }
        }
        for (name, value) in xattrs {
            self.on_fd(|subject| self.monitor.set_xattr(subject, target, name, value, XattrWrite::Set))?;
        }
        match mtime {
            Some(mtime) => self.on_fd(|subject| self.monitor.set_times(subject, target, &times(*mtime))),
            None => Ok(()),
        }
    }

    fn on_fd<T>(&self, act: impl FnOnce(&Subject<'_>) -> Result<Outcome<T>, Fault>) -> io::Result<T> {
        self.with(b"/", |subject, _| act(subject))
    }

    pub(crate) fn symlink(&self, text: &[u8], path: &RootPath) -> io::Result<()> {
        self.with(&absolute(path), |subject, at| self.monitor.symlink(subject, text, at))
    }

    pub(crate) fn hard_link(&self, existing: &RootPath, path: &RootPath) -> io::Result<()> {
        let existing = GuestPath::new(absolute(existing)).map_err(io_error)?;
        let from = Where::Path(At { base: Base::Root, path: &existing }, LastLink::NoFollow);
        self.with(&absolute(path), |subject, at| self.monitor.link(subject, from, at))
    }

    pub(crate) fn make_node(&self, path: &RootPath, kind: Kind) -> io::Result<()> {
        use wbuild_rootfs::{S_IFBLK, S_IFCHR, S_IFIFO};
        let (bits, Device { major, minor }) = match kind {
            Kind::Fifo => (S_IFIFO, Device { major: 0, minor: 0 }),
            Kind::CharDevice(device) => (S_IFCHR, device),
            Kind::BlockDevice(device) => (S_IFBLK, device),
            Kind::File | Kind::Directory | Kind::Symlink | Kind::Socket => return Err(Errno::INVAL.into()),
        };
        self.with(&absolute(path), |subject, at| {
            self.monitor.make_node(subject, at, bits | 0o644, (major, minor))
        })
    }

    pub(crate) fn remove_file(&self, path: &RootPath) -> io::Result<()> {
        self.with(&absolute(path), |subject, at| self.monitor.unlink(subject, at))
    }

    pub(crate) fn remove_dir(&self, path: &RootPath) -> io::Result<()> {
        self.with(&absolute(path), |subject, at| self.monitor.remove_dir(subject, at))
    }

    /// Removes whatever stands at `path`, with what is beneath it.
    pub(crate) fn remove_all(&self, path: &RootPath) -> io::Result<()> {
        match self.node(path)? {
            None => Ok(()),
            Some(node) if node.is_dir() => {
                for name in self.list(path)? {
                    self.remove_all(&path.join(name).map_err(io::Error::other)?)?;
                }
                self.remove_dir(path)
            }
            Some(_) => self.remove_file(path),
        }
    }

    /// Owner first: changing it takes the setuid bits away. The time last: everything else moves it.
    pub(crate) fn set_attributes(&self, path: &RootPath, attributes: &Attributes) -> io::Result<()> {
        let path = absolute(path);
        let Attributes { uid, gid, mode, mtime, xattrs } = attributes;
        if (*uid, *gid) != (0, 0) || self.owned_otherwise(&path)? {
            self.with(&path, |subject, at| self.monitor.chown(subject, itself(at), Some(*uid), Some(*gid)))?;
        }
        if let Some(mode) = mode {
            self.with(&path, |subject, at| self.monitor.chmod(subject, itself(at), *mode))?;
        }
        for (name, value) in xattrs {
            self.with(&path, |subject, at| {
                self.monitor.set_xattr(subject, itself(at), name, value, XattrWrite::Set)
            })?;
        }
        match mtime {
            Some(mtime) => {
                self.with(&path, |subject, at| self.monitor.set_times(subject, itself(at), &times(*mtime)))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn set_mode(&self, path: &RootPath, mode: u32) -> io::Result<()> {
        self.with(&absolute(path), |subject, at| self.monitor.chmod(subject, itself(at), mode))
    }

    fn owned_otherwise(&self, path: &[u8]) -> io::Result<bool> {
        let stat = self.stat(path)?;
        Ok((stat.stx_uid, stat.stx_gid) != (0, 0))
    }
}

impl Files for Tree {
    fn place(&self) -> &str {
        &self.place
    }

    fn node(&self, path: &RootPath) -> io::Result<Option<Node>> {
        match self.stat(&absolute(path)) {
            Ok(stat) => Ok(Some(node_of(&stat))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_link(&self, path: &RootPath) -> io::Result<Vec<u8>> {
        self.with(&absolute(path), |subject, at| self.monitor.read_link(subject, at))
    }

    fn list(&self, path: &RootPath) -> io::Result<Vec<Vec<u8>>> {
        let dir = self.open_at(&absolute(path), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, 0)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(dir.as_fd())? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &RootPath) -> io::Result<File> {
        self.open_at(&absolute(path), OFlags::RDONLY | OFlags::NOFOLLOW, 0)
    }

    fn xattrs(&self, path: &RootPath, _file: Option<&File>) -> io::Result<Xattrs> {
        let path = absolute(path);
        let names = self.with(&path, |subject, at| self.monitor.list_xattrs(subject, itself(at)))?;
        let mut xattrs = Xattrs::new();
        for name in names {
            let value = self.with(&path, |subject, at| self.monitor.get_xattr(subject, itself(at), &name))?;
            xattrs.insert(name, value);
        }
        Ok(xattrs)
    }

    fn hides(&self, _path: &RootPath) -> bool {
        false
    }
}

/// What stands at a place, not what a link leads to.
fn itself(at: At<'_>) -> Where<'_> {
    Where::Path(at, LastLink::NoFollow)
}

fn times(mtime: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn absolute(path: &RootPath) -> Vec<u8> {
    let mut absolute = vec![b'/'];
    absolute.extend_from_slice(path.as_bytes());
    absolute
}

fn io_error(fault: Fault) -> io::Error {
    match fault {
        Fault::Errno(errno) => errno.into(),
        Fault::Broken(broken) => io::Error::other(broken),
    }
}

fn node_of(stat: &Statx) -> Node {
    use wbuild_rootfs::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFSOCK};
    let mode = u32::from(stat.stx_mode);
    let device = Device { major: stat.stx_rdev_major, minor: stat.stx_rdev_minor };
    let kind = match mode & S_IFMT {
        S_IFDIR => Kind::Directory,
        S_IFLNK => Kind::Symlink,
        S_IFIFO => Kind::Fifo,
        S_IFSOCK => Kind::Socket,
        S_IFCHR => Kind::CharDevice(device),
        S_IFBLK => Kind::BlockDevice(device),
        _ => Kind::File,
    };
    let device_id = u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor);
    Node {
        kind,
        mode: mode & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        mtime: Timestamp { seconds: stat.stx_mtime.tv_sec, nanoseconds: stat.stx_mtime.tv_nsec },
        shared: (stat.stx_nlink > 1 && kind != Kind::Directory).then_some((device_id, stat.stx_ino)),
    }
}
