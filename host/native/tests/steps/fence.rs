//! What a guest tries against the processes around it.

use std::io::Read;
use std::process::Stdio;

use crate::bench::{As, BOTH, Bench, eventually, processes_with};

#[test]
fn a_guest_cannot_reach_the_processes_that_hold_it() {
    for user in BOTH {
        let ran = Bench::new(user).step(&["attack"]);
        assert_eq!(ran.code, 0, "{user:?} {ran:?}");
        assert!(ran.stdout.contains("done\n"), "{ran:?}");
    }
}

#[test]
fn a_guest_has_no_capability_and_cannot_gain_privileges() {
    for user in BOTH {
        let bench = Bench::new(user);
        let marker = format!("4444{}{}", std::process::id(), user as u8);
        let mut step = bench
            .step_command(&["sh", "-c", &format!("echo up; exec sleep {marker}")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        step.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        // The host's own view of the first guest process, not what the step is shown.
        let guest = eventually(|| {
            processes_with(&marker)
                .into_iter()
                .find(|pid| name_of(*pid) == "busybox" || name_of(*pid) == "sleep")
        });
        let status = std::fs::read_to_string(format!("/proc/{guest}/status")).unwrap();
        for line in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(field(&status, line), "0000000000000000", "{user:?} {line}");
        }
        assert_eq!(field(&status, "NoNewPrivs"), "1");
        assert_eq!(field(&status, "Seccomp"), "2");
        let id = field(&status, "Uid").split_ascii_whitespace().next().unwrap().to_owned();
        assert_ne!(id, "0", "{user:?}");
        if rustix::process::geteuid().is_root() {
            // An ordinary user cannot empty it, and under no_new_privs it grants nothing.
            if user == As::Tester {
                assert_eq!(field(&status, "CapBnd"), "0000000000000000");
            }
            assert_eq!(
                id,
                if user == As::Tester { wbuild_native::SCRATCH_ID.to_string() } else { "1000".into() }
            );
        }
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(guest).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        assert_eq!(step.wait().unwrap().code(), Some(128 + 9));
    }
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":")).unwrap().trim()
}

fn name_of(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}
