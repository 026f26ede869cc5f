//! The read-set cache: a RUN runs again when something that it looked at changed, and only then.
//!
//! Each scenario builds a project, changes it, and builds it again in the same store; what comes out is compared with a build of the changed
//! project without the cache, whatever the cache did. Both tables use one project (`PROJECT`).

mod random;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use wbuild_tests::base;
use wbuild_tests::command::Outcome;
use wbuild_tests::layout::Image;
use wbuild_tests::project::Project;
use wbuild_tests::session::{Caller, Session};

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

/// The instructions from `COPY` on, and what changes.
type Scenario = (&'static str, &'static [Edit]);

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
const RERUN: [Scenario; 62] = [
    ("RUN cat main.c", MAIN),
    ("RUN cat main.c > /out", &[Write("main.c", "int Main;\n")]),
    ("RUN stat -c %a main.c", &[Mode("main.c", 0o600)]),
    ("RUN stat -c %s README", README),
    ("RUN test ! -x bin/tool || echo x > /out", &[Mode("bin/tool", 0o644)]),
    ("RUN stat -c %a lib", &[Mode("lib", 0o700)]),
    ("RUN test -e missing || echo none > /out", &[Write("missing", "")]),
    ("RUN cat missing > /out || true", &[Write("missing", "x")]),
    ("RUN cat not/there/at/all > /out || true", &[Write("not/there/at/all", "x")]),
    ("RUN ls lib > /out", &[Write("lib/new", "")]),
    ("RUN ls lib > /out", &[Remove("lib/b.txt")]),
    ("RUN echo lib/* > /out", &[Write("lib/new", "")]),
    ("RUN find . | sort > /out", &[Write("lib/sub/new", "")]),
    ("RUN ls -d */ > /out", &[Dir("another")]),
    ("RUN cat link > /out", &[Link("link", "README")]),
    ("RUN readlink link > /out", &[Link("link", "README")]),
    ("RUN cat link > /out", MAIN),
    ("RUN cat dirlink/a.txt > /out || true", &[Link("dirlink", "lib/sub")]),
    ("RUN cd dirlink && cat a.txt > /out || true", &[Link("dirlink", "bin")]),
    ("RUN cat dirlink/sub/../a.txt > /out", &[Write("lib/a.txt", "a\n")]),
    (
        "RUN PATH=/src/first:/src/bin:$PATH tool > /out",
        &[Write("first/tool", "#!/bin/sh\necho first\n"), Mode("first/tool", 0o755)],
    ),
    ("RUN bin/tool > /out", &[Write("bin/tool", "#!/bin/sh\necho other\n")]),
    ("RUN sh bin/tool > /out", &[Write("bin/tool", "#!/bin/sh\necho other\n")]),
    ("RUN bin/script > /out", &[Link("sh", "/bin/ash")]),
    ("RUN cp main.c /out", MAIN),
    ("RUN mv main.c moved", MAIN),
    ("RUN chmod 600 main.c", MAIN),
    ("RUN chown 1 main.c", MAIN),
    ("RUN touch main.c", MAIN),
    ("RUN ln main.c hard", MAIN),
    ("RUN echo more >> main.c", MAIN),
    ("RUN mv lib moved", &[Write("lib/sub/c.txt", "c\n")]),
    ("RUN mv lib moved", &[Write("lib/new", "")]),
    ("RUN mv lib moved", &[Mode("lib/sub/c.txt", 0o600)]),
    ("RUN rm -r lib", &[Write("lib/new", "")]),
    ("RUN rmdir empty 2> /dev/null || echo full > /out", &[Write("empty/file", "")]),
    ("RUN mkdir made 2> /dev/null || echo there > /out", &[Dir("made")]),
    ("RUN touch new", &[Write("new", "new\n")]),
    ("RUN set -C; echo x > new || true", &[Write("new", "new\n")]),
    ("RUN ln -s x new || true", &[Write("new", "new\n")]),
    ("RUN tar cf - . | wc -c > /out", README),
    ("RUN grep -r me . | sort > /out", README),
    ("RUN find . -type f -exec cat {} + | sort > /out", README),
    ("RUN . ./conf && echo $key > /out", &[Write("conf", "key=other\n")]),
    ("RUN cat main.c && : > main.c", MAIN),
    ("RUN sed -i s/main/Main/ main.c", MAIN),
    ("RUN cat main.c > /out || true", &[Remove("main.c"), Dir("main.c"), Write("main.c/x", "")]),
    ("RUN cat ../src/./main.c > /out", MAIN),
    ("RUN cd lib/sub && cat ../a.txt > /out", &[Write("lib/a.txt", "a\n")]),
    ("RUN xargs cat < list > /out", MAIN),
    ("RUN ln -s main.c own && cat own > /out", MAIN),
    ("RUN ln -s link own && cat own > /out", &[Link("link", "README")]),
    ("RUN cat /proc/self/cwd/main.c > /out", MAIN),
    ("RUN exec 3< main.c; cat /proc/self/fd/3 > /out", MAIN),
    ("USER 5\nRUN cat lib/a.txt || true", &[Mode("lib", 0o700)]),
    ("COPY passwd /etc/passwd\nUSER u\nRUN id", &[Write("passwd", "u:x:8:8::/:/bin/sh\n")]),
    ("RUN --mount=type=secret,id=s,required=false true", README),
    ("RUN --mount=type=cache,target=/c ls /c", README),
    ("RUN echo one > /e\nRUN cat /e", &[Dockerfile("one", "two")]),
    ("RUN stat -c %u main.c", &[Dockerfile("COPY .", "COPY --chown=5 .")]),
    ("ARG A\nRUN echo $A", &[Argument("--build-arg", "A=1"), Write("README", "")]),
    ("RUN cat /etc/hosts > /out", &[Argument("--add-host", "there:192.0.2.1"), Write("README", "")]),
];

