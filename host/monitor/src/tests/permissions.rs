//! Virtual owners and modes decide for virtual users, whatever the real ones are.

use std::os::fd::AsFd;

use rustix::fs::{OFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW};
use wbuild_policy::Verdict;

use super::{User, World, done, policy, root_user, user};
use crate::{AccessAs, Credentials, Errno, Ids, LastLink, Monitor, Opened, XattrWrite};

const NONE: RenameFlags = RenameFlags::empty();

#[test]
fn every_component_needs_search_permission() {
    let world = World::new();
    let (root, one, two) = (root_user(), user(1), user(2));
    let (admin, one, two) = (world.as_user(&root), world.as_user(&one), world.as_user(&two));
    admin.make_dir("/home", 0o755).unwrap();
    admin.make_dir("/home/one", 0o755).unwrap();
    admin.chown("/home/one", 1, 1).unwrap();
    one.write("/home/one/file", b"x").unwrap();
    one.chmod("/home/one", 0o700).unwrap();
    assert_eq!(one.read("/home/one/file").unwrap(), b"x");
    assert_eq!(two.read("/home/one/file"), Err(Errno::ACCESS));
    assert_eq!(two.stat("/home/one/nothing").map(|_| ()), Err(Errno::ACCESS));
    assert_eq!(two.stat("/home/one").unwrap().stx_uid, 1);
    assert_eq!(admin.read("/home/one/file").unwrap(), b"x");
    one.chmod("/home/one", 0o711).unwrap();
    assert_eq!(two.read("/home/one/file").unwrap(), b"x");
    assert_eq!(two.open("/home/one", OFlags::RDONLY, 0).map(|_| ()), Err(Errno::ACCESS));
    assert_eq!(two.chdir("/home/one").map(|_| ()), Ok(()));
    one.chmod("/home/one", 0o600).unwrap();
    assert_eq!(one.read("/home/one/file"), Err(Errno::ACCESS));
    assert_eq!(one.chdir("/home/one").map(|_| ()), Err(Errno::ACCESS));
}

#[test]
fn a_sticky_directory_protects_what_is_in_it() {
    let world = World::new();
    let (root, one, two) = (root_user(), user(1), user(2));
    let (admin, one, two) = (world.as_user(&root), world.as_user(&one), world.as_user(&two));
    admin.make_dir("/tmp", 0o1777).unwrap();
    one.write("/tmp/f", b"").unwrap();
    two.write("/tmp/g", b"").unwrap();
    assert_eq!(two.unlink("/tmp/f"), Err(Errno::PERM));
    assert_eq!(two.rename("/tmp/f", "/tmp/h", NONE), Err(Errno::PERM));
    assert_eq!(two.rename("/tmp/g", "/tmp/f", NONE), Err(Errno::PERM));
    assert_eq!(two.rename("/tmp/g", "/tmp/h", NONE), Ok(()));
    assert_eq!(admin.unlink("/tmp/h"), Ok(()));
    assert_eq!(one.unlink("/tmp/f"), Ok(()));
    assert_eq!(one.write("/nowhere", b""), Err(Errno::ACCESS));
}

#[test]
fn only_owners_change_attributes() {
    let world = World::new();
    let (root, one, two) = (root_user(), user(1), user(2));
    let (admin, one, two) = (world.as_user(&root), world.as_user(&one), world.as_user(&two));
    admin.make_dir("/t", 0o777).unwrap();
    one.write("/t/f", b"").unwrap();
    one.chmod("/t/f", 0o666).unwrap();
    assert_eq!(two.chmod("/t/f", 0o777), Err(Errno::PERM));
    assert_eq!(two.chown("/t/f", 2, 2), Err(Errno::PERM));
    assert_eq!(one.chown("/t/f", 2, 2), Err(Errno::PERM));
    assert_eq!(one.chown("/t/f", 1, 1), Ok(()));
    let spec = |nanoseconds: i64| Timespec { tv_sec: 7, tv_nsec: nanoseconds };
    let times = |n| Timestamps { last_access: spec(n), last_modification: spec(n) };
    let touch = |who: &User<'_>, n| who.on("/t/f", |m, s, w| m.set_times(s, w, &times(n)));
    assert_eq!(touch(&two, 0), Err(Errno::PERM));
    assert_eq!(touch(&two, UTIME_NOW), Ok(()), "the file is writable for all");
    one.chmod("/t/f", 0o644).unwrap();
    assert_eq!(touch(&two, UTIME_NOW), Err(Errno::ACCESS));
    assert_eq!(touch(&one, 0), Ok(()));
    assert_eq!(touch(&one, 1 << 40), Err(Errno::INVAL));
}

