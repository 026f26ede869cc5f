//! /proc, /dev and /sys: where a path crosses into them, and their links back.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{User, World, root_user, user};
use crate::{Errno, Fault, LastLink, Monitor, Outcome, ViewNode, ViewPath, Views, Where};

/// A small /proc: self -> 7, 7/{exe -> object, fd -> directory, fd/0 -> pipe, cwd}, version; and /dev/fd -> /proc/self/fd.
struct Small {
    exe: OwnedFd,
    pipe: OwnedFd,
}

impl Views for Small {
    fn node(&self, place: &ViewPath) -> Result<ViewNode, Fault> {
        let path = String::from_utf8(place.to_guest_path()).unwrap();
        let copy = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 3).map(ViewNode::Object);
        Ok(match path.as_str() {
            "/proc/self" => ViewNode::Link(b"7".to_vec()),
            "/proc/7" | "/proc/7/fd" => ViewNode::Directory,
            "/proc/7/exe" => copy(&self.exe)?,
            "/proc/7/fd/0" => copy(&self.pipe)?,
            "/proc/7/cwd" => ViewNode::Elsewhere(ViewPath { kind: place.kind, rest: b"7/fd".to_vec() }),
            "/proc/version" => ViewNode::Leaf,
            "/dev/fd" => ViewNode::Link(b"/proc/self/fd".to_vec()),
            _ => return Err(Errno::NOENT.into()),
        })
    }
}

fn view(answer: Result<Outcome<rustix::fs::Statx>, Fault>) -> Result<String, Errno> {
    match answer {
        Ok(Outcome::View(place)) => Ok(String::from_utf8(place.to_guest_path()).unwrap()),
        Ok(Outcome::Done(stat)) => Ok(format!("tree {:o}", stat.stx_mode)),
        Ok(Outcome::Object(_)) => Ok("object".to_owned()),
        Err(fault) => Err(fault.errno().unwrap()),
    }
}

