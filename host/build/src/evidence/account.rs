//! The audit's documents, as docs/audit.md describes them: one JSON object a line, each with the name of its schema.
//!
//! A key is added without a new version; one that goes or changes its meaning is a new version. Paths are text: a byte that is no UTF-8 is
//! written as `\xNN`, and a backslash as `\\` in a path that has such a byte.

use std::io::Read;

use serde::Serialize;
use wbuild_layer::{Change, ChangeSet, EntryKind, Hasher, RootPath};
use wbuild_monitor::{Contact, Denial, EvidenceDetail, ExecutedProgram, Exit, FileRead, StepRecord};
use wbuild_oci::Digest;

/// One line of an audit.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum AuditLine {
    /// The first line.
    Build {
        /// The schema of all lines.
        schema: &'static str,
        /// The program and its version.
        builder: String,
        /// When it began, RFC 3339.
        started: String,
        /// The Dockerfile's name.
        dockerfile: String,
        /// The digest of its text.
        dockerfile_digest: Digest,
        /// The stage that is built; none is the last.
        target: Option<String>,
        /// The policy, if there is one.
        policy: Option<UsedPolicy>,
    },
    /// A step that ended.
    Step(Box<StepAccount>),
    /// The last line.
    End {
        /// `built` or `failed`.
        result: &'static str,
        /// The image's manifest.
        manifest: Option<Digest>,
        /// Why it failed, in one line.
        error: Option<String>,
    },
}

impl AuditLine {
    /// The name and version of the schema.
    pub const SCHEMA: &str = "wbuild.audit/v1";
}

/// A policy that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsedPolicy {
    /// Of its mode and text (`wbuild policy digest`).
    pub digest: Digest,
    /// `enforce` or `audit`.
    pub mode: String,
    /// Its files, those it extends first.
    pub files: Vec<String>,
}

/// What is known of one step.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StepAccount {
    /// As it is displayed: `[build 3/7] RUN make`.
    pub step: String,
    /// The stage's name or number.
    pub stage: String,
    /// The line of the Dockerfile.
    pub line: u32,
    /// RUN, COPY, ADD or WORKDIR.
    pub instruction: String,
    /// True if its layer came from the cache: nothing was executed.
    pub cached: bool,
    /// True if the build failed at it.
    pub failed: bool,
    /// How long it took.
    pub seconds: Option<f64>,
    /// How its first process ended.
    pub exit: Option<StepExit>,
    /// Of a RUN: `default` or `none`.
    pub network: Option<String>,
    /// True if what follows is whole: a step that was killed for what it printed leaves nothing.
    pub recorded: bool,
    /// Programs it executed.
    pub programs: Vec<Executed>,
    /// Executions that are in no entry of `programs`.
    pub unlisted_programs: u64,
    /// Files.
    pub files: Files,
    /// Addresses that it connected to, or tried to.
    pub hosts: Vec<Host>,
    /// Connections that are in no entry of `hosts`.
    pub unlisted_hosts: u64,
    /// The ids of the secrets it was given.
    pub secrets: Vec<String>,
    /// The limit that ended it.
    pub limit: Option<StepLimit>,
    /// What was denied, or in audit mode would have been.
    pub denials: Vec<AccountedDenial>,
    /// Denied attempts that are in no entry of `denials`.
    pub unlisted_denials: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepExit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// A program that was executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Executed {
    /// The path in the step's tree.
    pub path: String,
    /// Of its content at that moment; none for one of more than a gigabyte.
    pub digest: Option<Digest>,
    /// How often.
    pub count: u64,
}

/// Files that a step read and changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Files {
    /// What it opened for reading.
    pub read: Option<FileSet>,
    /// What is different in its tree.
    pub written: Option<Written>,
}

/// Files that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileSet {
    /// How many; a file that changed between is counted again.
    pub count: u64,
    /// False if there were more than are counted.
    pub complete: bool,
    /// The files, where they are asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<ListedFile>,
}

