//! /dev: an allow-list of devices that give no power, the terminals the step itself opened, and links to descriptors.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use wbuild_monitor::{Fault, ViewKind, ViewNode};

use super::listing::Shown;
use super::{Caller, components};

/// A device every container has, with the number it must have on the host to be the one we mean.
struct Device {
    name: &'static [u8],
    number: (u32, u32),
}

impl Device {
    fn path(&self) -> String {
        format!("/dev/{}", String::from_utf8_lossy(self.name))
    }
}

/// The devices every container has (OCI runtime specification, "Default Devices").
const DEVICES: [Device; 5] = [
    Device { name: b"null", number: (1, 3) },
    Device { name: b"zero", number: (1, 5) },
    Device { name: b"full", number: (1, 7) },
    Device { name: b"random", number: (1, 8) },
    Device { name: b"urandom", number: (1, 9) },
];
const TTY: (u32, u32) = (5, 0);
const PTMX: (u32, u32) = (5, 2);
/// First of the eight major numbers of Unix98 terminals.
const PTS_MAJOR: u32 = 136;

const LINKS: [(&[u8], &[u8]); 5] = [
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
    (b"core", b"/proc/kcore"),
];

/// The pseudo-terminals the step has opened; it sees no others.
#[derive(Debug, Default)]
pub(super) struct Terminals(Mutex<BTreeSet<u32>>);

impl Terminals {
    fn add(&self, number: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
    }

    fn has(&self, number: u32) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&number)
    }

    fn all(&self) -> Vec<u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

