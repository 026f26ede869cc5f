//! Audit events: what policy denied, as data.
//!
//! Only denials are kept, each once with its count; rendering them is the CLI's.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use wbuild_policy::Decision;

/// The kind of an access, as policy names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AccessKind {
    /// Content or listing.
    Read,
    /// Content, attributes or names.
    Write,
    /// A native program is started.
    ExecNative,
}

/// One denied access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// What was tried.
    pub kind: AccessKind,
    /// The canonical guest path.
    pub path: Vec<u8>,
    /// The rule's key in the policy file.
    pub rule: Option<String>,
    /// How often.
    pub count: u64,
}

/// What was tried, where, and the rule against it.
type Denied = (AccessKind, Vec<u8>, Option<&'static str>);

/// The denials of a step.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    denials: Mutex<BTreeMap<Denied, u64>>,
}

impl Audit {
    pub(crate) fn denied(&self, kind: AccessKind, path: &[u8], decision: Decision) {
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        *denials.entry((kind, path.to_vec(), decision.rule)).or_default() += 1;
    }

    pub(crate) fn list(&self) -> Vec<Denial> {
        let denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        denials
            .iter()
            .map(|((kind, path, rule), count)| Denial {
                kind: *kind,
                path: path.clone(),
                rule: rule.map(str::to_owned),
                count: *count,
            })
            .collect()
    }
}