fn with_views(act: impl Fn(&User<'_>)) {
    for credentials in [root_user(), user(1)] {
        let world = World::new();
        let root = root_user();
        let admin = world.as_user(&root);
        admin.make_dir("/etc", 0o755).unwrap();
        admin.make_dir("/bin", 0o755).unwrap();
        admin.write("/bin/prog", b"program").unwrap();
        admin.symlink("../proc/self/fd", "/etc/mtab").unwrap();
        let exe = admin.fd("/bin/prog", OFlags::PATH).unwrap();
        let (pipe, _) = rustix::pipe::pipe().unwrap();
        let views = Small { exe, pipe };
        act(&User { views: &views, ..world.as_user(&credentials) });
    }
}

#[test]
fn paths_end_in_views_under_their_true_name() {
    with_views(|user| {
        let stat = |path: &str| view(user.at(path, |m, s, at| m.stat(s, Where::Path(at, LastLink::Follow))));
        let lstat =
            |path: &str| view(user.at(path, |m, s, at| m.stat(s, Where::Path(at, LastLink::NoFollow))));
        for (path, expected) in [
            ("/proc", "/proc"),
            ("/proc/", "/proc"),
            ("/bin/../proc/./version", "/proc/version"),
            ("/proc/self", "/proc/7"),
            ("/proc/self/", "/proc/7"),
            ("/proc/self/../version", "/proc/version"),
            ("/proc/self/fd", "/proc/7/fd"),
            ("/proc/self/cwd", "/proc/7/fd"),
            ("/dev/fd", "/proc/7/fd"),
            ("/etc/mtab", "/proc/7/fd"),
            ("/proc/self/fd/0", "object"),
            ("/proc/self/exe", "tree 100644"),
            ("/proc/../bin/prog", "tree 100644"),
            ("/proc/self/../../../bin", "tree 40755"),
        ] {
            assert_eq!(stat(path), Ok(expected.to_owned()), "{path}");
        }
        assert_eq!(lstat("/proc/self"), Ok("/proc/self".to_owned()));
        assert_eq!(lstat("/proc/self/exe"), Ok("/proc/7/exe".to_owned()));
        assert_eq!(lstat("/etc/mtab"), Ok("tree 120777".to_owned()));
        assert_eq!(stat("/proc/8"), Err(Errno::NOENT));
        assert_eq!(stat("/proc/version/x"), Err(Errno::NOTDIR));
        assert_eq!(stat("/proc/version/"), Err(Errno::NOTDIR));
        assert_eq!(stat("/proc/self/fd/0/x"), Err(Errno::NOTDIR));
        assert_eq!(user.read("/proc/self/exe").unwrap(), b"program");
        let magic = user.open2("/proc/self/exe", OFlags::RDONLY, 0, ResolveFlags::NO_MAGICLINKS);
        assert_eq!(magic.map(|_| ()), Err(Errno::LOOP));
    });
}

#[test]
fn changes_in_a_view_are_the_brokers_to_answer() {
    with_views(|user| {
        let is_view = |answer: Result<Outcome<()>, Fault>, path: &str| match answer {
            Ok(Outcome::View(place)) => assert_eq!(place.to_guest_path(), path.as_bytes()),
            other => panic!("{path}: {other:?}"),
        };
        is_view(user.at("/dev/new", |m, s, at| m.make_dir(s, at, 0o755)), "/dev/new");
        is_view(user.at("/proc", |m, s, at| m.make_dir(s, at, 0o755)), "/proc");
        is_view(user.at("/proc", Monitor::remove_dir), "/proc");
        is_view(user.at("/etc/../sys/x", Monitor::unlink), "/sys/x");
        is_view(user.at("/dev/fd", Monitor::unlink), "/dev/fd");
        let to = super::guest("/proc/x");
        let to = crate::At { base: crate::Base::Root, path: &to };
        let none = rustix::fs::RenameFlags::empty();
        is_view(user.at("/bin/prog", |m, s, at| m.rename(s, at, to, none)), "/proc/x");
        is_view(
            user.at("/proc/self", |m, s, at| m.chmod(s, Where::Path(at, LastLink::Follow), 0)),
            "/proc/7",
        );
        let create = crate::OpenRequest {
            flags: OFlags::WRONLY | OFlags::CREATE,
            mode: 0o644,
            resolve: ResolveFlags::empty(),
        };
        match user.at("/dev/made", |m, s, at| m.open(s, at, &create)) {
            Ok(Outcome::View(place)) => assert_eq!(place.rest, b"made"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn what_is_no_file_of_the_guests_is_an_object() {
    let world = World::new();
    let credentials = root_user();
    let admin = world.as_user(&credentials);
    let (pipe, _) = rustix::pipe::pipe().unwrap();
    let subject = admin.subject();
    let chmod = world.monitor.chmod(&subject, Where::Fd(pipe.as_fd()), 0);
    assert!(matches!(chmod, Ok(Outcome::Object(_))), "{chmod:?}");
    assert!(matches!(world.monitor.stat(&subject, Where::Fd(pipe.as_fd())), Ok(Outcome::Object(_))));
    assert_eq!(world.monitor.path_of(pipe.as_fd()).unwrap(), None);
}

#[test]
fn a_base_outside_the_tree_is_no_way_in_or_out() {
    let world = World::new();
    let etc = rustix::fs::open("/etc", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let proc = rustix::fs::open("/proc/self", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for credentials in [root_user(), user(1)] {
        let admin = world.as_user(&credentials);
        for (base, name) in [(&proc, "status"), (&proc, "root/etc/passwd"), (&etc, "../etc/passwd")] {
            let path = super::guest(name);
            let at = crate::At { base: crate::Base::Dir(base.as_fd()), path: &path };
            let stat = world.monitor.stat(&admin.subject(), Where::Path(at, LastLink::Follow));
            let errno = stat.as_ref().err().and_then(Fault::errno);
            assert!(matches!(errno, Some(Errno::ACCESS | Errno::NOENT)), "{name}: {stat:?}");
        }
    }
}
