//! One hostile program that tries everything it knows, under each profile around the pod and with none.

use std::path::{Path, PathBuf};
use wbuild_tests::base;
use wbuild_tests::command::{command, run};
use wbuild_tests::guest;
use wbuild_tests::image;
use wbuild_tests::pod::{Access, Pod};
use wbuild_tests::project::Project;
use wbuild_tests::seccomp::Profile;
use wbuild_tests::session::Caller;
use wbuild_tests::workspace::Scratch;

const DOCKERFILE: &str =
    "FROM base\nCOPY escape /bin/\nARG SECRET\nRUN escape \"$SECRET\"\nUSER 1234\nRUN escape \"$SECRET\"\n";

/// A file that everybody may read, outside of every tree.
fn secret() -> (Scratch, PathBuf) {
    let dir = Scratch::new("secret").unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "secret of the host\n").unwrap();
    (dir, file)
}

fn attack(caller: Caller, secret: &Path) {
    let shown = caller.to_string();
    let project = Project::new(&base::busybox().unwrap(), DOCKERFILE).unwrap();
    project.program("escape", &guest::program("escape").unwrap()).unwrap();
    let argument = format!("SECRET={}", secret.display());
    let attempt = project.try_build(caller, &["--build-arg", &argument]).unwrap();
    let text = attempt.outcome.success().unwrap().text();
    assert_eq!(text.matches("tried ").count(), 2, "both runs come to their end: {shown}\n{text}");
    let escaped: Vec<&str> = text.lines().filter(|line| line.contains("ESCAPED")).collect();
    assert!(escaped.is_empty(), "{shown}\n{escaped:#?}");
}

#[test]
fn the_attacks_are_attacks() {
    let (_dir, file) = secret();
    let mut native =
        command("setpriv", ["--reuid=12346", "--regid=12346", "--clear-groups", "--no-new-privs"]);
    native.arg(guest::program("escape").unwrap()).arg(&file).current_dir("/");
    let text = run(native).unwrap().success().unwrap().text();
    for way in [
        "open: ",
        "through a symlink",
        "after fchdir",
        "openat2",
        "stat sees",
        "exec sees",
        "a race of rename",
        "unshare(NEWUSER)",
    ] {
        assert!(text.contains(way), "{way} works without a sandbox: {text}");
    }
}

#[test]
fn nothing_works_in_a_pod_with_any_profile() {
    let (dir, file) = secret();
    for profile in Profile::ALL {
        let mut pod = Pod::new(&image::pod_rootfs().unwrap()).unwrap();
        pod.profile(profile).bind(dir.path(), dir.path().to_str().unwrap(), Access::ReadOnly);
        attack(Caller::Pod(Box::new(pod)), &file);
    }
}

#[test]
fn nothing_works_for_an_ordinary_user() {
    let (_dir, file) = secret();
    attack(Caller::User(12_347), &file);
}

#[test]
fn nothing_works_when_root_builds() {
    let (_dir, file) = secret();
    attack(Caller::Root, &file);
}
