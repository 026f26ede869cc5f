//! Audit events: what policy denied, as data.
//!
//! Each denial is kept once with its count and the processes that led to the first attempt; rendering them is the CLI's. A step that
//! tries ever new paths fills no memory: past [`MOST`] only the number is kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use wbuild_policy::{Access, Code, Explanation, Policy, RuleId};

/// So many different denials of a step are kept.
const MOST: usize = 200;
/// So many processes of a chain are shown: a step's are rarely deeper.
const DEEPEST: usize = 12;

/// The kind of an access, as policy names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessKind {
    /// Content or listing.
    Read,
    /// Content, attributes or names.
    Write,
    /// What has a name is to lose it, or to get another.
    Move,
    /// A name for what may lead to others.
    Place,
    /// A native program is started.
    ExecNative,
    /// A wasm module is started.
    ExecModule,
    /// An internet socket is made.
    Internet,
}

impl std::fmt::Display for AccessKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write | Self::Place => "write",
            Self::Move => "rename or link",
            Self::ExecNative => "execute",
            Self::ExecModule => "run the module",
            Self::Internet => "internet socket",
        })
    }
}

impl AccessKind {
    /// The code of its denial.
    #[must_use]
    pub fn code(self, rule: &str) -> Code {
        match self {
            Self::ExecNative if rule == "exec.native" => Code::EXEC_NATIVE,
            Self::ExecNative | Self::ExecModule => Code::EXEC,
            // A move is denied for what may not be read, or for what may not be changed.
            Self::Read | Self::Move if rule.starts_with("fs.read") => Code::READ,
            Self::Read | Self::Write | Self::Move | Self::Place => Code::WRITE,
            Self::Internet => Code::NETWORK,
        }
    }

    /// The access of this kind at a path.
    #[must_use]
    pub fn access(self, path: &[u8]) -> Access<'_> {
        match self {
            Self::Read => Access::Read(path),
            Self::Write => Access::Write(path),
            Self::Move => Access::Move(path),
            Self::Place => Access::Place(path),
            Self::ExecNative => Access::ExecNative(path),
            Self::ExecModule => Access::ExecModule(path),
            Self::Internet => Access::Internet,
        }
    }
}

/// One denied access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// What was tried.
    pub kind: AccessKind,
    /// The canonical guest path; empty where there is none.
    pub path: Vec<u8>,
    /// The rule, and what would allow it.
    pub explanation: Option<Explanation>,
    /// How often.
    pub count: u64,
    /// Names of the processes, the step's first one first, and the id of the last; of the first attempt.
    pub processes: Vec<String>,
    /// The id of the process that tried first, as the host knows it.
    pub pid: Option<u32>,
}

/// What a step did to its policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denials {
    /// Each different one once.
    pub list: Vec<Denial>,
    /// How many attempts more were denied and are not in the list.
    pub unlisted: u64,
}

/// What was tried, where, and the rule against it.
type Denied = (AccessKind, Vec<u8>, RuleId);

#[derive(Debug)]
struct Seen {
    count: u64,
    processes: Vec<String>,
    pid: Option<u32>,
}

#[derive(Debug, Default)]
struct Inner {
    seen: BTreeMap<Denied, Seen>,
    unlisted: u64,
}

/// The denials of a step.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    inner: Mutex<Inner>,
}

impl Audit {
    pub(crate) fn denied(&self, kind: AccessKind, path: &[u8], rule: RuleId, caller: Option<u32>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (kind, path.to_vec(), rule);
        if let Some(seen) = inner.seen.get_mut(&key) {
            seen.count += 1;
        } else if inner.seen.len() >= MOST {
            inner.unlisted += 1;
        } else {
            let processes = caller.map(chain).unwrap_or_default();
            inner.seen.insert(key, Seen { count: 1, processes, pid: caller });
        }
    }

    pub(crate) fn list(&self, policy: &Policy) -> Denials {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let list = inner.seen.iter().map(|((kind, path, rule), seen)| Denial {
            kind: *kind,
            path: path.clone(),
            explanation: policy.explain(kind.access(path), *rule),
            count: seen.count,
            processes: seen.processes.clone(),
            pid: seen.pid,
        });
        Denials { list: list.collect(), unlisted: inner.unlisted }
    }
}

/// The names of a process and of those it descends from within the step, oldest first. Above the step's first process stands the reaper, a
/// child of this one, to which orphans come.
fn chain(pid: u32) -> Vec<String> {
    let own = std::process::id();
    let mut names = Vec::new();
    let mut next = pid;
    while let Some((name, parent)) = stat(next) {
        if names.len() == DEEPEST || parent == own || next == own {
            break;
        }
        names.push(name);
        next = parent;
    }
    names.reverse();
    names
}

/// The name and the parent of a process; `None` once it is gone.
fn stat(pid: u32) -> Option<(String, u32)> {
    let path = format!("/proc/{pid}/stat");
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut content = [0; 512];
    let length = rustix::io::read(&file, &mut content).ok()?;
    // man 5 proc: pid (comm) state ppid; the name may hold anything, brackets included.
    let text = String::from_utf8_lossy(&content[..length]).into_owned();
    let (head, tail) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1;
    // A guest chooses its name: what would move a terminal's cursor goes.
    let name = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    Some((name, tail.split_whitespace().nth(1)?.parse().ok()?))
}
