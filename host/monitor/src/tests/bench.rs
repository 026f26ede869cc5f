//! What a call costs in the monitor alone; run by hand, as an ordinary user for the kernel's walk:
//! `setpriv --reuid=65321 --clear-groups <test binary> bench --ignored --nocapture`.

use rustix::fs::OFlags;
use rustix::time::{ClockId, clock_gettime};

use super::{User, World, root_user, user};

#[test]
#[ignore = "prints figures, asserts none"]
fn bench_calls() {
    let world = World::new();
    let root = root_user();
    let admin = world.as_user(&root);
    for dir in ["/usr", "/usr/lib", "/usr/lib/x86_64", "/usr/lib/x86_64/deep"] {
        admin.make_dir(dir, 0o777).unwrap();
    }
    admin.write("/usr/lib/x86_64/deep/file", b"x").unwrap();
    admin.chmod("/usr/lib/x86_64/deep/file", 0o666).unwrap();
    let cwd = admin.chdir("/usr/lib").unwrap();
    let ordinary = user(1);
    for (who, credentials) in [("root", &root), ("user", &ordinary)] {
        let user = User { cwd: Some(&cwd), ..world.as_user(credentials) };
        let time = |what: &str, act: &dyn Fn()| {
            let rounds = 20_000_u32;
            // This thread's processor time: the machine may have other things to do.
            let start = clock_gettime(ClockId::ThreadCPUTime);
            (0..rounds).for_each(|_| act());
            let spent = clock_gettime(ClockId::ThreadCPUTime) - start;
            let microseconds = spent.tv_sec as f64 * 1e6 + spent.tv_nsec as f64 / 1e3;
            println!("{who} {what:<22} {:6.2} us", microseconds / f64::from(rounds));
        };
        let file = "/usr/lib/x86_64/deep/file";
        time("stat absolute", &|| assert!(user.stat(file).is_ok()));
        time("stat relative", &|| assert!(user.stat("x86_64/deep/file").is_ok()));
        time("stat missing", &|| assert!(user.stat("/usr/lib/x86_64/none").is_err()));
        time("open read, close", &|| drop(user.fd(file, OFlags::RDONLY).unwrap()));
        time("open write, close", &|| drop(user.fd(file, OFlags::WRONLY).unwrap()));
        time("create, unlink", &|| {
            drop(user.fd("/usr/lib/x86_64/deep/new", OFlags::WRONLY | OFlags::CREATE).unwrap());
            user.unlink("/usr/lib/x86_64/deep/new").unwrap();
        });
    }
}