/// What a step changed in its tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Paths that are new or different.
    pub count: u64,
    /// The bytes of regular files among them.
    pub bytes: u64,
    /// Paths that are gone.
    pub removed: u64,
    /// The paths, where they are asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<ListedFile>,
    /// The paths that are gone, where they are asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed_list: Vec<String>,
}

/// A file by path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedFile {
    /// The path.
    pub path: String,
    /// Of the content of a regular file, where that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// An address of another machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    /// The IP address.
    pub address: String,
    /// The port.
    pub port: u16,
    /// How often.
    pub count: u64,
}

/// A limit that was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepLimit {
    /// The key in the policy.
    pub limit: String,
    /// What was measured, in milliseconds, bytes or processes.
    pub measured: u64,
}

/// Something that was denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountedDenial {
    /// The stable code.
    pub code: String,
    /// What was tried: `read`, `write`, `execute`, ..
    pub access: String,
    /// The path, if there is one.
    pub path: Option<String>,
    /// The rule.
    pub rule: Option<Rule>,
    /// A line that would allow it.
    pub allow: Option<String>,
    /// How often.
    pub count: u64,
    /// The processes that led to the first attempt.
    pub processes: Vec<String>,
}

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its key.
    pub key: String,
    /// The value that decided.
    pub value: String,
    /// The file.
    pub file: String,
    /// The line.
    pub line: u32,
}

impl StepAccount {
    pub(super) fn take(&mut self, exit: Exit, record: &StepRecord, secrets: &[String]) {
        self.exit = Some(match exit {
            Exit::Code(code) => StepExit::Code(code),
            Exit::Signal(signal) => StepExit::Signal(signal),
        });
        self.secrets = secrets.to_vec();
        let StepRecord { denials, reached, evidence, .. } = record;
        self.limit = reached
            .map(|reached| StepLimit { limit: reached.limit.key().to_owned(), measured: reached.measured });
        self.denials = denials.list.iter().map(denial).collect();
        self.unlisted_denials = denials.unlisted;
        let Some(evidence) = evidence else { return };
        self.recorded = true;
        self.programs = evidence
            .programs
            .iter()
            .map(|ExecutedProgram { path, digest, count }| Executed {
                path: text(path),
                digest: *digest,
                count: *count,
            })
            .collect();
        self.unlisted_programs = evidence.unlisted_programs;
        let file = |FileRead { path, digest }: &FileRead| ListedFile { path: text(path), digest: *digest };
        self.files.read = Some(FileSet {
            count: evidence.files_read,
            complete: !evidence.reads_overflow,
            list: evidence.reads.iter().map(file).collect(),
        });
        let host = |Contact { address, count }: &Contact| Host {
            address: address.ip().to_string(),
            port: address.port(),
            count: *count,
        };
        self.hosts = evidence.contacts.iter().map(host).collect();
        self.unlisted_hosts = evidence.unlisted_contacts;
    }

    /// The account in one line; `None` of a step that executes nothing.
    pub(super) fn summary(&self) -> Option<String> {
        if !self.recorded {
            return None;
        }
        let count =
            |number: u64, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
        let programs = self.programs.len() as u64;
        let mut parts = vec![count(programs, "program", "programs")];
        if let Some(read) = &self.files.read {
            parts.push(format!("{} read", count(read.count, "file", "files")));
        }
        if let Some(written) = &self.files.written {
            parts.push(format!("{} changed", count(written.count + written.removed, "path", "paths")));
        }
        parts.push(count(self.hosts.len() as u64, "address", "addresses"));
        if !self.secrets.is_empty() {
            parts.push(count(self.secrets.len() as u64, "secret", "secrets"));
        }
        let denied = self.denials.iter().map(|denial| denial.count).sum::<u64>() + self.unlisted_denials;
        if denied > 0 {
            parts.push(format!("{} denied", count(denied, "access", "accesses")));
        }
        Some(format!("evidence: {}", parts.join(", ")))
    }
}

