//! `--check` and `--call`: what is said of a Dockerfile in place of building it.
//!
//! It goes to standard output. A finding is one line, `Rule: what it found (line N)`, with the page that explains the rule and the
//! line itself below. Findings, and whatever would stop a build, are exit 3.

use std::io::Write;

use wbuild_build::{BuildRequest, Checked, Wiring};
use wbuild_plan::{Outline, OutlineMount, Presence, Target, TargetDefault};

use super::inputs::Source;
use super::problems;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::stdout_failure;

/// What `wbuild build` is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Build.
    Build,
    /// `--check`, `--call=check` or `--call=lint`.
    Check,
    /// `--call=outline`.
    Outline,
    /// `--call=targets`.
    Targets,
}

impl Call {
    /// Reads `--check` and `--call`.
    ///
    /// # Errors
    /// Exit 2 for a method that does not exist.
    pub(super) fn new(check: Option<bool>, call: Option<&str>) -> Result<Self, Failure> {
        let called = match call {
            None => Self::Build,
            Some("build") => Self::Build,
            Some("check" | "lint") => Self::Check,
            Some("outline") => Self::Outline,
            Some("targets") => Self::Targets,
            Some(other) => {
                return Err(Failure::usage(format!("--call {other} is unknown"))
                    .hint("methods are build, check, outline and targets"));
            }
        };
        match (check, called) {
            (Some(true), Self::Build | Self::Check) => Ok(Self::Check),
            (Some(true), _) => Err(Failure::usage("--check is --call=check: give one of them")),
            _ => Ok(called),
        }
    }

    /// Does what was asked for; `None` where that is a build.
    pub(super) fn answer(
        self,
        request: &BuildRequest,
        wiring: &Wiring,
        source: &Source,
    ) -> Option<Result<(), Failure>> {
        let failed = |error| problems::failure(&error, source);
        match self {
            Self::Build => None,
            Self::Check => Some(
                wbuild_build::check(request, wiring)
                    .map_err(failed)
                    .and_then(|checked| self::check(&checked, source)),
            ),
            Self::Outline => Some(
                wbuild_build::outline(request, wiring)
                    .map_err(failed)
                    .and_then(|outline| print(&self::outline(&outline))),
            ),
            Self::Targets => Some(
                wbuild_build::targets(request)
                    .map_err(failed)
                    .and_then(|targets| print(&self::targets(&targets))),
            ),
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(stdout_failure)
}

fn check(checked: &Checked, source: &Source) -> Result<(), Failure> {
    let mut text = String::new();
    for finding in &checked.findings {
        let line = finding.span.start.line;
        text.push_str(&format!("{}: {} (line {line})\n", finding.rule.name, finding.detail));
        if let Some(place) = problems::place(source, finding.span) {
            text.push_str(&format!("  {line} | {}\n", place.text));
        }
        text.push_str(&format!("  {}\n", finding.rule.url()));
    }
    let said = match checked.findings.len() {
        0 => "no warnings found".to_owned(),
        1 => "1 warning has been found".to_owned(),
        more => format!("{more} warnings have been found"),
    };
    if checked.failure.is_none() && checked.findings.is_empty() {
        text.push_str(&format!("Check complete, {said}.\n"));
    }
    print(&text)?;
    match &checked.failure {
        Some(error) => Err(problems::dockerfile(error, source)),
        None if checked.findings.is_empty() => Ok(()),
        None => Err(Failure::new(Exit::Dockerfile, format!("check complete, {said}"))),
    }
}

/// Rows under a heading, each column as wide as its longest cell.
fn table(heading: [&str; 3], rows: &[[String; 3]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let all: Vec<[&str; 3]> = std::iter::once(heading)
        .chain(rows.iter().map(|[a, b, c]| [a.as_str(), b.as_str(), c.as_str()]))
        .collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let line = |[a, b, c]: &[&str; 3]| format!("{a:first$}   {b:second$}   {c}").trim_end().to_owned() + "\n";
    all.iter().map(line).collect::<String>() + "\n"
}

fn outline(outline: &Outline) -> String {
    let mut text = format!("TARGET:      {}\n", outline.name.as_deref().unwrap_or("default"));
    if let Some(description) = &outline.description {
        text.push_str(&format!("DESCRIPTION: {description}\n"));
    }
    text.push('\n');
    let args: Vec<[String; 3]> = outline
        .args
        .iter()
        .map(|arg| {
            [
                arg.name.clone(),
                arg.value.clone().unwrap_or_default(),
                arg.description.clone().unwrap_or_default(),
            ]
        })
        .collect();
    text.push_str(&table(["BUILD ARG", "VALUE", "DESCRIPTION"], &args));
    let mounts = |list: &[OutlineMount]| -> Vec<[String; 3]> {
        let required = |presence| if presence == Presence::Required { "true" } else { "" };
        list.iter().map(|m| [m.id.clone(), required(m.presence).to_owned(), String::new()]).collect()
    };
    text.push_str(&table(["SECRET", "REQUIRED", ""], &mounts(&outline.secrets)));
    text.push_str(&table(["SSH", "REQUIRED", ""], &mounts(&outline.ssh)));
    text
}

fn targets(targets: &[Target]) -> String {
    let row = |target: &Target| {
        let mut name = target.name.clone().unwrap_or_else(|| "(unnamed)".to_owned());
        if target.default == TargetDefault::Yes {
            name.push_str(" (default)");
        }
        [name, target.base.clone(), target.description.clone().unwrap_or_default()]
    };
    let rows: Vec<[String; 3]> = targets.iter().map(row).collect();
    table(["TARGET", "FROM", "DESCRIPTION"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_method_is_named_once() {
        let call = |check, call| Call::new(check, call).map_err(|failure| failure.message.clone());
        assert_eq!(call(None, None), Ok(Call::Build));
        assert_eq!(call(Some(true), None), Ok(Call::Check));
        assert_eq!(call(Some(false), Some("targets")), Ok(Call::Targets));
        assert_eq!(call(None, Some("lint")), Ok(Call::Check));
        assert_eq!(call(None, Some("dance")), Err("--call dance is unknown".to_owned()));
        assert!(call(Some(true), Some("outline")).is_err());
    }

    #[test]
    fn stages_are_a_table() {
        let file = wbuild_dockerfile::parse(b"# base the tools\nFROM scratch AS base\nFROM base").unwrap();
        assert_eq!(
            targets(&wbuild_plan::targets(&file)),
            "TARGET                FROM      DESCRIPTION\n\
             base                  scratch   the tools\n\
             (unnamed) (default)   base\n\n"
        );
    }
}
