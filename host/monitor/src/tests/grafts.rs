//! Grafts: crossing in and out, what is refused, and that nothing of them enters a layer.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, RenameFlags, ResolveFlags};
use wbuild_policy::Policy;

use super::{User, World, guest, root_user, user};
use crate::{
    Errno, JournalCheck, LastLink, Monitor, MountAccess, MtimeRule, Owner, Root, ViewKind, ViewPath,
};

fn opened(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// A tree with /cache (read-write), /cache/inner (read-only), /etc/resolv.conf (a file over the image's own) and /dev/shm.
fn world() -> World {
    rustix::process::umask(Mode::empty());
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let path = dir.path().join("tree");
    let root = Root::create(&path, Owner::Caller).unwrap();
    let monitor = Monitor::for_builder(root, Policy::default(), JournalCheck::Off).unwrap();
    let world = World { monitor, path: path.clone(), dir };
    let credentials = root_user();
    let admin = world.as_user(&credentials);
    admin.make_dir("/etc", 0o755).unwrap();
    admin.write("/etc/resolv.conf", b"image").unwrap();
    admin.make_dir("/var", 0o755).unwrap();
    admin.symlink("var", "/link").unwrap();
    let World { monitor, dir, .. } = world;
    let (_, root) = monitor.finish(MtimeRule::Keep).unwrap();

    let host = |name: &str| dir.path().join(name);
    for name in ["cache", "inner", "shm"] {
        rustix::fs::mkdir(host(name), Mode::from_raw_mode(0o755)).unwrap();
    }
    for (name, content) in [("resolv", "graft"), ("inner/file", "inner")] {
        #[expect(clippy::disallowed_methods, reason = "host files to graft")]
        std::fs::write(host(name), content).unwrap();
    }
    let mut monitor = Monitor::for_step(root, Policy::default(), JournalCheck::FullWalk).unwrap();
    let (rw, ro) = (MountAccess::ReadWrite, MountAccess::ReadOnly);
    monitor.graft(&guest("/link/made/cache"), opened(&host("cache")), rw).unwrap();
    monitor.graft(&guest("/var/made/cache/inner"), opened(&host("inner")), ro).unwrap();
    monitor.graft(&guest("/etc/resolv.conf"), opened(&host("resolv")), rw).unwrap();
    let shm = ViewPath { kind: ViewKind::Dev, rest: b"shm".to_vec() };
    monitor.graft_in_view(&shm, opened(&host("shm")), rw).unwrap();
    World { monitor, path, dir }
}

const CACHE: &str = "/var/made/cache";

fn finish(world: World) -> (Vec<String>, tempfile::TempDir) {
    let (finished, _) = world.monitor.finish(MtimeRule::Keep).unwrap();
    (finished.changes.iter().map(|(path, _)| path.to_string()).collect(), world.dir)
}

fn both(act: impl Fn(&World, &User<'_>)) {
    let everybody = user(1);
    for credentials in [root_user(), everybody] {
        let world = world();
        let root = root_user();
        world.as_user(&root).chmod(CACHE, 0o777).unwrap();
        world.as_user(&root).chmod("/dev/shm", 0o1777).unwrap();
        act(&world, &world.as_user(&credentials));
        assert_eq!(finish(world).0, [""; 0], "nothing of a graft enters the layer");
    }
}

#[test]
fn walks_cross_into_grafts_and_back() {
    both(|_, user| {
        user.write("/link/made/cache/f", b"cached").unwrap();
        assert_eq!(user.read("/var/made/cache/f").unwrap(), b"cached");
        assert_eq!(user.read("/etc/resolv.conf").unwrap(), b"graft");
        assert_eq!(user.read("/var/made/cache/../cache/inner/../f").unwrap(), b"cached");
        assert_eq!(user.read("/var/made/cache/inner/file").unwrap(), b"inner");
        assert_eq!(user.stat("/var/made/cache/..").unwrap().stx_ino, user.stat("/var/made").unwrap().stx_ino);
        user.write("/dev/shm/s", b"shared").unwrap();
        assert_eq!(user.read("/dev/shm/../shm/s").unwrap(), b"shared");
        assert_eq!(user.path_of("/dev/shm/s"), "/dev/shm/s");
        assert_eq!(user.path_of("/link/made/cache/inner/file"), "/var/made/cache/inner/file");
        assert_eq!(user.path_of("/link/made/cache"), CACHE);
        let cwd = user.chdir("/link/made/cache/inner").unwrap();
        let there = User { cwd: Some(&cwd), ..*user };
        assert_eq!(there.read("file").unwrap(), b"inner");
        assert_eq!(there.read("../f").unwrap(), b"cached");
        assert_eq!(there.read("../../../../etc/resolv.conf").unwrap(), b"graft");
        assert_eq!(there.stat("../../../../../..").unwrap().stx_ino, there.stat("/").unwrap().stx_ino);
    });
}

#[test]
fn owners_and_modes_hold_in_grafts() {
    both(|world, user| {
        user.write("/link/made/cache/f", b"x").unwrap();
        user.chmod("/link/made/cache/f", 0o4701).unwrap();
        let stat = user.stat("/var/made/cache/f").unwrap();
        assert_eq!((stat.stx_uid, stat.stx_mode & 0o7777), (user.credentials.uid.fs, 0o4701));
        let other = super::user(2);
        assert_eq!(world.as_user(&other).read("/var/made/cache/f"), Err(Errno::ACCESS));
    });
}

#[test]
fn read_only_grafts_refuse_every_change() {
    let world = world();
    let credentials = root_user();
    let admin = world.as_user(&credentials);
    let file = "/var/made/cache/inner/file";
    let new = "/var/made/cache/inner/new";
    let rofs = Err(Errno::ROFS);
    assert_eq!(admin.write(file, b"x"), rofs);
    assert_eq!(admin.write(new, b"x"), rofs);
    assert_eq!(admin.make_dir(new, 0o755), rofs);
    assert_eq!(admin.symlink("x", new), rofs);
    assert_eq!(admin.unlink(file), rofs);
    assert_eq!(admin.rename(file, new, RenameFlags::empty()), rofs);
    assert_eq!(admin.chmod(file, 0o600), rofs);
    assert_eq!(admin.chown(file, 1, 1), rofs);
    assert_eq!(admin.on(file, |m, s, w| m.truncate(s, w, 0)), rofs);
    assert_eq!(admin.make_dir("/var/made/cache/inner", 0o755), Err(Errno::EXIST));
    let fd = admin.fd(file, OFlags::RDONLY).unwrap();
    let subject = admin.subject();
    let by_fd = crate::Where::Fd(std::os::fd::AsFd::as_fd(&fd));
    assert!(matches!(world.monitor.chmod(&subject, by_fd, 0o600), Err(crate::Fault::Errno(Errno::ROFS))));
    // A base inside the graft is no way around it.
    let cwd = admin.chdir("/var/made/cache/inner").unwrap();
    let there = User { cwd: Some(&cwd), ..admin };
    assert_eq!(there.write("file", b"x"), rofs);
    assert_eq!(there.unlink("file"), rofs);
    assert_eq!(there.read("file").unwrap(), b"inner");
}

#[test]
fn mount_points_stay_and_nothing_moves_across() {
    let world = world();
    let credentials = root_user();
    let admin = world.as_user(&credentials);
    let none = RenameFlags::empty();
    assert_eq!(admin.unlink("/etc/resolv.conf"), Err(Errno::BUSY));
    assert_eq!(admin.rename("/etc/resolv.conf", "/etc/old", none), Err(Errno::BUSY));
    admin.write("/etc/new", b"").unwrap();
    assert_eq!(admin.rename("/etc/new", "/etc/resolv.conf", none), Err(Errno::BUSY));
    assert_eq!(admin.remove_dir(CACHE), Err(Errno::BUSY));
    admin.write("/var/made/cache/f", b"").unwrap();
    assert_eq!(admin.rename("/var/made/cache/f", "/f", none), Err(Errno::XDEV));
    assert_eq!(admin.rename("/etc/new", "/var/made/cache/g", none), Err(Errno::XDEV));
    assert_eq!(admin.link("/var/made/cache/f", "/f", LastLink::NoFollow), Err(Errno::XDEV));
    assert_eq!(admin.link("/etc/resolv.conf", "/f", LastLink::NoFollow), Err(Errno::XDEV));
    admin.write("/dev/shm/s", b"").unwrap();
    assert_eq!(admin.rename("/dev/shm/s", "/var/made/cache/s", none), Err(Errno::XDEV));
    let open = |path: &str, flags| admin.open2(path, OFlags::RDONLY, 0, flags).map(|_| ());
    assert_eq!(open("/var/made/cache/f", ResolveFlags::NO_XDEV), Err(Errno::XDEV));
    assert_eq!(open("/etc/new", ResolveFlags::NO_XDEV), Ok(()));
    // Writing to the file that is grafted over the image's own leaves that alone.
    admin.write("/etc/resolv.conf", b"from the step").unwrap();
    // The mount moves with the directory around it.
    admin.rename("/var/made", "/var/moved", none).unwrap();
    assert_eq!(admin.path_of("/var/moved/cache/f"), "/var/moved/cache/f");
    let image = world.path.join("fs/etc/resolv.conf");
    let (changes, _dir) = finish(world);
    assert_eq!(changes, ["/etc/new", "/var/moved"], "what the step renamed is the step's");
    #[expect(clippy::disallowed_methods, reason = "the image's file, behind the monitor")]
    let content = std::fs::read(image).unwrap();
    assert_eq!(content, b"image");
}
