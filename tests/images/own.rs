//! wbuild's own image: what stands in it, and that it is the same each time.

use wbuild_tests::layout::Image;
use wbuild_tests::workspace::{Scratch, built};
use wbuild_tests::{command, image};

#[test]
fn the_image_holds_the_binary_the_stubs_and_a_scratch_directory() {
    let dir = Scratch::new("own").unwrap();
    let artifacts = built().unwrap();
    image::build(&artifacts, &dir.path().join("a")).unwrap();
    image::build(&artifacts, &dir.path().join("b")).unwrap();
    let own = Image::verify(&dir.path().join("a")).unwrap();
    assert_eq!(own.digest, Image::verify(&dir.path().join("b")).unwrap().digest);
    assert_eq!(own.config["config"]["Entrypoint"], serde_json::json!(["/wbuild"]));
    let binary = own.entry("wbuild").unwrap().unwrap();
    assert_eq!((binary.mode, binary.content), (0o755, std::fs::read(&artifacts.wbuild).unwrap()));
    let stub = std::fs::read(&artifacts.stub).unwrap();
    for name in ["lib64/ld-linux-x86-64.so.2", "lib/ld-musl-x86_64.so.1"] {
        let planted = own.entry(name).unwrap().unwrap();
        assert_eq!((planted.mode, &planted.content), (0o755, &stub), "{name}");
    }
    assert_eq!(own.entry("scratch").unwrap().or(own.entry("scratch/").unwrap()).unwrap().mode, 0o1777);
    let headers = command::output("readelf", ["-l", artifacts.wbuild.to_str().unwrap()]).unwrap();
    assert!(!headers.contains("INTERP"), "the binary needs no interpreter");
}
