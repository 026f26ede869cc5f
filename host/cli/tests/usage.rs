//! What the binary answers to command lines: exit codes, streams, messages. No build is run.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's own files; a panic is its failure"
)]

use std::process::{Command, Output, Stdio};

fn wbuild(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wbuild"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    wbuild(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_whole_help() {
    insta::assert_snapshot!(wbuild_cli::reference());
}

#[test]
fn help_and_version_go_to_standard_output() {
    let help = output(&["build", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("Exit codes:"));
    let version = output(&["version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&version.stdout).starts_with(concat!(
        "wbuild ",
        env!("CARGO_PKG_VERSION"),
        " linux/"
    )));
}

#[test]
fn wrong_command_lines_are_exit_2_on_standard_error() {
    for args in [&[][..], &["biuld"], &["build"], &["build", "--no-such-flag", "."], &["build", "a", "b"]] {
        let output = output(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn flags_that_are_not_built_are_exit_2_with_a_sentence() {
    for flag in ["--builder=x", "--sbom=true", "--sign-key=k"] {
        let output = output(&["build", flag, "."]);
        assert_eq!(output.status.code(), Some(2), "{flag}");
        let name = flag.split('=').next().unwrap();
        assert!(
            stderr(&output).contains(&format!("error: {name} is not built yet: ")),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn a_missing_dockerfile_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let output = output(&["build", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Dockerfile: No such file"), "{}", stderr(&output));
}

#[test]
fn a_wrong_dockerfile_is_shown_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\nFORM x\n").unwrap();
    let root = dir.path().join("root");
    let output = output(&["build", "--root", root.to_str().unwrap(), dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let text = stderr(&output);
    for part in ["Dockerfile:2:1", "2 | FORM x", "  | ^^^^", "FROM"] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours without a terminal");
}

#[test]
fn no_place_for_the_store_is_exit_8_naming_all() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\n").unwrap();
    let path = dir.path().to_str().unwrap();
    // A file stands where each directory would have to be.
    let file = dir.path().join("Dockerfile");
    let output = wbuild(&["build", path]).env("WBUILD_ROOT", &file).output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    assert!(stderr(&output).contains("WBUILD_ROOT"), "{}", stderr(&output));
    if !std::path::Path::new("/scratch").exists() {
        let output =
            wbuild(&["build", path]).env("XDG_CACHE_HOME", &file).env("HOME", &file).output().unwrap();
        assert_eq!(output.status.code(), Some(8));
        for place in ["--root", "WBUILD_ROOT", "/scratch", "wbuild", ".cache/wbuild"] {
            assert!(stderr(&output).contains(place), "{place} is missing in {}", stderr(&output));
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_success() {
    let mut child =
        wbuild(&["build", "--help"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_wrong_log_filter_is_said() {
    let output = wbuild(&["version"]).env("WBUILD_LOG", "wbuild=[").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("WBUILD_LOG"));
}
