//! A tree with busybox and the guest programs, and a way to run steps in it as some host user.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The step runner, which is also the supervisor.
pub(crate) const STEP: &str = env!("CARGO_BIN_EXE_wbuild_step");
const APPLETS: [&str; 16] = [
    "sh", "cat", "echo", "sleep", "true", "false", "ls", "mkdir", "mkfifo", "timeout", "seq", "sort", "head",
    "id", "kill", "wc",
];

/// Whom wbuild runs as on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum As {
    /// Whoever runs the tests.
    Tester,
    /// Uid 1000 where the tester is root (else the tester).
    User,
}

pub(crate) const BOTH: [As; 2] = [As::Tester, As::User];

/// A tree of its own in a directory of its own.
pub(crate) struct Bench {
    directory: tempfile::TempDir,
    user: As,
}

/// What came of a step.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Bench {
    pub(crate) fn new(user: As) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let bench = Self { directory, user };
        let path = bench.directory.path();
        run(Command::new("chmod").arg("755").arg(path));
        bench.give();
        let made = bench.host(&[STEP, bench.tree().to_str().unwrap(), "-"]);
        assert!(made.status.success(), "{made:?}");
        for name in ["bin", "tmp", "etc"] {
            std::fs::create_dir_all(bench.tree().join("fs").join(name)).unwrap();
        }
        let bin = bench.tree().join("fs/bin");
        std::fs::copy("/bin/busybox", bin.join("busybox")).expect("Debian's busybox-static");
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
        }
        for guest in ["stress", "attack", "hostile"] {
            std::fs::copy(compiled(guest), bin.join(guest)).unwrap();
        }
        std::fs::create_dir(path.join("scratch")).unwrap();
        bench.give();
        bench
    }

    fn tree(&self) -> PathBuf {
        self.directory.path().join("tree")
    }

    /// A file of the rootfs on the host.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.tree().join("fs").join(path)
    }

    /// Makes the host's owner right for whoever runs wbuild.
    pub(crate) fn give(&self) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (path, tree) = (self.directory.path(), self.tree());
        match self.user {
            As::User => run(Command::new("chown").args(["-hR", "1000:1000"]).arg(path)),
            As::Tester if tree.exists() => {
                let id = wbuild_native::SCRATCH_ID;
                run(Command::new("chown").arg("-hR").arg(format!("{id}:{id}")).arg(tree));
            }
            As::Tester => {}
        }
    }

    /// A command on the host as the bench's user.
    pub(crate) fn command(&self, argv: &[&str]) -> Command {
        let drops = self.user == As::User && rustix::process::geteuid().is_root();
        let prefix: &[&str] =
            if drops { &["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--"] } else { &[] };
        let mut words = prefix.iter().chain(argv);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command
    }

    fn host(&self, argv: &[&str]) -> Output {
        self.command(argv).output().unwrap()
    }

    /// The command that runs a step.
    pub(crate) fn step_command(&self, argv: &[&str]) -> Command {
        let (tree, scratch) = (self.tree(), self.directory.path().join("scratch"));
        let front = [STEP, tree.to_str().unwrap(), scratch.to_str().unwrap()];
        // What hangs is killed and fails the test by its exit code.
        let words: Vec<&str> = ["timeout", "--signal=KILL", "120"]
            .iter()
            .copied()
            .chain(front)
            .chain(argv.iter().copied())
            .collect();
        let mut command = self.command(&words);
        command.env("STEP_CHECK", "full");
        command
    }

    /// Runs a step.
    pub(crate) fn step(&self, argv: &[&str]) -> Ran {
        Ran::of(&self.step_command(argv).output().unwrap())
    }

    /// Runs a shell line as a step.
    pub(crate) fn sh(&self, line: &str) -> Ran {
        self.step(&["sh", "-c", line])
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// A guest program, compiled statically once.
pub(crate) fn compiled(name: &str) -> PathBuf {
    static LOCK: OnceLock<tempfile::TempDir> = OnceLock::new();
    let directory = LOCK.get_or_init(|| tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/steps/guests").join(format!("{name}.c"));
    let out = directory.path().join(name);
    if !out.exists() {
        let partial = directory.path().join(format!("{name}-{:?}", std::thread::current().id()));
        run(Command::new("cc")
            .args(["-static", "-O1", "-pthread", "-Wall", "-Werror", "-o"])
            .arg(&partial)
            .arg(source));
        std::fs::rename(&partial, &out).unwrap();
    }
    out
}

/// The processes that have `marker` among their arguments.
pub(crate) fn processes_with(marker: &str) -> Vec<i32> {
    let has_it = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == marker.as_bytes()))
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(has_it).collect()
}

/// How many there are.
pub(crate) fn alive(marker: &str) -> usize {
    processes_with(marker).len()
}

/// Tries until there is an answer; a test that waits for ever is killed by its step's time limit.
pub(crate) fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = attempt() {
            return answer;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