/// What a place in /dev is.
enum Place {
    Root,
    Pts,
    /// The mount point of the step's own /dev/shm; the monitor's mount table goes first, so this is only its shadow.
    Shm,
    Link(&'static [u8]),
    Device(&'static Device),
    Tty,
    Ptmx,
    Terminal(u32),
}

fn place(rest: &[u8]) -> Result<Place, Errno> {
    let parts = components(rest);
    match parts.as_slice() {
        [] => Ok(Place::Root),
        [b"pts"] => Ok(Place::Pts),
        [b"shm"] => Ok(Place::Shm),
        [b"tty"] => Ok(Place::Tty),
        [b"ptmx"] | [b"pts", b"ptmx"] => Ok(Place::Ptmx),
        [b"pts", number] => terminal_number(number).map(Place::Terminal).ok_or(Errno::NOENT),
        [name] => {
            let link = LINKS.iter().find(|(link, _)| link == name).map(|(_, text)| Place::Link(text));
            let device = || DEVICES.iter().find(|device| device.name == *name).map(Place::Device);
            link.or_else(device).ok_or(Errno::NOENT)
        }
        _ => Err(Errno::NOENT),
    }
}

fn terminal_number(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

pub(super) fn node(rest: &[u8]) -> Result<ViewNode, Fault> {
    Ok(match place(rest)? {
        Place::Root | Place::Pts | Place::Shm => ViewNode::Directory,
        Place::Link(text) => ViewNode::Link(text.to_vec()),
        Place::Device(_) | Place::Tty | Place::Ptmx | Place::Terminal(_) => ViewNode::Leaf,
    })
}

pub(super) fn open(caller: &Caller<'_>, rest: &[u8], flags: OFlags) -> Result<OwnedFd, Fault> {
    let views = caller.views();
    match place(rest)? {
        Place::Root => views.listings.open(ViewKind::Dev, rest, root_names(), flags),
        Place::Pts => views.listings.open(ViewKind::Dev, rest, terminal_names(&views.terminals), flags),
        Place::Shm => Err(Errno::NOENT.into()),
        Place::Link(_) => Err(Errno::LOOP.into()),
        Place::Device(device) => open_device(&device.path(), device.number, flags),
        Place::Tty => open_controlling_terminal(caller, flags),
        Place::Ptmx => open_ptmx(&views.terminals, flags),
        Place::Terminal(number) => open_terminal(&views.terminals, number, flags),
    }
}

/// Opens a character device of the host after checking, on the descriptor, that it is the one we mean.
fn open_device(path: &str, number: (u32, u32), flags: OFlags) -> Result<OwnedFd, Fault> {
    use std::os::fd::AsRawFd;
    let found =
        rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    // A pod without this device: the guest gets what a missing driver answers.
    let found = found.map_err(|_| Errno::NXIO)?;
    let stat = rustix::fs::statx(&found, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    let is_character = FileType::from_raw_mode(u32::from(stat.stx_mode)) == FileType::CharacterDevice;
    if !is_character || (stat.stx_rdev_major, stat.stx_rdev_minor) != number {
        return Err(Errno::NXIO.into());
    }
    if flags.contains(OFlags::DIRECTORY) {
        return Err(Errno::NOTDIR.into());
    }
    if flags.contains(OFlags::PATH) {
        return Ok(found);
    }
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    Ok(rustix::fs::openat(CWD, path, flags.difference(OFlags::NOFOLLOW), Mode::empty())?)
}

/// A new pair: the guest gets the master; the number is the step's from now on.
fn open_ptmx(terminals: &Terminals, flags: OFlags) -> Result<OwnedFd, Fault> {
    let master = match open_device("/dev/pts/ptmx", PTMX, flags) {
        // A devpts mounted with ptmxmode=000 is opened through the node in /dev.
        Err(Fault::Errno(Errno::ACCESS | Errno::NXIO)) => open_device("/dev/ptmx", PTMX, flags),
        other => other,
    }?;
    if !flags.contains(OFlags::PATH) {
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let number = name.to_bytes().rsplit(|byte| *byte == b'/').next().and_then(terminal_number);
        terminals.add(number.ok_or(Errno::NXIO)?);
    }
    Ok(master)
}

fn open_terminal(terminals: &Terminals, number: u32, flags: OFlags) -> Result<OwnedFd, Fault> {
    if !terminals.has(number) {
        return Err(Errno::NOENT.into());
    }
    // Linux numbers terminal n as major 136 + n / 256, minor n % 256.
    open_device(&format!("/dev/pts/{number}"), (PTS_MAJOR + (number >> 8), number & 0xff), flags)
}

/// /dev/tty is the caller's: the broker's own open of it would give the broker's.
fn open_controlling_terminal(caller: &Caller<'_>, flags: OFlags) -> Result<OwnedFd, Fault> {
    let device = controlling_terminal(caller)?.ok_or(Errno::NXIO)?;
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    if !(PTS_MAJOR..PTS_MAJOR + 8).contains(&major) {
        return Err(Errno::NXIO.into());
    }
    open_terminal(&caller.views().terminals, (major - PTS_MAJOR) << 8 | minor, flags)
}

/// Field 7 of /proc/TID/stat, in the kernel's `new_encode_dev` form; `None` without a controlling terminal.
fn controlling_terminal(caller: &Caller<'_>) -> Result<Option<u32>, Fault> {
    let stat = super::proc::read_whole(caller.task.proc(), b"stat")?;
    let after_name = stat.iter().rposition(|byte| *byte == b')').ok_or(Errno::NXIO)?;
    let fields = String::from_utf8_lossy(&stat[after_name + 1..]);
    let number: Option<u32> = fields.split_ascii_whitespace().nth(4).and_then(|field| field.parse().ok());
    Ok(number.filter(|number| *number != 0))
}

pub(super) fn stat(caller: &Caller<'_>, rest: &[u8]) -> Result<Statx, Fault> {
    let views = caller.views();
    let place = place(rest)?;
    if let Place::Terminal(number) = place {
        let terminal = open_terminal(&views.terminals, number, OFlags::PATH)?;
        let mut stat = rustix::fs::statx(&terminal, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        let credentials = &caller.state.identity.credentials;
        (stat.stx_uid, stat.stx_gid) = (credentials.uid.fs, credentials.gid.fs);
        return Ok(stat);
    }
    // The times and the device number of the listing stand in for those of a devtmpfs.
    let root = views.listings.open(ViewKind::Dev, b"", root_names(), OFlags::PATH | OFlags::DIRECTORY)?;
    let mut stat = rustix::fs::statx(root.as_fd(), c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    (stat.stx_uid, stat.stx_gid, stat.stx_nlink) = (0, 0, 1);
    let (kind, mode, number) = match place {
        Place::Root | Place::Pts => (FileType::Directory, 0o755, (0, 0)),
        Place::Shm => (FileType::Directory, 0o1777, (0, 0)),
        Place::Link(_) => (FileType::Symlink, 0o777, (0, 0)),
        Place::Device(device) => (FileType::CharacterDevice, 0o666, device.number),
        Place::Tty => (FileType::CharacterDevice, 0o666, TTY),
        Place::Ptmx => (FileType::CharacterDevice, 0o666, PTMX),
        Place::Terminal(_) => return Err(Errno::NOENT.into()),
    };
    stat.stx_mode = u16::try_from(kind.as_raw_mode() | mode).unwrap_or_default();
    (stat.stx_rdev_major, stat.stx_rdev_minor) = number;
    if kind != FileType::Directory {
        // Any number that tells the entries of a listing apart.
        stat.stx_ino =
            stat.stx_ino.wrapping_add(1 + u64::from(number.0 * 256 + number.1) + rest.len() as u64);
        stat.stx_size = if let Place::Link(text) = place { text.len() as u64 } else { 0 };
        stat.stx_blocks = 0;
    }
    if let Place::Device(device) = place {
        show_inode_of(device, &mut stat)?;
    }
    Ok(stat)
}

/// Gives the stat of a device the inode that fstat tells of the opened one: cp and install copy nothing where the two differ.
fn show_inode_of(device: &Device, stat: &mut Statx) -> Result<(), Fault> {
    let opened = match open_device(&device.path(), device.number, OFlags::PATH) {
        Ok(opened) => opened,
        // Not in this pod: nobody can open it.
        Err(Fault::Errno(Errno::NXIO)) => return Ok(()),
        Err(fault) => return Err(fault),
    };
    let real = rustix::fs::statx(&opened, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    (stat.stx_dev_major, stat.stx_dev_minor) = (real.stx_dev_major, real.stx_dev_minor);
    stat.stx_ino = real.stx_ino;
    Ok(())
}

fn root_names() -> BTreeMap<Vec<u8>, Shown> {
    let devices = DEVICES.iter().map(|device| (device.name.to_vec(), Shown::File));
    let links = LINKS.iter().map(|(name, _)| (name.to_vec(), Shown::Link));
    let more = [
        (b"tty".to_vec(), Shown::File),
        (b"ptmx".to_vec(), Shown::File),
        (b"pts".to_vec(), Shown::Directory),
        (b"shm".to_vec(), Shown::Directory),
    ];
    devices.chain(links).chain(more).collect()
}

fn terminal_names(terminals: &Terminals) -> BTreeMap<Vec<u8>, Shown> {
    let mut names: BTreeMap<_, _> =
        terminals.all().into_iter().map(|number| (number.to_string().into_bytes(), Shown::File)).collect();
    names.insert(b"ptmx".to_vec(), Shown::File);
    names
}

#[cfg(test)]
mod tests {
    use super::{Place, Terminals, place};

    #[test]
    fn only_listed_devices_are_there() {
        for absent in [
            "mem", "kmsg", "sda", "fuse", "kvm", "console", "net/tun", "pts/01", "pts/-1", "null/x", "mapper",
        ] {
            assert!(place(absent.as_bytes()).is_err(), "{absent}");
        }
        assert!(matches!(place(b"null"), Ok(Place::Device(_))));
        assert!(matches!(place(b"pts/12"), Ok(Place::Terminal(12))));
        assert!(matches!(place(b"fd"), Ok(Place::Link(b"/proc/self/fd"))));
    }

    #[test]
    fn terminals_of_others_are_absent() {
        let terminals = Terminals::default();
        terminals.add(4);
        assert!(terminals.has(4));
        assert!(!terminals.has(3));
    }
}
