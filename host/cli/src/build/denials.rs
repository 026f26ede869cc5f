//! Denials as the user reads them: all of a step, or of a Dockerfile, at once, each with its code, its rule and a line that would allow it.

use wbuild_build::DeniedLine;
use wbuild_monitor::{AccessKind, Denial, Denials, ReachedLimit};
use wbuild_policy::{Code, RuleRef};

use super::inputs::Source;
use super::problems::place;
use crate::exit::Exit;
use crate::failure::{Excerpt, Failure};

/// What the user reads of lines that a policy denies; the first one's place is shown whole.
pub(crate) fn denied_lines(lines: &[DeniedLine], source: &Source) -> Failure {
    let count = match lines {
        [_] => "the policy denies what this build asks for".to_owned(),
        _ => format!("the policy denies {} things this build asks for", lines.len()),
    };
    let first = lines.iter().find_map(|line| line.span).and_then(|span| place(source, span));
    let mut failure = Failure::new(Exit::Policy, count).at(first);
    for DeniedLine { span, denied } in lines {
        let at = span.map(|span| format!("{}:{}", source.name, span.start.line));
        let block = Block {
            code: denied.code,
            at: at.as_deref(),
            chain: None,
            tried: denied.tried.clone(),
            rule: Some(&denied.rule),
            near: None,
            allow: Some(&denied.allow),
            note: None,
        };
        failure.causes.push(block.render());
    }
    failure.hint("`wbuild policy explain CODE` says more of a code")
}

/// Adds what was denied to a step.
pub(super) fn step(mut failure: Failure, denials: &Denials, tail: &[String]) -> Failure {
    add(&mut failure, denials);
    if !tail.is_empty() {
        failure.excerpt =
            Some(Excerpt { heading: "the last lines it printed".to_owned(), lines: tail.to_vec() });
    }
    failure.hint("`wbuild policy explain CODE` says more; --policy-mode=audit denies nothing and shows all")
}

/// Adds the limit that ended a step, and what was denied before.
pub(super) fn limit(
    mut failure: Failure,
    reached: ReachedLimit,
    rule: Option<&RuleRef>,
    denials: &Denials,
    tail: &[String],
) -> Failure {
    let key = reached.limit.key();
    let twice = reached.limit.show(reached.measured.saturating_mul(2));
    let allow = if twice.ends_with(|c: char| c.is_ascii_digit()) {
        format!("{key} = {twice}")
    } else {
        format!("{key} = {twice:?}")
    };
    let block = Block {
        code: Code::LIMIT,
        at: None,
        chain: None,
        tried: format!("{} measured", reached.limit.show(reached.measured)),
        rule,
        near: None,
        allow: Some(&allow),
        note: Some("every process of the step was killed".to_owned()),
    };
    failure.causes.push(block.render());
    add(&mut failure, denials);
    if !tail.is_empty() {
        failure.excerpt =
            Some(Excerpt { heading: "the last lines it printed".to_owned(), lines: tail.to_vec() });
    }
    failure
}

fn add(failure: &mut Failure, denials: &Denials) {
    failure.causes.extend(denials.list.iter().map(of_step));
    if denials.unlisted > 0 {
        failure.causes.push(format!("{} more attempts were denied", denials.unlisted));
    }
}

fn of_step(denial: &Denial) -> String {
    let told = denial.explanation.as_ref();
    let rule = told.map(|told| &told.rule);
    let pid = denial.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let more = denial.count.saturating_sub(1);
    let repeats = match more {
        0 => String::new(),
        1 => "1 more attempt; ".to_owned(),
        _ => format!("{more} more attempts; "),
    };
    let chain = (!denial.processes.is_empty()).then(|| format!("{}{pid}", denial.processes.join(" -> ")));
    Block {
        code: denial.kind.code(rule.map_or("", |rule| rule.key.as_str())),
        at: None,
        chain,
        tried: tried(denial),
        rule,
        near: told.and_then(|told| told.near.as_deref()),
        allow: told.map(|told| told.allow.as_str()),
        note: Some(format!("{repeats}the process got EACCES")),
    }
    .render()
}

