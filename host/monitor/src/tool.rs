//! What a wasm tool may know of its step and may change of its image: the data behind the `wbuild:step` interfaces (guest-sdk/wit).
//!
//! Invariant: a [`ToolContext`] holds no secret's content, only where the step's own mounts show it; an [`ImageChange`] comes from
//! the guest and is checked before it is kept.

use serde::{Deserialize, Serialize};

use crate::MountAccess;

/// What a tool may know of its step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolContext {
    /// The stage's name, else its number.
    pub stage: String,
    /// The image's platform, as `linux/arm64/v8`.
    pub target: String,
    /// The platform that builds it.
    pub build: String,
    /// `--mount`, in order: an absolute path in the rootfs.
    pub mounts: Vec<(String, MountAccess)>,
    /// Where secrets are, by id.
    pub secrets: Vec<(String, SecretPlace)>,
}

/// Where a step finds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretPlace {
    /// In a file: an absolute path in the rootfs.
    File(String),
    /// In an environment variable.
    Variable(String),
}

/// What a tool changes of the configuration of the image that its stage becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageChange {
    /// `ENV name=value`
    Env(String, String),
    /// `LABEL name=value`
    Label(String, String),
    /// `ENTRYPOINT [..]`
    Entrypoint(Vec<String>),
    /// `CMD [..]`
    Cmd(Vec<String>),
    /// `USER user[:group]`
    User(String),
    /// `WORKDIR path`, absolute.
    Workdir(String),
    /// `EXPOSE port/protocol`
    Expose(u16, String),
}

/// Bytes of one change at most.
pub const LARGEST_CHANGE: usize = 64 << 10;
/// Changes of one step at most.
pub const MOST_CHANGES: usize = 1024;

impl ImageChange {
    /// The instruction that says the same in a Dockerfile.
    #[must_use]
    pub fn instruction(&self) -> &'static str {
        match self {
            Self::Env(..) => "ENV",
            Self::Label(..) => "LABEL",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Cmd(_) => "CMD",
            Self::User(_) => "USER",
            Self::Workdir(_) => "WORKDIR",
            Self::Expose(..) => "EXPOSE",
        }
    }

    /// Whether the instruction could say it.
    ///
    /// # Errors
    /// What is wrong, for the tool's author.
    pub fn check(&self) -> Result<(), &'static str> {
        let plain = |text: &str| !text.contains('\0');
        match self {
            Self::Env(name, _) if name.is_empty() || name.contains('=') => {
                Err("the name of a variable is empty or holds a `=`")
            }
            Self::Label(name, _) if name.is_empty() => Err("the name of a label is empty"),
            Self::Workdir(path) if !path.starts_with('/') => Err("the working directory is not absolute"),
            Self::Expose(0, _) => Err("there is no port 0"),
            Self::Expose(_, protocol) if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) => {
                Err("the protocol is none of tcp, udp, sctp")
            }
            Self::Env(name, value) | Self::Label(name, value) if !plain(name) || !plain(value) => {
                Err("it holds a NUL")
            }
            Self::Entrypoint(words) | Self::Cmd(words) if !words.iter().all(|word| plain(word)) => {
                Err("it holds a NUL")
            }
            Self::User(text) | Self::Workdir(text) if !plain(text) => Err("it holds a NUL"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_what_an_instruction_could_say() {
        let text = str::to_owned;
        assert_eq!(ImageChange::Env(text("A"), text("b=c")).check(), Ok(()));
        assert_eq!(ImageChange::Expose(53, text("udp")).check(), Ok(()));
        for wrong in [
            ImageChange::Env(text("A=B"), text("")),
            ImageChange::Env(text("A"), text("\0")),
            ImageChange::Label(text(""), text("x")),
            ImageChange::Workdir(text("srv")),
            ImageChange::Expose(0, text("tcp")),
            ImageChange::Expose(80, text("http")),
            ImageChange::Cmd(vec![text("a\0")]),
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
