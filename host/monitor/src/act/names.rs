//! Names: mkdir, rmdir, unlink, rename, link, symlink, mknod, and binding a socket.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{RenameFlags, Statx};
use wbuild_layer::Device;
use wbuild_rootfs::raw::{self, Fresh, Inode};
use wbuild_rootfs::{InodeKey, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK, Special};

use super::place::Spot;
use super::{Answer, done};
use crate::dac::{NewKind, Want, may, owns};
use crate::observe::Facts;
use crate::permit::{Concern, Operation, Permit};
use crate::resolve::{Home, Node, Slash};
use crate::{At, Capability, Errno, Fault, Monitor, Outcome, Subject, Where};

/// Makes something at a name.
struct Make {
    spot: Spot,
    fresh: Fresh,
    what: What,
}

enum What {
    Directory,
    Symlink(CString),
    File,
    Fifo,
    Socket,
    Node(Special),
}

impl Operation for Make {
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault> {
        let kind = if matches!(self.what, What::Directory) { NewKind::Directory } else { NewKind::Other };
        monitor.may_make(subject, &self.spot, kind)?;
        if matches!(self.what, What::Node(_)) && !subject.credentials.can(Capability::MKNOD) {
            return Err(Errno::PERM.into());
        }
        Ok(())
    }

    fn concern(&self) -> Concern<'_> {
        match self.what {
            What::Symlink(_) => Concern::Place(place_of(&self.spot)),
            _ => names_in(&self.spot),
        }
    }
}

fn place_of(spot: &Spot) -> (BorrowedFd<'_>, &[u8]) {
    // A place without a name is refused before anything is done to it.
    (spot.dir().fd.as_fd(), spot.name().map(std::ffi::CStr::to_bytes).unwrap_or_default())
}

fn is_directory(stat: &Statx) -> bool {
    u32::from(stat.stx_mode) & S_IFMT == S_IFDIR
}

fn names_in(spot: &Spot) -> Concern<'_> {
    Concern::Write(spot.dir().fd.as_fd(), spot.name().ok().map(std::ffi::CStr::to_bytes))
}

impl Permit<Make> {
    fn act(self, monitor: &Monitor) -> Result<(), Errno> {
        let Make { spot, fresh, what } = self.op;
        let (root, dir, name) = (monitor.root(), spot.home.dir(spot.dir()), spot.name()?);
        match what {
            What::Directory => raw::make_dir(root, &dir, name, &fresh),
            What::Symlink(text) => raw::symlink(root, &dir, name, &text, &fresh),
            What::File => raw::create(root, &dir, name, rustix::fs::OFlags::WRONLY, &fresh).map(drop),
            What::Fifo => raw::make_fifo(root, &dir, name, &fresh),
            What::Node(special) => raw::make_node(root, &dir, name, special, &fresh),
            What::Socket => raw::bind_socket(root, &dir, name, &fresh, &mut raw::make_socket),
        }
    }

    fn bind(self, monitor: &Monitor, bind: &mut raw::Bind<'_>) -> Result<(), Errno> {
        let Make { spot, fresh, .. } = self.op;
        raw::bind_socket(monitor.root(), &spot.home.dir(spot.dir()), spot.name()?, &fresh, bind)
    }
}

/// Removes a name.
struct Remove {
    spot: Spot,
    what: Removed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Removed {
    Directory,
    Other,
}

impl Operation for Remove {
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault> {
        self.spot.home.writable()?;
        let victim = self.spot.stat()?.ok_or(Errno::NOENT)?;
        let slashed = self.spot.place.slash == Slash::Trailing;
        match (self.what, is_directory(&victim)) {
            (Removed::Other, true) if slashed => return Err(Errno::ISDIR.into()),
            (Removed::Other, false) if slashed => return Err(Errno::NOTDIR.into()),
            _ => {}
        }
        monitor.may_take(subject, &self.spot, &victim)?;
        match (self.what, is_directory(&victim)) {
            (Removed::Directory, false) => return Err(Errno::NOTDIR.into()),
            (Removed::Other, true) => return Err(Errno::ISDIR.into()),
            _ => {}
        }
        Ok(monitor.not_busy(&victim)?)
    }

    fn concern(&self) -> Concern<'_> {
        names_in(&self.spot)
    }
}

impl Permit<Remove> {
    fn act(self, monitor: &Monitor) -> Result<(), Errno> {
        let Remove { spot, what } = self.op;
        let (root, dir, name) = (monitor.root(), spot.home.dir(spot.dir()), spot.name()?);
        match what {
            Removed::Directory => raw::remove_dir(root, &dir, name),
            Removed::Other => raw::unlink(root, &dir, name),
        }
    }
}

