//! The whole suite once more as an ordinary user: there the kernel's walk is the one that is tested.

use std::process::Command;

const INNER: &str = "WBUILD_TEST_AS_USER";

#[test]
fn everything_holds_for_an_ordinary_user() {
    if !rustix::process::geteuid().is_root() || std::env::var_os(INNER).is_some() {
        // The other tests of this very run are it.
        return;
    }
    let output = Command::new("setpriv")
        .args(["--reuid=65321", "--regid=65321", "--clear-groups", "--bounding-set=-all", "--no-new-privs"])
        .arg(std::env::current_exe().unwrap())
        .args(["--skip", "unprivileged", "--test-threads", "2"])
        .env(INNER, "1")
        .current_dir("/tmp")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("differential"), "the suite did run: {text}");
}
