//! The restricted pod: runc, told by `examples/kubernetes/job.yaml` what a kubelet would be told.
//!
//! Every security field of the Job ends up in runc's `config.json`; one that this runner cannot carry out is an
//! error. The mounts, the masked and the read-only paths are those that container engines set. The network is the
//! host's, so that a registry on loopback is reached. There is no cgroup: the Job's resources are not applied.

use crate::command::{self, Outcome, command};
use crate::job;
use crate::seccomp::Profile;
use crate::workspace::{self, Scratch};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fmt;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A pod that has not been started.
#[derive(Clone, Debug)]
pub struct Pod {
    spec: Value,
    rootfs: PathBuf,
    user: Option<u32>,
    home: Home,
    profile: Profile,
    volumes: Vec<(String, PathBuf)>,
    binds: Vec<Bind>,
    env: Vec<(String, String)>,
    entrypoint: String,
    own: Arc<Scratch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    AsEngines,
    Unset,
}

#[derive(Clone, Debug)]
struct Bind {
    source: PathBuf,
    target: String,
    access: Access,
}

/// What a pod may do with a directory of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only read it.
    ReadOnly,
    /// Write it too.
    ReadWrite,
}

impl Pod {
    /// The Job's pod with `rootfs` as its unpacked image.
    pub fn new(rootfs: &Path) -> Result<Self> {
        ensure!(
            workspace::is_root(),
            "the pod is started by runc, which needs root (what runs in it has no privilege)"
        );
        let spec = job::pod_spec()?;
        let violations = job::violations(&spec);
        ensure!(violations.is_empty(), "job.yaml is not what Pod Security restricted admits: {violations:?}");
        Ok(Self {
            spec,
            rootfs: rootfs.to_path_buf(),
            user: None,
            home: Home::AsEngines,
            profile: Profile::Moby,
            volumes: Vec::new(),
            binds: Vec::new(),
            env: Vec::new(),
            entrypoint: "/wbuild".to_owned(),
            own: Arc::new(Scratch::new("pod")?),
        })
    }

    /// Another uid than the Job's, with group 0, as OpenShift gives one.
    pub fn user(&mut self, uid: u32) -> &mut Self {
        self.user = Some(uid);
        self
    }

    /// No `HOME` in the environment.
    pub fn without_home(&mut self) -> &mut Self {
        self.home = Home::Unset;
        self
    }

    /// Another seccomp profile around the pod than moby's.
    pub fn profile(&mut self, profile: Profile) -> &mut Self {
        self.profile = profile;
        self
    }

    /// The host directory behind a volume of the Job; a volume that gets none is an empty directory.
    pub fn volume(&mut self, name: &str, source: &Path) -> &mut Self {
        self.volumes.push((name.to_owned(), source.to_path_buf()));
        self
    }

    /// A directory or file of the host that the Job does not have, at `target`.
    pub fn bind(&mut self, source: &Path, target: &str, access: Access) -> &mut Self {
        self.binds.push(Bind { source: source.to_path_buf(), target: target.to_owned(), access });
        self
    }

    /// One more environment variable.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another program than the image's entry point.
    pub fn entrypoint(&mut self, program: &str) -> &mut Self {
        program.clone_into(&mut self.entrypoint);
        self
    }

    /// The uid that the pod runs with.
    pub fn uid(&self) -> Result<u32> {
        match self.user {
            Some(uid) => Ok(uid),
            None => number(&self.field("runAsUser")),
        }
    }

