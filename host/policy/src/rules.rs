//! A policy as a whole: what each of its files says, checked and compiled, and the questions a builder asks of it.

use std::ops::Range;

use crate::access::RuleId;
use crate::code::Code;
use crate::file::{
    self, Degrade, FinalUser, GitRequirement, HttpRequirement, ImageRequirement, Item, List, Mode,
};
use crate::glob::TextPattern;
use crate::limits::{self, Limit, Limits};
use crate::load::Loaded;
use crate::step::{Clause, Policy, RuleRef};

/// A policy with everything it extends. The empty one allows everything.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    pub(crate) mode: Mode,
    pub(crate) files: Vec<Loaded>,
    pub(crate) rules: Vec<RuleRef>,
    pub(crate) steps: Vec<StepClause>,
    pub(crate) images: Vec<Gate>,
    pub(crate) pushes: Vec<Gate>,
}

/// An allow list that closes, a deny list; over text.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    /// The section, or its allow list.
    pub(crate) closed: RuleId,
    pub(crate) allow: Vec<TextPattern>,
    pub(crate) deny: Vec<(RuleId, TextPattern)>,
}

impl Gate {
    fn denies(&self, shown: &[&str]) -> Option<RuleId> {
        let meant = |pattern: &TextPattern| shown.iter().any(|text| pattern.matches(text.as_bytes()));
        let denied = self.deny.iter().find(|(_, pattern)| meant(pattern)).map(|(rule, _)| *rule);
        denied.or_else(|| (!self.allow.iter().any(meant)).then_some(self.closed))
    }
}

/// One `[[step]]` of a file.
#[derive(Clone, Debug)]
pub(crate) struct StepClause {
    pub(crate) stage: Option<TextPattern>,
    pub(crate) instruction: Option<String>,
    pub(crate) command: Option<TextPattern>,
    pub(crate) clause: Clause,
    pub(crate) limits: Limits,
    pub(crate) limit_rules: Vec<(Limit, RuleId)>,
}

/// Which step a policy is asked about.
#[derive(Clone, Copy, Debug)]
pub struct StepName<'a> {
    /// The stage's name, or its number.
    pub stage: &'a str,
    /// `RUN`
    pub instruction: &'a str,
    /// The command as the Dockerfile has it.
    pub command: &'a str,
}

/// Something that is denied outside of steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What kind.
    pub code: Code,
    /// What was to be done.
    pub tried: String,
    /// The rule.
    pub rule: RuleRef,
    /// What would allow it.
    pub allow: String,
}

impl Ruleset {
    /// Whether denials happen.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The caller's word on the mode, above the files'.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// True if there is no policy.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What a step may do.
    #[must_use]
    pub fn for_step(&self, name: StepName<'_>) -> Policy {
        let mut policy = Policy { mode: self.mode, ..Policy::default() };
        for step in self.steps.iter().filter(|step| step.meets(name)) {
            if step.clause != Clause::default() {
                policy.clauses.push(step.clause.clone());
            }
            for (limit, rule) in &step.limit_rules {
                let (Some(new), old) = (step.limits.of(*limit), policy.limits.of(*limit)) else { continue };
                if old.is_none_or(|old| new < old) {
                    policy.limit_rules.retain(|(known, _)| known != limit);
                    policy.limit_rules.push((*limit, *rule));
                }
            }
            policy.limits.narrow(&step.limits);
        }
        if !policy.is_open() {
            policy.rules.clone_from(&self.rules);
        }
        policy
    }

    /// Whether an image may be used; `reference` is whole (`docker.io/library/debian:12`), `digest` what it names.
    #[must_use]
    pub fn image(&self, reference: &str, digest: Option<&str>) -> Vec<Denied> {
        let mut denied = Vec::new();
        let without = without_version(reference);
        for gate in &self.images {
            if let Some(rule) = gate.denies(&[reference, without]) {
                denied.push(self.denied(Code::IMAGE, format!("image {reference}"), rule, reference));
            }
        }
        for loaded in &self.files {
            let Some(images) = &loaded.file.sources.images else { continue };
            let required = images.require.iter().find(|item| item.value == ImageRequirement::Digest);
            if let (Some(item), None) = (required, digest) {
                denied.push(Denied {
                    code: Code::IMAGE_DIGEST,
                    tried: format!("image {reference}"),
                    rule: rule_of(loaded, "sources.images.require", "digest", &item.span),
                    allow: format!("FROM {without}@sha256:.."),
                });
            }
        }
        denied
    }

