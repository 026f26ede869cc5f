//! What a caller asks of the cache: how long the network is believed, and proofs of what was found.

use wbuild_tests::base;
use wbuild_tests::layout::Image;
use wbuild_tests::project::Project;
use wbuild_tests::session::{Caller, Session};

use super::{Went, went};

const NETWORK: &str = "wget -q -O /dev/null http://127.0.0.1:9/ 2> /dev/null || true";

/// A project whose step reads one of its files, which is `other`'s content.
fn project(step: &str) -> Project {
    let text = format!("FROM base\nCOPY . /src\nWORKDIR /src\n{step}\n");
    let project = Project::new(&base::busybox().unwrap(), &text).unwrap();
    project.file(".dockerignore", "Dockerfile\n.dockerignore\n").unwrap();
    project.file("main.c", "int main;\n").unwrap().file("README", "read me\n").unwrap();
    project
}

fn build(project: &Project, session: &mut Session, more: &[&str]) -> Went {
    let arguments = [&["--progress=plain"], more].concat();
    let (_, outcome) = project.build_in(session, &arguments).unwrap();
    went(&outcome.success().unwrap())
}

#[test]
fn what_used_the_network_counts_as_long_as_it_is_told_to() {
    let mut session = Session::new(Caller::Root).unwrap();
    let net = project(&format!("RUN {NETWORK}; cat main.c > /out"));
    assert_eq!(build(&net, &mut session, &[]), Went::Ran);
    assert_eq!(build(&net, &mut session, &[]), Went::CachedByKey, "as every builder has it");
    assert_eq!(build(&net, &mut session, &["--cache-network-ttl=0s"]), Went::Ran);
    assert_eq!(build(&net, &mut session, &["--cache-network-ttl=1h"]), Went::CachedByKey);
    net.file("README", "again\n").unwrap();
    assert_eq!(build(&net, &mut session, &["--cache-network-ttl=0s"]), Went::Ran, "nor by what it read");
    net.file("README", "and again\n").unwrap();
    assert_eq!(build(&net, &mut session, &[]), Went::CachedByReads, "a week, where nothing is said");
    let local = project("RUN cat main.c > /out");
    assert_eq!(build(&local, &mut session, &[]), Went::Ran);
    assert_eq!(build(&local, &mut session, &["--cache-network-ttl=0s"]), Went::CachedByKey, "it used none");
}

#[test]
fn a_comment_says_how_long_a_step_counts() {
    let mut session = Session::new(Caller::Root).unwrap();
    let now = project("# wbuild: cache=0s\nRUN cat main.c > /out");
    assert_eq!(build(&now, &mut session, &[]), Went::Ran);
    assert_eq!(build(&now, &mut session, &["--cache-network-ttl=1h"]), Went::Ran);
    let hour = project("# wbuild: cache=1h\nRUN cat main.c > /out; cat main.c");
    assert_eq!(build(&hour, &mut session, &[]), Went::Ran);
    assert_eq!(build(&hour, &mut session, &["--cache-network-ttl=0s"]), Went::CachedByKey);
    hour.file("README", "again\n").unwrap();
    assert_eq!(build(&hour, &mut session, &[]), Went::CachedByReads);
}

#[test]
fn a_proof_runs_what_was_found_and_compares() {
    let mut session = Session::new(Caller::Root).unwrap();
    let same = project("RUN cat main.c > /out");
    build(&same, &mut session, &[]);
    same.file("README", "again\n").unwrap();
    let (_, outcome) = same.build_in(&mut session, &["--progress=plain", "--cache-verify=100%"]).unwrap();
    let text = outcome.success().unwrap().text();
    assert!(text.contains("read set: it made what it made before"), "{text}");
    same.file("README", "and again\n").unwrap();
    assert_eq!(build(&same, &mut session, &["--cache-verify=0%"]), Went::CachedByReads);

    // Chance is as invisible as the clock: found by what it read, and different when it runs.
    let other = project("RUN head -c 8 /dev/urandom > /out && cat main.c");
    build(&other, &mut session, &[]);
    other.file("README", "again\n").unwrap();
    let (_, outcome) = other.build_in(&mut session, &["--progress=plain", "--cache-verify=100%"]).unwrap();
    let text = outcome.code(1).unwrap().text();
    assert!(text.contains("made something else than the cache had for it: /out: "), "{text}");
    assert!(text.contains("Dockerfile:4"), "{text}");
    // What was believed of it is forgotten.
    other.file("README", "and again\n").unwrap();
    assert_eq!(build(&other, &mut session, &[]), Went::Ran);
}

#[test]
fn without_read_sets_a_key_is_all() {
    let mut session = Session::new(Caller::Root).unwrap();
    let project = project("RUN cat main.c > /out");
    let off = &["--cache-read-sets=false"];
    assert_eq!(build(&project, &mut session, off), Went::Ran);
    assert_eq!(build(&project, &mut session, off), Went::CachedByKey);
    project.file("README", "again\n").unwrap();
    assert_eq!(build(&project, &mut session, &[]), Went::Ran, "nothing was recorded");
    project.file("README", "and again\n").unwrap();
    assert_eq!(build(&project, &mut session, off), Went::Ran);
    assert_eq!(build(&project, &mut session, &[]), Went::CachedByKey);
}

#[test]
fn a_miss_says_what_changed_and_since_when() {
    let mut session = Session::new(Caller::Root).unwrap();
    let project = project("RUN cat main.c > /out");
    build(&project, &mut session, &[]);
    project.file("main.c", "int Main;\n").unwrap();
    let (layout, outcome) = project.build_in(&mut session, &["--progress=plain"]).unwrap();
    let text = outcome.success().unwrap().text();
    assert_eq!(Image::verify(&layout).unwrap().text("out").unwrap(), "int Main;\n");
    let line = |part: &str| text.lines().any(|line| line.contains("not cached: ") && line.contains(part));
    assert!(line("/main.c changed, ") && line(".. to ") && line(", since the build of 20"), "{text}");
    assert!(line("src/main.c changed: its content was "), "{text}");
    let why = session.succeed(&["why", "RUN cat"]).unwrap().text();
    assert!(why.contains("src/main.c changed: its content was "), "{why}");
}
