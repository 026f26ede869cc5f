//! What one step may do, compiled: [`Policy::decide`] is pure, total, and allocates nothing.

use serde::{Deserialize, Serialize};

use crate::access::{Access, Decision, RuleId, Verdict};
use crate::file::Mode;
use crate::glob::PathPattern;
use crate::limits::{Limit, Limits};

/// A rule as the user finds it in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleRef {
    /// `fs.write.deny`
    pub key: String,
    /// The value, or the one of a list's that decides.
    pub value: String,
    /// The file as it was named, or a built-in policy's name.
    pub file: String,
    /// From 1.
    pub line: u32,
}

/// Whether a step has internet sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Those of wbuild itself.
    Open,
    /// None: there is no AF_INET and no AF_INET6.
    None,
}

/// What a step is allowed. The default allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub(crate) mode: Mode,
    pub(crate) clauses: Vec<Clause>,
    pub(crate) rules: Vec<RuleRef>,
    pub(crate) limits: Limits,
    pub(crate) limit_rules: Vec<(Limit, RuleId)>,
}

/// One `[[step]]` of one file. A step may do what no clause denies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clause {
    /// `exec.native = "deny"`
    pub(crate) native: Option<RuleId>,
    /// `net.default = "deny"`
    pub(crate) internet: Option<RuleId>,
    pub(crate) programs: Lists,
    pub(crate) modules: Lists,
    pub(crate) reads: Lists,
    pub(crate) writes: Lists,
}

/// An allow list that closes what it is about, and a deny list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lists {
    /// The list's own rule, and its patterns.
    pub(crate) allow: Option<(RuleId, Vec<PathPattern>)>,
    pub(crate) deny: Vec<(RuleId, PathPattern)>,
}

impl Lists {
    fn is_open(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }

    fn denies(&self, path: &[u8]) -> Option<RuleId> {
        let denied = self.deny.iter().find(|(_, pattern)| pattern.matches(path)).map(|(rule, _)| *rule);
        denied.or_else(|| match &self.allow {
            Some((rule, allow)) if !allow.iter().any(|pattern| pattern.matches(path)) => Some(*rule),
            _ => None,
        })
    }

    /// As [`Lists::denies`], also for what stands beneath a directory at `path`.
    fn denies_move(&self, path: &[u8]) -> Option<RuleId> {
        let beneath = |(_, pattern): &&(RuleId, PathPattern)| pattern.reaches_beneath(path);
        self.denies(path).or_else(|| self.deny.iter().find(beneath).map(|(rule, _)| *rule))
    }
}

impl Clause {
    fn denies(&self, access: Access<'_>) -> Option<RuleId> {
        match access {
            Access::Read(path) => self.reads.denies(path),
            Access::Write(path) => self.writes.denies(path),
            Access::Place(path) => self.writes.denies_move(path),
            Access::Move(path) => self.reads.denies_move(path).or_else(|| self.writes.denies_move(path)),
            Access::ExecNative(path) => self.native.or_else(|| self.programs.denies(path)),
            Access::ExecModule(path) => self.modules.denies(path),
            Access::Internet => self.internet,
        }
    }
}

/// What a user should know of a denial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The rule that denies.
    pub rule: RuleRef,
    /// The allow that missed most narrowly.
    pub near: Option<String>,
    /// A line that would allow it.
    pub allow: String,
}