    /// Whether ADD may fetch a URL.
    #[must_use]
    pub fn http(&self, url: &str, checksum: Option<&str>) -> Vec<Denied> {
        let mut denied = Vec::new();
        for loaded in &self.files {
            let Some(http) = &loaded.file.sources.http else { continue };
            if !http.allow.iter().any(|item| TextPattern::new(&item.value).matches(url.as_bytes())) {
                denied.push(closed(loaded, Code::HTTP, "sources.http.allow", url, &http.allow));
            }
            for item in &http.require {
                let (missing, name, allow) = match item.value {
                    HttpRequirement::Checksum => (checksum.is_none(), "checksum", "ADD --checksum=sha256:.."),
                    HttpRequirement::Https => (!url.starts_with("https://"), "https", "an https:// URL"),
                };
                if missing {
                    let rule = rule_of(loaded, "sources.http.require", name, &item.span);
                    denied.push(Denied {
                        code: Code::HTTP,
                        tried: format!("ADD {url}"),
                        rule,
                        allow: allow.into(),
                    });
                }
            }
        }
        denied
    }

    /// Whether ADD may fetch a git repository; `version` is what follows `#`.
    #[must_use]
    pub fn git(&self, repository: &str, version: Option<&str>) -> Vec<Denied> {
        let mut denied = Vec::new();
        let is_commit = version
            .is_some_and(|id| matches!(id.len(), 40 | 64) && id.bytes().all(|b| b.is_ascii_hexdigit()));
        for loaded in &self.files {
            let Some(git) = &loaded.file.sources.git else { continue };
            if !git.allow.iter().any(|item| TextPattern::new(&item.value).matches(repository.as_bytes())) {
                denied.push(closed(loaded, Code::GIT, "sources.git.allow", repository, &git.allow));
            }
            let required = git.require.iter().find(|item| item.value == GitRequirement::Commit);
            if let (Some(item), false) = (required, is_commit) {
                let rule = rule_of(loaded, "sources.git.require", "commit", &item.span);
                let allow = format!("ADD {repository}#COMMIT");
                denied.push(Denied { code: Code::GIT, tried: format!("ADD {repository}"), rule, allow });
            }
        }
        denied
    }

    /// Whether an instruction may be used.
    #[must_use]
    pub fn instruction(&self, name: &str) -> Vec<Denied> {
        self.listed(name, Code::INSTRUCTION, "dockerfile.deny", |file| &file.deny)
    }

    /// Whether a flag of RUN may be used; without its dashes.
    #[must_use]
    pub fn run_flag(&self, name: &str) -> Vec<Denied> {
        self.listed(name, Code::RUN_FLAG, "dockerfile.deny_run_flags", |file| &file.deny_run_flags)
    }

    fn listed(
        &self,
        name: &str,
        code: Code,
        key: &str,
        list: impl Fn(&file::Dockerfile) -> &List,
    ) -> Vec<Denied> {
        let sections =
            self.files.iter().filter_map(|loaded| Some((loaded, loaded.file.dockerfile.as_ref()?)));
        let mut denied = Vec::new();
        for (loaded, section) in sections {
            for item in list(section).iter().filter(|item| item.value.eq_ignore_ascii_case(name)) {
                let rule = rule_of(loaded, key, &item.value, &item.span);
                let allow = format!("take {:?} out of {key} ({}:{})", item.value, rule.file, rule.line);
                denied.push(Denied { code, tried: name.to_owned(), rule, allow });
            }
        }
        denied
    }

    /// Whether an image with this user and these labels may be made.
    #[must_use]
    pub fn image_config(&self, user: &str, has_label: &dyn Fn(&str) -> bool) -> Vec<Denied> {
        let mut denied = Vec::new();
        for loaded in &self.files {
            let Some(section) = &loaded.file.dockerfile else { continue };
            if let Some(item) = section.final_user.as_ref().filter(|item| item.value == FinalUser::NonRoot)
                && is_root(user)
            {
                denied.push(Denied {
                    code: Code::FINAL_USER,
                    tried: format!("USER {}", if user.is_empty() { "root (there is no USER)" } else { user }),
                    rule: rule_of(loaded, "dockerfile.final_user", "non-root", &item.span),
                    allow: "USER with a name or number that is not root's".to_owned(),
                });
            }
            for item in section.require_labels.iter().filter(|item| !has_label(&item.value)) {
                denied.push(Denied {
                    code: Code::LABEL,
                    tried: format!("an image without the label {}", item.value),
                    rule: rule_of(loaded, "dockerfile.require_labels", &item.value, &item.span),
                    allow: format!("LABEL {}=.. or --label {}=..", item.value, item.value),
                });
            }
        }
        denied
    }