/// Renames a name.
struct Rename {
    from: Spot,
    to: Spot,
    flags: RenameFlags,
}

impl Rename {
    fn exchanges(&self) -> bool {
        self.flags.contains(RenameFlags::EXCHANGE)
    }

    /// What stands at both ends, checked as Linux does before it asks for permission.
    fn ends(&self) -> Result<(Statx, Option<Statx>), Errno> {
        self.from.home.writable()?;
        self.to.home.writable()?;
        let slashed = |spot: &Spot| spot.place.slash == Slash::Trailing;
        let source = self.from.stat()?.ok_or(Errno::NOENT)?;
        let target = self.to.stat()?;
        match &target {
            Some(_) if self.flags.contains(RenameFlags::NOREPLACE) => return Err(Errno::EXIST),
            Some(target) if self.exchanges() && !is_directory(target) && slashed(&self.to) => {
                return Err(Errno::NOTDIR);
            }
            None if self.exchanges() => return Err(Errno::NOENT),
            _ => {}
        }
        if !is_directory(&source) && (slashed(&self.from) || !self.exchanges() && slashed(&self.to)) {
            return Err(Errno::NOTDIR);
        }
        if let (Home::Tree(from_dir), Home::Tree(to_dir)) = (&self.from.home, &self.to.home) {
            let from = from_dir.join(self.from.name()?.to_bytes()).map_err(|_| Errno::INVAL)?;
            let to = to_dir.join(self.to.name()?.to_bytes()).map_err(|_| Errno::INVAL)?;
            if to_dir.starts_with(&from) {
                return Err(Errno::INVAL);
            }
            if from_dir.starts_with(&to) {
                return Err(if self.exchanges() { Errno::INVAL } else { Errno::NOTEMPTY });
            }
        }
        Ok((source, target))
    }
}

impl Operation for Rename {
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault> {
        if !self.from.home.is_with(&self.to.home) {
            return Err(Errno::XDEV.into());
        }
        let (source, target) = self.ends()?;
        // Two names of one inode: the kernel does nothing, and asks nothing.
        if target.is_some_and(|target| InodeKey::of(&target) == InodeKey::of(&source)) {
            return Ok(());
        }
        monitor.may_take(subject, &self.from, &source)?;
        match &target {
            None => may(subject.credentials, &monitor.seen(self.to.dir()), Want::NAMES)?,
            Some(target) => {
                monitor.may_take(subject, &self.to, target)?;
                match (self.exchanges(), is_directory(&source), is_directory(target)) {
                    (false, true, false) => return Err(Errno::NOTDIR.into()),
                    (false, false, true) => return Err(Errno::ISDIR.into()),
                    _ => {}
                }
            }
        }
        // A directory that changes its parent has its `..` written.
        if self.from.dir().key() != self.to.dir().key() {
            let other = target.filter(|_| self.exchanges());
            for mut stat in [Some(source), other].into_iter().flatten() {
                if is_directory(&stat) {
                    monitor.root().show(&mut stat);
                    may(subject.credentials, &stat, Want::WRITE)?;
                }
            }
        }
        for stat in [Some(source), target].into_iter().flatten() {
            monitor.not_busy(&stat)?;
        }
        Ok(())
    }

    fn concern(&self) -> Concern<'_> {
        let (from, to) = (place_of(&self.from), place_of(&self.to));
        if self.exchanges() { Concern::Exchange(from, to) } else { Concern::Rename(from, to) }
    }
}

impl Permit<Rename> {
    fn act(self, monitor: &Monitor) -> Result<(), Errno> {
        let Rename { from, to, flags } = &self.op;
        let source = from.home.dir(from.dir());
        let target = to.home.dir(to.dir());
        raw::rename(monitor.root(), (&source, from.name()?), (&target, to.name()?), *flags)
    }
}

/// Gives an inode one more name.
struct Link {
    node: Node,
    spot: Spot,
}

impl Operation for Link {
    fn check(&self, monitor: &Monitor, subject: &Subject<'_>) -> Result<(), Fault> {
        // fs.protected_hardlinks, which every distribution turns on.
        let seen = monitor.seen(&self.node);
        let mode = u32::from(seen.stx_mode);
        let plain = mode & S_IFMT == S_IFREG && mode & 0o4000 == 0 && mode & 0o2010 != 0o2010;
        let usable = plain && may(subject.credentials, &seen, Want::READ.and(Want::WRITE)).is_ok();
        if !owns(subject.credentials, &seen) && !usable {
            return Err(Errno::PERM.into());
        }
        monitor.may_make(subject, &self.spot, NewKind::Other)?;
        if self.node.is_directory() { Err(Errno::PERM.into()) } else { Ok(()) }
    }

