//! Whether this host can give what a policy requires of it.

use wbuild_policy::{Code, Degrade, Ruleset};

use crate::exit::Exit;
use crate::failure::Failure;

/// What a policy requires and the host has not, each as a sentence with its rule.
pub(crate) fn missing(rules: &Ruleset) -> Vec<(String, Degrade)> {
    let abi = wbuild_sys::landlock::abi();
    let lacks = |what: &str| match what.strip_prefix("landlock>=").and_then(|level| level.parse::<u32>().ok())
    {
        Some(level) => (abi < level).then(|| format!("Landlock's ABI is {abi}")),
        None => without_notification(),
    };
    let required = rules.host_requirements().into_iter();
    required
        .filter_map(|(rule, degrade)| {
            let found = lacks(&rule.value)?;
            Some((format!("{} is required by {}:{}; {found}", rule.value, rule.file, rule.line), degrade))
        })
        .collect()
}

/// What the host says of user notification where it cannot be used.
fn without_notification() -> Option<String> {
    let finding =
        wbuild_sys::probe::all().into_iter().find(|finding| finding.mechanism.contains("notification"))?;
    (finding.verdict == wbuild_sys::probe::Verdict::Missing)
        .then(|| format!("user notification cannot be used: {}", finding.found))
}

/// Refuses where a policy requires what the host has not, unless it says that a warning is enough.
///
/// # Errors
/// Exit 8 with everything that is missing.
pub(crate) fn meets(rules: &Ruleset) -> Result<Vec<String>, Failure> {
    let (fail, warn): (Vec<_>, Vec<_>) =
        missing(rules).into_iter().partition(|(_, degrade)| *degrade == Degrade::Fail);
    if fail.is_empty() {
        return Ok(warn.into_iter().map(|(text, _)| text).collect());
    }
    let mut failure = Failure::new(Exit::Host, format!("[{}] {}", Code::HOST, Code::HOST.title()));
    failure.causes = fail.into_iter().map(|(text, _)| text).collect();
    Err(failure.hint("`wbuild doctor` shows what this host offers; [host] degrade = \"warn\" builds anyway"))
}
