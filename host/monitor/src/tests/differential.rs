//! The monitor against the kernel: the same random calls on a plain directory, natively, and in a tree, through the monitor, as the same user. Errno and
//! stat must agree. As root the subject has every capability; as an ordinary user it has none, and permission bits decide.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid,
};

use super::{User, World, done};
use crate::{AccessAs, Capabilities, CapabilitySet, Credentials, Errno, Ids, LastLink, Monitor, Opened};

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }

    /// A path beneath the working directory, oddly spelt.
    fn path(&mut self) -> String {
        let mut path = self.pick(&["a", "b", "c"]).to_owned();
        for _ in 0..self.roll(3) {
            path.push_str(self.pick(&["/", "/", "//", "/./"]));
            path.push_str(self.pick(&["a", "b", "c"]));
        }
        // `name/..` leads back to where `name` stands, never above the working directory: no link here leads upwards.
        path.push_str(self.pick(&["", "", "", "", "", "", "", "/", "/.", "/..", "/../a", "/a/."]));
        path
    }
}

/// What a call answers, comparable.
type Said = Result<String, Errno>;

struct Pair<'a> {
    user: User<'a>,
    native: OwnedFd,
}

fn ok<T>(result: Result<T, Errno>) -> Said {
    result.map(|_| String::new())
}

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
const OMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
const THEN: Timespec = Timespec { tv_sec: 1000, tv_nsec: 5 };

