//! Evidence of a build: what each step did, collected while it runs.
//!
//! A [`Ledger`] holds one account for each step and hands it to the caller's [`Audit`] when the step ends, however it ends; provenance takes the
//! same accounts. What a guest did comes from the engine, what it changed from the changeset: no line is made of what a step prints. No
//! value of a secret is part of it, and no value of a build argument by way of a step's name: steps are named as the Dockerfile has them.

mod account;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wbuild_layer::ChangeSet;
use wbuild_monitor::{EvidenceDetail, Exit, StepRecord};
use wbuild_oci::{Digest, Time};
use wbuild_plan::{Action, CopyKind, RunNetwork, Stage, Step};
use wbuild_policy::{Mode, Ruleset};

pub use account::{
    AccountedDenial, AuditLine, Executed, FileSet, Files, Host, ListedFile, Rule, StepAccount, StepExit,
    StepLimit, UsedPolicy, Written,
};

use crate::files::Files as _;
use crate::tree::Tree;

/// Takes the lines of an audit, in order; called from several threads.
pub trait Audit: Send + Sync {
    /// Takes one line.
    fn line(&self, line: &AuditLine);
}

/// How much is collected, and who gets it.
#[derive(Clone, Default)]
pub struct Auditing {
    /// How much is collected of what steps do.
    pub detail: EvidenceDetail,
    /// Who gets the lines.
    pub audit: Option<Arc<dyn Audit>>,
}

impl std::fmt::Debug for Auditing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auditing").field("detail", &self.detail).finish_non_exhaustive()
    }
}

/// The accounts of one build.
pub(crate) struct Ledger {
    auditing: Auditing,
    accounts: Mutex<Accounts>,
}

#[derive(Default)]
struct Accounts {
    open: BTreeMap<String, StepAccount>,
    closed: Vec<StepAccount>,
    /// As a step is displayed, to what it is called here.
    written: BTreeMap<String, String>,
}

/// Values of build arguments that are shorter are words like `1`: to take them out would leave no message.
const SHORTEST_VALUE: usize = 4;

/// How a step ended for the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    Failed,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub(crate) fn new(auditing: &Auditing) -> Self {
        Self { auditing: auditing.clone(), accounts: Mutex::default() }
    }

    pub(crate) fn detail(&self) -> EvidenceDetail {
        self.auditing.detail
    }

    fn is_off(&self) -> bool {
        self.auditing.detail == EvidenceDetail::Off
    }

    /// A line that is no step's.
    pub(crate) fn say(&self, line: &AuditLine) {
        if let Some(audit) = &self.auditing.audit {
            audit.line(line);
        }
    }

    /// The step is in the cache.
    pub(crate) fn cached(&self, stage: &Stage, step: &Step) {
        if !self.is_off() {
            self.close(StepAccount { cached: true, ..opened(stage, step) });
        }
    }

    /// The step begins.
    pub(crate) fn begin(&self, stage: &Stage, step: &Step) {
        if !self.is_off() {
            let mut accounts = lock(&self.accounts);
            accounts.written.insert(step.name.clone(), step.written.clone());
            accounts.open.insert(step.name.clone(), opened(stage, step));
        }
    }

    fn with(&self, step: &Step, note: impl FnOnce(&mut StepAccount)) {
        if let Some(account) = lock(&self.accounts).open.get_mut(&step.name) {
            note(account);
        }
    }

    /// What the engine says of a step that ran. The ids of the secrets that it was given; nothing else of them.
    pub(crate) fn ran(&self, step: &Step, exit: Exit, record: &StepRecord, secrets: &[String]) {
        self.with(step, |account| account.take(exit, record, secrets));
    }

    /// What a step changed in its tree.
    ///
    /// # Errors
    /// A changed file cannot be read; its path.
    pub(crate) fn wrote(
        &self,
        step: &Step,
        changes: &ChangeSet,
        tree: &Tree,
    ) -> Result<(), (wbuild_layer::RootPath, std::io::Error)> {
        if self.is_off() {
            return Ok(());
        }
        let written = account::written(changes, self.detail(), |path| tree.open(path))?;
        self.with(step, |account| account.files.written = Some(written));
        Ok(())
    }

    /// The step ended; a line for the user, if there is something to say.
    pub(crate) fn end(&self, step: &Step, took: Duration, ended: Ended) -> Option<String> {
        let account = lock(&self.accounts).open.remove(&step.name);
        let account =
            StepAccount { seconds: Some(took.as_secs_f64()), failed: ended == Ended::Failed, ..account? };
        let summary = account.summary();
        self.close(account);
        summary
    }

    /// The message of an error without the values of build arguments: steps by the names that they have here, and any value of
    /// [`SHORTEST_VALUE`] bytes or more as `${NAME}`.
    pub(crate) fn without_arguments(&self, message: &str, arguments: &BTreeMap<String, String>) -> String {
        let mut text = message.to_owned();
        for (name, written) in &lock(&self.accounts).written {
            text = text.replace(name, written);
        }
        let mut values: Vec<_> =
            arguments.iter().filter(|(_, value)| value.len() >= SHORTEST_VALUE).collect();
        // What is part of another value must not break that up.
        values.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        for (name, value) in values {
            text = text.replace(value.as_str(), &format!("${{{name}}}"));
        }
        text
    }

    /// Every step that ended, in the order of the Dockerfile.
    pub(crate) fn accounts(&self) -> Vec<StepAccount> {
        let mut all = lock(&self.accounts).closed.clone();
        all.sort_by(|a, b| (a.line, &a.step).cmp(&(b.line, &b.step)));
        all
    }

    fn close(&self, account: StepAccount) {
        let line = AuditLine::Step(Box::new(account));
        self.say(&line);
        if let AuditLine::Step(account) = line {
            lock(&self.accounts).closed.push(*account);
        }
    }
}

fn opened(stage: &Stage, step: &Step) -> StepAccount {
    let (instruction, network) = match &step.action {
        Action::Run(run) if run.network == RunNetwork::None => ("RUN", Some("none")),
        Action::Run(_) => ("RUN", Some("default")),
        Action::Copy(copy) if copy.kind == CopyKind::Add => ("ADD", None),
        Action::Copy(_) => ("COPY", None),
        Action::Workdir(_) => ("WORKDIR", None),
        Action::Config => ("", None),
    };
    StepAccount {
        step: step.written.clone(),
        stage: stage.name.clone(),
        line: step.span.start.line,
        instruction: instruction.to_owned(),
        network: network.map(str::to_owned),
        ..StepAccount::default()
    }
}

/// What names a policy: its digest, and where it came from.
pub(crate) fn used_policy(rules: &Ruleset) -> Option<UsedPolicy> {
    (!rules.is_empty()).then(|| UsedPolicy {
        digest: policy_digest(rules),
        mode: if rules.mode() == Mode::Audit { "audit" } else { "enforce" }.to_owned(),
        files: rules.file_names(),
    })
}

/// The digest of a policy: of its mode and of the text of its files, those it extends first. The names of the files are no part of it.
#[must_use]
pub fn policy_digest(rules: &Ruleset) -> Digest {
    Digest::of(&rules.to_bytes())
}

/// Now, in whole seconds.
pub(crate) fn time(seconds: i64) -> String {
    Time::from_unix(seconds).to_string()
}
