//! Expected decisions of a policy: what a case file holds, and whether the policy decides so.

use serde::Deserialize;

use crate::access::{Access, Verdict};
use crate::error::PolicyError;
use crate::load::{Source, place, reworded};
use crate::rules::{Denied, Ruleset, StepName};

/// A file of cases: the policy they are about, and each question with its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// A built-in name, or a path relative to the file.
    pub policy: String,
    #[serde(rename = "case")]
    cases: Vec<Case>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What is asked, for people.
    what: String,
    #[serde(flatten)]
    question: Question,
    expect: Verdict,
    /// The key of the rule that denies.
    #[serde(default)]
    rule: Option<String>,
    #[serde(default)]
    stage: Option<String>,
    #[serde(default)]
    command: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Question {
    Image(String),
    Http(String),
    Git(String),
    Instruction(String),
    RunFlag(String),
    FinalUser(String),
    Push(String),
    Read(String),
    Write(String),
    Rename(String),
    Exec(String),
    Module(String),
    Network(Destination),
}

/// A rule on the network is about all of it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Destination {
    Any,
}

/// A case that was decided otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The case.
    pub what: String,
    /// What was expected and what came.
    pub difference: String,
}

impl Cases {
    /// Reads a case file.
    ///
    /// # Errors
    /// What is wrong with it, with its place.
    pub fn parse(source: &Source) -> Result<Self, PolicyError> {
        toml::from_str(&source.text)
            .map_err(|error| reworded(error.message(), error.span().map(|span| place(source, &span))))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.cases.len()
    }

    /// Asks `set` everything; what is not as expected.
    #[must_use]
    pub fn run(&self, set: &Ruleset) -> Vec<Mismatch> {
        self.cases.iter().filter_map(|case| case.differs(set)).collect()
    }
}

impl Case {
    fn differs(&self, set: &Ruleset) -> Option<Mismatch> {
        let rules = self.rules(set);
        let verdict = if rules.is_empty() { Verdict::Allow } else { Verdict::Deny };
        let difference = if verdict != self.expect {
            let by = if rules.is_empty() { String::new() } else { format!(" by {}", rules.join(", ")) };
            format!("expected {:?}, it is {verdict:?}{by}", self.expect).to_lowercase()
        } else if let Some(wanted) = self.rule.as_ref().filter(|wanted| !rules.contains(wanted)) {
            format!("expected to be denied by {wanted}, it is by {}", rules.join(", "))
        } else {
            return None;
        };
        Some(Mismatch { what: self.what.clone(), difference })
    }

    /// The keys of the rules that deny it.
    fn rules(&self, set: &Ruleset) -> Vec<String> {
        let keys = |denied: Vec<Denied>| denied.into_iter().map(|denied| denied.rule.key).collect();
        match &self.question {
            Question::Image(name) => keys(set.image(name, name.split_once('@').map(|(_, digest)| digest))),
            Question::Http(text) => {
                // As on an ADD line: the flag stands before the URL.
                let (flag, url) = text.split_once(' ').unwrap_or(("", text));
                keys(set.http(url, flag.strip_prefix("--checksum=")))
            }
            Question::Git(text) => {
                let (repository, version) = text
                    .split_once('#')
                    .map_or((text.as_str(), None), |(name, version)| (name, Some(version)));
                keys(set.git(repository, version))
            }
            Question::Instruction(name) => keys(set.instruction(name)),
            Question::RunFlag(name) => keys(set.run_flag(name)),
            Question::FinalUser(user) => keys(set.image_config(user, &|_| true)),
            Question::Push(name) => {
                keys(set.push(name, name.rsplit_once(':').map_or("latest", |(_, tag)| tag)))
            }
            Question::Read(path) => self.step(set, Access::Read(path.as_bytes())),
            Question::Write(path) => self.step(set, Access::Write(path.as_bytes())),
            Question::Rename(path) => self.step(set, Access::Move(path.as_bytes())),
            Question::Exec(path) => self.step(set, Access::ExecNative(path.as_bytes())),
            Question::Module(path) => self.step(set, Access::ExecModule(path.as_bytes())),
            Question::Network(Destination::Any) => self.step(set, Access::Internet),
        }
    }

    fn step(&self, set: &Ruleset, access: Access<'_>) -> Vec<String> {
        let policy = set.for_step(StepName {
            stage: self.stage.as_deref().unwrap_or("stage-0"),
            instruction: "RUN",
            command: self.command.as_deref().unwrap_or("true"),
        });
        policy
            .decide(access)
            .rule
            .and_then(|id| policy.rule(id))
            .map(|rule| rule.key.clone())
            .into_iter()
            .collect()
    }
}