    /// Runs the entry point with `arguments` to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Outcome> {
        let (command, container) = self.command(arguments)?;
        let outcome = command::run(command);
        container.delete()?;
        outcome
    }

    /// The command that runs the pod in the foreground, and the handle that ends it.
    pub fn command(&self, arguments: &[&str]) -> Result<(Command, Container)> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("wbuild-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let bundle = self.own.path().join(&name);
        fs::create_dir(&bundle)?;
        fs::write(bundle.join("config.json"), self.config(arguments)?.to_string())?;
        let mut run = command("runc", ["run", "--bundle"]);
        run.arg(&bundle).arg(&name).current_dir("/");
        Ok((run, Container { name, _bundle: Arc::clone(&self.own) }))
    }

    fn container(&self) -> &Value {
        &self.spec["containers"][0]
    }

    /// A field of the container's security context, or of the pod's.
    fn field(&self, name: &str) -> Value {
        let own = &self.container()["securityContext"][name];
        if own.is_null() { self.spec["securityContext"][name].clone() } else { own.clone() }
    }

    fn config(&self, arguments: &[&str]) -> Result<Value> {
        let uid = self.uid()?;
        ensure!(self.field("runAsNonRoot") == json!(true) && uid != 0, "runAsNonRoot, and the uid is {uid}");
        ensure!(
            self.field("capabilities") == json!({ "drop": ["ALL"] }),
            "only `drop: [ALL]` is carried out"
        );
        ensure!(
            self.field("seccompProfile") == json!({ "type": "RuntimeDefault" }),
            "only RuntimeDefault is carried out"
        );
        let gid = if self.user.is_some() { 0 } else { number(&self.field("runAsGroup"))? };
        let groups: Vec<u32> = self.fs_group()?.into_iter().collect();
        let mut args = vec![self.entrypoint.as_str()];
        args.extend(arguments);
        let none =
            json!({ "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [] });
        let mut linux = json!({
            "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }],
            "maskedPaths": ["/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                            "/sys/devices/virtual/powercap"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        });
        if let Some(seccomp) = self.profile.resolve()? {
            linux["seccomp"] = seccomp;
        }
        Ok(json!({
            "ociVersion": "1.0.2", "hostname": "pod", "mounts": self.mounts()?, "linux": linux,
            "process": {
                "terminal": false, "cwd": "/", "args": args, "env": self.environment(),
                "user": { "uid": uid, "gid": gid, "additionalGids": groups },
                "capabilities": none, "noNewPrivileges": self.field("allowPrivilegeEscalation") == json!(false), "oomScoreAdj": 999,
            },
            "root": { "path": self.rootfs, "readonly": self.field("readOnlyRootFilesystem") == json!(true) },
        }))
    }

    fn environment(&self) -> Vec<String> {
        let mut env = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
        if self.home == Home::AsEngines {
            env.push("HOME=/".to_owned());
        }
        for pair in self.container()["env"].as_array().into_iter().flatten() {
            if let (Some(name), Some(value)) = (pair["name"].as_str(), pair["value"].as_str()) {
                env.push(format!("{name}={value}"));
            }
        }
        env.extend(self.env.iter().map(|(name, value)| format!("{name}={value}")));
        env
    }

    fn fs_group(&self) -> Result<Option<u32>> {
        let group = &self.spec["securityContext"]["fsGroup"];
        if group.is_null() { Ok(None) } else { number(group).map(Some) }
    }

    fn mounts(&self) -> Result<Vec<Value>> {
        let mut mounts = vec![
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ];
        for file in ["/etc/resolv.conf", "/etc/hosts"] {
            mounts.push(bind(Path::new(file), file, Access::ReadOnly));
        }
        for mounted in self.container()["volumeMounts"].as_array().into_iter().flatten() {
            let name = mounted["name"].as_str().context("a volumeMount without a name")?;
            let target = mounted["mountPath"].as_str().context("a volumeMount without a mountPath")?;
            let access = if mounted["readOnly"] == true { Access::ReadOnly } else { Access::ReadWrite };
            mounts.push(bind(&self.volume_source(name, access)?, target, access));
        }
        mounts.extend(self.binds.iter().map(|own| bind(&own.source, &own.target, own.access)));
        Ok(mounts)
    }

    /// A writable volume belongs to the fsGroup and hands it on, as the kubelet sets it up.
    fn volume_source(&self, name: &str, access: Access) -> Result<PathBuf> {
        let declared =
            self.spec["volumes"].as_array().into_iter().flatten().any(|volume| volume["name"] == name);
        ensure!(declared, "job.yaml mounts {name} and declares no such volume");
        let given = self.volumes.iter().find(|(volume, _)| volume == name);
        let source = match given {
            Some((_, source)) => source.clone(),
            None => {
                let dir = self.own.path().join(format!("volume-{name}"));
                fs::create_dir_all(&dir)?;
                dir
            }
        };
        if access == Access::ReadWrite {
            chown(&source, Some(0), self.fs_group()?).with_context(|| source.display().to_string())?;
            fs::set_permissions(&source, fs::Permissions::from_mode(0o2777))?;
        }
        Ok(source)
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a pod with the profile {:?}", self.profile)?;
        self.user.map_or(Ok(()), |uid| write!(f, " and the uid {uid}"))
    }
}

fn mount(target: &str, kind: &str, options: &[&str]) -> Value {
    json!({ "destination": target, "type": kind, "source": kind, "options": options })
}

fn bind(source: &Path, target: &str, access: Access) -> Value {
    let mode = if access == Access::ReadOnly { "ro" } else { "rw" };
    json!({ "destination": target, "type": "bind", "source": source, "options": ["rbind", "nosuid", "nodev", mode] })
}

fn number(value: &Value) -> Result<u32> {
    let Some(number) = value.as_u64().and_then(|n| u32::try_from(n).ok()) else {
        bail!("not an id: {value}")
    };
    Ok(number)
}

/// A pod that may be running.
#[derive(Debug)]
pub struct Container {
    name: String,
    _bundle: Arc<Scratch>,
}

impl Container {
    /// Kills what runs in it and removes it; a container that is already gone is fine.
    pub fn delete(&self) -> Result<()> {
        command::run(command("runc", ["delete", "--force", &self.name]))?.success().map(|_| ())
    }
}
