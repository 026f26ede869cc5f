//! Looking after the store: cache mounts are shown and pruned, `warm` brings images before builds need them.

use wbuild_tests::base;
use wbuild_tests::layout::Image;
use wbuild_tests::project::Project;
use wbuild_tests::registry::Registry;
use wbuild_tests::session::{Caller, Session};

#[test]
fn cache_mounts_are_shown_and_pruned() {
    let text = "FROM base\nRUN --mount=type=cache,id=packages,target=/c head -c 300000 /dev/urandom > /c/file; ls /c | wc -l > /count; \
                mkdir -p /c/closed/d; chmod 0 /c/closed; touch /c/$(ls /c | wc -l)\n";
    let project = Project::new(&base::busybox().unwrap(), text).unwrap();
    let mut session = Session::new(Caller::User(12_361)).unwrap();
    let count = |session: &mut Session| {
        let (layout, outcome) = project.build_in(session, &["--no-cache"]).unwrap();
        outcome.success().unwrap();
        Image::verify(&layout).unwrap().text("count").unwrap().trim().to_owned()
    };
    assert_eq!((count(&mut session).as_str(), count(&mut session).as_str()), ("1", "3"));
    let du = session.succeed(&["cache", "du"]).unwrap().stdout;
    assert!(du.contains("cache mount packages, used "), "{du}");
    session.succeed(&["cache", "prune", "--max-age", "1d"]).unwrap();
    session.succeed(&["cache", "prune", "--max-size", "1k"]).unwrap();
    assert_eq!(count(&mut session), "4", "it was used a moment ago, and a size says nothing of mounts");
    let pruned = session.succeed(&["cache", "prune"]).unwrap().stdout;
    assert!(pruned.contains("removed 1 cache mounts, "), "{pruned}");
    assert_eq!(count(&mut session), "1", "it begins anew");
}

#[test]
fn a_warm_store_fetches_no_layer() {
    let registry = Registry::start().unwrap();
    let base = base::busybox().unwrap();
    registry.seed(&base.layout, base.tag, "busybox:latest").unwrap();
    let text = format!("FROM {}\nRUN echo x > /x\n", registry.reference("busybox:latest"));
    let project = Project::new(&base, &text).unwrap();
    let mut session = Session::new(Caller::Root).unwrap();
    session.succeed(&["warm", &registry.reference("busybox:latest")]).unwrap();
    let blobs = || {
        let accesses = registry.accesses().unwrap();
        accesses.iter().filter(|line| line.contains("\"GET ") && line.contains("/blobs/")).count()
    };
    let before = blobs();
    assert!(before > 0, "nothing was fetched: this test tests nothing");
    let (layout, outcome) = project.build_in(&mut session, &[]).unwrap();
    outcome.success().unwrap();
    assert_eq!(blobs(), before);
    assert_eq!(Image::verify(&layout).unwrap().text("x").unwrap(), "x\n");
}
