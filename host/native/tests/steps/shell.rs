//! What a shell line needs: pipes, exit codes, signals, scripts.

use crate::bench::{As, BOTH, Bench};

#[test]
fn a_pipeline_prints_what_it_prints_anywhere() {
    for user in BOTH {
        let ran = Bench::new(user).sh("seq 1000 | sort -r | head -n 2; echo err >&2");
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (0, "999\n998\n", "err\n"),
            "{user:?} {ran:?}"
        );
    }
}

#[test]
fn exit_codes_and_signals_come_through() {
    let bench = Bench::new(As::Tester);
    assert_eq!(bench.sh("exit 37").code, 37);
    assert_eq!(bench.sh("kill -KILL $$").code, 128 + 9);
    assert_eq!(bench.sh("kill -SEGV $$").code, 128 + 11);
}

#[test]
fn a_program_that_is_not_there_is_an_error_of_the_step() {
    let ran = Bench::new(As::Tester).step(&["no-such-program"]);
    assert_eq!(ran.code, 125);
    assert!(ran.stderr.contains("cannot start no-such-program: No such file or directory"), "{ran:?}");
}

#[test]
fn a_program_without_its_x_bit_is_refused() {
    let bench = Bench::new(As::Tester);
    std::fs::write(bench.file("bin/plain"), "#!/bin/sh\n").unwrap();
    bench.give();
    let ran = bench.step(&["/bin/plain"]);
    assert!(ran.code == 125 && ran.stderr.contains("Permission denied"), "{ran:?}");
}

#[test]
fn scripts_nest_and_carry_one_argument() {
    let bench = Bench::new(As::User);
    let line = "cd /tmp; printf '#!/bin/sh -e\\necho \"$0 $# $1\"\\n' > inner; printf '#!/tmp/inner x  y\\n' > outer; \
                printf '#!/tmp/none\\n' > broken; printf '#!/tmp/loop\\n' > loop; chmod 755 inner outer broken loop; \
                ./inner a b; ./outer a; ./broken 2>/dev/null; echo $?; ./loop 2>/dev/null; echo $?";
    let ran = bench.step(&[
        "busybox",
        "sh",
        "-c",
        &line.replace("printf", "busybox printf").replace("chmod", "busybox chmod"),
    ]);
    assert_eq!(ran.stdout, "./inner 2 a\n/tmp/inner 3 x  y\n127\n127\n", "{ran:?}");
}

#[test]
fn only_the_standard_descriptors_go_in() {
    use std::os::fd::AsRawFd;
    let bench = Bench::new(As::Tester);
    let leaked = std::fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    // `ls` itself opens one more, the directory.
    let ran = bench.step(&["ls", "/proc/self/fd"]);
    assert_eq!(ran.stdout, "0\n1\n2\n3\n", "{} {ran:?}", leaked.as_raw_fd());
}

#[test]
fn a_blocked_open_ends_with_its_signal() {
    let ran = Bench::new(As::Tester).sh("mkfifo /tmp/f; timeout 1 cat /tmp/f; echo $?");
    assert_eq!(ran.stdout, "143\n", "{ran:?}");
}

#[test]
fn both_ends_of_a_fifo_meet() {
    let line =
        "mkfifo /tmp/f; for i in 1 2 3 4 5 6 7 8; do echo $i > /tmp/f & cat /tmp/f || exit 1; wait; done";
    let ran = Bench::new(As::User).sh(line);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "1\n2\n3\n4\n5\n6\n7\n8\n"), "{ran:?}");
}

/// As in a container, what /proc and /sys list can be looked at.
#[test]
fn nothing_is_listed_that_is_not_there() {
    for user in BOTH {
        let ran = Bench::new(user)
            .sh("ls -l /proc/sys /sys /sys/kernel /sys/devices/virtual > /dev/null && ls /proc/sys /sys");
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        let names: Vec<&str> = ran.stdout.lines().collect();
        assert!(names.contains(&"kernel") && names.contains(&"devices"), "{ran:?}");
        assert!(!names.contains(&"debug") && !names.contains(&"firmware"), "{ran:?}");
    }
}

#[test]
fn a_port_that_the_host_refuses_is_told() {
    let first: u16 = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    for user in BOTH {
        // Refused, it ends at once; else it waits for nobody.
        let ran = Bench::new(user).sh("timeout 2 busybox nc -l -p 81; timeout 1 busybox nc -l -p 8181; true");
        let told = ran.stderr.matches("port 81 could not be bound: ports below ").count();
        assert_eq!((ran.code, told), (0, usize::from(first > 81)), "{ran:?}");
        assert!(!ran.stderr.contains("port 8181"), "{ran:?}");
    }
}
