//! Every example but the two demonstrations, built in the pod.

use wbuild_tests::base;
use wbuild_tests::command::{command, run};
use wbuild_tests::guest;
use wbuild_tests::project::{Project, pod};
use wbuild_tests::workspace::root;

#[test]
fn a_c_project_is_compiled_tested_and_installed() {
    let built = Project::example(&base::debian().unwrap(), "c").unwrap().build(pod().unwrap()).unwrap();
    assert_eq!(built.image.text("result.txt").unwrap(), "words: 4\n");
    let program = built.image.entry("usr/local/bin/words").unwrap().unwrap();
    assert_eq!((program.mode, program.uid), (0o755, 0));
    assert!(program.content.starts_with(b"\x7fELF"));
}

#[test]
fn an_npm_application_is_installed_linted_tested_and_bundled() {
    let built = Project::example(&base::debian().unwrap(), "node").unwrap().build(pod().unwrap()).unwrap();
    let packages: u32 = built.image.text("packages.txt").unwrap().trim().parse().unwrap();
    assert!(packages > 400, "{packages} packages");
    assert_eq!(built.image.text("result.txt").unwrap(), "true\n");
    assert!(built.image.text("app/dist/page.js").unwrap().contains("notes"));
    assert!(built.outcome.text().contains("1 passed"), "jest says so: {}", built.outcome.text());
}

#[test]
fn a_static_go_program_starts_itself_from_many_goroutines() {
    let project = Project::example(&base::busybox().unwrap(), "go").unwrap();
    let mut build = command("go", ["build", "-o"]);
    let spawn = project.path().join("spawn");
    build.arg(&spawn).arg(".").current_dir(root().join("examples/go"));
    build
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod")
        .env("GOCACHE", project.path().join(".go"))
        .env("HOME", project.path());
    run(build).unwrap().success().unwrap();
    let built = project.build(pod().unwrap()).unwrap();
    assert!(built.outcome.text().contains("160 files by /bin/spawn"), "{}", built.outcome.text());
    let file = built.image.entry("out/7-19").unwrap().unwrap();
    assert_eq!((file.mode, file.content.as_slice()), (0o640, b"7-19".as_slice()));
}

#[test]
fn a_static_musl_program_runs_in_an_empty_image() {
    let dockerfile =
        "FROM scratch\nCOPY measure /bin/\nRUN [\"/bin/measure\", \"/bin/measure\", \"/bin/measure\"]\n";
    let project = Project::new(&base::busybox().unwrap(), dockerfile).unwrap();
    project.program("measure", &guest::program("measure").unwrap()).unwrap();
    let attempt = project.try_build(pod().unwrap(), &[]).unwrap();
    // The innermost one has no command to run and says so with its exit code, which each hands on.
    let outcome = attempt.outcome.code(1).unwrap();
    let text = outcome.text();
    let lines =
        text.lines().filter(|line| line.starts_with('#') && line.contains("measure: wall_us=")).count();
    assert!(lines == 2 && text.contains("exited with code 2"), "{text}");
}
