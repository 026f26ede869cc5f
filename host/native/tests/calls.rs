//! Guest programs that print what each of their calls answers, held against what Linux answers to a container's root.
//!
//! `guests/NAME.c` is compiled statically and run in an empty tree; `guests/NAME.expected` is its output on Linux, in a root
//! chroot with a container's capabilities. Run as root, the record itself is checked. `UPDATE_EXPECTED=1` records anew.

#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read and write their own records")]

#[path = "calls/random.rs"]
mod random;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// All Linux capabilities but those a container's root has, for `setpriv --bounding-set`.
const NOT_HELD: &str = "-dac_read_search,-linux_immutable,-net_broadcast,-net_admin,-ipc_lock,-ipc_owner,-sys_module,\
    -sys_rawio,-sys_ptrace,-sys_pacct,-sys_admin,-sys_boot,-sys_nice,-sys_resource,-sys_time,-sys_tty_config,-lease,\
    -audit_control,-mac_override,-mac_admin,-syslog,-wake_alarm,-block_suspend,-audit_read,-perfmon,-bpf,\
    -checkpoint_restore";

fn source(name: &str, extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests").join(format!("{name}.{extension}"))
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    output
}

/// A directory that a scratch user may reach.
fn directory() -> TempDir {
    let directory = TempDir::with_prefix_in("wbuild-calls-", std::env::temp_dir()).unwrap();
    run(Command::new("chmod").arg("0755").arg(directory.path()));
    directory
}

fn compile(name: &str, to: &Path) {
    run(Command::new("gcc")
        .args(["-static", "-O1", "-Wall", "-Werror", "-o"])
        .arg(to)
        .arg(source(name, "c")));
}

/// The tree of a step with the program at /prog.
fn under_the_broker(name: &str, arguments: &[&str]) -> String {
    let place = directory();
    let (tree, scratch) = (place.path().join("tree"), place.path().join("scratch"));
    let step = || {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", "100", env!("CARGO_BIN_EXE_wbuild_step")]).arg(&tree).arg(&scratch);
        command
    };
    run(&mut step());
    run(Command::new("mkdir").arg(tree.join("fs/tmp")).arg(&scratch));
    compile(name, &tree.join("fs/prog"));
    if rustix::process::geteuid().is_root() {
        let owner = format!("{0}:{0}", wbuild_native::SCRATCH_ID);
        run(Command::new("chown").arg("-R").arg(owner).arg(&tree).arg(&scratch));
    }
    let output = run(step().arg("/prog").args(arguments).env("STEP_CHECK", "full"));
    String::from_utf8(output.stdout).unwrap()
}

/// The program in a chroot as a container's root; needs root.
fn natively(name: &str, arguments: &[&str]) -> String {
    let place = directory();
    let root = place.path();
    for name in ["tmp", "proc", "dev", "sys"] {
        run(Command::new("mkdir").arg(root.join(name)));
    }
    compile(name, &root.join("prog"));
    let script = "for d in proc dev sys; do mount --rbind /$d $1/$d || exit 1; done; root=$1 bounds=$2; shift 2; cd $root; \
        exec setpriv --bounding-set=$bounds --inh-caps=-all --clear-groups chroot $root /prog \"$@\"";
    // What hangs is killed and fails the test by its exit code.
    let mut command = Command::new("timeout");
    command
        .args(["--signal=KILL", "100", "unshare", "-m", "sh", "-c", script, "sh"])
        .arg(root)
        .arg(NOT_HELD)
        .args(arguments);
    String::from_utf8(run(&mut command).stdout).unwrap()
}

fn compare(expected: &str, found: &str, what: &str) {
    for (number, (expected, found)) in expected.lines().zip(found.lines()).enumerate() {
        assert_eq!(found, expected, "{what}, line {}", number + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "{what}: how many lines");
}

fn check(name: &str) {
    let record = source(name, "expected");
    if rustix::process::geteuid().is_root() {
        let native = natively(name, &[]);
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&record, &native).unwrap();
        }
        compare(&std::fs::read_to_string(&record).unwrap(), &native, "Linux against its record");
    }
    let expected = std::fs::read_to_string(&record).unwrap();
    assert!(expected.lines().count() > 5, "{name}.expected is cut short");
    compare(&expected, &under_the_broker(name, &[]), "the broker against Linux");
}

macro_rules! guests {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        #[test]
        fn every_program_is_run() {
            let listed = [$(stringify!($name)),*];
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
            for entry in std::fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if let Some(name) = name.strip_suffix(".expected") {
                    assert!(listed.contains(&name), "{name}.expected belongs to no test");
                }
            }
        }
    };
}

guests! { cwd execs look names open owner sockets states sync times views watch who xattr }
