//! Attacks by way of mounts: out of a source, out of a target, from one step into another.

use wbuild_tests::base;
use wbuild_tests::layout::Image;
use wbuild_tests::project::{Project, pod};
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace::Scratch;

fn callers() -> [Caller; 2] {
    [pod().unwrap(), Caller::Root]
}

#[test]
fn a_target_behind_a_symlink_stays_in_the_tree() {
    let text = "FROM base\nRUN ln -s /../../../../../tmp /out && ln -s ../../../../../../etc /up && ln -s /proc/self/root /magic\n\
        RUN --mount=type=tmpfs,target=/out/wbuild-was-here --mount=type=cache,target=/up/wbuild-was-here touch /out/wbuild-was-here/x /up/wbuild-was-here/x && \
        test -d /tmp/wbuild-was-here && test -d /etc/wbuild-was-here\n\
        RUN test ! -e /tmp/wbuild-was-here && test ! -e /etc/wbuild-was-here && touch /done\n";
    for caller in callers() {
        let built = Project::new(&base::busybox().unwrap(), text).unwrap().build(caller).unwrap();
        assert!(built.image.entry("done").unwrap().is_some());
        for host in ["/tmp/wbuild-was-here", "/etc/wbuild-was-here"] {
            assert!(!std::path::Path::new(host).exists(), "{host} was made on the host");
        }
    }
}

#[test]
fn no_mount_covers_a_view_or_the_root() {
    for (target, code) in [("/proc/x", 1), ("/sys", 1), ("/dev/pts/x", 1), ("/", 3), ("/x/..", 3)] {
        let text = format!("FROM base\nRUN --mount=type=tmpfs,target={target} true\n");
        let attempt = Project::new(&base::busybox().unwrap(), &text).unwrap().try_build(pod().unwrap(), &[]);
        let text = attempt.unwrap().outcome.code(code).unwrap().text();
        assert!(text.contains("mount") && text.contains("Dockerfile:2"), "{target}: {text}");
    }
}

#[test]
fn a_source_does_not_leave_where_it_is_looked_up() {
    let secret = Scratch::new("host-secret").unwrap();
    std::fs::write(secret.path().join("s"), "of-the-host").unwrap();
    let path = secret.path().display().to_string();
    for (source, line) in [
        (format!("source=../../../../../../../..{path}"), ""),
        (format!("source={path}/s"), ""),
        ("source=link/s".to_owned(), ""),
        (
            "from=wbuild-was-here,source=/link/s".to_owned(),
            "RUN ln -s ../../../../../../../../../../..HOST /link\n",
        ),
        ("from=wbuild-was-here,source=/link".to_owned(), "RUN ln -s /proc/self/root/HOST/s /link\n"),
    ] {
        let line = line.replace("HOST", &path);
        let text = format!(
            "FROM base AS wbuild-was-here\n{line}FROM base\nRUN --mount={source},target=/m cat /m /m/* || true\n"
        );
        for caller in callers() {
            let project = Project::new(&base::busybox().unwrap(), &text).unwrap();
            std::os::unix::fs::symlink(&path, project.path().join("link")).unwrap();
            let text = project.try_build(caller, &[]).unwrap().outcome.text();
            assert!(!text.contains("of-the-host"), "{source}: {text}");
            // The cache's key is made first, and it may be what finds that nothing is there.
            assert!(text.contains("is not in") || text.contains("No such file"), "{source}: {text}");
        }
    }
}

#[test]
fn a_link_that_an_earlier_build_left_in_a_cache_leads_into_the_tree() {
    let secret = Scratch::new("host-secret").unwrap();
    std::fs::write(secret.path().join("s"), "of-the-host").unwrap();
    let path = secret.path().display().to_string();
    let plant = format!(
        "FROM base\nRUN --mount=type=cache,target=/c ln -s {path} /c/dir && ln -s ../../../../../../../../..{path}/s /c/file\n"
    );
    let read = "FROM base\nRUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/c/dir/t set -e; ! cat /c/file; ! cat /c/dir/s; \
        echo wbuild-was-here > /c/dir/new || true\nCOPY --from=base / /all\n";
    for caller in callers() {
        let base = base::busybox().unwrap();
        let mut session = Session::new(caller).unwrap();
        Project::new(&base, &plant).unwrap().build_in(&mut session, &[]).unwrap().1.success().unwrap();
        let (_, outcome) = Project::new(&base, read).unwrap().build_in(&mut session, &[]).unwrap();
        assert!(!outcome.text().contains("of-the-host"), "{}", outcome.text());
        assert!(!secret.path().join("new").exists() && !secret.path().join("t").exists());
    }
}

#[test]
fn a_secret_is_for_the_step_that_names_it() {
    let text = "FROM base\nRUN --mount=type=secret,id=s,target=/s cat /s > /dev/shm/s; mkdir -p /c; sleep 0\n\
        RUN ! cat /s && ! cat /dev/shm/s && ! cat /run/secrets/s\n\
        RUN --mount=type=secret,id=S ! cat /run/secrets/S\n\
        RUN --mount=type=secret,id=../s ! cat /run/secrets/s\n\
        RUN --mount=type=secret,id=other,target=/s ! cat /s\n\
        RUN ! grep -F hush-hush-hush /proc/self/environ /proc/1/environ /proc/self/cmdline /dev/shm/* 2>/dev/null && ! env | grep hush && touch /done\n";
    for caller in callers() {
        let mut session = Session::new(caller).unwrap();
        let dir = Scratch::new("secret").unwrap();
        std::fs::write(dir.path().join("s"), "hush-hush-hush").unwrap();
        let argument = format!("id=s,src={}/s", session.share(dir.path()).unwrap());
        let project = Project::new(&base::busybox().unwrap(), text).unwrap();
        let (layout, outcome) = project.build_in(&mut session, &["--secret", &argument]).unwrap();
        outcome.success().unwrap();
        assert!(Image::verify(&layout).unwrap().entry("done").unwrap().is_some());
    }
}

#[test]
fn nothing_is_linked_or_moved_across_mounts() {
    let text = "FROM base AS made\nRUN mkdir /d && echo mine > /d/f\nFROM base\n\
        RUN --mount=type=cache,target=/c --mount=from=made,source=/d,target=/ro --mount=from=made,source=/d,target=/rw,rw \
        set -e; echo cached > /c/f; ! ln /c/f /linked; ! ln /ro/f /linked; ! ln /rw/f /c/linked; ! ln /ro/f /ro/g; \
        ! sh -c 'echo x >> /ro/f'; ! sh -c ': > /ro/f'; ! rm /ro/f; ! mv /ro/f /ro/g; ! touch /ro/f; \
        cd /ro; ! sh -c 'echo x >> f'; ! sh -c 'echo x >> /proc/self/cwd/f'; ! sh -c 'echo x >> /dev/fd/3' 3< f; \
        ln -s /ro/f /alias; ! sh -c 'echo x >> /alias'; rm /alias; ! rmdir /c; ! mv /c /moved; ! mv /ro /moved; ! rm -r /ro\n\
        RUN --mount=from=made,source=/d,target=/ro test \"$(cat /ro/f)\" = mine && touch /done\n";
    for caller in callers() {
        let built = Project::new(&base::busybox().unwrap(), text).unwrap().build(caller).unwrap();
        assert!(built.image.entry("done").unwrap().is_some());
        assert!(built.image.entry("linked").unwrap().is_none());
    }
}