#[test]
fn groups_and_setgid_directories_are_inherited() {
    let world = World::new();
    let root = root_user();
    let member = Credentials::initial(1, 1, vec![50]);
    let (admin, member) = (world.as_user(&root), world.as_user(&member));
    admin.make_dir("/shared", 0o755).unwrap();
    admin.chown("/shared", 0, 50).unwrap();
    admin.chmod("/shared", 0o2775).unwrap();
    member.make_dir("/shared/d", 0o755).unwrap();
    member.write("/shared/f", b"").unwrap();
    let stat = member.stat("/shared/d").unwrap();
    assert_eq!((stat.stx_uid, stat.stx_gid, stat.stx_mode & 0o7777), (1, 50, 0o2755));
    assert_eq!(member.stat("/shared/f").unwrap().stx_gid, 50);
    // The group's, then not the group's: setgid goes with chmod.
    member.chmod("/shared/f", 0o2755).unwrap();
    assert_eq!(member.mode("/shared/f"), 0o2755);
    admin.chown("/shared/f", 1, 99).unwrap();
    member.chmod("/shared/f", 0o2755).unwrap();
    assert_eq!(member.mode("/shared/f"), 0o755);
}

#[test]
fn setuid_goes_when_a_file_can_be_written() {
    let world = World::new();
    let (root, one) = (root_user(), user(1));
    let (admin, one) = (world.as_user(&root), world.as_user(&one));
    admin.write("/f", b"").unwrap();
    admin.chmod("/f", 0o6777).unwrap();
    drop(admin.fd("/f", OFlags::WRONLY).unwrap());
    assert_eq!(admin.mode("/f"), 0o6777, "CAP_FSETID keeps it");
    drop(one.fd("/f", OFlags::RDONLY).unwrap());
    assert_eq!(admin.mode("/f"), 0o6777);
    drop(one.fd("/f", OFlags::WRONLY).unwrap());
    assert_eq!(admin.mode("/f"), 0o777);
}

#[test]
fn umask_and_creation_modes() {
    let world = World::new();
    let root = root_user();
    let admin = User { umask: 0o027, ..world.as_user(&root) };
    admin.make_dir("/d", 0o7777).unwrap();
    assert_eq!(admin.mode("/d"), 0o1750, "mkdir knows no setgid");
    drop(admin.open("/f", OFlags::WRONLY | OFlags::CREATE, 0o6666).unwrap());
    assert_eq!(admin.mode("/f"), 0o6640);
    admin.symlink("x", "/l").unwrap();
    let stat = admin.on_link("/l", Monitor::stat).unwrap();
    assert_eq!(stat.stx_mode, 0o120_777);
}

#[test]
fn access_asks_the_real_user() {
    let world = World::new();
    let root = root_user();
    let admin = world.as_user(&root);
    admin.write("/secret", b"").unwrap();
    admin.chmod("/secret", 0o600).unwrap();
    let mut setuid = root.clone();
    setuid.uid.real = 1;
    let setuid = world.as_user(&setuid);
    let access = |who: &User<'_>, bits, as_| who.on("/secret", |m, s, w| m.access(s, w, bits, as_));
    assert_eq!(access(&setuid, 4, AccessAs::Effective), Ok(()));
    assert_eq!(access(&setuid, 4, AccessAs::Real), Err(Errno::ACCESS));
    assert_eq!(access(&admin, 1, AccessAs::Real), Err(Errno::ACCESS), "nobody may execute it");
    assert_eq!(access(&setuid, 8, AccessAs::Real), Err(Errno::INVAL));
}