fn denial(denial: &Denial) -> AccountedDenial {
    let told = denial.explanation.as_ref();
    let rule = told.map(|told| Rule {
        key: told.rule.key.clone(),
        value: told.rule.value.clone(),
        file: told.rule.file.clone(),
        line: told.rule.line,
    });
    AccountedDenial {
        code: denial.kind.code(rule.as_ref().map_or("", |rule| rule.key.as_str())).to_string(),
        access: denial.kind.to_string(),
        path: (!denial.path.is_empty()).then(|| text(&denial.path)),
        allow: told.map(|told| told.allow.clone()),
        rule,
        count: denial.count,
        processes: denial.processes.clone(),
    }
}

/// A path as text, and every different one as a different text.
pub(super) fn text(path: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(path) {
        return text.to_owned();
    }
    let mut out = String::new();
    for chunk in path.utf8_chunks() {
        out.push_str(&chunk.valid().replace('\\', "\\\\"));
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// What a changeset says was written.
pub(super) fn written<R: Read>(
    changes: &ChangeSet,
    detail: EvidenceDetail,
    open: impl Fn(&RootPath) -> std::io::Result<R>,
) -> Result<Written, (RootPath, std::io::Error)> {
    let mut written = Written::default();
    for (path, change) in changes.iter() {
        let name = || text(&[b"/", path.as_bytes()].concat());
        let (Change::Upsert(entry) | Change::Opaque(entry)) = change else {
            written.removed += 1;
            if detail >= EvidenceDetail::Paths {
                written.removed_list.push(name());
            }
            continue;
        };
        written.count += 1;
        let mut digest = None;
        if let EntryKind::File { size } = entry.kind {
            written.bytes += size;
            if detail >= EvidenceDetail::Digests {
                let hashed = open(path).and_then(hash).map_err(|error| (path.clone(), error))?;
                digest = Some(hashed);
            }
        }
        if detail >= EvidenceDetail::Paths {
            written.list.push(ListedFile { path: name(), digest });
        }
    }
    Ok(written)
}

fn hash(mut file: impl Read) -> std::io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use wbuild_layer::{Attributes, Entry};

    use super::*;

    #[test]
    fn different_paths_are_different_texts() {
        assert_eq!(text("/ü\\x".as_bytes()), "/ü\\x");
        assert_eq!(text(b"/\xff"), "/\\xff");
        assert_eq!(text(b"/\\xff\xff"), "/\\\\xff\\xff");
    }

    #[test]
    fn what_was_written_comes_from_the_changes() {
        let entry = |kind| Entry { kind, attributes: Attributes::default() };
        let path = |text: &str| RootPath::new(text).unwrap();
        let changes: ChangeSet = [
            (path("d"), Change::Upsert(entry(EntryKind::Directory))),
            (path("d/f"), Change::Upsert(entry(EntryKind::File { size: 3 }))),
            (path("gone"), Change::Remove),
        ]
        .into_iter()
        .collect();
        let read = |_: &RootPath| Ok(&b"abc"[..]);
        let counts = written(&changes, EvidenceDetail::Counts, read).unwrap();
        assert_eq!((counts.count, counts.bytes, counts.removed), (2, 3, 1));
        assert!(counts.list.is_empty());
        let all = written(&changes, EvidenceDetail::Digests, read).unwrap();
        assert_eq!(all.list[1], ListedFile { path: "/d/f".into(), digest: Some(Digest::of(b"abc")) });
        assert_eq!(all.removed_list, ["/gone"]);
        let lost = |_: &RootPath| -> std::io::Result<&[u8]> { Err(std::io::ErrorKind::NotFound.into()) };
        assert!(written(&changes, EvidenceDetail::Digests, lost).is_err());
        assert!(written(&changes, EvidenceDetail::Paths, lost).is_ok());
    }
}
