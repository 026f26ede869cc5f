//! Policy: what a step may do, decided without I/O.
//!
//! In this version a policy knows one rule, whether native programs may run at all; the policy file is not read yet.
//! The decision has its final shape: every access asks [`Policy::decide`] and gets a [`Decision`].

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// What a step is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// `exec.native`: whether native programs may be executed.
    pub exec_native: Verdict,
}

/// One thing a guest wants to do, as the reference monitor resolved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// Read the file or list the directory at this guest path.
    Read(&'a [u8]),
    /// Change content, attributes or names at this guest path.
    Write(&'a [u8]),
    /// Execute the native program at this guest path.
    ExecNative(&'a [u8]),
}

/// Allowed or denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may happen.
    #[default]
    Allow,
    /// It may not; the guest gets EACCES.
    Deny,
}

/// A verdict with the rule that led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Allowed or denied.
    pub verdict: Verdict,
    /// The rule's key in the policy file; `None` where no rule concerns the access.
    pub rule: Option<&'static str>,
}

impl Policy {
    /// True if some rule can deny [`Access::Write`], as [`Policy::restricts_reads`] for reads.
    #[must_use]
    pub fn restricts_writes(&self) -> bool {
        false
    }

    /// True if some rule can deny [`Access::Read`]; where none can, a monitor need not find out the canonical path of what is read.
    #[must_use]
    pub fn restricts_reads(&self) -> bool {
        false
    }

    /// Decides one access; pure and total.
    #[must_use]
    pub fn decide(&self, access: Access<'_>) -> Decision {
        match access {
            Access::ExecNative(_) => Decision { verdict: self.exec_native, rule: Some("exec.native") },
            Access::Read(_) | Access::Write(_) => Decision { verdict: Verdict::Allow, rule: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_execution_follows_its_rule() {
        let closed = Policy { exec_native: Verdict::Deny };
        assert_eq!(closed.decide(Access::ExecNative(b"/bin/sh")).verdict, Verdict::Deny);
        assert_eq!(closed.decide(Access::Read(b"/bin/sh")).verdict, Verdict::Allow);
        assert_eq!(Policy::default().decide(Access::ExecNative(b"/bin/sh")).verdict, Verdict::Allow);
    }
}
