//! Builds by the binary itself, from contexts and layouts on disk; RUN steps are in the end-to-end tests.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's own files; a panic is its failure"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Bench(tempfile::TempDir);

impl Bench {
    fn new(files: &[(&str, &str)]) -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        for (name, content) in files {
            let path = bench.path("context").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `wbuild build --root .. ARGS context`, with nothing in the environment.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wbuild"));
        command.args(["build", "--root", "store"]).args(args).arg("context");
        command.current_dir(self.0.path()).env_clear().stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> Output {
        let output = self.run(args);
        assert!(output.status.success(), "{}", stderr(&output));
        output
    }

    fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn layers(layout: &Path) -> Vec<String> {
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let hex = |value: &serde_json::Value| value.as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let manifest = layout.join("blobs/sha256").join(hex(&index["manifests"][0]["digest"]));
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
    manifest["layers"].as_array().unwrap().iter().map(|layer| hex(&layer["digest"])).collect()
}

const DOCKERFILE: &str =
    "FROM scratch AS base\nCOPY a.txt /data/\nFROM base\nARG WHO=nobody\nLABEL who=$WHO\nCMD [\"/x\"]\n";

#[test]
fn a_build_writes_what_it_says() {
    let bench = Bench::new(&[("Dockerfile", DOCKERFILE), ("a.txt", "a")]);
    let args = ["-t", "app:1", "--build-arg", "WHO=me", "--label", "extra=1", "--metadata-file", "md.json"];
    let more = ["--iidfile", "iid", "-o", "type=oci,tar=false,dest=layout", "-o", "type=oci,dest=a.tar"];
    let output = bench.ok(&[&args[..], &more[..]].concat());
    assert!(output.stdout.is_empty());
    let metadata = bench.json("md.json");
    let digest = metadata["containerimage.digest"].as_str().unwrap();
    assert_eq!(metadata["containerimage.descriptor"]["digest"], digest);
    assert_eq!(std::fs::read_to_string(bench.path("iid")).unwrap(), metadata["containerimage.config.digest"]);
    let last = stderr(&output);
    assert!(last.trim_end().ends_with(&format!("built app:1 {digest}")), "{last}");
    let index = bench.json("layout/index.json");
    assert_eq!(index["manifests"][0]["digest"], digest);
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "1");
    let id = metadata["containerimage.config.digest"].as_str().unwrap().trim_start_matches("sha256:");
    let config = bench.json(&format!("layout/blobs/sha256/{id}"));
    assert_eq!(config["config"]["Labels"], serde_json::json!({"extra": "1", "who": "me"}));
    assert!(bench.path("a.tar").metadata().unwrap().len() > 1024);
}

#[test]
fn the_result_depends_on_nothing_around_it() {
    let bench = Bench::new(&[("Dockerfile", DOCKERFILE), ("a.txt", "a")]);
    let id = |command: &mut Command| command.arg("-q").output().unwrap().stdout;
    let first = id(&mut bench.command(&[]));
    assert!(first.starts_with(b"sha256:"));
    std::fs::remove_dir_all(bench.path("store")).unwrap();
    let times = std::fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    std::fs::File::open(bench.path("context/a.txt")).unwrap().set_times(times).unwrap();
    let second = id(bench.command(&[]).env("TZ", "Asia/Tokyo").env("LANG", "C").env("HOME", "/nowhere"));
    assert_eq!(String::from_utf8(first.clone()), String::from_utf8(second));
    let other = id(bench.command(&[]).env("SOURCE_DATE_EPOCH", "1700000000"));
    assert_ne!(first, other, "the epoch is part of the image");
}

#[test]
fn a_layout_is_a_base_by_tag_and_by_digest() {
    let bench = Bench::new(&[("Dockerfile", DOCKERFILE), ("a.txt", "a")]);
    bench.ok(&["-t", "base:7", "-o", "type=oci,tar=false,dest=base", "-o", "type=oci,dest=base.tar"]);
    std::fs::write(bench.path("context/Dockerfile"), "FROM base:7\nCOPY --from=base:7 /data /copied\n")
        .unwrap();
    let digest = bench.json("base/index.json")["manifests"][0]["digest"].as_str().unwrap().to_owned();
    for source in ["base:7", &format!("base@{digest}"), "base", "base.tar", "base.tar:7"] {
        let context = format!("base:7=oci-layout://{source}");
        bench.ok(&["--build-context", &context, "-o", "type=oci,tar=false,dest=out"]);
        assert_eq!(layers(&bench.path("out")).len(), 2, "{source}");
        assert_eq!(layers(&bench.path("out"))[0], layers(&bench.path("base"))[0], "{source}");
        std::fs::remove_dir_all(bench.path("out")).unwrap();
    }
    let missing = bench.run(&["--build-context", "base:7=oci-layout://base:8"]);
    assert_eq!(missing.status.code(), Some(2), "{}", stderr(&missing));
    assert!(stderr(&missing).contains('7'), "it says what there is: {}", stderr(&missing));
}

#[test]
fn the_dockerfile_may_come_from_standard_input() {
    let bench = Bench::new(&[("a.txt", "a")]);
    let mut child =
        bench.command(&["-q", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"FROM scratch\nCOPY a.txt /\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(output.stdout.starts_with(b"sha256:"));
}

#[test]
fn the_ignore_file_of_a_dockerfile_wins() {
    let files = [
        ("Dockerfile", "FROM scratch\nCOPY . /\n"),
        ("Dockerfile.dockerignore", "b.txt\n"),
        (".dockerignore", "a.txt\n"),
        ("a.txt", "a"),
        ("b.txt", "b"),
    ];
    let bench = Bench::new(&files);
    let archive = bench.ok(&["-o", "type=oci,tar=false,dest=out"]);
    drop(archive);
    let missing = "FROM scratch\nCOPY b.txt /\n";
    std::fs::write(bench.path("context/Dockerfile"), missing).unwrap();
    let failed = bench.run(&[]);
    assert_eq!(failed.status.code(), Some(1));
    for part in ["\"b.txt\" is not in the build context", ".dockerignore excludes it", "Dockerfile:2:1"] {
        assert!(stderr(&failed).contains(part), "{part} is missing in {}", stderr(&failed));
    }
}

#[test]
fn an_archive_goes_to_standard_output_and_a_closed_one_is_no_failure() {
    let bench = Bench::new(&[("Dockerfile", DOCKERFILE), ("a.txt", "a")]);
    let piped = bench.ok(&["-o", "type=oci,dest=-"]);
    let file = bench.ok(&["-o", "type=oci,dest=a.tar"]);
    drop(file);
    assert_eq!(piped.stdout, std::fs::read(bench.path("a.tar")).unwrap());
    let mut child = bench
        .command(&["-o", "type=oci,dest=-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}

#[test]
fn an_image_without_a_place_to_go_is_warned_about() {
    let bench = Bench::new(&[("Dockerfile", "FROM scratch\nENV A=1\n")]);
    assert!(stderr(&bench.ok(&[])).contains("the image stays in the store"));
    assert!(stderr(&bench.ok(&["-q"])).is_empty());
}

#[test]
fn a_registry_that_is_not_there_is_exit_7() {
    let bench = Bench::new(&[("Dockerfile", "FROM 127.0.0.1:1/none:1\n")]);
    let output = bench.run(&[]);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert!(stderr(&output).contains("Dockerfile:1:6"), "{}", stderr(&output));
}

#[test]
fn an_unknown_target_is_a_wrong_command_line() {
    let bench = Bench::new(&[("Dockerfile", DOCKERFILE), ("a.txt", "a")]);
    let output = bench.run(&["--target", "bsae"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean base?"), "{}", stderr(&output));
}

/// A terminal's Ctrl-C goes to the whole process group.
#[test]
fn ctrl_c_ends_the_step_and_leaves_nothing() {
    use std::os::unix::process::CommandExt;

    // Marks the processes of this test among all others.
    let mark = format!("{}.5", 1000 + std::process::id());
    let dockerfile = format!("FROM scratch\nCOPY busybox /\nRUN [\"/busybox\", \"sleep\", \"{mark}\"]\n");
    let bench = Bench::new(&[("Dockerfile", &dockerfile)]);
    // Debian's busybox-static, as `cargo xtask setup` installs it.
    std::fs::copy("/bin/busybox", bench.path("context/busybox")).unwrap();
    let mut command = bench.command(&[]);
    let child = command.process_group(0).stderr(Stdio::piped()).spawn().unwrap();
    assert!(until(|| sleeping(&mark)), "the step did not start");
    let group = format!("-{}", child.id());
    assert!(Command::new("/bin/kill").args(["-INT", "--", &group]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("CANCELED"), "{}", stderr(&output));
    assert!(until(|| !sleeping(&mark)), "the step still runs");
    assert_eq!(std::fs::read_dir(bench.path("store/trees")).unwrap().count(), 0);
}

fn until(condition: impl Fn() -> bool) -> bool {
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_secs(60) {
        if condition() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    false
}

/// Whether a process sleeps for just this long.
fn sleeping(mark: &str) -> bool {
    let argument = format!("\0sleep\0{mark}\0");
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).ends_with(&argument)
    })
}
