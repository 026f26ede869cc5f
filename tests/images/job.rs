//! The Job of the Kubernetes example: admitted by Pod Security `restricted`, and what the runner makes of it.

use serde_json::json;
use wbuild_tests::job;
use wbuild_tests::pod::{Access, Pod};
use wbuild_tests::workspace::Scratch;

#[test]
fn pod_security_restricted_admits_the_job() {
    let spec = job::pod_spec().unwrap();
    assert_eq!(job::violations(&spec), Vec::<String>::new());
    for (pointer, worse) in [
        ("/containers/0/securityContext/allowPrivilegeEscalation", json!(true)),
        ("/containers/0/securityContext/capabilities", json!({ "drop": ["NET_RAW"] })),
        ("/securityContext/runAsNonRoot", json!(false)),
        ("/securityContext/seccompProfile/type", json!("Unconfined")),
        ("/volumes/0", json!({ "name": "scratch", "hostPath": { "path": "/" } })),
    ] {
        let mut weakened = spec.clone();
        *weakened.pointer_mut(pointer).unwrap() = worse;
        assert_eq!(job::violations(&weakened).len(), 1, "{pointer}");
    }
}

#[test]
fn the_pod_has_no_privilege() {
    let root = Scratch::new("root").unwrap();
    std::fs::create_dir(root.path().join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.path().join("bin/busybox")).unwrap();
    let mut pod = Pod::new(root.path()).unwrap();
    pod.entrypoint("/bin/busybox").bind(root.path(), "/more", Access::ReadOnly);
    let script = "id -u; id -g; id -G; grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status; touch /x /more/x /scratch/x; ls -ln /scratch; \
                  mount -t tmpfs none /scratch; chroot /scratch /x; unshare -r true";
    let outcome = pod.run(&["sh", "-c", script]).unwrap();
    let text = outcome.text();
    assert!(text.starts_with("1000\n1000\n1000\n"), "{text}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(text.contains(&format!("{set}:\t0000000000000000")), "{text}");
    }
    assert!(text.contains("NoNewPrivs:\t1") && text.contains("Seccomp:\t2"), "{text}");
    assert!(
        text.contains("/x: Read-only file system") && text.contains("/more/x: Read-only file system"),
        "{text}"
    );
    assert!(text.contains("1 1000     1000             0"), "the volume is written, by the fsGroup: {text}");
    for refused in [
        "mount: permission denied",
        "chroot: can't change root",
        "unshare: unshare(0x10000000): Operation not permitted",
    ] {
        assert!(text.contains(refused), "{text}");
    }
}
