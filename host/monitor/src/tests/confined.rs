//! Nothing in a tree leads out of it: hostile links, `..`, and names that change while they are resolved.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, RenameFlags, ResolveFlags};

use super::{World, done, root_user, user};
use crate::{At, Base, Errno, GuestPath, LastLink, MtimeRule, Opened, Where};

/// A world with a secret beside its tree.
fn world() -> (World, String) {
    let world = World::new();
    let secret = world.outside().join("secret");
    #[expect(clippy::disallowed_methods, reason = "a host file that must not be reached")]
    std::fs::write(&secret, b"secret").unwrap();
    let secret = secret.to_str().unwrap().to_owned();
    (world, secret)
}

#[test]
fn links_and_dots_end_at_the_root() {
    let (world, secret) = world();
    for credentials in [root_user(), user(5)] {
        let user = world.as_user(&credentials);
        let admin = root_user();
        let admin = world.as_user(&admin);
        let up = "../".repeat(40);
        let _ = admin.make_dir("/d", 0o755);
        let _ = admin.symlink(&secret, "/d/absolute");
        let _ = admin.symlink(&format!("{up}{secret}"), "/d/relative");
        let _ = admin.symlink("/d/absolute/..", "/d/parent");
        let _ = admin.symlink(&format!("{up}etc"), "/d/up");
        for path in [
            secret.clone(),
            format!("{up}{secret}"),
            "/d/absolute".into(),
            "/d/relative".into(),
            "d/../d/relative".into(),
            "/d/parent/secret".into(),
            format!("/d/up/..{secret}"),
        ] {
            assert_eq!(user.read(&path), Err(Errno::NOENT), "{path}");
            assert_eq!(user.stat(&path).map(|_| ()), Err(Errno::NOENT), "{path}");
        }
        // Writing through them makes the file in the tree or fails, never outside.
        for path in ["/d/absolute", "/d/relative"] {
            assert_eq!(user.write(path, b"x"), Err(Errno::NOENT));
        }
        assert_eq!(user.stat("/../../..").unwrap().stx_ino, user.stat("/").unwrap().stx_ino);
    }
    #[expect(clippy::disallowed_methods, reason = "the host file that must not be reached")]
    let content = std::fs::read(&secret).unwrap();
    assert_eq!(content, b"secret");
}

#[test]
fn names_that_flip_while_they_are_resolved_lead_nowhere_else() {
    let (world, secret) = world();
    let credentials = root_user();
    let admin = world.as_user(&credentials);
    let outside = world.outside();
    let outside = outside.to_str().unwrap();
    admin.make_dir("/in", 0o755).unwrap();
    admin.make_dir("/in/deep", 0o755).unwrap();
    admin.make_dir("/in/deep/er", 0o755).unwrap();
    admin.write("/in/secret", b"mine").unwrap();
    admin.symlink(outside, "/out").unwrap();
    admin.symlink(&format!("../../../../../../../../../..{outside}"), "/out2").unwrap();
    let tree =
        rustix::fs::open(world.path.join("fs"), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let stop = AtomicBool::new(false);
    let rounds = 50_000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Behind the monitor's back, faster than any guest could.
            while !stop.load(Ordering::Relaxed) {
                for other in ["out", "out2"] {
                    let _ = rustix::fs::renameat_with(&tree, "in", &tree, other, RenameFlags::EXCHANGE);
                    let _ = rustix::fs::renameat_with(&tree, "in", &tree, other, RenameFlags::EXCHANGE);
                }
                let _ = rustix::fs::renameat(&tree, "in/deep/er", &tree, "in/er");
                let _ = rustix::fs::renameat(&tree, "in/er", &tree, "in/deep/er");
            }
        });
        let ordinary = user(5);
        let people = [world.as_user(&credentials), world.as_user(&ordinary)];
        let mut seen = [0_usize; 2];
        for round in 0..rounds {
            let who = &people[round % 2];
            let path = ["/in/secret", "/in/deep/er/../../secret", "in/deep/../secret"][round % 3];
            match who.read(path) {
                Ok(content) => {
                    assert_eq!(content, b"mine", "{path} in round {round}");
                    seen[0] += 1;
                }
                Err(_) => seen[1] += 1,
            }
            if round % 16 == 0 {
                let _ = who.write("/in/made", b"x");
                let _ = who.unlink("/in/made");
                let _ = who.make_dir("/in/deep/er/../made", 0o755);
                let _ = who.remove_dir("/in/deep/made");
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(seen[0] > 0, "{seen:?}");
    });
    assert!(!world.outside().join("made").exists());
    #[expect(clippy::disallowed_methods, reason = "the host file that must not be reached")]
    let content = std::fs::read(secret).unwrap();
    assert_eq!(content, b"secret");
}