#[test]
fn hard_links_are_protected() {
    let world = World::new();
    let (root, one) = (root_user(), user(1));
    let (admin, one) = (world.as_user(&root), world.as_user(&one));
    admin.make_dir("/t", 0o777).unwrap();
    admin.write("/t/roots", b"").unwrap();
    admin.write("/t/open", b"").unwrap();
    admin.chmod("/t/open", 0o666).unwrap();
    assert_eq!(one.link("/t/roots", "/t/l", LastLink::NoFollow), Err(Errno::PERM));
    assert_eq!(one.link("/t/open", "/t/l", LastLink::NoFollow), Ok(()));
    assert_eq!(admin.link("/t", "/u", LastLink::NoFollow), Err(Errno::PERM));
}

#[test]
fn extended_attributes_have_their_namespaces() {
    let world = World::new();
    let (root, one) = (root_user(), user(1));
    let container = Credentials::initial(0, 0, Vec::new());
    let (admin, one, container) = (world.as_user(&root), world.as_user(&one), world.as_user(&container));
    admin.write("/f", b"").unwrap();
    admin.symlink("f", "/l").unwrap();
    let set = |who: &User<'_>, path: &str, name: &str| {
        who.on_link(path, |m, s, w| m.set_xattr(s, w, name.as_bytes(), b"v", XattrWrite::Set))
    };
    assert_eq!(set(&admin, "/f", "user.a"), Ok(()));
    assert_eq!(set(&one, "/f", "user.a"), Err(Errno::ACCESS));
    assert_eq!(set(&admin, "/l", "user.a"), Err(Errno::PERM));
    assert_eq!(set(&container, "/f", "security.capability"), Ok(()));
    assert_eq!(set(&container, "/f", "security.selinux"), Err(Errno::PERM));
    assert_eq!(set(&container, "/f", "trusted.overlay.opaque"), Err(Errno::PERM));
    assert_eq!(set(&admin, "/f", "trusted.t"), Ok(()));
    for name in ["system.posix_acl_access", "nonsense", "os2.x"] {
        assert_eq!(set(&admin, "/f", name), Err(Errno::OPNOTSUPP), "{name}");
    }
    assert_eq!(set(&admin, "/f", ""), Err(Errno::RANGE));
    assert_eq!(set(&admin, "/f", "user."), Err(Errno::INVAL));
    let list = |who: &User<'_>| who.on("/f", Monitor::list_xattrs).unwrap();
    let names = ["security.capability", "trusted.t", "user.a"].map(|n| n.as_bytes().to_vec());
    assert_eq!(list(&admin), names);
    assert_eq!(list(&container), [names[0].clone(), names[2].clone()]);
    let get = |who: &User<'_>, name: &str| who.on("/f", |m, s, w| m.get_xattr(s, w, name.as_bytes()));
    assert_eq!(get(&container, "trusted.t"), Err(Errno::NODATA));
    assert_eq!(get(&admin, "user.a"), Ok(b"v".to_vec()));
    admin.on("/f", |m, s, w| m.remove_xattr(s, w, b"user.a")).unwrap();
    assert_eq!(get(&admin, "user.a"), Err(Errno::NODATA));
}

#[test]
fn devices_are_made_by_whoever_may_and_opened_by_nobody_here() {
    let world = World::new();
    let (root, one) = (root_user(), user(1));
    let (admin, one) = (world.as_user(&root), world.as_user(&one));
    admin.make_dir("/t", 0o777).unwrap();
    let node =
        |who: &User<'_>, path: &str, mode| done(who.at(path, |m, s, at| m.make_node(s, at, mode, (1, 3))));
    assert_eq!(node(&one, "/t/n", 0o020_666), Err(Errno::PERM));
    assert_eq!(node(&one, "/t/p", 0o010_666), Ok(()));
    assert_eq!(node(&admin, "/t/n", 0o020_666), Ok(()));
    assert_eq!(node(&admin, "/t/d", 0o040_755), Err(Errno::PERM));
    let stat = one.stat("/t/n").unwrap();
    assert_eq!((stat.stx_mode, stat.stx_rdev_major, stat.stx_rdev_minor), (0o020_666, 1, 3));
    for flags in [OFlags::RDONLY, OFlags::WRONLY, OFlags::RDWR | OFlags::CREATE] {
        assert!(matches!(one.open("/t/n", flags, 0), Ok(Opened::Device(_))), "{flags:?}");
        assert!(matches!(admin.open("/t/n", flags, 0), Ok(Opened::Device(_))), "{flags:?}");
    }
    assert!(matches!(one.open("/t/p", OFlags::RDONLY, 0), Ok(Opened::Fifo(_))));
    admin.chmod("/t/n", 0o600).unwrap();
    assert_eq!(one.open("/t/n", OFlags::RDONLY, 0).map(|_| ()), Err(Errno::ACCESS));
    assert_eq!(admin.on("/t/n", |m, s, w| m.truncate(s, w, 0)), Err(Errno::INVAL));
}