    /// Whether the image may be pushed to `reference`, which is whole and has this tag.
    #[must_use]
    pub fn push(&self, reference: &str, tag: &str) -> Vec<Denied> {
        let mut denied = Vec::new();
        for gate in &self.pushes {
            let by_tag =
                gate.deny.iter().find(|(_, pattern)| pattern.matches(tag.as_bytes())).map(|(rule, _)| *rule);
            let by_name = || {
                let names = [reference, without_version(reference)];
                let open = gate.allow.iter().any(|p| names.iter().any(|name| p.matches(name.as_bytes())));
                (!open).then_some(gate.closed)
            };
            if let Some(rule) = by_tag.or_else(by_name) {
                denied.push(self.denied(Code::PUSH, format!("push {reference}"), rule, reference));
            }
        }
        denied
    }

    /// Whether an image of this size may be made.
    #[must_use]
    pub fn size(&self, layers: u64, bytes: u64) -> Vec<Denied> {
        let mut denied = Vec::new();
        for loaded in &self.files {
            let Some(output) = &loaded.file.output else { continue };
            if let Some(item) = output.max_layers.as_ref().filter(|item| layers > item.value) {
                denied.push(Denied {
                    code: Code::LAYERS,
                    tried: format!("an image of {layers} layers"),
                    rule: rule_of(loaded, "output.max_layers", &item.value.to_string(), &item.span),
                    allow: format!("output.max_layers = {layers}"),
                });
            }
            // Checked when the file was read.
            let max =
                output.max_bytes.as_ref().and_then(|item| Some((item, limits::size(&item.value).ok()?)));
            if let Some((item, _)) = max.filter(|(_, max)| bytes > *max) {
                denied.push(Denied {
                    code: Code::BYTES,
                    tried: format!("an image of {bytes} bytes"),
                    rule: rule_of(loaded, "output.max_bytes", &item.value, &item.span),
                    allow: format!("output.max_bytes = \"{bytes}B\""),
                });
            }
        }
        denied
    }

    /// What the host must offer, each with its rule, and what happens where it does not.
    #[must_use]
    pub fn host_requirements(&self) -> Vec<(RuleRef, Degrade)> {
        let sections = self.files.iter().filter_map(|loaded| Some((loaded, loaded.file.host.as_ref()?)));
        sections
            .flat_map(|(loaded, host)| {
                let degrade = host.degrade.as_ref().map_or(Degrade::Fail, |item| item.value);
                let rule = move |item: &Item<String>| {
                    (rule_of(loaded, "host.require", &item.value, &item.span), degrade)
                };
                host.require.iter().map(rule)
            })
            .collect()
    }

    fn denied(&self, code: Code, tried: String, id: RuleId, value: &str) -> Denied {
        let rule = self.rules[id.0 as usize].clone();
        let allow = if rule.key.contains("deny") {
            format!("take {:?} out of {} ({}:{})", rule.value, rule.key, rule.file, rule.line)
        } else {
            format!("{} += [{value:?}]", rule.key)
        };
        Denied { code, tried, rule, allow }
    }
}

impl StepClause {
    fn meets(&self, name: StepName<'_>) -> bool {
        let fits = |pattern: &Option<TextPattern>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(text.as_bytes()))
        };
        fits(&self.stage, name.stage)
            && fits(&self.command, name.command)
            && self.instruction.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(name.instruction))
    }
}

fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default();
    // 00 is 0 as well.
    name.is_empty() || name == "root" || name.bytes().all(|digit| digit == b'0')
}

/// A reference without tag and digest.
fn without_version(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

fn closed(loaded: &Loaded, code: Code, key: &str, value: &str, list: &List) -> Denied {
    // An empty list has no line of its own.
    let span = list.first().map_or(0..0, |item| item.span.clone());
    let rule = rule_of(loaded, key, "nothing else", &span);
    Denied { code, tried: format!("ADD {value}"), rule, allow: format!("{key} += [{value:?}]") }
}

pub(crate) fn rule_of(loaded: &Loaded, key: &str, value: &str, span: &Range<usize>) -> RuleRef {
    RuleRef {
        key: key.to_owned(),
        value: value.to_owned(),
        file: loaded.source.name.clone(),
        line: loaded.line(span),
    }
}