impl Pair<'_> {
    fn opens(&self, dice: &mut Dice, path: &str) -> (String, Said, Said) {
        let mut flags = dice.pick(&[OFlags::RDONLY, OFlags::RDONLY, OFlags::WRONLY, OFlags::RDWR]);
        for (flag, odds) in [
            (OFlags::CREATE, 3),
            (OFlags::EXCL, 5),
            (OFlags::TRUNC, 4),
            (OFlags::NOFOLLOW, 5),
            (OFlags::DIRECTORY, 6),
            (OFlags::PATH, 8),
            (OFlags::APPEND, 9),
        ] {
            if dice.roll(odds) == 0 {
                flags |= flag;
            }
        }
        // O_EXCL without O_CREAT is undefined.
        if !flags.contains(OFlags::CREATE) {
            flags -= OFlags::EXCL;
        }
        let flags = flags | OFlags::NONBLOCK;
        let mode = dice.pick(&[0o644, 0o600, 0o444, 0o755, 0o2755, 0o1000, 0]);
        let existed = rustix::fs::statat(&self.native, path, AtFlags::empty()).is_ok();
        let native = rustix::fs::openat(&self.native, path, flags, Mode::from_raw_mode(mode));
        // What the kernel takes from the mode when a file is written, the monitor takes when it may be written.
        if let Ok(fd) = &native
            && existed
            && flags.intersects(OFlags::WRONLY | OFlags::RDWR)
            && let Ok(stat) = rustix::fs::fstat(fd)
        {
            let _ = rustix::fs::ftruncate(fd, u64::try_from(stat.st_size).unwrap());
        }
        let mut native = ok(native);
        let ours = self.user.open(path, flags, mode);
        // That nobody reads the FIFO is for whoever opens it to see.
        if matches!(ours, Ok(Opened::Fifo(_))) && native == Err(Errno::NXIO) {
            native = Ok(String::new());
        }
        (format!("open {path} {flags:?} {mode:o}"), native, ok(ours))
    }

    fn names(&self, dice: &mut Dice, one: &str, two: &str) -> (String, Said, Said) {
        let (dir, user) = (self.native.as_fd(), &self.user);
        let mode = dice.pick(&[0o755, 0o700, 0o500, 0o1777, 0o2775, 0o000]);
        let real = Mode::from_raw_mode(mode);
        match dice.roll(12) {
            0..3 => (
                format!("mkdir {one} {mode:o}"),
                ok(rustix::fs::mkdirat(dir, one, real)),
                ok(user.make_dir(one, mode)),
            ),
            3 => (
                format!("rmdir {one}"),
                ok(rustix::fs::unlinkat(dir, one, AtFlags::REMOVEDIR)),
                ok(user.remove_dir(one)),
            ),
            4 | 5 => (
                format!("unlink {one}"),
                ok(rustix::fs::unlinkat(dir, one, AtFlags::empty())),
                ok(user.unlink(one)),
            ),
            6 => {
                let text = dice.pick(&["a", "b", "a/b", "./c", "b/", "c//a", "loop", "a/b/c/"]);
                (
                    format!("symlink {text} {one}"),
                    ok(rustix::fs::symlinkat(text, dir, one)),
                    ok(user.symlink(text, one)),
                )
            }
            7 => {
                let (flags, last) = dice.pick(&[
                    (AtFlags::empty(), LastLink::NoFollow),
                    (AtFlags::SYMLINK_FOLLOW, LastLink::Follow),
                ]);
                (
                    format!("link {one} {two} {last:?}"),
                    ok(rustix::fs::linkat(dir, one, dir, two, flags)),
                    ok(user.link(one, two, last)),
                )
            }
            8 => {
                let kind = dice.pick(&[FileType::Fifo, FileType::RegularFile, FileType::Socket]);
                let full = kind.as_raw_mode() | mode;
                (
                    format!("mknod {one} {kind:?} {mode:o}"),
                    ok(rustix::fs::mknodat(dir, one, kind, real, 0)),
                    ok(done(user.at(one, |m, s, at| m.make_node(s, at, full, (0, 0))))),
                )
            }
            _ => {
                let flags = dice.pick(&[
                    RenameFlags::empty(),
                    RenameFlags::empty(),
                    RenameFlags::NOREPLACE,
                    RenameFlags::EXCHANGE,
                ]);
                (
                    format!("rename {one} {two} {flags:?}"),
                    ok(rustix::fs::renameat_with(dir, one, dir, two, flags)),
                    ok(user.rename(one, two, flags)),
                )
            }
        }
    }

    fn attributes(&self, dice: &mut Dice, path: &str) -> (String, Said, Said) {
        let (dir, user) = (self.native.as_fd(), &self.user);
        let mode = dice.pick(&[0o644, 0o000, 0o111, 0o555, 0o700, 0o2755, 0o4755, 0o1777, 0o6711]);
        let real = Mode::from_raw_mode(mode);
        match dice.roll(5) {
            0 | 1 => (
                format!("chmod {path} {mode:o}"),
                ok(rustix::fs::chmodat(dir, path, real, AtFlags::empty())),
                ok(user.chmod(path, mode)),
            ),
            2 => {
                let me = rustix::process::getuid().as_raw();
                let group = rustix::process::getgid().as_raw();
                let uid = dice.pick(&[None, Some(me), Some(7)]);
                let gid = dice.pick(&[None, Some(group), Some(8)]);
                let (real_uid, real_gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                (
                    format!("chown {path} {uid:?} {gid:?}"),
                    ok(rustix::fs::chownat(dir, path, real_uid, real_gid, AtFlags::SYMLINK_NOFOLLOW)),
                    ok(user.on_link(path, |m, s, w| m.chown(s, w, uid, gid))),
                )
            }
            3 => {
                let length = dice.roll(5) as u64;
                // There is no truncateat: opening for writing asks the same of a path, except for what is no regular file.
                let special = rustix::fs::statat(dir, path, AtFlags::empty()).is_ok_and(|stat| {
                    matches!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo | FileType::Socket)
                });
                let native = rustix::fs::openat(dir, path, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty())
                    .and_then(|fd| rustix::fs::ftruncate(&fd, length));
                let ours = user.on(path, |m, s, w| m.truncate(s, w, length));
                let native = if special { Err(Errno::INVAL) } else { native };
                (format!("truncate {path} {length}"), ok(native), ok(ours))
            }
            _ => {
                let (access, modified) = dice.pick(&[(NOW, NOW), (THEN, THEN), (OMIT, OMIT), (OMIT, NOW)]);
                let times = Timestamps { last_access: access, last_modification: modified };
                (
                    format!("utimens {path} {} {}", access.tv_nsec, modified.tv_nsec),
                    ok(rustix::fs::utimensat(dir, path, &times, AtFlags::empty())),
                    ok(user.on(path, |m, s, w| m.set_times(s, w, &times))),
                )
            }
        }
    }

    fn looks(&self, dice: &mut Dice, path: &str) -> (String, Said, Said) {
        let (dir, user) = (self.native.as_fd(), &self.user);
        match dice.roll(4) {
            0 => {
                let bits = u32::try_from(dice.roll(8)).unwrap();
                let access = rustix::fs::Access::from_bits_retain(bits);
                (
                    format!("access {path} {bits}"),
                    ok(rustix::fs::accessat(dir, path, access, AtFlags::empty())),
                    ok(user.on(path, |m, s, w| m.access(s, w, bits, AccessAs::Real))),
                )
            }
            1 => {
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                (
                    format!("readlink {path}"),
                    rustix::fs::readlinkat(dir, path, Vec::new()).map(|link| text(link.into_bytes())),
                    done(user.at(path, Monitor::read_link)).map(text),
                )
            }
            2 => {
                let native = rustix::fs::openat(dir, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
                    .and_then(|fd| {
                        rustix::fs::accessat(&fd, c".", rustix::fs::Access::EXEC_OK, AtFlags::empty())
                    });
                (format!("chdir {path}"), ok(native), ok(user.chdir(path)))
            }
            _ => (format!("stat {path}"), self.native_stat(path, AtFlags::empty()), self.our_stat(path)),
        }
    }

    fn native_stat(&self, path: &str, flags: AtFlags) -> Said {
        let stat = rustix::fs::statat(&self.native, path, flags)?;
        let links =
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory { 0 } else { stat.st_nlink };
        let size =
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory { 0 } else { stat.st_size };
        Ok(format!("{:o} {}:{} links {links} size {size}", stat.st_mode, stat.st_uid, stat.st_gid))
    }

    fn our_stat(&self, path: &str) -> Said {
        self.user.stat(path).map(|stat| Self::shown(&stat))
    }

    fn shown(stat: &rustix::fs::Statx) -> String {
        let directory = u32::from(stat.stx_mode) & 0o170_000 == 0o040_000;
        let (links, size) = if directory { (0, 0) } else { (stat.stx_nlink, stat.stx_size) };
        format!("{:o} {}:{} links {links} size {size}", stat.stx_mode, stat.stx_uid, stat.stx_gid)
    }

    fn compare(&self, dice: &mut Dice, log: &mut Vec<String>) {
        let (one, two) = (dice.path(), dice.path());
        let (call, native, ours) = match dice.roll(10) {
            0..3 => self.opens(dice, &one),
            3..7 => self.names(dice, &one, &two),
            7 | 8 => self.attributes(dice, &one),
            _ => self.looks(dice, &one),
        };
        log.push(format!("{call}: {:?}", native.as_ref().map_err(|errno| errno.raw_os_error())));
        let tail = || log[log.len().saturating_sub(25)..].join("\n");
        assert_eq!(ours, native, "{call}\n{}", tail());
        for path in [&one, &two] {
            let native = self.native_stat(path, AtFlags::SYMLINK_NOFOLLOW);
            let ours = self.user.on_link(path, Monitor::stat).map(|stat| Self::shown(&stat));
            assert_eq!(ours, native, "lstat {path} after {call}\n{}", tail());
        }
    }
}

