//! `wbuild` run by each kind of caller: in the pod, as an ordinary user, as root.
//!
//! Each session has its own store. Directories of the host are shared with it by `share`, which gives the path as
//! wbuild sees it; whatever it writes goes beneath `out`.

use crate::command::{self, Outcome, command};
use crate::pod::{Access, Pod};
use crate::workspace::{self, Scratch};
use anyhow::{Context, Result, ensure};
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who runs wbuild.
#[derive(Debug)]
pub enum Caller {
    /// The restricted pod; the store is the Job's volume at /scratch.
    Pod(Box<Pod>),
    /// An ordinary user with this uid, outside any container.
    User(u32),
    /// Whoever runs the tests, when that is not root.
    Myself,
    /// Root outside any container.
    Root,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(pod) => write!(f, "{pod}"),
            Self::User(uid) => write!(f, "the user {uid}"),
            Self::Myself => f.write_str("whoever runs the tests"),
            Self::Root => f.write_str("root"),
        }
    }
}

/// Where what wbuild prints goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Into the error, should it fail.
    Kept,
    /// To this program's terminal.
    Terminal,
}

/// wbuild with a store of its own.
#[derive(Debug)]
pub struct Session {
    caller: Caller,
    scratch: Scratch,
    shares: Vec<PathBuf>,
    env: Vec<(String, String)>,
    given: u32,
}

impl Session {
    /// An empty store, and the binary under test.
    pub fn new(caller: Caller) -> Result<Self> {
        Self::with_binary(caller, &workspace::wbuild()?)
    }

    /// An empty store, and `binary`; a pod has its own in its image.
    pub fn with_binary(caller: Caller, binary: &Path) -> Result<Self> {
        let scratch = Scratch::new("session")?;
        for name in ["store", "bin"] {
            fs::create_dir(scratch.path().join(name))?;
        }
        let session = Self { caller, scratch, shares: Vec::new(), env: Vec::new(), given: 0 };
        // A checkout beneath somebody's home cannot be entered by another user; a copy of the binary can.
        // By another process: what this one has open for writing while another thread forks cannot be executed (ETXTBSY).
        let mut copy = command("cp", [binary]);
        copy.arg(session.binary());
        command::run(copy)?.success()?;
        fs::set_permissions(session.store(), fs::Permissions::from_mode(0o755))?;
        if let Caller::User(uid) = session.caller {
            std::os::unix::fs::chown(session.store(), Some(uid), Some(uid))?;
        }
        Ok(session)
    }

    /// The store's directory on the host.
    pub fn store(&self) -> PathBuf {
        self.scratch.path().join("store")
    }

    /// A number that this session has not given yet.
    pub fn number(&mut self) -> u32 {
        self.given += 1;
        self.given
    }

    /// Whether wbuild runs in a pod.
    pub fn is_pod(&self) -> bool {
        matches!(self.caller, Caller::Pod(_))
    }

    fn binary(&self) -> PathBuf {
        self.scratch.path().join("bin/wbuild")
    }

    /// One more environment variable for every run.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes a directory of the host readable by wbuild; returns the path it sees.
    pub fn share(&mut self, host: &Path) -> Result<String> {
        self.shares.push(host.to_path_buf());
        let number = self.shares.len();
        match &self.caller {
            Caller::Pod(_) => Ok(format!("/share/{number}")),
            Caller::Root | Caller::Myself => text(host),
            Caller::User(_) => {
                let copy = self.scratch.path().join(format!("share-{number}"));
                let mut cp = command("cp", ["-rL"]);
                cp.arg(host).arg(&copy);
                command::run(cp)?.success()?;
                command::run(command("chmod", ["-R", "a+rX", &text(&copy)?]))?.success()?;
                text(&copy)
            }
        }
    }

    /// A name beneath the store for what wbuild writes: the path on the host, and the path it sees.
    pub fn out(&self, name: &str) -> Result<(PathBuf, String)> {
        let host = self.store().join(name);
        let seen = match &self.caller {
            Caller::Pod(_) => format!("/scratch/{name}"),
            Caller::Root | Caller::Myself | Caller::User(_) => text(&host)?,
        };
        Ok((host, seen))
    }

    /// Runs wbuild to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Outcome> {
        match &self.caller {
            Caller::Pod(_) => {
                let (command, container) = self.pod_command(arguments)?;
                let outcome = command::run(command);
                container.delete()?;
                outcome
            }
            Caller::User(_) | Caller::Myself | Caller::Root => command::run(self.command(arguments)?),
        }
    }

    /// Runs wbuild, which must succeed.
    pub fn succeed(&self, arguments: &[&str]) -> Result<Outcome> {
        self.run(arguments)?.success()
    }

    /// Runs `wbuild build` with both lists of arguments; it must succeed.
    pub fn build(&self, output: Output, first: &[&str], then: &[&str]) -> Result<()> {
        let arguments = [&["build"], first, then].concat();
        match output {
            Output::Kept => self.succeed(&arguments).map(|_| ()),
            Output::Terminal => {
                let (mut command, container) = match &self.caller {
                    Caller::Pod(_) => {
                        let (command, container) = self.pod_command(&arguments)?;
                        (command, Some(container))
                    }
                    _ => (self.command(&arguments)?, None),
                };
                let status = command.status().with_context(|| command::show(&command))?;
                if let Some(container) = container {
                    container.delete()?;
                }
                ensure!(status.success(), "{} ended with {status}", command::show(&command));
                Ok(())
            }
        }
    }

    /// The command that a user or root would run.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let root = text(&self.store())?;
        let mut command = match &self.caller {
            Caller::User(uid) => {
                ensure!(workspace::is_root(), "running as another user needs root");
                let mut setpriv =
                    command("setpriv", ["--clear-groups", "--inh-caps=-all", "--ambient-caps=-all"]);
                setpriv.arg(format!("--reuid={uid}")).arg(format!("--regid={uid}"));
                setpriv.arg(self.binary());
                setpriv
            }
            Caller::Root | Caller::Myself => Command::new(self.binary()),
            Caller::Pod(_) => anyhow::bail!("a pod is started by runc"),
        };
        command.args(arguments).current_dir("/").env_clear().stdin(std::process::Stdio::null());
        command.env("PATH", "/usr/bin:/bin").env("WBUILD_ROOT", &root).env("HOME", &root);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// The command that runs wbuild in the pod, and the container it will be in.
    pub fn pod_command(&self, arguments: &[&str]) -> Result<(Command, crate::pod::Container)> {
        let Caller::Pod(pod) = &self.caller else { anyhow::bail!("not a pod") };
        let mut pod = pod.clone();
        pod.volume("scratch", &self.store());
        for (index, host) in self.shares.iter().enumerate() {
            pod.bind(host, &format!("/share/{}", index + 1), Access::ReadOnly);
        }
        for (name, value) in &self.env {
            pod.env(name, value);
        }
        pod.command(arguments)
    }
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("not UTF-8: {}", path.display()))
}
