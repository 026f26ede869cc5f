//! The read-set cache: a RUN runs again when something that it looked at changed, and only then.
//!
//! Each scenario builds a project, changes it, and builds it again in the same store; what comes out is compared with a build of the changed
//! project without the cache, whatever the cache did. Both tables use one project (`PROJECT`).

mod exchange;
mod fleet;
mod inputs;
mod random;
mod rules;
mod taints;
mod upkeep;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use wbuild_tests::base;
use wbuild_tests::command::Outcome;
use wbuild_tests::layout::Image;
use wbuild_tests::project::Project;
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace;

/// One change of the project.
#[derive(Clone, Copy, Debug)]
enum Edit {
    Write(&'static str, &'static str),
    Remove(&'static str),
    Mode(&'static str, u32),
    Link(&'static str, &'static str),
    Dir(&'static str),
    /// In the Dockerfile, one text by another.
    Dockerfile(&'static str, &'static str),
    /// More arguments for the builds after the change.
    Argument(&'static str, &'static str),
}
use Edit::{Argument, Dir, Dockerfile, Link, Mode, Remove, Write};

/// What it is about, the instructions from `COPY` on, and what changes.
type Scenario = (&'static str, &'static str, &'static [Edit]);

const PROJECT: [(&str, &str); 10] = [
    ("README", "read me\n"),
    ("main.c", "int main;\n"),
    ("conf", "key=value\n"),
    ("passwd", "u:x:7:7::/:/bin/sh\n"),
    ("lib/a.txt", "A\n"),
    ("lib/b.txt", "B\n"),
    ("lib/sub/c.txt", "C\n"),
    ("bin/tool", "#!/bin/sh\necho tool\n"),
    ("bin/script", "#!/src/sh\necho script\n"),
    ("list", "main.c\n"),
];

const README: &[Edit] = &[Write("README", "read me again\n")];
/// As long as it was.
const RECASED: &[Edit] = &[Write("README", "READ ME\n")];
const MAIN: &[Edit] = &[Write("main.c", "int main(void);\n")];

/// Each has to run again.
const RERUN: [Scenario; 69] = [
    ("content", "RUN cat main.c", MAIN),
    ("content", "RUN cat main.c > /out", &[Write("main.c", "int Main;\n")]),
    ("mode", "RUN stat -c %a main.c", &[Mode("main.c", 0o600)]),
    ("size", "RUN stat -c %s README", README),
    ("mode", "RUN test ! -x bin/tool || echo x > /out", &[Mode("bin/tool", 0o644)]),
    ("mode", "RUN stat -c %a lib", &[Mode("lib", 0o700)]),
    ("absent file appears", "RUN test -e missing || echo none > /out", &[Write("missing", "")]),
    ("absent file appears", "RUN cat missing > /out || true", &[Write("missing", "x")]),
    ("absent file appears", "RUN cat not/there/at/all > /out || true", &[Write("not/there/at/all", "x")]),
    ("entry of a listed directory", "RUN ls lib > /out", &[Write("lib/new", "")]),
    ("entry of a listed directory", "RUN ls lib > /out", &[Remove("lib/b.txt")]),
    ("entry of a listed directory", "RUN echo lib/* > /out", &[Write("lib/new", "")]),
    ("entry of a listed directory", "RUN find . | sort > /out", &[Write("lib/sub/new", "")]),
    ("entry of a listed directory", "RUN ls -d */ > /out", &[Dir("another")]),
    ("symlink retargeted", "RUN cat link > /out", &[Link("link", "README")]),
    ("symlink retargeted", "RUN readlink link > /out", &[Link("link", "README")]),
    ("content", "RUN cat link > /out", MAIN),
    ("symlink retargeted", "RUN cat dirlink/a.txt > /out || true", &[Link("dirlink", "lib/sub")]),
    ("symlink retargeted", "RUN cd dirlink && cat a.txt > /out || true", &[Link("dirlink", "bin")]),
    ("content", "RUN cat dirlink/sub/../a.txt > /out", &[Write("lib/a.txt", "a\n")]),
    (
        "new file earlier on PATH",
        "RUN PATH=/src/first:/src/bin:$PATH tool > /out",
        &[Write("first/tool", "#!/bin/sh\necho first\n"), Mode("first/tool", 0o755)],
    ),
    ("program", "RUN bin/tool > /out", &[Write("bin/tool", "#!/bin/sh\necho other\n")]),
    ("program", "RUN sh bin/tool > /out", &[Write("bin/tool", "#!/bin/sh\necho other\n")]),
    ("interpreter", "RUN bin/script > /out", &[Link("sh", "/bin/ash")]),
    ("content", "RUN cp main.c /out", MAIN),
    ("enters the layer unread", "RUN mv main.c moved", MAIN),
    ("enters the layer unread", "RUN chmod 600 main.c", MAIN),
    ("enters the layer unread", "RUN chown 1 main.c", MAIN),
    ("enters the layer unread", "RUN touch main.c", MAIN),
    ("enters the layer unread", "RUN ln main.c hard", MAIN),
    ("enters the layer unread", "RUN echo more >> main.c", MAIN),
    ("enters the layer unread", "RUN mv lib moved", &[Write("lib/sub/c.txt", "c\n")]),
    ("enters the layer unread", "RUN mv lib moved", &[Write("lib/new", "")]),
    ("enters the layer unread", "RUN mv lib moved", &[Mode("lib/sub/c.txt", 0o600)]),
    ("entry of a listed directory", "RUN rm -r lib", &[Write("lib/new", "")]),
    (
        "entry of a listed directory",
        "RUN rmdir empty 2> /dev/null || echo full > /out",
        &[Write("empty/file", "")],
    ),
    ("absent file appears", "RUN mkdir made 2> /dev/null || echo there > /out", &[Dir("made")]),
    ("absent file appears", "RUN touch new", &[Write("new", "new\n")]),
    ("absent file appears", "RUN set -C; echo x > new || true", &[Write("new", "new\n")]),
    ("absent file appears", "RUN ln -s x new || true", &[Write("new", "new\n")]),
    ("whole tree", "RUN tar cf - . | wc -c > /out", README),
    ("whole tree", "RUN grep -r me . | sort > /out", README),
    ("whole tree", "RUN find . -type f -exec cat {} + | sort > /out", README),
    ("content", "RUN . ./conf && echo $key > /out", &[Write("conf", "key=other\n")]),
    ("content", "RUN cat main.c && : > main.c", MAIN),
    ("content", "RUN sed -i s/main/Main/ main.c", MAIN),
    ("kind", "RUN cat main.c > /out || true", &[Remove("main.c"), Dir("main.c"), Write("main.c/x", "")]),
    ("content", "RUN cat ../src/./main.c > /out", MAIN),
    ("content", "RUN cd lib/sub && cat ../a.txt > /out", &[Write("lib/a.txt", "a\n")]),
    ("content", "RUN xargs cat < list > /out", MAIN),
    ("content", "RUN ln -s main.c own && cat own > /out", MAIN),
    ("symlink retargeted", "RUN ln -s link own && cat own > /out", &[Link("link", "README")]),
    ("content by /proc", "RUN cat /proc/self/cwd/main.c > /out", MAIN),
    ("content by /proc", "RUN exec 3< main.c; cat /proc/self/fd/3 > /out", MAIN),
    ("mode", "USER 5\nRUN cat lib/a.txt || true", &[Mode("lib", 0o700)]),
    ("user", "COPY passwd /etc/passwd\nUSER u\nRUN id", &[Write("passwd", "u:x:8:8::/:/bin/sh\n")]),
    ("secret", "RUN --mount=type=secret,id=s,required=false true", README),
    ("cache mount", "RUN --mount=type=cache,target=/c ls /c", README),
    ("layer below", "RUN echo one > /e\nRUN cat /e", &[Dockerfile("one", "two")]),
    ("owner", "RUN stat -c %u main.c", &[Dockerfile("COPY .", "COPY --chown=5 .")]),
    ("build argument", "ARG A\nRUN echo $A", &[Argument("--build-arg", "A=1"), Write("README", "")]),
    ("environment", "ENV V=1\nRUN echo $V > /out", &[Dockerfile("V=1", "V=2")]),
    ("environment", "RUN echo $W > /out", &[Dockerfile("WORKDIR", "ENV W=1\nWORKDIR")]),
    ("content", "RUN --mount=source=lib,target=/m cat /m/../src/main.c > /out", MAIN),
    ("absent file appears", "RUN touch not/there || true", &[Dir("not")]),
    ("absent file appears", "RUN mkdir not/there || true", &[Dir("not")]),
    ("absent file appears", "RUN cp main.c not/there || true", &[Dir("not")]),
    ("policy", "RUN cat main.c > /out", &[Argument("--policy", "ci"), Write("README", "read me again\n")]),
    (
        "--add-host",
        "RUN cat /etc/hosts > /out",
        &[Argument("--add-host", "there:192.0.2.1"), Write("README", "")],
    ),
];

/// None has to.
const KEPT: [Scenario; 48] = [
    ("something not looked at", "RUN cat main.c > /out", README),
    ("something not looked at", "RUN ls lib > /out", README),
    ("something not looked at", "RUN stat -c %a:%s main.c > /out", README),
    ("something not looked at", "RUN bin/tool > /out", README),
    ("mode of another file", "RUN sh bin/tool | cat > /out", &[Mode("README", 0o600)]),
    ("something not looked at", "RUN cat main.c > /out", &[Write("lib/new", "")]),
    ("something not looked at", "RUN cat main.c > /out || true", &[Remove("lib/b.txt")]),
    ("something not looked at", "RUN cat main.c > /out", &[Dir("another")]),
    ("something not looked at", "RUN cat lib/a.txt > /out", &[Write("lib/b.txt", "b\n")]),
    ("content where names were asked", "RUN ls lib > /out", &[Write("lib/a.txt", "a\n")]),
    ("content where names were asked", "RUN ls lib > /out", &[Write("lib/sub/new", "")]),
    ("content where names were asked", "RUN echo lib/* > /out", &[Write("lib/a.txt", "longer\n")]),
    ("something not looked at", "RUN echo hi > /out", README),
    ("overwritten unread", "RUN echo hi > README", README),
    ("removed unread", "RUN rm README", RECASED),
    ("something not looked at", "RUN rm -f missing", README),
    ("removed unread", "RUN rm -r lib", &[Write("lib/a.txt", "a\n")]),
    ("something not looked at", "RUN mv main.c moved", README),
    ("overwritten unread", "RUN mv main.c README", RECASED),
    ("something not looked at", "RUN cp main.c copied", README),
    ("something not looked at", "RUN mkdir -p a/b/c && echo x > a/b/c/x", README),
    ("something not looked at", "RUN cat link > /out", README),
    ("content of what a link names", "RUN readlink link > /out", MAIN),
    (
        "content where existence was asked",
        "RUN test -e main.c && echo there > /out",
        &[Write("main.c", "int Main;\n")],
    ),
    ("entry of a directory not listed", "RUN cd lib && pwd > /out", &[Write("lib/new", "")]),
    ("something not looked at", "RUN touch new", README),
    ("something not looked at", "RUN chmod 600 main.c", README),
    ("something not looked at", "RUN chown -R 7 lib", README),
    ("something not looked at", "RUN ln main.c hard", README),
    ("something not looked at", "RUN ln -s main.c own && cat own > /out", README),
    ("another name on PATH", "RUN PATH=/src/first:/src/bin:$PATH tool > /out", &[Write("first/other", "")]),
    ("something not looked at", "RUN bin/script > /out", README),
    ("mode of another file", "RUN . ./conf && echo $key > /out", &[Mode("README", 0o755)]),
    ("something not looked at", "RUN find lib -type f -exec cat {} + | sort > /out", README),
    ("something not looked at", "RUN tar cf - lib | wc -c > /out", README),
    ("another absence", "RUN test ! -e missing && echo none > /out", &[Write("other", "")]),
    ("something not looked at", "USER 5\nRUN cat lib/a.txt > /tmp/out", README),
    ("something not looked at", "RUN mv lib moved && mv moved lib", README),
    ("something not looked at", "RUN sed -i s/key/KEY/ conf", README),
    ("something not looked at", "RUN <<end\ncat main.c > /out\nend", README),
    ("something not looked at", "RUN --network=none cat main.c > /out", README),
    ("layer below, other file", "RUN echo one > /e\nRUN cat main.c > /out", &[Dockerfile("one", "two")]),
    ("mount in the key", "RUN --mount=source=lib,target=/m cat /m/a.txt > /out", README),
    ("mount in the key", "RUN --mount=type=tmpfs,target=/m echo x > /m/x && cp /m/x /out", README),
    (
        "chance and machine",
        "RUN cat /proc/cpuinfo /proc/self/status > /dev/null; head -c 4 /dev/urandom > /dev/null; echo x > /out",
        README,
    ),
    ("chance and machine", "RUN cat /etc/resolv.conf /etc/hosts > /dev/null; echo x > /out", README),
    (
        "content where names were asked",
        "RUN mkdir lib/x && rm lib/b.txt && ls lib > /out",
        &[Write("lib/a.txt", "a\n")],
    ),
    (
        "something not looked at",
        "RUN for i in 1 2 3; do sh -c \"echo $i\" | cat; done > /out; mkdir d && cd d && cat ../main.c > m",
        README,
    ),
];

fn make(project: &Project) {
    for (name, content) in PROJECT {
        project.file(name, content).unwrap();
    }
    let path = |name: &str| project.path().join(name);
    fs::create_dir(path("empty")).unwrap();
    for program in ["bin/tool", "bin/script"] {
        fs::set_permissions(path(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (link, text) in [("link", "main.c"), ("dirlink", "lib"), ("sh", "/bin/sh")] {
        symlink(text, path(link)).unwrap();
    }
}

fn edit(dir: &Path, edit: &Edit) {
    match edit {
        Write(name, content) => {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Remove(name) => fs::remove_file(dir.join(name)).unwrap(),
        Mode(name, mode) => fs::set_permissions(dir.join(name), fs::Permissions::from_mode(*mode)).unwrap(),
        Link(name, text) => {
            fs::remove_file(dir.join(name)).unwrap();
            symlink(text, dir.join(name)).unwrap();
        }
        Dir(name) => fs::create_dir(dir.join(name)).unwrap(),
        Dockerfile(from, to) => {
            let path = dir.join("Dockerfile");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(path, text.replace(from, to)).unwrap();
        }
        Argument(..) => {}
    }
}

/// How the last step that has a process went.
#[derive(Debug, PartialEq, Eq)]
enum Went {
    Ran,
    CachedByKey,
    CachedByReads,
}

fn went(outcome: &Outcome) -> Went {
    let text = outcome.text();
    let line = text.lines().rfind(|line| line.starts_with('#') && line.contains("] RUN ")).unwrap();
    let vertex = line.split_whitespace().next().unwrap();
    let has = |what: &str| {
        text.lines().any(|line| line.strip_prefix(vertex).is_some_and(|rest| rest.contains(what)))
    };
    match (has(" CACHED"), has("read set: ")) {
        (false, _) => Went::Ran,
        (true, false) => Went::CachedByKey,
        (true, true) => Went::CachedByReads,
    }
}

/// Builds before and after the change: how the last RUN went the second time, whose image is that of a build without the cache.
fn second((_, instructions, edits): &Scenario, session: &mut Session) -> (Went, String) {
    let text = format!("FROM base\nCOPY . /src\nWORKDIR /src\n{instructions}\n");
    let project = Project::new(&base::busybox().unwrap(), &text).unwrap();
    make(&project);
    project.file(".dockerignore", "Dockerfile\n.dockerignore\n").unwrap();
    // The store knows other projects that are the same so far.
    let (_, first) = project.build_in(session, &["--progress=plain", "--no-cache"]).unwrap();
    let first = first.success().unwrap();
    assert_eq!(went(&first), Went::Ran, "{instructions}: {}", first.text());
    edits.iter().for_each(|one| edit(project.path(), one));
    let more = edits.iter().filter_map(|edit| match edit {
        Argument(name, value) => Some([*name, *value]),
        _ => None,
    });
    let mut arguments: Vec<&str> = vec!["--progress=plain"];
    arguments.extend(more.flatten());
    let (image, again) = project.build_in(session, &arguments).unwrap();
    let again = again.success().unwrap();
    arguments.push("--no-cache");
    let (truth, from_scratch) = project.build_in(session, &arguments).unwrap();
    from_scratch.success().unwrap();
    let digest = |layout: &Path| Image::verify(layout).unwrap().digest;
    assert_eq!(digest(&image), digest(&truth), "{instructions} after {edits:?}\n{}", again.text());
    (went(&again), again.text())
}

/// What has to be tried, by name; the base image is in `inputs`.
const ASKED: [&str; 12] = [
    "content",
    "mode",
    "owner",
    "new file earlier on PATH",
    "entry of a listed directory",
    "absent file appears",
    "symlink retargeted",
    "environment",
    "build argument",
    "secret",
    "policy",
    "layer below",
];

#[test]
fn every_kind_of_change_that_must_run_a_step_again_is_tried() {
    for asked in ASKED {
        assert!(RERUN.iter().any(|(about, ..)| *about == asked), "{asked}");
    }
}

/// One part of a table, so that parts run at the same time; `cargo xtask test cache` prints what they write down.
fn part(table: &[Scenario], number: usize, expected: &Went) {
    let mut session = Session::new(Caller::Root).unwrap();
    session.env("WBUILD_JOURNAL_CHECK", "1");
    let (mut wrong, mut rows) = (Vec::new(), String::new());
    for scenario in table.iter().skip(number).step_by(4) {
        let (went, text) = second(scenario, &mut session);
        let (about, instructions, edits) = scenario;
        rows.push_str(&format!("{went:?} | {about} | {} | {edits:?}\n", instructions.replace('\n', "; ")));
        if went != *expected {
            wrong.push(format!("{scenario:?}: {went:?}\n{text}"));
        }
    }
    let reports = workspace::cache("cache-scenarios").unwrap();
    fs::create_dir_all(&reports).unwrap();
    fs::write(reports.join(format!("{expected:?}-{number}")), rows).unwrap();
    assert!(wrong.is_empty(), "not {expected:?}:\n{}", wrong.join("\n"));
}

macro_rules! parts {
    ($($name:ident: $table:ident, $number:literal, $expected:expr;)*) => {
        $(#[test]
        fn $name() {
            part(&$table, $number, &$expected);
        })*
    };
}

parts! {
    a_change_that_it_saw_runs_a_step_again_0: RERUN, 0, Went::Ran;
    a_change_that_it_saw_runs_a_step_again_1: RERUN, 1, Went::Ran;
    a_change_that_it_saw_runs_a_step_again_2: RERUN, 2, Went::Ran;
    a_change_that_it_saw_runs_a_step_again_3: RERUN, 3, Went::Ran;
    a_change_that_it_did_not_see_does_not_0: KEPT, 0, Went::CachedByReads;
    a_change_that_it_did_not_see_does_not_1: KEPT, 1, Went::CachedByReads;
    a_change_that_it_did_not_see_does_not_2: KEPT, 2, Went::CachedByReads;
    a_change_that_it_did_not_see_does_not_3: KEPT, 3, Went::CachedByReads;
}
