//! Dynamic programs where the stub cannot be planted: it maps program and interpreter itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::{As, Bench};

/// The files of the C library a dynamic program of this machine needs.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let found: Vec<PathBuf> = text
        .split_ascii_whitespace()
        .map(PathBuf::from)
        .filter(|word| word.is_absolute() && word.exists())
        .collect();
    assert!(found.len() >= 2, "{text}");
    found
}

fn bench(flags: &[&str]) -> Bench {
    let bench = Bench::new(As::User);
    let program = bench.file("bin/probe");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/steps/guests/probe.c");
    let built = Command::new("cc")
        .args(["-O1", "-Wall", "-o"])
        .arg(&program)
        .arg(source)
        .args(flags)
        .status()
        .unwrap();
    assert!(built.success());
    for library in libraries(&program) {
        let place = bench.file(library.strip_prefix("/").unwrap().to_str().unwrap());
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(library, place).unwrap();
    }
    bench.give();
    bench
}

fn expected(argv: &str, execfn: &str, comm: &str) -> String {
    format!(
        "argv {argv}\nexecfn {execfn}\nexe /bin/probe\ncomm {comm}\nbss 0 data data\ninterp 1 base 1 entry 1\nuid 0 euid 0 secure 0\n"
    )
}

fn starts(flags: &[&str]) {
    let bench = bench(flags);
    let direct = bench.step(&["/bin/probe", "a", "b c"]);
    assert_eq!(direct.stdout, expected("/bin/probe a b c", "/bin/probe", "probe"), "{direct:?}");
    let script = "cd /tmp && busybox printf '#! /bin/probe  -x y \\n' > script && busybox chmod 755 script && ./script z";
    let script = bench.sh(script);
    assert_eq!(script.stdout, expected("/bin/probe -x y ./script z", "./script", "script"), "{script:?}");
}

#[test]
fn a_position_independent_program_starts() {
    starts(&["-fPIE", "-pie"]);
}

#[test]
fn a_program_with_fixed_addresses_starts() {
    starts(&["-fno-pie", "-no-pie"]);
}

#[test]
fn a_missing_interpreter_is_as_if_the_program_were_not_there() {
    let bench = bench(&["-Wl,--dynamic-linker=/lib/none.so"]);
    let ran = bench.step(&["/bin/probe"]);
    assert!(ran.code == 125 && ran.stderr.contains("No such file or directory"), "{ran:?}");
}

#[test]
fn an_interpreter_at_an_unusual_path_is_found_in_the_tree() {
    let bench = bench(&["-Wl,--dynamic-linker=/opt/own/ld.so"]);
    std::fs::create_dir_all(bench.file("opt/own")).unwrap();
    std::fs::copy("/lib64/ld-linux-x86-64.so.2", bench.file("opt/own/ld.so")).unwrap();
    bench.give();
    let ran = bench.step(&["/bin/probe"]);
    assert_eq!(ran.stdout, expected("/bin/probe", "/bin/probe", "probe"), "{ran:?}");
}
