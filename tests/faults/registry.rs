//! A registry behind a network that does everything wrong: no wrong image is accepted or published, and nothing fails on what a
//! retry gets over.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use wbuild_tests::base;
use wbuild_tests::layout::{self, Image};
use wbuild_tests::project::Project;
use wbuild_tests::proxy::{Fault, Proxy, random};
use wbuild_tests::registry::Registry;
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace::{Scale, Scratch};

const DOCKERFILE: &str =
    "FROM base\nRUN head -c 1500000 /dev/urandom > /a\nRUN head -c 400000 /dev/urandom > /b\n";

/// An image of three layers in a layout, and what it is.
fn image() -> (wbuild_tests::project::Built, PathBuf, String) {
    let project = Project::new(&base::busybox().unwrap(), DOCKERFILE).unwrap();
    let attempt = project.try_build(Caller::Root, &[]).unwrap();
    let outcome = attempt.outcome.success().unwrap();
    let image = Image::verify(&attempt.layout).unwrap();
    let digest = image.digest.clone();
    let built = wbuild_tests::project::Built { image, outcome, session: attempt.session };
    (built, attempt.layout, digest)
}

fn source(layout: &Path) -> String {
    format!("oci-layout://{}", layout.display())
}

/// Every blob of a store is what its name says.
fn assert_valid(store: &Path) {
    for entry in std::fs::read_dir(store.join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let (digest, _) = layout::digest(std::fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(digest, format!("sha256:{}", path.file_name().unwrap().to_str().unwrap()));
    }
    assert_eq!(std::fs::read_dir(store.join("ingest")).unwrap().count(), 0, "nothing half done is left");
}

#[test]
fn pushes_and_pulls_get_over_everything_a_retry_gets_over() {
    let (_built, layout, digest) = image();
    let registry = Registry::start().unwrap();
    let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let first = u64::try_from(first % u128::from(u64::MAX)).unwrap();
    for round in 0..Scale::of_this_run().pick(10, 200) {
        let seed = first.wrapping_add(u64::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        println!("seed {seed}");
        let name = format!("app{round}:1");
        let proxy = Proxy::start(&registry.address(), random(seed, 4)).unwrap();
        let session = Session::new(Caller::Root).unwrap();
        session
            .succeed(&["push", "--progress=plain", &source(&layout), &proxy.reference(&name)])
            .unwrap_or_else(|error| panic!("{:?}: {error:#}", proxy.faults()));
        let pulled = Scratch::new("pulled").unwrap();
        registry.pull(&name, &pulled.path().join("image")).unwrap();
        let published = Image::verify(&pulled.path().join("image")).unwrap().digest;
        assert_eq!(published, digest, "{:?}", proxy.faults());
        let proxy = Proxy::start(&registry.address(), random(seed.rotate_left(17), 4)).unwrap();
        let session = Session::new(Caller::Root).unwrap();
        let (host, out) = session.out("image").unwrap();
        let output = format!("type=oci,tar=false,dest={out}");
        session
            .succeed(&["pull", "--progress=plain", "-o", &output, &proxy.reference(&name)])
            .unwrap_or_else(|error| panic!("{:?}: {error:#}", proxy.faults()));
        assert_eq!(Image::verify(&host).unwrap().digest, digest, "{:?}", proxy.faults());
        assert_valid(&session.store());
    }
}

#[test]
fn what_stays_wrong_is_refused_and_nothing_of_it_is_kept() {
    let (_built, layout, _) = image();
    let registry = Registry::start().unwrap();
    Session::new(Caller::Root)
        .unwrap()
        .succeed(&["push", "-q", &source(&layout), &registry.reference("app:1")])
        .unwrap();
    for fault in [Fault::SpoiltAnswer(700), Fault::Oversized, Fault::LongerThanSaid(-1), Fault::Redirect] {
        let wrong = move |method: &str, target: &str| {
            (method == "GET" && target.contains("/blobs/")).then_some(fault)
        };
        let proxy = Proxy::start(&registry.address(), Box::new(wrong)).unwrap();
        let session = Session::new(Caller::Root).unwrap();
        let outcome = session.run(&["pull", "-q", &proxy.reference("app:1")]).unwrap();
        outcome.code(6).unwrap_or_else(|error| panic!("{fault:?}: {error:#}"));
        assert_valid(&session.store());
    }
    // A push that is spoiled on its way each time publishes nothing.
    let spoil = |method: &str, _: &str| (method == "PUT").then_some(Fault::SpoiltRequest(300));
    let proxy = Proxy::start(&registry.address(), Box::new(spoil)).unwrap();
    let session = Session::new(Caller::Root).unwrap();
    let outcome = session.run(&["push", "-q", &source(&layout), &proxy.reference("never:1")]).unwrap();
    outcome.code(6).unwrap();
    let pulled = Scratch::new("pulled").unwrap();
    assert!(registry.pull("never:1", &pulled.path().join("image")).is_err(), "it was published");
    // Nor does a layout whose layer is not what its name says, however the registry takes it: the last byte is never sent.
    let blobs = layout.join("blobs/sha256");
    let largest = std::fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path());
    let largest = largest.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let mut content = std::fs::read(&largest).unwrap();
    content[1000] ^= 1;
    let right = std::mem::replace(&mut content[1000], 0);
    std::fs::write(&largest, &content).unwrap();
    let session = Session::new(Caller::Root).unwrap();
    let outcome = session.run(&["push", "-q", &source(&layout), &registry.reference("never:1")]).unwrap();
    let text = outcome.code(8).unwrap().text();
    assert!(text.contains("content has digest"), "{text}");
    assert!(registry.pull("never:1", &pulled.path().join("image")).is_err(), "it was published");
    content[1000] = right ^ 1;
    std::fs::write(&largest, &content).unwrap();
    assert_valid(&session.store());
    // A registry that stays down is exit 7: worth trying again later.
    let down = |_: &str, _: &str| Some(Fault::Status(503));
    let proxy = Proxy::start(&registry.address(), Box::new(down)).unwrap();
    Session::new(Caller::Root)
        .unwrap()
        .run(&["pull", "-q", &proxy.reference("app:1")])
        .unwrap()
        .code(7)
        .unwrap();
}

/// Bytes of uploads that the registry was sent, by its access log: the requests that begin one.
fn uploads(registry: &Registry) -> usize {
    let begins = |line: &&String| line.contains("\"POST /v2/") && line.contains("/blobs/uploads/");
    registry.accesses().unwrap().iter().filter(begins).count()
}

#[test]
fn a_push_that_was_interrupted_sends_only_what_is_missing() {
    let (_built, layout, digest) = image();
    let registry = Registry::start().unwrap();
    // The manifest never arrives: everything else is there.
    let no_manifest = |method: &str, target: &str| {
        (method == "PUT" && target.contains("/manifests/")).then_some(Fault::Status(503))
    };
    let proxy = Proxy::start(&registry.address(), Box::new(no_manifest)).unwrap();
    let session = Session::new(Caller::Root).unwrap();
    session.run(&["push", "-q", &source(&layout), &proxy.reference("app:1")]).unwrap().code(7).unwrap();
    let sent = uploads(&registry);
    assert_eq!(sent, 4, "three layers and a config");
    session.succeed(&["push", "-q", &source(&layout), &registry.reference("app:1")]).unwrap();
    assert_eq!(uploads(&registry), sent, "a blob that was there was sent again");
    let pulled = Scratch::new("pulled").unwrap();
    registry.pull("app:1", &pulled.path().join("image")).unwrap();
    assert_eq!(Image::verify(&pulled.path().join("image")).unwrap().digest, digest);
    // To another repository of the registry nothing is sent at all: blobs are mounted.
    let from = format!("docker-image://{}", registry.reference("app:1"));
    session.succeed(&["push", "-q", &from, &registry.reference("other:1")]).unwrap();
    let mounts = registry.accesses().unwrap().iter().filter(|line| line.contains("mount=sha256")).count();
    assert_eq!(mounts, 4, "each blob is mounted from where it is known to be");
}
