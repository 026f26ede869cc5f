//! What a policy is asked, and what it answers.

use serde::{Deserialize, Serialize};

/// One thing a guest wants to do, as the reference monitor resolved it; paths are canonical guest paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// Read the file or list the directory at this path.
    Read(&'a [u8]),
    /// Change content, attributes or names at this path.
    Write(&'a [u8]),
    /// Take the name at this path away from what stands there, or give that another one (rename, link): afterwards a rule about the path,
    /// or about anything beneath it, would no longer meet it.
    Move(&'a [u8]),
    /// Put at this path what may bring names of its own along (a directory that is renamed, a symbolic link): afterwards something could stand
    /// beneath the path that nobody asked about.
    Place(&'a [u8]),
    /// Execute the native program at this path.
    ExecNative(&'a [u8]),
    /// Run the wasm module at this path.
    ExecModule(&'a [u8]),
    /// Make an internet socket.
    Internet,
}

/// Allowed or denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may happen.
    #[default]
    Allow,
    /// It may not; the guest gets EACCES.
    Deny,
}

/// Names a rule of a [`crate::Policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RuleId(pub u32);

/// A verdict with the rule that led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Allowed or denied.
    pub verdict: Verdict,
    /// The rule that denies; `None` where it is allowed.
    pub rule: Option<RuleId>,
}

impl Decision {
    /// No rule denies it.
    pub(crate) const ALLOW: Self = Self { verdict: Verdict::Allow, rule: None };

    /// This rule denies it.
    pub(crate) const fn deny(rule: RuleId) -> Self {
        Self { verdict: Verdict::Deny, rule: Some(rule) }
    }
}
