//! RUN --mount: what a step finds at a mount, what stays of it, and what never does.

use wbuild_tests::base;
use wbuild_tests::layout::Image;
use wbuild_tests::project::{Project, pod};
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace::Scratch;

const BINDS: &str = r#"FROM base AS made
RUN mkdir -p /d/sub && echo one > /d/one && chown 7:8 /d/one && chmod 4640 /d/one && echo two > /d/sub/two && \
    ln -s /d/sub /d/link && ln /d/one /d/hard && mkdir -m 700 /d/closed && chown 9 /d/closed
FROM base
WORKDIR /w
RUN --mount=target=/context set -e; test "$(cat /context/file)" = context; test ! -e /context/hidden; \
    test "$(stat -c %u:%g:%a /context/file)" = 0:0:644; ! touch /context/new; ! rm /context/file; ! chmod 600 /context/file
RUN --mount=source=file,target=there/is/a.file test "$(cat /w/there/is/a.file)" = context && ! sh -c 'echo x > there/is/a.file'
RUN test ! -e /w/there && test ! -e /context
RUN --mount=from=made,source=/d,target=/m set -e; test "$(stat -c %u:%g:%a /m/one)" = 7:8:4640; \
    test "$(stat -c %i /m/one)" = "$(stat -c %i /m/hard)"; test "$(stat -c %u:%a /m/closed)" = 9:700; test "$(readlink /m/link)" = /d/sub; \
    cd /m/sub; test "$(pwd -P)" = /m/sub; test "$(cat two)" = two; cd ..; test "$(pwd -P)" = /m; cd ..; test "$(pwd -P)" = /
RUN --mount=from=made,source=/d/link,target=/m test "$(cat /m/two)" = two
RUN --mount=from=made,source=/d,target=/m,rw set -e; echo more >> /m/one; touch /m/new; chown 1 /m/sub; test "$(stat -c %u /m/sub)" = 1; \
    mkdir /m/dir; mv /m/new /m/dir/; ! mv /m/one /w/one.moved 2>/dev/null || test "$(cat /w/one.moved)" = "$(printf 'one\nmore')"; rm -f /w/one.moved
RUN --mount=from=made,source=/d,target=/m test "$(cat /m/hard)" = one && test ! -e /m/dir
RUN --mount=from=made,target=/stage --mount=type=cache,target=/stage/d/cache --mount=type=tmpfs,target=/stage/d/sub \
    touch /stage/d/cache/x /stage/d/sub/x && test -f /stage/d/one && test ! -e /stage/d/sub/two && ls -l /stage > /dev/null
RUN --mount=from=scratch,target=/nothing test -z "$(ls -A /nothing)"
RUN --mount=from=other,target=/other --mount=from=base,source=/bin,target=/its test -f /other/Dockerfile && test -e /its/sh
USER 5
RUN --mount=from=made,source=/d,target=/m ! cat /m/one && ! ls /m/closed && cat /m/sub/two
USER 0
RUN --mount=target=/context cp /context/file /w/copied
"#;

/// The names that the image has and its base has not.
fn added(image: &Image) -> Vec<String> {
    let mut names = Vec::new();
    for layer in image.layers().unwrap().iter().skip(1) {
        let mut archive = tar::Archive::new(image.archive(layer).unwrap());
        for entry in archive.entries().unwrap() {
            names.push(entry.unwrap().path().unwrap().to_string_lossy().trim_end_matches('/').to_owned());
        }
    }
    names.sort();
    names.dedup();
    names
}

fn binds(caller: Caller) {
    let project = Project::new(&base::busybox().unwrap(), BINDS).unwrap();
    project.file("file", "context\n").unwrap().file("hidden", "").unwrap();
    project.file(".dockerignore", "hidden\n").unwrap();
    let mut session = Session::new(caller).unwrap();
    session.env("WBUILD_JOURNAL_CHECK", "1");
    let other = Scratch::new("other").unwrap();
    std::fs::write(other.path().join("Dockerfile"), "").unwrap();
    let other = format!("other={}", session.share(other.path()).unwrap());
    let (layout, outcome) = project.build_in(&mut session, &["--build-context", &other]).unwrap();
    outcome.success().unwrap();
    let image = Image::verify(&layout).unwrap();
    assert_eq!(image.text("w/copied").unwrap(), "context\n");
    assert_eq!(added(&image), ["w", "w/copied"], "no mount point and nothing of a mount is in a layer");
}

#[test]
fn binds_show_files_as_they_are_and_keep_nothing() {
    binds(pod().unwrap());
}

#[test]
fn binds_are_the_same_where_root_builds() {
    binds(Caller::Root);
}

const CACHES: &str = r#"FROM base
ARG ROUND
RUN --mount=type=cache,target=/c set -e; if [ "$ROUND" = 1 ]; then test -z "$(ls -A /c)"; \
    mkdir -m 2755 /c/dir; echo kept > /c/dir/file; chown 12:13 /c/dir/file; chmod 4711 /c/dir/file; ln /c/dir/file /c/hard; mknod /c/null c 1 3; \
    touch /c/gone; else test "$(cat /c/dir/file)" = kept; fi