    fn concern(&self) -> Concern<'_> {
        Concern::Link(self.node.fd.as_fd(), place_of(&self.spot))
    }
}

impl Permit<Link> {
    fn act(self, monitor: &Monitor) -> Result<(), Errno> {
        let Link { node, spot } = self.op;
        let scope = monitor.home(node.fd.as_fd()).map_or(spot.home.scope(), |home| home.scope());
        let inode = Inode { fd: node.fd.as_fd(), stat: &node.stat, scope };
        raw::link(monitor.root(), &inode, &spot.home.dir(spot.dir()), spot.name()?)
    }
}

impl Monitor {
    /// A link may lead what goes through it elsewhere, and so may a directory that has another name now.
    fn note_ways_changed(&self) {
        if let Some(observer) = self.observer() {
            observer.leads_elsewhere();
        }
    }

    fn make(&self, subject: &Subject<'_>, at: At<'_>, mode: u32, what: What) -> Answer<()> {
        let place = done!(self.place(subject, at)?);
        let spot = self.spot(place, [Errno::EXIST; 3])?;
        let kind = if matches!(what, What::Directory) { NewKind::Directory } else { NewKind::Other };
        let fresh = self.fresh(subject, spot.dir(), mode, kind);
        let (path, is_link) = (self.path_of_spot(&spot), matches!(what, What::Symlink(_)));
        self.permit(subject, Make { spot, fresh, what })?.act(self)?;
        self.note_own(path);
        if is_link {
            self.note_ways_changed();
        }
        Ok(Outcome::Done(()))
    }

    /// mkdir(at).
    ///
    /// # Errors
    /// As Linux has them (man 2 mkdir).
    pub fn make_dir(&self, subject: &Subject<'_>, at: At<'_>, mode: u32) -> Answer<()> {
        self.make(subject, at, mode & 0o1777, What::Directory)
    }

    /// symlink(at).
    ///
    /// # Errors
    /// As Linux has them (man 2 symlink).
    pub fn symlink(&self, subject: &Subject<'_>, text: &[u8], at: At<'_>) -> Answer<()> {
        if text.is_empty() {
            return Err(Errno::NOENT.into());
        }
        let text = CString::new(text).map_err(|_| Errno::INVAL)?;
        let umaskless = Subject { umask: 0, ..*subject };
        self.make(&umaskless, at, 0o777, What::Symlink(text))
    }

    /// mknod(at): `mode` with the file type; the device number as major and minor.
    ///
    /// # Errors
    /// As Linux has them (man 2 mknod).
    pub fn make_node(&self, subject: &Subject<'_>, at: At<'_>, mode: u32, device: (u32, u32)) -> Answer<()> {
        let device = Device { major: device.0, minor: device.1 };
        let what = match mode & S_IFMT {
            0 | S_IFREG => What::File,
            S_IFIFO => What::Fifo,
            S_IFSOCK => What::Socket,
            S_IFCHR => What::Node(Special::Char(device)),
            S_IFBLK => What::Node(Special::Block(device)),
            S_IFDIR => return Err(Errno::PERM.into()),
            _ => return Err(Errno::INVAL.into()),
        };
        self.make(subject, at, mode & 0o7777, what)
    }

    /// bind of an AF_UNIX path: `bind` is called with the parent's `O_PATH` descriptor and the name and makes the socket there;
    /// the monitor records its virtual owner and mode.
    ///
    /// # Errors
    /// As Linux has them (man 2 bind), and `bind`'s own.
    pub fn bind_socket(&self, subject: &Subject<'_>, at: At<'_>, bind: &mut raw::Bind<'_>) -> Answer<()> {
        let place = done!(self.place(subject, at)?);
        let spot = self.spot(place, [Errno::ADDRINUSE; 3])?;
        if spot.stat()?.is_some() {
            return Err(Errno::ADDRINUSE.into());
        }
        let fresh = self.fresh(subject, spot.dir(), 0o777, NewKind::Other);
        let path = self.path_of_spot(&spot);
        let op = Make { spot, fresh, what: What::Socket };
        self.permit(subject, op)?.bind(self, bind)?;
        self.note_own(path);
        Ok(Outcome::Done(()))
    }

