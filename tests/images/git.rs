//! `cargo xtask demo`, judged: git on Debian, built in the pod, against skopeo, umoci, runc and root's chroot.

use std::path::Path;
use wbuild_tests::command::{self, command};
use wbuild_tests::demo;
use wbuild_tests::oracle::Chroot;
use wbuild_tests::session::Output;
use wbuild_tests::workspace::Scratch;
use wbuild_tests::{base, tree};

#[test]
fn git_built_in_the_pod_is_what_root_would_have_made() {
    let pushed = demo::git_in_pod(Output::Kept).unwrap();
    assert_eq!(pushed.image.layers().unwrap().len(), 3, "base, apt, copy");
    let bundle = Scratch::new("bundle").unwrap();
    let rootfs = bundle.path().join("b/rootfs");
    let image = format!("{}:pulled", pushed.image.dir.display());
    command::output("umoci", ["unpack", "--image", &image, bundle.path().join("b").to_str().unwrap()])
        .unwrap();

    same_tree_as_root_makes(&rootfs);
    runs_under_runc(&bundle.path().join("b"), 0);
    runs_under_runc(&bundle.path().join("b"), 4321);
}

fn same_tree_as_root_makes(rootfs: &Path) {
    let chroot = Chroot::copy_of(base::debian().unwrap().rootfs.as_deref().unwrap()).unwrap();
    let script = "apt-get update && apt-get install -y --no-install-recommends git && \
                  git --version > /usr/share/doc/git-version.txt";
    chroot.run(script).unwrap().success().unwrap();
    let expected = tree::read(&chroot.path(), &[]).unwrap();
    let found = tree::read(rootfs, &[]).unwrap();
    // Each differs from what a plain directory or file of root's would be.
    for (name, kind, mode) in [
        ("usr/bin", "dir", 0o755),
        ("etc/shadow", "file", 0o640),
        ("var/lib/apt/lists/partial", "dir", 0o700),
    ] {
        let entry = &found[Path::new(name)];
        let expected = &expected[Path::new(name)];
        assert_eq!((expected.kind.as_str(), expected.mode), (kind, mode), "{name} of the oracle");
        assert_eq!(
            (&entry.kind, entry.mode, &entry.owner),
            (&expected.kind, expected.mode, &expected.owner),
            "{name}"
        );
        assert_eq!(expected.owner == "0:0", name == "usr/bin", "{name}: {}", expected.owner);
    }
    tree::check(&tree::differences(&expected, &found)).unwrap();
}

/// `git --version` in the unpacked bundle, with umoci's own runtime configuration and another user.
fn runs_under_runc(bundle: &Path, uid: u32) {
    let path = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["process"]["args"] = serde_json::json!(["git", "--version"]);
    config["process"]["terminal"] = false.into();
    config["process"]["user"] = serde_json::json!({ "uid": uid, "gid": uid });
    // The machine's cgroup layout is none of the image's business.
    config["linux"]["resources"] = serde_json::Value::Null;
    std::fs::write(&path, config.to_string()).unwrap();
    let mut runc = command("runc", ["run", "--bundle"]);
    runc.arg(bundle).arg(format!("wbuild-git-{uid}-{}", std::process::id()));
    let outcome = command::run(runc).unwrap().success().unwrap();
    assert!(outcome.stdout.starts_with("git version 2."), "{}", outcome.stdout);
}
