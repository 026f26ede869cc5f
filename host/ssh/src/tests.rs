//! OpenSSH's own tools on both sides: `ssh-add` and `ssh-keygen -Y` as clients, `ssh-agent` as the agent behind.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use crate::{Agent, AgentError, Forward, KeyError};

fn run(program: &str, arguments: &[&str], socket: &Path) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env("SSH_AUTH_SOCK", socket).stdin(Stdio::null());
    command.output().unwrap_or_else(|error| panic!("{program} (Debian's openssh-client): {error}"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn key(dir: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = dir.join(name);
    let given = ["-q", "-C", name, "-f", path.to_str().unwrap()];
    let passphrase = if arguments.contains(&"-N") { [].as_slice() } else { &["-N", ""] };
    let made = run("ssh-keygen", &[&given, arguments, passphrase].concat(), Path::new("/nowhere"));
    assert!(made.status.success(), "{}", text(&made));
    path
}

fn forward(dir: &Path, name: &str, agent: Agent) -> (Forward, PathBuf) {
    let opened = rustix::fs::open(dir, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    (Forward::start(opened.as_fd(), name, &Arc::new(agent)).unwrap(), dir.join(name))
}

/// Signs with the key behind the socket and lets OpenSSH verify it.
fn signs(dir: &Path, public: &Path, socket: &Path) {
    let data = dir.join("data");
    let _old = rustix::fs::unlink(dir.join("data.sig"));
    run("sh", &["-c", &format!("echo signed > {}", data.display())], socket);
    let arguments =
        ["-Y", "sign", "-q", "-n", "test", "-f", public.to_str().unwrap(), data.to_str().unwrap()];
    let signed = run("ssh-keygen", &arguments, socket);
    assert!(signed.status.success(), "{}: {}", public.display(), text(&signed));
    let check = format!("ssh-keygen -Y check-novalidate -n test -s {0}.sig < {0}", data.display());
    let verified = run("sh", &["-c", &check], Path::new("/nowhere"));
    assert!(verified.status.success(), "{}: {}", public.display(), text(&verified));
}

#[test]
fn keys_of_files_are_listed_and_sign_what_openssh_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let kinds: [(&str, &[&str]); 5] = [
        ("ed25519", &["-t", "ed25519"]),
        ("p256", &["-t", "ecdsa", "-b", "256"]),
        ("p384", &["-t", "ecdsa", "-b", "384"]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
        ("rsa3", &["-t", "rsa", "-b", "3072"]),
    ];
    let paths: Vec<_> = kinds.iter().map(|(name, kind)| key(dir.path(), name, kind)).collect();
    let (_forward, socket) = forward(dir.path(), "agent", Agent::open(&paths).unwrap());
    // The agent alone must sign: without the private files.
    paths.iter().for_each(|path| rustix::fs::unlink(path).unwrap());
    let listed = text(&run("ssh-add", &["-l"], &socket));
    for (name, _) in kinds {
        assert!(listed.contains(&format!(" {name} (")), "{listed}");
        signs(dir.path(), &dir.path().join(format!("{name}.pub")), &socket);
    }
}

#[test]
fn keys_that_cannot_be_used_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path| Agent::open(&[path.to_owned()]).unwrap_err();
    let refusal = |path: &Path| match open(path) {
        AgentError::Key { source, .. } => source,
        other => panic!("{other}"),
    };
    let encrypted = key(dir.path(), "encrypted", &["-t", "ed25519", "-N", "a passphrase"]);
    assert!(matches!(refusal(&encrypted), KeyError::Encrypted));
    let pem = key(dir.path(), "pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"]);
    assert!(matches!(refusal(&pem), KeyError::OldFormat));
    let sealed = key(dir.path(), "sealed", &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "a passphrase"]);
    assert!(matches!(refusal(&sealed), KeyError::Encrypted));
    let p521 = key(dir.path(), "p521", &["-t", "ecdsa", "-b", "521"]);
    // The parser takes every second one for damaged: its number is a byte shorter.
    assert!(matches!(refusal(&p521), KeyError::Algorithm(_) | KeyError::Format(_)));
    assert!(matches!(refusal(&dir.path().join("p521.pub")), KeyError::Format(_)));
    assert!(matches!(open(&dir.path().join("absent")), AgentError::Unreadable { .. }));
    assert!(matches!(Agent::open(&[]), Err(AgentError::None)));
    let silent = dir.path().join("silent");
    drop(std::os::unix::net::UnixListener::bind(&silent).unwrap());
    assert!(matches!(open(&silent), AgentError::Silent { .. }));
    assert!(matches!(Agent::open(&[pem, silent]), Err(AgentError::Key { .. })));
}

/// A running `ssh-agent`, in the foreground.
struct Running(std::process::Child, PathBuf);

impl Running {
    fn start(dir: &Path) -> Self {
        let socket = dir.join("real");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).stdin(Stdio::null());
        let child = command.spawn().unwrap();
        for _ in 0..200 {
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Self(child, socket)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn a_running_agent_is_used_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let real = Running::start(dir.path());
    let (own, foreign) =
        (key(dir.path(), "own", &["-t", "ed25519"]), key(dir.path(), "foreign", &["-t", "ed25519"]));
    let own = own.to_str().unwrap();
    assert!(run("ssh-add", &[own], &real.1).status.success());
    let (forward, socket) = forward(dir.path(), "agent", Agent::open(std::slice::from_ref(&real.1)).unwrap());
    assert!(text(&run("ssh-add", &["-l"], &socket)).contains(" own ("));
    signs(dir.path(), Path::new(&format!("{own}.pub")), &socket);
    // Removed and locked through the socket of a step, it would list nothing.
    let foreign = foreign.to_str().unwrap();
    for attack in [&["-D"][..], &["-d", own], &[foreign], &["-e", "/usr/lib/x.so"]] {
        assert!(!run("ssh-add", attack, &socket).status.success(), "{attack:?}");
    }
    let listed = text(&run("ssh-add", &["-l"], &real.1));
    assert!(listed.contains(" own (") && !listed.contains("foreign"), "{listed}");
    // The control: the agent itself lets them.
    assert!(run("ssh-add", &["-d", own], &real.1).status.success());
    assert!(run("ssh-add", &[foreign], &real.1).status.success());
    drop(forward);
    assert!(!run("ssh-add", &["-l"], &socket).status.success());
}

#[test]
fn nothing_goes_on_after_the_end_and_no_connection_holds_it_up() {
    use std::io::{Read, Write};
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::open(&[key(dir.path(), "k", &["-t", "ed25519"])]).unwrap();
    let (forward, socket) = forward(dir.path(), "agent", agent);
    let mut streams: Vec<_> =
        (0..80).map(|_| std::os::unix::net::UnixStream::connect(&socket).unwrap()).collect();
    streams[0].write_all(&[0, 0, 0, 1, 11]).unwrap();
    let mut answer = [0; 5];
    streams[0].read_exact(&mut answer).unwrap();
    assert_eq!(answer[4], 12);
    drop(forward);
    for stream in &mut streams {
        // What was answered before comes first; then it is closed, whichever way: one of the backlog is reset.
        let _closed = stream.read_to_end(&mut Vec::new());
        assert!(matches!(stream.read(&mut answer), Ok(0) | Err(_)));
    }
}