    fn remove(&self, subject: &Subject<'_>, at: At<'_>, what: Removed, otherwise: [Errno; 3]) -> Answer<()> {
        let place = done!(self.place(subject, at)?);
        let spot = self.spot(place, otherwise)?;
        let path = self.path_of_spot(&spot);
        let permit = self.permit(subject, Remove { spot, what })?;
        if let (Some(observer), Some(path)) = (self.observer(), &path) {
            observer.removes(self.root(), path);
        }
        permit.act(self)?;
        self.note_own(path);
        Ok(Outcome::Done(()))
    }

    /// rmdir, unlinkat with `AT_REMOVEDIR`.
    ///
    /// # Errors
    /// As Linux has them (man 2 rmdir).
    pub fn remove_dir(&self, subject: &Subject<'_>, at: At<'_>) -> Answer<()> {
        self.remove(subject, at, Removed::Directory, [Errno::INVAL, Errno::NOTEMPTY, Errno::BUSY])
    }

    /// unlink(at).
    ///
    /// # Errors
    /// As Linux has them (man 2 unlink).
    pub fn unlink(&self, subject: &Subject<'_>, at: At<'_>) -> Answer<()> {
        self.remove(subject, at, Removed::Other, [Errno::ISDIR; 3])
    }

    /// rename, renameat, renameat2.
    ///
    /// # Errors
    /// As Linux has them (man 2 rename); EINVAL for `RENAME_WHITEOUT`.
    pub fn rename(&self, subject: &Subject<'_>, from: At<'_>, to: At<'_>, flags: RenameFlags) -> Answer<()> {
        let known = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
        if !known.contains(flags) || flags == known {
            return Err(Errno::INVAL.into());
        }
        let from = done!(self.place(subject, from)?);
        let to = done!(self.place(subject, to)?);
        let noreplace = flags.contains(RenameFlags::NOREPLACE);
        let taken = if noreplace { Errno::EXIST } else { Errno::BUSY };
        let from = self.spot(from, [Errno::BUSY; 3])?;
        let to = self.spot(to, [taken; 3])?;
        let paths = (self.path_of_spot(&from), self.path_of_spot(&to));
        let permit = self.permit(subject, Rename { from, to, flags })?;
        if let (Some(observer), (Some(from), Some(to))) = (self.observer(), &paths) {
            observer.moves(self.root(), from);
            if flags.contains(RenameFlags::EXCHANGE) {
                observer.moves(self.root(), to);
            } else {
                observer.removes(self.root(), to);
            }
        }
        permit.act(self)?;
        self.note_own(paths.0);
        self.note_own(paths.1);
        self.note_ways_changed();
        Ok(Outcome::Done(()))
    }

    /// link, linkat: `from` follows a last link only for `AT_SYMLINK_FOLLOW`; `Where::Fd` is `AT_EMPTY_PATH`.
    ///
    /// # Errors
    /// As Linux has them (man 2 link).
    pub fn link(&self, subject: &Subject<'_>, from: Where<'_>, to: At<'_>) -> Answer<()> {
        let node = done!(self.node(subject, from, Facts::STAT)?);
        let place = done!(self.place(subject, to)?);
        let spot = self.spot(place, [Errno::EXIST; 3])?;
        // Linux looks at the new name first.
        if spot.stat()?.is_some() {
            return Err(Errno::EXIST.into());
        }
        if spot.place.slash == Slash::Trailing {
            return Err(Errno::NOENT.into());
        }
        spot.home.writable()?;
        // A graft's own root has no name of its own to share.
        if self.mounts().at_source(&node.key()).is_some() || is_from_elsewhere(self, &node, &spot)? {
            return Err(Errno::XDEV.into());
        }
        let path = self.path_of_spot(&spot);
        let permit = self.permit(subject, Link { node, spot })?;
        self.announce_link(&permit.op.node);
        permit.act(self)?;
        self.note_own(path);
        self.note_ways_changed();
        Ok(Outcome::Done(()))
    }
}

/// True if an inode lies on another filesystem of the guest's world than a spot. A nameless file (`O_TMPFILE`) lies where its device is.
fn is_from_elsewhere(monitor: &Monitor, node: &Node, spot: &Spot) -> Result<bool, Errno> {
    if monitor.root().own_links(&node.stat) == 0 {
        return Ok(node.key().device != spot.dir().key().device);
    }
    Ok(!monitor.home(node.fd.as_fd())?.is_with(&spot.home))
}