RUN --mount=type=cache,id=/c,target=/other,ro set -e; test "$(stat -c %u:%g:%a /other/dir/file)" = 12:13:4711; \
    test "$(stat -c %a /other/dir)" = 2755; test "$(stat -c %F /other/null)" = 'character special file'; ! touch /other/new; ! rm /other/gone
RUN --mount=type=cache,target=/c,uid=7,mode=0700 test -z "$(ls -A /c)" && test "$(stat -c %u:%g:%a /c)" = 7:0:700
RUN --mount=type=cache,id=other,target=/c,from=start,source=/etc set -e; test -f /c/passwd; \
    if [ "$ROUND" = 1 ]; then test ! -e /c/mark; touch /c/mark; else test -e /c/mark; fi
RUN --mount=type=cache,target=/c ! mv /c/hard /hard.try 2>/dev/null || rm /hard.try; ! ln /c/dir/file /linked && test ! -e /linked
RUN --mount=type=cache,target=/c,sharing=locked --mount=type=cache,target=/d,sharing=private touch /c/x /d/x
RUN echo "$ROUND" > /round
"#;

#[test]
fn caches_outlive_a_build_with_owners_and_modes() {
    for caller in [pod().unwrap(), Caller::Root] {
        let dockerfile = CACHES.replace("from=start", "from=base");
        let project = Project::new(&base::busybox().unwrap(), &dockerfile).unwrap();
        let mut session = Session::new(caller).unwrap();
        session.env("WBUILD_JOURNAL_CHECK", "1");
        for round in ["1", "2"] {
            let argument = format!("ROUND={round}");
            let built = project.build_in(&mut session, &["--build-arg", &argument, "--no-cache"]).unwrap();
            built.1.success().unwrap();
            let image = Image::verify(&built.0).unwrap();
            assert_eq!(image.text("round").unwrap(), format!("{round}\n"));
            assert_eq!(added(&image), ["round"]);
        }
    }
}

#[test]
fn a_tmpfs_is_empty_gone_afterwards_and_held_to_its_size() {
    let text = "FROM base\nRUN --mount=type=tmpfs,target=/t,size=1m --mount=type=tmpfs,target=/dev/shm,size=128m set -e; \
        test -z \"$(ls -A /t)\"; test \"$(stat -c %a /t)\" = 1777; echo x > /t/x; echo x > /dev/shm/x; \
        grep -q '^tmpfs /t tmpfs rw,nosuid,relatime,size=1024k 0 0$' /proc/mounts; grep /dev/shm /proc/mounts > /shm\n\
        RUN --mount=type=tmpfs,target=/t test -z \"$(ls -A /t)\" && test -z \"$(ls -A /dev/shm)\"\n";
    let base = base::busybox().unwrap();
    let built = Project::new(&base, text).unwrap().build(pod().unwrap()).unwrap();
    assert_eq!(
        built.image.text("shm").unwrap(),
        "tmpfs /dev/shm tmpfs rw,nosuid,relatime,size=131072k 0 0\n"
    );
    assert_eq!(added(&built.image), ["shm"]);
    let text =
        "FROM base\nRUN --mount=type=tmpfs,target=/t,size=1m head -c 3000000 /dev/zero > /t/x; sleep 60\n";
    let attempt = Project::new(&base, text).unwrap().try_build(pod().unwrap(), &[]).unwrap();
    let text = attempt.outcome.code(5).unwrap().text();
    assert!(text.contains("the tmpfs at /t holds more than its 1048576 bytes"), "{text}");
}

/// A file with a secret that the caller can read.
fn secret(session: &mut Session, content: &str) -> (Scratch, String) {
    let dir = Scratch::new("secret").unwrap();
    std::fs::write(dir.path().join("s"), content).unwrap();
    let argument = format!("id=s,src={}/s", session.share(dir.path()).unwrap());
    (dir, argument)
}

const SECRET: &str = "correct-horse-battery\n";

