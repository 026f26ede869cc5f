//! Registry credentials never enter a step.

use wbuild_tests::base;
use wbuild_tests::project::Project;
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace::Scratch;

const DOCKERFILE: &str = "FROM base\nARG DIR\nRUN env; cat \"$DIR/config.json\"; cat /proc/*/environ | tr '\\0' '\\n'; ls -l /proc/*/fd; true\n";

#[test]
fn a_step_sees_neither_the_file_nor_the_environment_that_names_it() {
    let dir = Scratch::new("docker-config").unwrap();
    let auth = r#"{"auths":{"registry.example":{"auth":"bWU6aHVudGVyMg=="}}}"#;
    std::fs::write(dir.path().join("config.json"), auth).unwrap();
    let project = Project::new(&base::busybox().unwrap(), DOCKERFILE).unwrap();
    let mut session = Session::new(Caller::User(12_348)).unwrap();
    session.env("DOCKER_CONFIG", dir.path().to_str().unwrap()).env("REGISTRY_TOKEN", "hunter3");
    let argument = format!("DIR={}", dir.path().display());
    let (_, outcome) = project.build_in(&mut session, &["--build-arg", &argument]).unwrap();
    let text = outcome.success().unwrap().text();
    assert!(text.contains("PATH="), "the step shows its environment: {text}");
    for secret in ["bWU6aHVudGVyMg", "hunter2", "hunter3", "DOCKER_CONFIG"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}
