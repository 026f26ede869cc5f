//! wbuild's own image: what stands in it, and that it is the same each time.

use wbuild_tests::layout::Image;
use wbuild_tests::workspace::{Artifacts, Scratch, built};
use wbuild_tests::{command, image};

#[test]
fn the_image_holds_the_binary_the_stubs_and_a_scratch_directory() {
    let dir = Scratch::new("own").unwrap();
    // Copies: a build that goes on beside the tests may replace cargo's own.
    let artifacts = ["wbuild", "stub"].map(|name| dir.path().join(name));
    let made = built().unwrap();
    std::fs::copy(&made.wbuild, &artifacts[0]).unwrap();
    std::fs::copy(&made.stub, &artifacts[1]).unwrap();
    let artifacts = Artifacts { wbuild: artifacts[0].clone(), stub: artifacts[1].clone() };
    image::build(&artifacts, &dir.path().join("a")).unwrap();
    image::build(&artifacts, &dir.path().join("b")).unwrap();
    let own = Image::verify(&dir.path().join("a")).unwrap();
    assert_eq!(own.digest, Image::verify(&dir.path().join("b")).unwrap().digest);
    assert_eq!(own.config["config"]["Entrypoint"], serde_json::json!(["/wbuild"]));
    let binary = own.entry("wbuild").unwrap().unwrap();
    assert_eq!(binary.mode, 0o755);
    assert!(
        binary.content == std::fs::read(&artifacts.wbuild).unwrap(),
        "the binary is the one that was given"
    );
    let stub = std::fs::read(&artifacts.stub).unwrap();
    for name in ["lib64/ld-linux-x86-64.so.2", "lib/ld-musl-x86_64.so.1"] {
        let planted = own.entry(name).unwrap().unwrap();
        assert!(planted.mode == 0o755 && planted.content == stub, "{name}");
    }
    assert_eq!(own.entry("scratch").unwrap().or(own.entry("scratch/").unwrap()).unwrap().mode, 0o1777);
    let headers = command::output("readelf", ["-l", artifacts.wbuild.to_str().unwrap()]).unwrap();
    assert!(!headers.contains("INTERP"), "the binary needs no interpreter");
}