fn run(seed: u64, calls: usize) {
    let world = World::new();
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let held = if uid.is_root() { CapabilitySet::FULL } else { CapabilitySet::EMPTY };
    let capabilities = Capabilities { effective: held, permitted: held, ..Capabilities::default() };
    let credentials = Credentials {
        uid: Ids::all(uid.as_raw()),
        gid: Ids::all(gid.as_raw()),
        groups: rustix::process::getgroups().unwrap().into_iter().map(Gid::as_raw).collect(),
        capabilities,
    };
    let root = root_user_dir(&world, &credentials);
    let native_path = world.outside().join("native");
    rustix::fs::mkdir(&native_path, Mode::from_raw_mode(0o755)).unwrap();
    let native = rustix::fs::open(&native_path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let user = User { cwd: Some(&root), ..world.as_user(&credentials) };
    let pair = Pair { user, native };
    let mut dice = Dice(seed);
    let mut log = vec![format!("seed {seed}")];
    for _ in 0..calls {
        pair.compare(&mut dice, &mut log);
    }
    // An ordinary user cannot remove what it made 000: do it as its owner can.
    let _ = std::process::Command::new("chmod").args(["-R", "u+rwx"]).arg(&native_path).status();
}

/// A working directory in the tree that belongs to the subject.
fn root_user_dir(world: &World, credentials: &Credentials) -> OwnedFd {
    let root = super::root_user();
    let admin = world.as_user(&root);
    admin.make_dir("/w", 0o755).unwrap();
    admin.chown("/w", credentials.uid.fs, credentials.gid.fs).unwrap();
    admin.chdir("/w").unwrap()
}

#[test]
fn calls_answer_as_the_kernel_does() {
    for seed in 0..40 * super::rounds() {
        run(seed, 400);
    }
}