impl Policy {
    /// True if no rule concerns the step: nothing need be asked.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.clauses.is_empty() && self.limits.is_empty()
    }

    /// What of the policy can change what a step makes, as text for a cache key; `default` where no rule concerns the step.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        if self.is_open() {
            return "default".to_owned();
        }
        // Every field has a representation: this cannot fail, and a failure would only run the step.
        serde_json::to_string(&(&self.mode, &self.clauses, &self.limits))
            .unwrap_or_else(|error| error.to_string())
    }

    /// Whether what is denied fails or is only recorded.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What bounds the step.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The rule that set a limit.
    #[must_use]
    pub fn limit_rule(&self, limit: Limit) -> Option<&RuleRef> {
        let (_, id) = self.limit_rules.iter().find(|(of, _)| *of == limit)?;
        self.rule(*id)
    }

    /// Whether the step has internet sockets.
    #[must_use]
    pub fn network(&self) -> Network {
        if self.clauses.iter().any(|clause| clause.internet.is_some()) {
            Network::None
        } else {
            Network::Open
        }
    }

    /// True if some rule can deny [`Access::Write`], [`Access::Place`] or [`Access::Move`], as [`Policy::restricts_reads`] for reads.
    #[must_use]
    pub fn restricts_writes(&self) -> bool {
        self.clauses.iter().any(|clause| !clause.writes.is_open() || !clause.reads.is_open())
    }

    /// True if some rule can deny [`Access::Read`]; where none can, a monitor need not find out the canonical path of what is read.
    #[must_use]
    pub fn restricts_reads(&self) -> bool {
        self.clauses.iter().any(|clause| !clause.reads.is_open())
    }

    /// True if some rule can deny [`Access::ExecNative`] or [`Access::ExecModule`].
    #[must_use]
    pub fn restricts_programs(&self) -> bool {
        self.clauses
            .iter()
            .any(|clause| clause.native.is_some() || !clause.programs.is_open() || !clause.modules.is_open())
    }

    /// Decides one access; pure and total.
    #[must_use]
    pub fn decide(&self, access: Access<'_>) -> Decision {
        match self.clauses.iter().find_map(|clause| clause.denies(access)) {
            Some(rule) => Decision::deny(rule),
            None => Decision::ALLOW,
        }
    }

    /// The rule of a decision.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&RuleRef> {
        self.rules.get(usize::try_from(id.0).ok()?)
    }

    /// What a user should know of the denial of `access` by `id`.
    #[must_use]
    pub fn explain(&self, access: Access<'_>, id: RuleId) -> Option<Explanation> {
        let rule = self.rule(id)?.clone();
        let (path, list) = match access {
            Access::Internet => return Some(Explanation { allow: opened(&rule), rule, near: None }),
            Access::Read(path)
            | Access::Write(path)
            | Access::Move(path)
            | Access::Place(path)
            | Access::ExecNative(path) => (path, ""),
            Access::ExecModule(path) => (path, "wasm:"),
        };
        if !rule.key.ends_with(".allow") {
            return Some(Explanation { allow: opened(&rule), rule, near: None });
        }
        let lists =
            self.clauses.iter().flat_map(|clause| [&clause.programs, &clause.modules, &clause.writes]);
        let allowed = lists.filter_map(|lists| lists.allow.as_ref()).find(|(list, _)| *list == id);
        let shared = |pattern: &&PathPattern| {
            pattern.text().bytes().zip(path).take_while(|(ours, theirs)| ours == *theirs).count()
        };
        // Everything shares the leading slash.
        let near = allowed
            .and_then(|(_, patterns)| patterns.iter().max_by_key(shared).filter(|best| shared(best) > 1))
            .map(|pattern| format!("{} has {:?}", rule.key, pattern.text()));
        let allow = format!("{} += [{:?}]", rule.key, format!("{list}{}", String::from_utf8_lossy(path)));
        Some(Explanation { rule, near, allow })
    }

    /// True if `verdict` stops the guest: in audit mode nothing does.
    #[must_use]
    pub fn enforces(&self, verdict: Verdict) -> bool {
        verdict == Verdict::Deny && self.mode == Mode::Enforce
    }
}

/// What to change about a rule that denies by itself.
fn opened(rule: &RuleRef) -> String {
    if rule.key.ends_with(".deny") {
        format!("take {:?} out of {} ({}:{})", rule.value, rule.key, rule.file, rule.line)
    } else {
        format!("{} = \"allow\"", rule.key)
    }
}
