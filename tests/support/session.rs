//! `wbuild` run by each kind of caller: in the pod, as an ordinary user, as root.
//!
//! Each session has its own store. Directories of the host are shared with it by `share`, which gives the path as
//! wbuild sees it; whatever it writes goes beneath `out`.

use crate::command::{self, Outcome, command};
use crate::pod::{Access, Pod};
use crate::workspace::{self, Scratch};
use anyhow::{Context, Result, ensure};
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
    /// Root outside any container.
    Root,
}

/// wbuild with a store of its own.
#[derive(Debug)]
pub struct Session {
    caller: Caller,
    scratch: Scratch,
    shares: Vec<PathBuf>,
    env: Vec<(String, String)>,
}

impl Session {
    /// An empty store.
    pub fn new(caller: Caller) -> Result<Self> {
        let scratch = Scratch::new("session")?;
        for name in ["store", "bin"] {
            fs::create_dir(scratch.path().join(name))?;
        }
        let session = Self { caller, scratch, shares: Vec::new(), env: Vec::new() };
        match &session.caller {
            Caller::User(uid) => {
                std::os::unix::fs::chown(session.store(), Some(*uid), Some(*uid))?;
                // A checkout beneath somebody's home cannot be entered by another user; a copy can.
                fs::copy(workspace::wbuild()?, session.scratch.path().join("bin/wbuild"))?;
            }
            Caller::Root | Caller::Pod(_) => {}
        }
        fs::set_permissions(session.store(), fs::Permissions::from_mode(0o755))?;
        Ok(session)
    }

    /// The store's directory on the host.
    pub fn store(&self) -> PathBuf {
        self.scratch.path().join("store")
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
            Caller::Root => text(host),
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
            Caller::Root | Caller::User(_) => text(&host)?,
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
            Caller::User(_) | Caller::Root => command::run(self.command(arguments)?),
        }
    }

    /// Runs wbuild, which must succeed.
    pub fn succeed(&self, arguments: &[&str]) -> Result<Outcome> {
        self.run(arguments)?.success()
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
                setpriv.arg(self.scratch.path().join("bin/wbuild"));
                setpriv
            }
            Caller::Root => Command::new(workspace::wbuild()?),
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
