//! A forwarded SSH agent: what a step does with it beyond listing and signing, and what else of the host it reaches by it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use wbuild_tests::base;
use wbuild_tests::command::{command, run};
use wbuild_tests::guest;
use wbuild_tests::project::Project;
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace::Scratch;

/// An ssh-agent of root's with one key.
struct Agent(std::process::Child, Scratch);

impl Agent {
    fn start() -> Self {
        let dir = Scratch::new("agent").unwrap();
        let mut agent = command("ssh-agent", ["-D", "-a"]);
        let child = agent.arg(dir.path().join("socket")).stdout(Stdio::null()).spawn().unwrap();
        let started = Self(child, dir);
        let key = started.1.path().join("key");
        let mut make = command("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "its key", "-f"]);
        make.arg(&key);
        run(make).unwrap().success().unwrap();
        for _ in 0..200 {
            if started.add(&[key.to_str().unwrap()]).contains("Identity added") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        started
    }

    fn socket(&self) -> PathBuf {
        self.1.path().join("socket")
    }

    fn add(&self, arguments: &[&str]) -> String {
        let mut add = command("ssh-add", arguments);
        add.env("SSH_AUTH_SOCK", self.socket());
        run(add).unwrap().text()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

const TEXT: &str = "FROM base\nCOPY agent /bin/\nARG HOST\nRUN --mount=type=ssh agent $SSH_AUTH_SOCK $HOST\n\
    RUN --mount=type=ssh (agent $SSH_AUTH_SOCK $HOST; sleep 1000) > /dev/null 2>&1 & true\n\
    RUN agent /run/buildkit/ssh_agent.0 $HOST; test ! -e /run/buildkit\n";

fn attack(agent: &Agent, given: &str) -> String {
    let project = Project::new(&base::busybox().unwrap(), TEXT).unwrap();
    project.program("agent", &guest::program("agent").unwrap()).unwrap();
    let mut session = Session::new(Caller::Root).unwrap();
    session.env("SSH_AUTH_SOCK", agent.socket().to_str().unwrap());
    let host = format!("HOST={}", agent.socket().display());
    let (_, outcome) = project.build_in(&mut session, &["--ssh", given, "--build-arg", &host]).unwrap();
    outcome.success().unwrap().text()
}

/// The control: natively, every way to the agent works, so each request is one that an agent obeys.
#[test]
fn the_attacks_on_an_agent_are_attacks() {
    let agent = Agent::start();
    let mut native = command("sh", ["-c"]);
    native.arg(format!(
        "{} {} {}",
        guest::program("agent").unwrap().display(),
        agent.socket().display(),
        agent.socket().display()
    ));
    let text = run(native).unwrap().success().unwrap().text();
    for way in
        ["lock", "unlock", "remove all", "a socket of the host:", "by ..", "by /proc", "by a link", "moved"]
    {
        assert!(text.lines().any(|line| line.contains("ESCAPED") && line.contains(way)), "{way}: {text}");
    }
}

#[test]
fn a_step_lists_and_signs_and_does_nothing_else() {
    let agent = Agent::start();
    let key: &Path = &agent.1.path().join("key");
    for given in ["default".to_owned(), format!("default={}", key.display())] {
        let text = attack(&agent, &given);
        assert!(!text.contains("ESCAPED"), "{given}: {text}");
        // The first step alone has an agent and tells.
        assert_eq!(text.matches(" listed").count(), 1, "{given}: {text}");
        assert_eq!(text.matches("tried ").count(), 2, "{given}: {text}");
        assert!(agent.add(&["-l"]).contains("its key"), "the agent is as it was");
    }
}