#[test]
fn loops_and_long_names_end() {
    let world = World::new();
    let credentials = root_user();
    let admin = world.as_user(&credentials);
    admin.symlink("two", "/one").unwrap();
    admin.symlink("one", "/two").unwrap();
    assert_eq!(admin.read("/one"), Err(Errno::LOOP));
    admin.symlink("0", "/1").unwrap();
    for n in 2..=42 {
        admin.symlink(&format!("{}", n - 1), &format!("/{n}")).unwrap();
    }
    admin.write("/0", b"end").unwrap();
    assert_eq!(admin.read("/40"), Ok(b"end".to_vec()));
    assert_eq!(admin.read("/41"), Err(Errno::LOOP));
    let long = "x".repeat(256);
    assert_eq!(admin.write(&long, b""), Err(Errno::NAMETOOLONG));
    assert_eq!(admin.make_dir(&format!("/{long}/y"), 0o755), Err(Errno::NAMETOOLONG));
    assert!(GuestPath::new("a/".repeat(2048)).is_err());
    assert!(GuestPath::new(&b"a\0b"[..]).is_err());
    assert_eq!(admin.read(""), Err(Errno::NOENT));
}

#[test]
fn openat2_flags_are_kept() {
    let world = World::new();
    let credentials = root_user();
    let admin = world.as_user(&credentials);
    admin.make_dir("/d", 0o755).unwrap();
    admin.make_dir("/d/e", 0o755).unwrap();
    admin.write("/d/f", b"inner").unwrap();
    admin.write("/f", b"outer").unwrap();
    admin.symlink("f", "/d/l").unwrap();
    admin.symlink("/f", "/d/a").unwrap();
    admin.symlink("../f", "/d/u").unwrap();
    let base = admin.chdir("/d").unwrap();
    let there = super::User { cwd: Some(&base), ..admin };
    let open = |path: &str, resolve| match there.open2(path, OFlags::RDONLY, 0, resolve)? {
        Opened::File(file) => {
            let mut content = [0; 8];
            let read = rustix::io::read(&file.fd, &mut content)?;
            Ok(String::from_utf8_lossy(&content[..read]).into_owned())
        }
        other => panic!("{other:?}"),
    };
    let (beneath, in_root) = (ResolveFlags::BENEATH, ResolveFlags::IN_ROOT);
    assert_eq!(open("f", beneath).unwrap(), "inner");
    assert_eq!(open("l", beneath).unwrap(), "inner");
    for path in ["/d/f", "../f", "a", "u", "e/../../f"] {
        assert_eq!(open(path, beneath), Err(Errno::XDEV), "{path}");
    }
    for path in ["/f", "../../f", "a", "u", "e/../../f"] {
        assert_eq!(open(path, in_root).unwrap(), "inner", "{path}");
    }
    assert_eq!(open("l", ResolveFlags::NO_SYMLINKS), Err(Errno::LOOP));
    assert_eq!(open("f", beneath | in_root), Err(Errno::INVAL));
}

#[test]
fn a_step_through_the_monitor_ends_in_its_changes() {
    let world = World::new();
    let credentials = root_user();
    let admin = world.as_user(&credentials);
    admin.make_dir("/d", 0o1777).unwrap();
    let ordinary = user(7);
    let other = super::User { umask: 0o027, ..world.as_user(&ordinary) };
    other.write("/d/file", b"content").unwrap();
    let base = other.chdir("/d").unwrap();
    super::User { cwd: Some(&base), ..other }.link("file", "again", LastLink::NoFollow).unwrap();
    // By descriptor, and after the name has changed.
    let fd = other.fd("/d/file", OFlags::RDONLY).unwrap();
    other.rename("/d/file", "/d/moved", RenameFlags::empty()).unwrap();
    let subject = other.subject();
    done(world.monitor.chmod(&subject, Where::Fd(fd.as_fd()), 0o4711)).unwrap();
    assert_eq!(other.path_of("/d/moved"), "/d/moved");
    let (finished, _) = world.monitor.finish(MtimeRule::Keep).unwrap();
    let shown: Vec<_> = finished
        .changes
        .iter()
        .map(|(path, change)| match change {
            wbuild_layer::Change::Upsert(e) => {
                let a = &e.attributes;
                format!(
                    "{path} {:o} {}:{} {}",
                    a.mode,
                    a.uid,
                    a.gid,
                    matches!(e.kind, wbuild_layer::EntryKind::HardLink { .. })
                )
            }
            other => panic!("{path} {other:?}"),
        })
        .collect();
    assert_eq!(shown, ["/d 1777 0:0 false", "/d/again 4711 7:7 false", "/d/moved 4711 7:7 true"]);
}

#[test]
fn a_nameless_file_gets_a_name() {
    let world = World::new();
    let credentials = root_user();
    let admin = world.as_user(&credentials);
    let fd = admin.fd("/", OFlags::TMPFILE | OFlags::WRONLY).unwrap();
    rustix::io::write(&fd, b"late").unwrap();
    let to = super::guest("/named");
    let to = At { base: Base::Root, path: &to };
    done(world.monitor.link(&admin.subject(), Where::Fd(fd.as_fd()), to)).unwrap();
    assert_eq!(admin.read("/named").unwrap(), b"late");
    assert_eq!(admin.open("/", OFlags::TMPFILE, 0).map(|_| ()), Err(Errno::INVAL));
}
