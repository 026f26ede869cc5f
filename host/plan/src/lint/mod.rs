//! Lint: what BuildKit's rules find in a Dockerfile, by the same names and at the same lines.
//!
//! Rules about the text are checked over the whole file ([`file`]); those that need variables or a base's configuration are checked
//! where a stage is planned. A finding is data: `cli` shows it, and `# check=error=true` makes findings an error. Nothing is
//! reported twice.

mod file;
mod rules;

use std::cell::RefCell;
use std::collections::BTreeSet;

use wbuild_dockerfile::{Check, Dockerfile, DockerfileError, Findings, Instruction, Skip, Span, nearest};

pub(crate) use file::check_file;
pub(crate) use rules::*;
pub use rules::{RULES, Rule, Status};

use crate::request::Request;

/// The build argument that takes the place of `# check=`.
pub(crate) const CHECK: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where.
    pub span: Span,
    /// The rule.
    pub rule: Rule,
    /// What it found there.
    pub detail: String,
}

/// What is written above an instruction, and where it stands: a `# check=skip=..` there is for it alone.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) span: Span,
    pub(crate) comments: &'a [String],
}

impl<'a> From<&'a Instruction> for Place<'a> {
    fn from(instruction: &'a Instruction) -> Self {
        Self { span: instruction.span, comments: &instruction.comments }
    }
}

/// Collects findings.
#[derive(Debug)]
pub(crate) struct Linter {
    check: Option<Check>,
    found: RefCell<BTreeSet<Finding>>,
}

impl Linter {
    /// With the options of the build argument, else those of the Dockerfile.
    pub(crate) fn new(file: &Dockerfile, request: &Request) -> Result<Self, DockerfileError> {
        let check = match request.build_args.get(CHECK) {
            None => file.directives.check.clone(),
            Some(text) if text.trim().is_empty() => None,
            Some(text) => {
                let parsed = Check::parse(text, Span::on_line(1, 1, 1));
                Some(parsed.map_err(|error| DockerfileError::Argument {
                    message: format!("--build-arg {CHECK}={text}: {error}"),
                    expected: Some("skip=RULE,..;error=true".to_owned()),
                })?)
            }
        };
        Ok(Self { check, found: RefCell::default() })
    }

    /// Reports what `rule` found at `place`, unless it is skipped there.
    pub(crate) fn report(&self, rule: Rule, place: Place<'_>, detail: impl Into<String>) {
        let own = Check::of_comments(place.comments, place.span);
        let checks = || self.check.iter().chain(&own);
        let names = |list: &Skip| match list {
            Skip::All => true,
            Skip::Rules(rules) => rules.iter().any(|name| name == rule.name),
        };
        let wanted = match rule.status {
            Status::Stable => !checks().any(|check| names(&check.skip)),
            Status::Experimental => checks().any(|check| names(&check.experimental)),
        };
        if wanted {
            let finding = Finding { span: place.span, rule, detail: detail.into() };
            self.found.borrow_mut().insert(finding);
        }
    }

    /// The variables that a word names and that are neither set nor declared.
    pub(crate) fn undefined<'n>(
        &self,
        place: Place<'_>,
        missing: impl IntoIterator<Item = &'n String>,
        known: &[&str],
    ) {
        for name in missing {
            let near = nearest(name, known.iter().copied());
            let near = near.map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
            self.report(UNDEFINED_VAR, place, format!("Usage of undefined variable '${name}'{near}"));
        }
    }

    /// What was found so far, by place.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.found.borrow().iter().cloned().collect()
    }

    /// An error where the file wants one.
    pub(crate) fn verdict(&self) -> Result<(), DockerfileError> {
        let found = self.found.borrow();
        match &self.check {
            Some(check) if check.findings == Findings::Fail && !found.is_empty() => {
                let rules: BTreeSet<&str> = found.iter().map(|finding| finding.rule.name).collect();
                let rules: Vec<&str> = rules.into_iter().collect();
                Err(DockerfileError::Lint { span: check.span, rules: rules.join(", ") })
            }
            _ => Ok(()),
        }
    }
}

/// Whether a name looks like that of a secret: one of its words is, and none says that it is none.
pub(crate) fn is_secret(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const NOT: [&str; 3] = ["public", "file", "version"];
    let lower = name.to_ascii_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|word| words.contains(&word));
    has(&SECRET) && !has(&NOT)
}

#[cfg(test)]
mod tests;
