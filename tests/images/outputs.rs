//! Outputs of every kind from one build, each judged by another tool.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use wbuild_tests::base;
use wbuild_tests::command::{command, run};
use wbuild_tests::layout::Image;
use wbuild_tests::project::Project;
use wbuild_tests::session::{Caller, Session};

const DOCKERFILE: &str = "FROM base
RUN echo one > /one && ln -s /one /two && ln /one /three && mkfifo /pipe && chmod 4755 /one
COPY Dockerfile /df
RUN rm /df && mkdir -p /a/b && echo deep > /a/b/c && chmod 555 /a && chown 7:8 /a/b/c
";

/// The digest that skopeo sees, and the digests of the layers' contents.
fn skopeo(source: &str) -> (String, serde_json::Value) {
    let raw = run(command("skopeo", ["inspect", "--config", source])).unwrap().success().unwrap().stdout;
    let config: serde_json::Value = serde_json::from_str(&raw).unwrap();
    (config["config"]["Env"].to_string(), config["rootfs"]["diff_ids"].clone())
}

#[test]
fn one_build_gives_every_output() {
    let project = Project::new(&base::busybox().unwrap(), DOCKERFILE).unwrap();
    let mut session = Session::new(Caller::User(12_360)).unwrap();
    let outs = ["docker.tar", "oci.tar", "rootfs.tar", "rootfs"].map(|name| session.out(name).unwrap());
    let flags = [
        format!("type=docker,dest={}", outs[0].1),
        format!("type=oci,dest={}", outs[1].1),
        format!("type=tar,dest={}", outs[2].1),
        format!("type=local,dest={}", outs[3].1),
    ];
    let more = ["-t", "app:1", "-o", &flags[0], "-o", &flags[1], "-o", &flags[2], "-o", &flags[3]];
    let (layout, outcome) = project.build_in(&mut session, &more).unwrap();
    outcome.success().unwrap();
    let image = Image::verify(&layout).unwrap();
    let diff_ids = image.config["rootfs"]["diff_ids"].clone();
    for (transport, path) in [("docker-archive", &outs[0].0), ("oci-archive", &outs[1].0)] {
        let (_, found) = skopeo(&format!("{transport}:{}", path.display()));
        assert_eq!(found, diff_ids, "{transport}");
    }
    // The tar has what the image is, with owners and modes; tar(1) is the judge.
    let listed = run(command("tar", ["--numeric-owner", "-tvf", outs[2].0.to_str().unwrap()])).unwrap();
    let listed = listed.success().unwrap().stdout;
    let line = |name: &str| {
        listed.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {listed}"))
    };
    assert!(line(" one").starts_with("-rwsr-xr-x 0/0"), "{listed}");
    assert!(line(" a/b/c").contains(" 7/8 "), "{listed}");
    assert!(line(" three").contains("link to one") && line(" two").contains("-> /one"), "{listed}");
    assert!(line(" pipe").starts_with('p') && !listed.contains(" df"), "{listed}");
    // The directory belongs to its caller, without setuid bits.
    let at = |name: &str| std::fs::symlink_metadata(outs[3].0.join(name)).unwrap();
    assert_eq!((at("one").permissions().mode() & 0o7777, at("one").uid()), (0o755, 12_360));
    assert_eq!(at("one").ino(), at("three").ino());
    assert_eq!(at("a").permissions().mode() & 0o7777, 0o555);
    assert!(at("pipe").file_type().is_fifo() && !outs[3].0.join("df").exists());
    assert_eq!(std::fs::read_to_string(outs[3].0.join("a/b/c")).unwrap(), "deep\n");
    assert_eq!(at("one").mtime(), i64::try_from(image.entry("one").unwrap().unwrap().mtime).unwrap());
}

#[test]
fn compressions_are_one_image_and_the_same_bytes_each_time() {
    let project =
        Project::new(&base::busybox().unwrap(), "FROM base\nRUN head -c 3000000 /bin/busybox > /copy\n")
            .unwrap();
    let layer = |compression: &str| {
        let mut session = Session::new(Caller::User(12_361)).unwrap();
        let flag = format!("--compression={compression}");
        let (layout, outcome) = project.build_in(&mut session, &[&flag]).unwrap();
        outcome.success().unwrap();
        let manifest =
            run(command("skopeo", ["inspect", "--raw", &format!("oci:{}", layout.display())])).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest.success().unwrap().stdout).unwrap();
        let (_, diff_ids) = skopeo(&format!("oci:{}", layout.display()));
        (manifest["layers"][1].clone(), diff_ids)
    };
    let (gzip, contents) = layer("gzip");
    for (compression, media_type) in
        [("zstd:7", "tar+zstd"), ("none", "layer.v1.tar"), ("gzip:9", "tar+gzip")]
    {
        let (found, same) = layer(compression);
        assert!(found["mediaType"].as_str().unwrap().ends_with(media_type), "{found}");
        assert_eq!(same, contents, "{compression} changes no content");
        assert_ne!(found["digest"], gzip["digest"], "{compression}");
        assert_eq!(layer(compression).0, found, "{compression} again");
    }
}

#[test]
fn verify_names_what_differs_and_nothing_where_nothing_does() {
    let project = Project::new(
        &base::busybox().unwrap(),
        "FROM base\nARG WHAT=1\nENV A=$WHAT\nRUN echo $WHAT > /what\n",
    )
    .unwrap();
    let mut session = Session::new(Caller::User(12_362)).unwrap();
    let (layout, outcome) = project.build_in(&mut session, &[]).unwrap();
    outcome.success().unwrap();
    let context = session.share(project.path()).unwrap();
    let base = session.share(&base::busybox().unwrap().layout).unwrap();
    let base = format!("base=oci-layout://{base}:latest");
    let image = format!("oci-layout://{}", layout.display());
    let verify = |more: &[&str]| {
        let arguments = [&["verify", &image, "--build-context", &base], more, &[&context]].concat();
        session.run(&arguments).unwrap()
    };
    verify(&[]).success().unwrap();
    let outcome = verify(&["--build-arg", "WHAT=2"]).code(1).unwrap();
    assert!(outcome.stdout.contains("layer 1: /what: content: sha256:"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("config: config.Env["), "{}", outcome.stdout);
}
