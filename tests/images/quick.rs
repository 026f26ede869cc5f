//! `cargo xtask demo --quick`: a busybox image to an OCI layout, for each kind of caller.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use wbuild_tests::base;
use wbuild_tests::demo;
use wbuild_tests::image;
use wbuild_tests::layout::Image;
use wbuild_tests::pod::Pod;
use wbuild_tests::project::{Project, pod, pod_of_a_random_user};
use wbuild_tests::seccomp::Profile;
use wbuild_tests::session::{Caller, Output};
use wbuild_tests::workspace::{Scratch, root};

/// Everything in the image's layers above the base's, by name: mode, owner, and content or link target.
fn written(image: &Image) -> BTreeMap<PathBuf, (u32, u64, String)> {
    let mut found = BTreeMap::new();
    for layer in image.layers().unwrap().iter().skip(1) {
        let mut archive = tar::Archive::new(image.archive(layer).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            match entry.link_name().unwrap() {
                Some(target) => target.to_str().unwrap().clone_into(&mut text),
                None => drop(entry.read_to_string(&mut text).unwrap()),
            }
            let path = entry.path().unwrap().into_owned();
            found.insert(path, (entry.header().mode().unwrap(), entry.header().uid().unwrap(), text));
        }
    }
    found
}

#[test]
fn demo_quick_writes_the_image_that_its_dockerfile_says() {
    let dir = Scratch::new("quick").unwrap();
    let image = demo::quick(&dir.path().join("layout"), Output::Kept).unwrap();
    let files = written(&image);
    let file = |name: &str| {
        files.get(&PathBuf::from(name)).unwrap_or_else(|| panic!("{name} is not in {files:?}")).clone()
    };
    assert_eq!(file("srv/loud.txt"), (0o640, 0, "HELLO FROM A BUILD WITHOUT PRIVILEGE\n".to_owned()));
    assert_eq!(file("srv/current.txt").2, "loud.txt");
    assert_eq!(image.config["config"]["User"], "nobody");
    assert_eq!(image.config["config"]["WorkingDir"], "/srv");
    assert_eq!(image.config["config"]["Cmd"], serde_json::json!(["cat", "/srv/current.txt"]));
}

#[test]
fn every_caller_makes_the_same_image() {
    let dockerfile = std::fs::read_to_string(root().join("examples/busybox/Dockerfile")).unwrap();
    let dockerfile = dockerfile.replace("ARG BASE=busybox:latest", "ARG BASE=base");
    let project = Project::new(&base::busybox().unwrap(), &dockerfile).unwrap();
    project.file("greeting.txt", "hello\n").unwrap();
    let with = |profile| {
        let mut pod = Pod::new(&image::pod_rootfs().unwrap()).unwrap();
        pod.profile(profile);
        Caller::Pod(Box::new(pod))
    };
    let others = [pod_of_a_random_user().unwrap(), Caller::User(12_345), Caller::Root, pod().unwrap()];
    let callers = Profile::ALL.map(with).into_iter().chain(others);
    let digests: Vec<_> = callers
        .map(|caller| {
            let shown = caller.to_string();
            let built = project.build(caller).unwrap_or_else(|error| panic!("{shown}: {error:#}"));
            built.image.digest
        })
        .collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[test]
fn a_store_within_the_build_context_is_no_part_of_it() {
    let dir = Scratch::new("own-store").unwrap();
    std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\nCOPY . /\n").unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let session = wbuild_tests::session::Session::new(Caller::Root).unwrap();
    let out = Scratch::new("own-store-out").unwrap();
    let layout = out.path().join("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    std::fs::create_dir(dir.path().join("store")).unwrap();
    let outcome = session.succeed(&["build", "--root", &at("store"), "-o", &output, &at(".")]).unwrap();
    let note = "note: the store lies in the build context; store is left out of it";
    assert!(outcome.stderr.contains(note), "{}", outcome.stderr);
    let image = Image::verify(&layout).unwrap();
    let mut archive = tar::Archive::new(image.archive(&image.layers().unwrap()[0]).unwrap());
    let names: Vec<_> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
    assert_eq!(names, ["Dockerfile", "file"].map(PathBuf::from));
}
