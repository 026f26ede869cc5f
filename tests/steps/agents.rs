//! RUN --mount=type=ssh: OpenSSH's own client, agent and server, and what stays of a key: nothing.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use wbuild_tests::base;
use wbuild_tests::command::{command, run};
use wbuild_tests::layout::Image;
use wbuild_tests::project::{Project, pod};
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace::Scratch;

/// A directory with a new key that everybody may read, and the key's public half.
pub(crate) fn key() -> (Scratch, String) {
    let dir = Scratch::new("key").unwrap();
    let file = dir.path().join("id");
    let mut make = command("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "wbuild's test", "-f"]);
    make.arg(&file);
    run(make).unwrap().success().unwrap();
    run(command("chmod", [std::ffi::OsStr::new("644"), file.as_os_str()])).unwrap().success().unwrap();
    let public = std::fs::read_to_string(dir.path().join("id.pub")).unwrap();
    (dir, public)
}

/// A running ssh-agent that holds a key; whoever may reach its directory may connect.
struct Agent {
    process: Child,
    dir: Scratch,
}

impl Agent {
    fn start(key: &Path) -> Self {
        let dir = Scratch::new("agent").unwrap();
        let socket = dir.path().join("socket");
        let mut agent = command("ssh-agent", ["-D", "-a"]);
        agent.arg(&socket).stdout(Stdio::null());
        let process = agent.spawn().unwrap();
        let started = Self { process, dir };
        for _ in 0..200 {
            if started.ask(&["-l"], &socket).contains("no identities") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let own = started.dir.path().join("own");
        run(command("install", [std::ffi::OsStr::new("-m600"), key.as_os_str(), own.as_os_str()])).unwrap();
        started.ask(&[own.to_str().unwrap()], &socket);
        started
    }

    fn ask(&self, arguments: &[&str], socket: &Path) -> String {
        let mut add = command("ssh-add", arguments);
        add.env("SSH_AUTH_SOCK", socket);
        run(add).unwrap().text()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}

const CLIENT: &str = "FROM base\nRUN apt-get -q update && apt-get -qy install --no-install-recommends openssh-client openssh-server git\n";

/// A server on loopback, in the step itself, that takes the key; the key is only behind the socket.
const LOGIN: &str = r#"RUN --mount=type=ssh,required <<EOF
set -e
test "$SSH_AUTH_SOCK" = /run/buildkit/ssh_agent.0
test "$(stat -c %u:%g:%a:%F $SSH_AUTH_SOCK)" = 0:0:600:socket
useradd -m user && mkdir -m 700 -p /root/.ssh /home/user/.ssh
ssh-add -L > /home/user/.ssh/authorized_keys
ssh-keygen -q -t ed25519 -N '' -f /home/user/host && chown -R user: /home/user
# As a user: root's sshd would chroot, which the pod's profile denies.
setpriv --reuid=user --regid=user --clear-groups /usr/sbin/sshd -p 2922 -h /home/user/host -o ListenAddress=127.0.0.1 -o UsePAM=no -o PidFile=none
cat > /root/.ssh/config <<CONFIG
Host server
  HostName 127.0.0.1
  Port 2922
  User user
  BatchMode yes
  StrictHostKeyChecking accept-new
CONFIG
ssh -T server whoami > /login
git init -q /repository && cd /repository && git config user.email a@b && git config user.name a
echo content > file && git add file && git commit -qm first
chown -R user: /repository
git clone -q ssh://server/repository /clone
SSH_AUTH_SOCK= ssh -T server true && exit 1
! ssh-add -D && ! ssh-add -x < /dev/null
ssh-add -l > /listed
EOF
RUN --mount=type=ssh,target=/a,uid=7,gid=8,mode=640 --mount=type=ssh,id=other,required --mount=type=ssh,id=none \
    set -e; test "$SSH_AUTH_SOCK" = /a; test "$(stat -c %u:%g:%a /a)" = 7:8:640; test -S /run/buildkit/ssh_agent.1; \
    test ! -e /run/buildkit/ssh_agent.2; ! rm /a; ! chmod 777 /a; ! mv /a /b; ! ln /a /b; ssh-add -l >> /listed
RUN test -z "$SSH_AUTH_SOCK" && test ! -e /run/buildkit && test ! -e /a
USER 9
RUN --mount=type=ssh ! ssh-add -l
RUN --mount=type=ssh,uid=9 ssh-add -l
"#;

fn added(image: &Image) -> Vec<String> {
    let layer = image.layers().unwrap().pop().unwrap();
    let mut archive = tar::Archive::new(image.archive(&layer).unwrap());
    let names = archive.entries().unwrap();
    names.map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_step_logs_in_with_a_key_that_it_never_sees() {
    let (dir, public) = key();
    let agent = Agent::start(&dir.path().join("id"));
    let project = Project::new(&base::debian().unwrap(), &format!("{CLIENT}{LOGIN}")).unwrap();
    // The pod gets the key's file: nobody but root may connect to an agent of root's.
    for caller in [pod().unwrap(), Caller::Root] {
        let mut session = Session::new(caller).unwrap();
        session.env("WBUILD_JOURNAL_CHECK", "1");
        let file = format!("{}/id", session.share(dir.path()).unwrap());
        let default = match session.is_pod() {
            true => format!("default={file}"),
            false => {
                session.env("SSH_AUTH_SOCK", agent.dir.path().join("socket").to_str().unwrap());
                "default".to_owned()
            }
        };
        let other = format!("other={file}");
        let (layout, outcome) =
            project.build_in(&mut session, &["--ssh", &default, "--ssh", &other]).unwrap();
        outcome.success().unwrap();
        let image = Image::verify(&layout).unwrap();
        assert_eq!(image.text("login").unwrap(), "user\n");
        assert_eq!(image.text("clone/file").unwrap(), "content\n");
        assert_eq!(image.text("listed").unwrap().matches("wbuild's test").count(), 2);
        assert!(added(&image).iter().all(|name| !name.contains("run/buildkit")), "{:?}", added(&image));
        let key = std::fs::read_to_string(dir.path().join("id")).unwrap();
        let secret = key.lines().nth(2).unwrap();
        let mut find = command("grep", ["-rlF", secret]);
        find.arg(session.store());
        assert_eq!(run(find).unwrap().text().trim(), "", "nothing of the key is in the store");
    }
    let left = agent.ask(&["-L"], &agent.dir.path().join("socket"));
    assert!(left.contains(public.split(' ').nth(1).unwrap()), "the agent is as it was: {left}");
}

#[test]
fn an_agent_that_is_not_given_is_missing_only_where_it_is_required() {
    let base = base::busybox().unwrap();
    let text = "FROM base\nRUN --mount=type=ssh test ! -e /run/buildkit && test -n \"$SSH_AUTH_SOCK\"\n\
        RUN --mount=type=ssh,required=true true\n";
    let attempt = Project::new(&base, text).unwrap().try_build(pod().unwrap(), &[]).unwrap();
    let text = attempt.outcome.code(1).unwrap().text();
    assert!(text.contains("no SSH agent \"default\" is given") && text.contains("Dockerfile:3"), "{text}");
    assert!(text.contains("--ssh default=KEYFILE"), "{text}");
    let project = Project::new(&base, "FROM base\n").unwrap();
    for (value, says) in [
        ("default", "SSH_AUTH_SOCK is not set"),
        ("a=/nowhere", "cannot read /nowhere"),
        ("a=/etc,b=c", "raw"),
        ("=x", "no id"),
    ] {
        let value = value.replace("/etc,b=c", "x,raw=true");
        let attempt = project.try_build(pod().unwrap(), &["--ssh", &value]).unwrap();
        let text = attempt.outcome.code(2).unwrap().text();
        assert!(text.contains(says) && text.contains("--ssh ID=SOCKET"), "{value}: {text}");
    }
}

#[test]
fn a_key_with_a_passphrase_is_refused_before_the_build() {
    let dir = Scratch::new("key").unwrap();
    let file: PathBuf = dir.path().join("id");
    let mut make = command("ssh-keygen", ["-q", "-t", "ed25519", "-N", "a passphrase", "-f"]);
    make.arg(&file);
    run(make).unwrap().success().unwrap();
    let value = format!("default={}", file.display());
    let project = Project::new(&base::busybox().unwrap(), "FROM base\nRUN echo not run\n").unwrap();
    let text = project.try_build(Caller::Root, &["--ssh", &value]).unwrap().outcome.code(2).unwrap().text();
    assert!(text.contains("it has a passphrase") && text.contains("ssh-add"), "{text}");
}