#[test]
fn a_secret_is_read_and_stays_nowhere() {
    let text = "FROM base\nRUN --mount=type=secret,id=s set -e; test \"$(cat /run/secrets/s)\" = correct-'horse'-battery; \
        test \"$(stat -c %u:%g:%a /run/secrets/s)\" = 0:0:400; cat /run/secrets/s; ! sh -c 'echo x > /run/secrets/s'; \
        ! chmod 644 /run/secrets/s; ! rm /run/secrets/s; ! ln /run/secrets/s /run/secrets/t; cp /run/secrets/s /dev/shm/copy\n\
        RUN --mount=type=secret,id=s,target=/k,uid=3,gid=4,mode=741 test \"$(stat -c %u:%g:%a /k)\" = 3:4:741\n\
        RUN --mount=type=secret,id=s,env=KEY case \"$KEY\" in correct-'horse'-battery*) test ! -e /run/secrets ;; *) false ;; esac\n\
        RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent\n\
        RUN test ! -e /k && test ! -e /run/secrets && test -z \"$KEY\" && touch /done\n\
        USER 9\nRUN --mount=type=secret,id=s ! cat /run/secrets/s\n";
    for caller in [pod().unwrap(), Caller::Root] {
        let project = Project::new(&base::busybox().unwrap(), text).unwrap();
        let mut session = Session::new(caller).unwrap();
        let (_dir, argument) = secret(&mut session, SECRET);
        let (layout, outcome) = project.build_in(&mut session, &["--secret", &argument]).unwrap();
        let text = outcome.success().unwrap().text();
        assert!(text.contains("***") && !text.contains("correct-horse"), "{text}");
        let image = Image::verify(&layout).unwrap();
        assert_eq!(added(&image), ["done"]);
        let mut find = wbuild_tests::command::command("grep", ["-rlF", "correct-horse-battery"]);
        find.arg(session.store());
        let found = wbuild_tests::command::run(find).unwrap().text();
        assert_eq!(found.trim(), "", "nothing of the secret is in the store");
    }
}

#[test]
fn a_secret_that_is_written_down_or_missing_fails_its_step() {
    let base = base::busybox().unwrap();
    for (run, name) in [
        ("cp /run/secrets/s /kept", "/kept"),
        ("(head -c 300000 /dev/zero; cat /run/secrets/s) > /kept", "/kept"),
        ("mkdir /d && ln -s \"$(cat /run/secrets/s)\" /d/link", "/d/link"),
    ] {
        let text = format!("FROM base\nRUN true\nRUN --mount=type=secret,id=s {run}\n");
        let mut session = Session::new(pod().unwrap()).unwrap();
        let (_dir, argument) = secret(&mut session, SECRET);
        let project = Project::new(&base, &text).unwrap();
        let (_, outcome) = project.build_in(&mut session, &["--secret", &argument]).unwrap();
        let text = outcome.code(1).unwrap().text();
        assert!(text.contains(&format!("{name} holds the secret \"s\"")), "{text}");
        assert!(text.contains("Dockerfile:3") && !text.contains("correct-horse"), "{text}");
    }
    let text = "FROM base\nRUN --mount=type=secret,id=s,required true\n";
    let attempt = Project::new(&base, text).unwrap().try_build(pod().unwrap(), &[]).unwrap();
    let text = attempt.outcome.code(1).unwrap().text();
    assert!(text.contains("secret \"s\" is not given") && text.contains("--secret id=s,src=FILE"), "{text}");
}

#[test]
fn a_step_without_network_has_no_internet_socket() {
    // BusyBox's nc ends with 1 whatever the reason, so the reason is what is looked at.
    let probe = "nc -w 1 127.0.0.1 9 2>&1 || true";
    let text =
        format!("FROM base\nRUN --network=none ({probe}) > /none\nRUN --network=default ({probe}) > /some\n");
    let built = Project::new(&base::busybox().unwrap(), &text).unwrap().build(pod().unwrap()).unwrap();
    assert!(
        built.image.text("none").unwrap().contains("not supported"),
        "{}",
        built.image.text("none").unwrap()
    );
    assert!(!built.image.text("some").unwrap().contains("not supported"));
    let text = format!("FROM base\nRUN ({probe}) > /none\n");
    let project = Project::new(&base::busybox().unwrap(), &text).unwrap();
    let attempt = project.try_build(pod().unwrap(), &["--network", "none"]).unwrap();
    attempt.outcome.success().unwrap();
    assert!(Image::verify(&attempt.layout).unwrap().text("none").unwrap().contains("not supported"));
}

#[test]
fn hosts_limits_and_shared_memory_are_those_of_the_command_line() {
    let text = "FROM base\nRUN ulimit -n > /files; grep -q '^10.1.2.3\tdb$' /etc/hosts; grep ' /dev/shm ' /proc/mounts > /shm\n";
    let project = Project::new(&base::busybox().unwrap(), text).unwrap();
    let more = ["--ulimit", "nofile=1062:1062", "--add-host", "db:10.1.2.3", "--shm-size", "2m"];
    let attempt = project.try_build(pod().unwrap(), &more).unwrap();
    attempt.outcome.success().unwrap();
    let image = Image::verify(&attempt.layout).unwrap();
    assert_eq!(image.text("files").unwrap(), "1062\n");
    assert_eq!(image.text("shm").unwrap(), "tmpfs /dev/shm tmpfs rw,nosuid,relatime,size=2048k 0 0\n");
    let attempt = project.try_build(pod().unwrap(), &["--ulimit", "nofile=1:999999999"]).unwrap();
    assert!(attempt.outcome.code(8).unwrap().text().contains("--ulimit"));
}
