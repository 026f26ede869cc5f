//! wbuild as root: what it runs is not root, and has no Linux capability. Looked at from outside, by the kernel's own word.

use std::fs;
use std::time::{Duration, Instant};
use wbuild_tests::base;
use wbuild_tests::project::Project;
use wbuild_tests::session::{Caller, Session};

/// `/proc/PID/status` of the process whose command line is `sleep 31.4159`.
fn status_of_the_guest() -> Option<String> {
    for entry in fs::read_dir("/proc").unwrap() {
        let dir = entry.unwrap().path();
        let line = fs::read(dir.join("cmdline")).unwrap_or_default();
        if line.ends_with(b"sleep\x0031.4159\0") {
            return fs::read_to_string(dir.join("status")).ok();
        }
    }
    None
}

#[test]
fn the_guest_of_root_is_not_root_and_has_no_capability() {
    let project =
        Project::new(&base::busybox().unwrap(), "FROM base\nRUN test $(id -u) = 0 && sleep 31.4159\n")
            .unwrap();
    let mut session = Session::new(Caller::Root).unwrap();
    let context = session.share(project.path()).unwrap();
    let base = session.share(&base::busybox().unwrap().layout).unwrap();
    let (_, out) = session.out("image").unwrap();
    let context_of_base = format!("base=oci-layout://{base}:latest");
    let output = format!("type=oci,tar=false,dest={out}");
    let arguments = ["build", "--build-context", &context_of_base, "--output", &output, &context];
    let mut wbuild = session.command(&arguments).unwrap().spawn().unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = status_of_the_guest() {
            break status;
        }
        assert!(wbuild.try_wait().unwrap().is_none(), "wbuild ended before its guest was seen");
        assert!(start.elapsed() < Duration::from_secs(30), "the guest was never seen");
        std::thread::sleep(Duration::from_millis(5));
    };
    wbuild.kill().unwrap();
    wbuild.wait().unwrap();
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}\n{status}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    assert!(field("Uid:").split_whitespace().all(|uid| uid != "0"), "{status}");
    assert!(field("Gid:").split_whitespace().all(|gid| gid != "0"), "{status}");
    assert_eq!(field("Groups:"), "", "{status}");
}
