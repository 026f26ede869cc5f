//! Pushing: several names at once, nothing sent twice, and what the registry then holds.

use wbuild_tests::base;
use wbuild_tests::layout::Image;
use wbuild_tests::project::{Project, pod};
use wbuild_tests::registry::Registry;
use wbuild_tests::workspace::Scratch;

/// Requests that begin to send a blob.
fn uploads(registry: &Registry) -> usize {
    registry
        .accesses()
        .unwrap()
        .iter()
        .filter(|line| line.contains("\"POST /v2/") && line.contains("/blobs/uploads/"))
        .count()
}

#[test]
fn several_names_are_pushed_and_no_blob_is_sent_twice() {
    let base = base::busybox().unwrap();
    let registry = Registry::start().unwrap();
    let project = Project::new(&base, "FROM base\nRUN echo one > /one\nRUN echo two > /two\n").unwrap();
    let names = [registry.reference("app:1"), registry.reference("app:latest")];
    let first =
        project.try_build(pod().unwrap(), &["--push", "--tag", &names[0], "--tag", &names[1]]).unwrap();
    first.outcome.success().unwrap();
    let sent = uploads(&registry);
    assert_eq!(sent, 4, "three layers and a configuration");
    let pulled = Scratch::new("pulled").unwrap();
    let images = ["app:1", "app:latest"].map(|name| {
        let dir = pulled.path().join(name.replace(':', "-"));
        registry.pull(name, &dir).unwrap();
        Image::verify(&dir).unwrap()
    });
    assert_eq!(images[0].digest, images[1].digest);
    assert_eq!(
        images[0].digest,
        Image::verify(&first.layout).unwrap().digest,
        "the layout holds the image that was pushed"
    );
    let again = project.try_build(pod().unwrap(), &["--push", "--tag", &names[0]]).unwrap();
    again.outcome.success().unwrap();
    assert_eq!(uploads(&registry), sent, "a build from an empty store sends nothing that is there");
}
