//! What a RUN mounts, as data: `--mount` with its values expanded and its defaults filled in.
//!
//! A mount is part of its step's cache key by [`RunMount::key_fields`] and, where it brings files, by the content that
//! [`RunMount::content`] names. What a cache mount has gathered, what a tmpfs holds and what a secret says is never part of it.

use wbuild_dockerfile::Span;

use crate::step::CopyFrom;

/// One `--mount` of a RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMount {
    /// The flag.
    pub span: Span,
    /// What it mounts.
    pub kind: RunMountKind,
}

/// The types of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunMountKind {
    /// `type=bind`
    Bind(BindMount),
    /// `type=cache`
    Cache(CacheMount),
    /// `type=tmpfs`
    Tmpfs(TmpfsMount),
    /// `type=secret`
    Secret(SecretMount),
    /// `type=ssh`
    Ssh(SshMount),
}

/// Files of the context, a stage or an image; what is written to them is thrown away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindMount {
    /// Absolute and clean; never `/`.
    pub target: String,
    /// Where `source` is looked up.
    pub from: MountFrom,
    /// Absolute and clean.
    pub source: String,
    /// `ro` or `rw`.
    pub access: MountAccess,
}

/// A directory that outlives the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMount {
    /// Absolute and clean; never `/`.
    pub target: String,
    /// The default is the target.
    pub id: String,
    /// What happens when two steps use it at the same time.
    pub sharing: Sharing,
    /// `ro` or `rw`.
    pub access: MountAccess,
    /// What a new one begins as. Caches of the same id that begin differently are different caches, as in BuildKit.
    pub start: CacheStart,
}

/// What a new cache holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheStart {
    /// Where its first content comes from.
    pub from: MountFrom,
    /// Absolute and clean.
    pub source: String,
    /// Owner and mode of its root where it starts empty.
    pub attributes: FileAttributes,
}

/// An empty directory that is gone with the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TmpfsMount {
    /// Absolute and clean; never `/`.
    pub target: String,
    /// The most it may hold, in bytes.
    pub size: Option<u64>,
    /// `ro` or `rw`.
    pub access: MountAccess,
}

/// A secret of the command line, as a file or in the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMount {
    /// Which one.
    pub id: String,
    /// Absolute and clean; `None` where it is only in the environment.
    pub target: Option<String>,
    /// The environment variable that holds it.
    pub env: Option<String>,
    /// Whether the build fails where the command line does not give it.
    pub presence: Presence,
    /// Of the file.
    pub attributes: FileAttributes,
}

/// The user's SSH agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshMount {
    /// Which one of the command line; `default` where the flag does not say.
    pub id: String,
    /// Where its socket is; absolute and clean.
    pub target: String,
    /// Whether the build fails where the command line does not give it.
    pub presence: Presence,
    /// Of the socket.
    pub attributes: FileAttributes,
}

/// Where a mount's files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountFrom {
    /// `from=scratch`, and a cache without `from`: nothing.
    Scratch,
    /// What a COPY could read.
    Files(CopyFrom),
}

/// Whether a step may write to a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MountAccess {
    /// It may not.
    ReadOnly,
    /// It may.
    ReadWrite,
}

/// What happens when two steps use a cache at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Both use it.
    Shared,
    /// The second gets another one.
    Private,
    /// The second waits.
    Locked,
}

/// Whether something must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Presence {
    /// It must.
    Required,
    /// Without it the step runs without the mount.
    Optional,
}

/// `uid`, `gid` and `mode` as far as they are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileAttributes {
    /// `uid`
    pub uid: Option<u32>,
    /// `gid`
    pub gid: Option<u32>,
    /// `mode`: permission bits with setuid, setgid and sticky.
    pub mode: Option<u32>,
}

/// Which network a RUN has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RunNetwork {
    /// wbuild's own.
    #[default]
    Default,
    /// None.
    None,
}

impl RunMount {
    /// Where it appears; `None` for a secret that is only in the environment.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        match &self.kind {
            RunMountKind::Bind(bind) => Some(&bind.target),
            RunMountKind::Cache(cache) => Some(&cache.target),
            RunMountKind::Tmpfs(tmpfs) => Some(&tmpfs.target),
            RunMountKind::Secret(secret) => secret.target.as_deref(),
            RunMountKind::Ssh(ssh) => Some(&ssh.target),
        }
    }

    /// What it says of itself for a cache key, beside [`RunMount::content`]: fields in a fixed order, none left out. No secret's content and
    /// nothing of where it comes from is among them.
    #[must_use]
    pub fn key_fields(&self) -> Vec<String> {
        let number = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
        let attributes =
            |a: &FileAttributes| [a.uid, a.gid, a.mode].map(|value| number(value.map(u64::from)));
        match &self.kind {
            RunMountKind::Bind(bind) => {
                vec!["bind".into(), bind.target.clone(), bind.source.clone(), format!("{:?}", bind.access)]
            }
            RunMountKind::Cache(cache) => {
                let mut fields = vec!["cache".into(), cache.target.clone(), cache.id.clone()];
                fields.extend([format!("{:?}", cache.sharing), format!("{:?}", cache.access)]);
                fields.push(cache.start.source.clone());
                fields.extend(attributes(&cache.start.attributes));
                fields
            }
            RunMountKind::Tmpfs(tmpfs) => {
                let access = format!("{:?}", tmpfs.access);
                vec!["tmpfs".into(), tmpfs.target.clone(), number(tmpfs.size), access]
            }
            RunMountKind::Secret(secret) => {
                let mut fields = vec!["secret".into(), secret.target.clone().unwrap_or_default()];
                fields.extend([secret.env.clone().unwrap_or_default(), secret.id.clone()]);
                fields.push(format!("{:?}", secret.presence));
                fields.extend(attributes(&secret.attributes));
                fields
            }
            RunMountKind::Ssh(ssh) => {
                let mut fields = vec!["ssh".into(), ssh.target.clone(), ssh.id.clone()];
                fields.push(format!("{:?}", ssh.presence));
                fields.extend(attributes(&ssh.attributes));
                fields
            }
        }
    }

    /// The files it brings into the step: where they come from, and the path there. Their content belongs in a cache key.
    #[must_use]
    pub fn content(&self) -> Option<(&CopyFrom, &str)> {
        let (from, source) = match &self.kind {
            RunMountKind::Bind(bind) => (&bind.from, &bind.source),
            RunMountKind::Cache(cache) => (&cache.start.from, &cache.start.source),
            RunMountKind::Tmpfs(_) | RunMountKind::Secret(_) | RunMountKind::Ssh(_) => return None,
        };
        match from {
            MountFrom::Scratch => None,
            MountFrom::Files(files) => Some((files, source)),
        }
    }
}
