//! What a step does that its observations do not cover: it has no read set, and any change of its tree runs it again.
//!
//! One row for each rule of docs/cache.md, each beside a step that differs from it only in what taints, and is found.

use wbuild_tests::session::{Caller, Session};

use super::{README, Went, second};

/// What taints, and what is like it and does not.
const RULES: [(&str, &str, &str); 10] = [
    (
        "a cache mount",
        "RUN --mount=type=cache,target=/c cat main.c > /out",
        "RUN --mount=type=tmpfs,target=/c cat main.c > /out",
    ),
    (
        "a secret",
        "RUN --mount=type=secret,id=s,required=false cat main.c > /out",
        "RUN --mount=source=lib,target=/m cat main.c > /out",
    ),
    ("an agent", "RUN --mount=type=ssh,required=false cat main.c > /out", "RUN cat main.c > /out"),
    (
        "a size of the machine",
        "RUN cat /proc/sys/kernel/shmmax > /dev/null",
        "RUN cat /proc/sys/kernel/ostype > /dev/null",
    ),
    (
        "the machine's memory objects",
        "RUN cat /proc/sysvipc/shm > /dev/null || true",
        "RUN cat /proc/uptime > /dev/null",
    ),
    (
        "a file of /sys",
        "RUN cat /sys/kernel/notes > /dev/null || true",
        "RUN cat /sys/devices/system/cpu/online > /dev/null || true",
    ),
    (
        "a change of a file that has several names",
        "RUN ln main.c hard\nRUN echo more >> hard",
        "RUN ln main.c hard\nRUN cat hard > /out",
    ),
    (
        "a way through another process's directory",
        "RUN cat /proc/self/root/src/main.c > /out",
        "RUN cat /proc/self/root > /dev/null || cat main.c > /out",
    ),
    (
        "a way through a descriptor",
        "RUN exec 3< lib; cat /proc/self/fd/3/a.txt > /out",
        "RUN exec 3< main.c; cat /proc/self/fd/3 > /out",
    ),
    (
        "a way out of a mount",
        "RUN --mount=source=lib,target=/m cd /m && cat ../src/main.c > /out",
        "RUN --mount=source=lib,target=/m cat /m/../src/main.c > /out",
    ),
];

#[test]
fn each_taint_keeps_a_step_from_being_found_by_what_it_read() {
    let mut session = Session::new(Caller::Root).unwrap();
    session.env("WBUILD_JOURNAL_CHECK", "1");
    let mut wrong = Vec::new();
    for (about, tainted, plain) in RULES {
        for (instructions, expected) in [(tainted, Went::Ran), (plain, Went::CachedByReads)] {
            let (went, text) = second(&(about, instructions, README), &mut session);
            if went != expected {
                wrong.push(format!("{about}: {instructions}: {went:?}, not {expected:?}\n{text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn why_says_which_taint_it_was() {
    let mut session = Session::new(Caller::Root).unwrap();
    let (_, instructions, _) = RULES[3];
    second(&("", instructions, README), &mut session);
    let text = session.succeed(&["why", "shmmax"]).unwrap().text();
    assert!(text.contains("found by its key alone: it read /proc/sys/kernel/shmmax"), "{text}");
}