/// None has to.
const KEPT: [Scenario; 48] = [
    ("RUN cat main.c > /out", README),
    ("RUN ls lib > /out", README),
    ("RUN stat -c %a:%s main.c > /out", README),
    ("RUN bin/tool > /out", README),
    ("RUN sh bin/tool | cat > /out", &[Mode("README", 0o600)]),
    ("RUN cat main.c > /out", &[Write("lib/new", "")]),
    ("RUN cat main.c > /out || true", &[Remove("lib/b.txt")]),
    ("RUN cat main.c > /out", &[Dir("another")]),
    ("RUN cat lib/a.txt > /out", &[Write("lib/b.txt", "b\n")]),
    ("RUN ls lib > /out", &[Write("lib/a.txt", "a\n")]),
    ("RUN ls lib > /out", &[Write("lib/sub/new", "")]),
    ("RUN echo lib/* > /out", &[Write("lib/a.txt", "longer\n")]),
    ("RUN echo hi > /out", README),
    ("RUN echo hi > README", README),
    ("RUN rm README", RECASED),
    ("RUN rm -f missing", README),
    ("RUN rm -r lib", &[Write("lib/a.txt", "a\n")]),
    ("RUN mv main.c moved", README),
    ("RUN mv main.c README", RECASED),
    ("RUN cp main.c copied", README),
    ("RUN mkdir -p a/b/c && echo x > a/b/c/x", README),
    ("RUN cat link > /out", README),
    ("RUN readlink link > /out", MAIN),
    ("RUN test -e main.c && echo there > /out", &[Write("main.c", "int Main;\n")]),
    ("RUN cd lib && pwd > /out", &[Write("lib/new", "")]),
    ("RUN touch new", README),
    ("RUN chmod 600 main.c", README),
    ("RUN chown -R 7 lib", README),
    ("RUN ln main.c hard", README),
    ("RUN ln -s main.c own && cat own > /out", README),
    ("RUN PATH=/src/first:/src/bin:$PATH tool > /out", &[Write("first/other", "")]),
    ("RUN bin/script > /out", README),
    ("RUN . ./conf && echo $key > /out", &[Mode("README", 0o755)]),
    ("RUN find lib -type f -exec cat {} + | sort > /out", README),
    ("RUN tar cf - lib | wc -c > /out", README),
    ("RUN test ! -e missing && echo none > /out", &[Write("other", "")]),
    ("USER 5\nRUN cat lib/a.txt > /tmp/out", README),
    ("RUN mv lib moved && mv moved lib", README),
    ("RUN sed -i s/key/KEY/ conf", README),
    ("RUN <<end\ncat main.c > /out\nend", README),
    ("RUN --network=none cat main.c > /out", README),
    ("RUN echo one > /e\nRUN cat main.c > /out", &[Dockerfile("one", "two")]),
    ("RUN --mount=source=lib,target=/m cat /m/a.txt > /out", README),
    ("RUN --mount=type=tmpfs,target=/m echo x > /m/x && cp /m/x /out", README),
    (
        "RUN cat /proc/cpuinfo /proc/self/status > /dev/null; head -c 4 /dev/urandom > /dev/null; echo x > /out",
        README,
    ),
    ("RUN cat /etc/resolv.conf /etc/hosts > /dev/null; echo x > /out", README),
    ("RUN mkdir lib/x && rm lib/b.txt && ls lib > /out", &[Write("lib/a.txt", "a\n")]),
    (
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
fn second((instructions, edits): &Scenario, session: &mut Session) -> (Went, String) {
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

/// One part of a table, so that parts run at the same time.
fn part(table: &[Scenario], number: usize, expected: &Went) {
    let mut session = Session::new(Caller::Root).unwrap();
    session.env("WBUILD_JOURNAL_CHECK", "1");
    let mut wrong = Vec::new();
    for scenario in table.iter().skip(number).step_by(4) {
        let (went, text) = second(scenario, &mut session);
        if went != *expected {
            wrong.push(format!("{scenario:?}: {went:?}\n{text}"));
        }
    }
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
