//! The cache in a registry (Debian's docker-registry): another machine with an empty store finds steps by key and by what they read.

use std::path::Path;

use wbuild_tests::base;
use wbuild_tests::command::Outcome;
use wbuild_tests::layout::Image;
use wbuild_tests::project::Project;
use wbuild_tests::registry::Registry;
use wbuild_tests::session::{Caller, Session};

use super::{Went, went};

const STAGES: &str = "FROM base AS tools\nRUN echo tool > /tool; echo more > /more\nFROM base\nCOPY . /src\nWORKDIR /src\n\
     COPY --from=tools /tool /tool\nRUN cat main.c > /out\n";

pub(super) fn project(text: &str) -> Project {
    let project = Project::new(&base::busybox().unwrap(), text).unwrap();
    project.file(".dockerignore", "Dockerfile\n.dockerignore\n").unwrap();
    project.file("main.c", "int main;\n").unwrap().file("README", "read me\n").unwrap();
    project
}

/// Builds in a new store; the digest of the image and what was said.
pub(super) fn fresh(project: &Project, more: &[&str]) -> (String, Outcome) {
    let mut session = Session::new(Caller::Root).unwrap();
    let arguments = [&["--progress=plain"], more].concat();
    let (layout, outcome) = project.build_in(&mut session, &arguments).unwrap();
    let outcome = outcome.success().unwrap();
    (Image::verify(&layout).unwrap().digest, outcome)
}

/// How many RUN steps ran.
pub(super) fn ran(outcome: &Outcome) -> usize {
    let text = outcome.text();
    let steps = text.lines().filter(|line| line.starts_with('#') && line.contains("] RUN "));
    let vertices = steps.map(|line| line.split_whitespace().next().unwrap());
    let cached = |vertex: &str| text.lines().any(|line| line == format!("{vertex} CACHED"));
    vertices.filter(|vertex| !cached(vertex)).count()
}

#[test]
fn another_machine_finds_steps_by_key_and_by_what_they_read() {
    let registry = Registry::start().unwrap();
    let place = registry.reference("app:cache");
    let (from, to) = (format!("type=registry,ref={place}"), format!("type=registry,ref={place},mode=max"));
    let project = project(STAGES);
    let (first, outcome) = fresh(&project, &["--cache-from", &from, "--cache-to", &to]);
    assert_eq!((went(&outcome), ran(&outcome)), (Went::Ran, 2), "{}", outcome.text());
    let before = registry.accesses().unwrap().len();
    let (second, outcome) = fresh(&project, &["--cache-from", &from]);
    assert_eq!((went(&outcome), ran(&outcome)), (Went::CachedByKey, 0), "{}", outcome.text());
    assert_eq!(second, first);
    // What is there is known after two requests; the rest are layers, and what precedes the first request.
    let accesses = registry.accesses().unwrap();
    let manifests = accesses[before..].iter().filter(|line| line.contains("/manifests/")).count();
    assert!(manifests <= 2, "{:#?}", &accesses[before..]);

    project.file("README", "another\n").unwrap();
    let (truth, _) = fresh(&project, &[]);
    let (third, outcome) = fresh(&project, &["--cache-from", &from, "--cache-to", &to]);
    assert_eq!((went(&outcome), ran(&outcome)), (Went::CachedByReads, 0), "{}", outcome.text());
    assert_eq!(third, truth);
    project.file("main.c", "int Main;\n").unwrap();
    let (truth, _) = fresh(&project, &[]);
    let (fourth, outcome) = fresh(&project, &["--cache-from", &from]);
    assert_eq!((went(&outcome), ran(&outcome)), (Went::Ran, 1), "{}", outcome.text());
    assert!(outcome.text().contains("main.c changed: its content was "), "{}", outcome.text());
    assert_eq!(fourth, truth);
}

#[test]
fn min_holds_the_layers_of_the_image_and_max_those_of_all_stages() {
    let project = project(STAGES);
    for (mode, expected) in [("min", 1), ("max", 0)] {
        let registry = Registry::start().unwrap();
        let place = format!("type=registry,ref={}", registry.reference("app:cache"));
        fresh(&project, &["--cache-to", &format!("{place},mode={mode}")]);
        // The stage `tools` is asked again because the context changed what it is copied next to.
        let again = project.file("main.c", &format!("int {mode};\n")).unwrap();
        let (_, outcome) = fresh(again, &["--cache-from", &place]);
        let tools = outcome.text().lines().any(|line| line.contains("[tools 2/2] RUN"));
        let ran_tools = ran(&outcome).saturating_sub(1);
        assert!(tools && ran_tools == expected, "{mode}: {}", outcome.text());
    }
}

#[test]
fn an_export_that_fails_is_told_and_the_image_is_there() {
    let project = project(STAGES);
    // Nobody listens there.
    let place = "type=registry,ref=127.0.0.1:9/app:cache";
    let mut session = Session::new(Caller::Root).unwrap();
    let build = |session: &mut Session, to: &str| {
        project.build_in(session, &["--progress=plain", "--cache-to", to]).unwrap()
    };
    let is_whole = |layout: &Path| Image::verify(layout).unwrap().text("out").unwrap() == "int main;\n";
    let (layout, outcome) = build(&mut session, &format!("{place},ignore-error=true"));
    let text = outcome.success().unwrap().text();
    assert!(text.contains("the cache was not exported to 127.0.0.1:9/app:cache"), "{text}");
    assert!(is_whole(&layout));
    let (layout, outcome) = build(&mut session, place);
    outcome.code(7).unwrap();
    assert!(is_whole(&layout), "outputs come before the cache");
}

#[test]
fn a_cache_that_promises_what_it_does_not_give_is_done_without() {
    let registry = Registry::start().unwrap();
    let place = format!("type=registry,ref={}", registry.reference("app:cache"));
    let project = project(STAGES);
    let (first, _) = fresh(&project, &["--cache-to", &format!("{place},mode=max")]);
    registry.forget_blobs("app", 3_000).unwrap();
    let (second, outcome) = fresh(&project, &["--cache-from", &place]);
    assert!(outcome.text().contains("begins again without --cache-from"), "{}", outcome.text());
    assert_eq!(second, first);
}