fn tried(denial: &Denial) -> String {
    match denial.kind {
        AccessKind::Internet => "socket(AF_INET or AF_INET6)".to_owned(),
        kind => format!("{kind} {}", String::from_utf8_lossy(&denial.path).escape_debug()),
    }
}

/// One denial.
struct Block<'a> {
    code: Code,
    at: Option<&'a str>,
    chain: Option<String>,
    tried: String,
    rule: Option<&'a RuleRef>,
    near: Option<&'a str>,
    allow: Option<&'a str>,
    note: Option<String>,
}

impl Block<'_> {
    fn render(&self) -> String {
        let mut lines = vec![format!("[{}] {}", self.code, self.code.title())];
        if let Some(at) = self.at {
            lines[0].push_str(&format!("  {at}"));
        }
        let mut add = |name: &str, text: Option<String>| {
            lines.extend(text.map(|text| format!("    {name:<7} {text}")));
        };
        add("by", self.chain.clone());
        add("tried", Some(self.tried.clone()));
        add("rule", self.rule.map(shown));
        add("near", self.near.map(str::to_owned));
        add("allow", self.allow.map(str::to_owned));
        add("note", self.note.clone());
        lines.join("\n")
    }
}

fn shown(rule: &RuleRef) -> String {
    let RuleRef { key, value, file, line } = rule;
    match value.as_str() {
        "nothing else" => format!("{key} allows nothing else  {file}:{line}"),
        value => format!("{key} = {value:?}  {file}:{line}"),
    }
}

#[cfg(test)]
mod tests {
    use wbuild_policy::{Explanation, Limit};

    use super::*;
    use crate::terminal::Paint;

    fn rendered(failure: &Failure) -> String {
        let mut out = Vec::new();
        failure.render(&mut out, Paint::Plain).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn denied() -> Denials {
        let rule = RuleRef {
            key: "fs.write.allow".into(),
            value: "nothing else".into(),
            file: "own.toml".into(),
            line: 7,
        };
        let explanation = Explanation {
            rule,
            near: Some("fs.write.allow has \"/tmp/**\"".into()),
            allow: "fs.write.allow += [\"/etc/x\"]".into(),
        };
        let denial = Denial {
            kind: AccessKind::Write,
            path: b"/etc/x\n".to_vec(),
            explanation: Some(explanation),
            count: 4,
            processes: vec!["sh".into(), "tee".into()],
            pid: Some(412),
        };
        Denials { list: vec![denial], unlisted: 2 }
    }

    #[test]
    fn a_denial_has_every_line_of_its_form() {
        let text = rendered(&step(Failure::new(Exit::Policy, "m"), &denied(), &[]));
        for line in [
            "[P0304] write denied by policy",
            "    by      sh -> tee (pid 412)",
            "    tried   write /etc/x\\n",
            "    rule    fs.write.allow allows nothing else  own.toml:7",
            "    near    fs.write.allow has \"/tmp/**\"",
            "    allow   fs.write.allow += [\"/etc/x\"]",
            "    note    3 more attempts; the process got EACCES",
            "2 more attempts were denied",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_limit_says_what_was_measured_and_what_would_do() {
        let reached = ReachedLimit { limit: Limit::Processes, measured: 513 };
        let text = rendered(&limit(Failure::new(Exit::Limit, "m"), reached, None, &denied(), &[]));
        assert!(
            text.contains("tried   513 measured") && text.contains("allow   limits.processes = 1026"),
            "{text}"
        );
        let reached = ReachedLimit { limit: Limit::Wall, measured: 2001 };
        let text = rendered(&limit(Failure::new(Exit::Limit, "m"), reached, None, &denied(), &[]));
        assert!(text.contains("allow   limits.wall = \"4002ms\"") && text.contains("[P0304]"), "{text}");
    }
}
