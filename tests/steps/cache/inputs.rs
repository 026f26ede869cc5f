//! Inputs that are not files of the context: the base image, what WASI tools change of the image.

use wbuild_tests::base::{self, Base};
use wbuild_tests::layout::Image;
use wbuild_tests::project::Project;
use wbuild_tests::session::{Caller, Session};

use super::{Went, went};

/// A base image with these files in `/etc`.
fn base_with(session: &mut Session, release: &str, other: &str) -> Base {
    let text = format!("FROM base\nRUN echo {release} > /etc/release; echo {other} > /etc/other\n");
    let project = Project::new(&base::busybox().unwrap(), &text).unwrap();
    let (layout, outcome) = project.build_in(session, &["-t", "made:latest"]).unwrap();
    outcome.success().unwrap();
    Base { layout, tag: "latest", rootfs: None }
}

#[test]
fn another_base_runs_a_step_that_read_what_is_different_in_it() {
    let mut session = Session::new(Caller::Root).unwrap();
    session.env("WBUILD_JOURNAL_CHECK", "1");
    let text = "FROM base\nRUN cat /etc/release > /out\n";
    for (release, other, expected) in [
        ("one", "a", Went::Ran),
        ("one", "b", Went::CachedByReads),
        ("two", "b", Went::Ran),
        ("one", "c", Went::CachedByReads),
    ] {
        let base = base_with(&mut session, release, other);
        let project = Project::new(&base, text).unwrap();
        let (layout, outcome) = project.build_in(&mut session, &["--progress=plain"]).unwrap();
        let outcome = outcome.success().unwrap();
        assert_eq!(went(&outcome), expected, "{release} {other}\n{}", outcome.text());
        assert_eq!(Image::verify(&layout).unwrap().text("out").unwrap(), format!("{release}\n"));
    }
}

#[test]
fn what_a_tool_changed_of_the_image_is_remembered() {
    let mut session = Session::new(Caller::Root).unwrap();
    let text = "FROM base\nCOPY one.wasm /bin/\nRUN mkdir /site\nCOPY README /\nRUN [\"one.wasm\"]\n";
    let project = Project::new(&base::busybox().unwrap(), text).unwrap();
    crate::wasm_tool::tool(&project, "one.wasm", "tool");
    project.file("README", "read me\n").unwrap();
    for (readme, expected) in
        [("read me\n", Went::Ran), ("read me\n", Went::CachedByKey), ("another\n", Went::CachedByReads)]
    {
        project.file("README", readme).unwrap();
        let (layout, outcome) = project.build_in(&mut session, &["--progress=plain"]).unwrap();
        let outcome = outcome.success().unwrap();
        let why = session.succeed(&["why"]).unwrap().text();
        assert_eq!(went(&outcome), expected, "{}\n{why}", outcome.text());
        let image = Image::verify(&layout).unwrap();
        assert_eq!(image.config["config"]["Labels"]["tool"], "yes", "{expected:?}");
        assert_eq!(image.entry("site").unwrap().unwrap().uid, 33);
    }
}