#[test]
fn programs_need_an_x_bit_and_the_policys_leave() {
    for (verdict, expected) in [(Verdict::Allow, Ok(())), (Verdict::Deny, Err(Errno::ACCESS))] {
        let rule = if verdict == Verdict::Deny { "exec.native = \"deny\"" } else { "" };
        let world = World::with(policy(rule), |_| {});
        let (root, one) = (root_user(), user(1));
        let (admin, one) = (world.as_user(&root), world.as_user(&one));
        admin.make_dir("/bin", 0o755).unwrap();
        admin.write("/bin/sh", b"\x7fELF").unwrap();
        let exec = |who: &User<'_>| who.on("/bin/sh", Monitor::exec).map(|program| program.path);
        assert_eq!(exec(&admin), Err(Errno::ACCESS), "no x bit");
        admin.chmod("/bin/sh", 0o4711).unwrap();
        assert_eq!(exec(&one).map(|path| assert_eq!(path, b"/bin/sh")), expected);
        assert_eq!(admin.on("/bin", Monitor::exec).map(|_| ()), Err(Errno::ACCESS), "a directory");
        let denials = world.monitor.denials().list;
        match verdict {
            Verdict::Allow => assert_eq!(denials, Vec::new()),
            Verdict::Deny => {
                assert_eq!(denials.len(), 1);
                assert_eq!((denials[0].path.as_slice(), denials[0].count), (b"/bin/sh".as_slice(), 1));
                let told = denials[0].explanation.as_ref().unwrap();
                assert_eq!((told.rule.key.as_str(), told.rule.line), ("exec.native", 2));
            }
        }
    }
}

#[test]
fn sockets_are_bound_and_connected_by_descriptor() {
    let world = World::new();
    let (root, one) = (root_user(), user(1));
    let (admin, one) = (world.as_user(&root), world.as_user(&one));
    admin.make_dir("/run", 0o755).unwrap();
    let mut bind = |dir: std::os::fd::BorrowedFd<'_>, name: &[u8]| {
        let mode = rustix::fs::Mode::from_raw_mode(0o777);
        rustix::fs::mknodat(dir, name, rustix::fs::FileType::Socket, mode, 0)
    };
    let masked = User { umask: 0o022, ..admin };
    done(masked.at("/run/s", |m, s, at| m.bind_socket(s, at, &mut bind))).unwrap();
    assert_eq!(admin.stat("/run/s").unwrap().stx_mode, 0o140_755);
    assert_eq!(done(admin.at("/run/s", |m, s, at| m.bind_socket(s, at, &mut bind))), Err(Errno::ADDRINUSE));
    let connect = |who: &User<'_>, path: &str| done(who.at(path, Monitor::connect_socket)).map(|_| ());
    assert_eq!(connect(&admin, "/run/s"), Ok(()));
    assert_eq!(connect(&one, "/run/s"), Err(Errno::ACCESS));
    assert_eq!(connect(&admin, "/run"), Err(Errno::CONNREFUSED));
    assert_eq!(admin.open("/run/s", OFlags::RDONLY, 0).map(|_| ()), Err(Errno::NXIO));
}

#[test]
fn ids_of_the_filesystem_count() {
    let world = World::new();
    let root = root_user();
    let admin = world.as_user(&root);
    admin.make_dir("/t", 0o777).unwrap();
    let fs_only = Credentials { uid: Ids { fs: 9, ..Ids::all(1) }, ..user(1) };
    world.as_user(&fs_only).write("/t/f", b"").unwrap();
    assert_eq!(admin.stat("/t/f").unwrap().stx_uid, 9);
    let fd = admin.fd("/t/f", OFlags::RDONLY).unwrap();
    let subject = admin.subject();
    let stat = done(world.monitor.stat(&subject, crate::Where::Fd(fd.as_fd()))).unwrap();
    assert_eq!(stat.stx_uid, 9);
}
