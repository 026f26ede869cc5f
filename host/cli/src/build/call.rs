//! `--check` and `--call`: what is said of a Dockerfile in place of building it.
//!
//! It goes to standard output. A finding is one line, `Rule: what it found (line N)`, with the page that explains the rule and the
//! line itself below. Findings, and whatever would stop a build, are exit 3. `format=json` is BuildKit's JSON of the same (`called.rs`).

use std::io::Write;

use wbuild_build::{BuildRequest, Checked, Wiring};
use wbuild_plan::{Outline, OutlineMount, Presence, Target, TargetDefault};

use super::called;
use super::fields;
use super::inputs::Source;
use super::problems;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::stdout_failure;

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// As buildx has it.
    Json,
}

/// What `wbuild build` is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Build.
    Build,
    /// `--check`, `--call=check` or `--call=lint`.
    Check(Format),
    /// `--call=outline`.
    Outline(Format),
    /// `--call=targets`.
    Targets(Format),
}

impl Call {
    /// Reads `--check` and `--call`, `METHOD[,format=text|json]`.
    ///
    /// # Errors
    /// Exit 2 for a method or a format that does not exist.
    pub(super) fn new(check: Option<bool>, call: Option<&str>) -> Result<Self, Failure> {
        let (method, format) = match call {
            None => ("build".to_owned(), Format::Text),
            Some(text) => method(text)?,
        };
        let called = match method.as_str() {
            "build" => Self::Build,
            "check" | "lint" => Self::Check(format),
            "outline" => Self::Outline(format),
            "targets" => Self::Targets(format),
            other => {
                return Err(Failure::usage(format!("--call {other} is unknown"))
                    .hint("methods are build, check, outline and targets"));
            }
        };
        match (check, called) {
            (_, Self::Build) if format == Format::Json => Err(Failure::usage("--call build has no format")
                .hint("format=json is of check, outline and targets; for a build there is --metadata-file")),
            (Some(true), Self::Build | Self::Check(_)) => Ok(Self::Check(format)),
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
            Self::Check(format) => Some(
                wbuild_build::check(request, wiring)
                    .map_err(failed)
                    .and_then(|checked| self::check(&checked, source, format)),
            ),
            Self::Outline(format) => Some(wbuild_build::outline(request, wiring).map_err(failed).and_then(
                |outline| match format {
                    Format::Text => print(&self::outline(&outline)),
                    Format::Json => print(&called::outline(&outline, source)),
                },
            )),
            Self::Targets(format) => {
                Some(wbuild_build::targets(request).map_err(failed).and_then(|targets| match format {
                    Format::Text => print(&self::targets(&targets)),
                    Format::Json => print(&called::targets(&targets, source)),
                }))
            }
        }
    }
}

fn method(text: &str) -> Result<(String, Format), Failure> {
    let hint = "the form is METHOD[,format=text|json]";
    let wrong = |why: String| Failure::usage(format!("--call {text}: {why}")).hint(hint);
    let mut parts = fields::split(text).map_err(|error| wrong(error.to_string()))?.into_iter();
    let method = parts.next().unwrap_or_default();
    let mut format = Format::Text;
    for part in parts {
        format = match part.split_once('=') {
            Some(("format", "json")) => Format::Json,
            Some(("format", "text")) => Format::Text,
            Some(("format", other)) => return Err(wrong(format!("format={other} is unknown"))),
            _ => return Err(wrong(format!("{part:?} is unknown"))),
        };
    }
    Ok((method, format))
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(stdout_failure)
}

fn check(checked: &Checked, source: &Source, format: Format) -> Result<(), Failure> {
    let said = match checked.findings.len() {
        0 => "no warnings found".to_owned(),
        1 => "1 warning has been found".to_owned(),
        more => format!("{more} warnings have been found"),
    };
    let text = match format {
        Format::Text => findings(checked, source, &said),
        Format::Json => called::check(checked, source),
    };
    print(&text)?;
    match &checked.failure {
        Some(error) => Err(problems::dockerfile(error, source)),
        None if checked.findings.is_empty() => Ok(()),
        None => Err(Failure::new(Exit::Dockerfile, format!("check complete, {said}"))),
    }
}

fn findings(checked: &Checked, source: &Source, said: &str) -> String {
    let mut text = String::new();
    for finding in &checked.findings {
        let line = finding.span.start.line;
        text.push_str(&format!("{}: {} (line {line})\n", finding.rule.name, finding.detail));
        if let Some(place) = problems::place(source, finding.span) {
            text.push_str(&format!("  {line} | {}\n", place.text));
        }
        text.push_str(&format!("  {}\n", finding.rule.url()));
    }
    if checked.failure.is_none() && checked.findings.is_empty() {
        text.push_str(&format!("Check complete, {said}.\n"));
    }
    text
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
        assert_eq!(call(Some(true), None), Ok(Call::Check(Format::Text)));
        assert_eq!(call(Some(false), Some("targets")), Ok(Call::Targets(Format::Text)));
        assert_eq!(call(None, Some("lint")), Ok(Call::Check(Format::Text)));
        assert_eq!(call(None, Some("outline,format=json")), Ok(Call::Outline(Format::Json)));
        assert_eq!(
            call(None, Some("check,format=xml")),
            Err("--call check,format=xml: format=xml is unknown".to_owned())
        );
        assert_eq!(call(None, Some("check,json")), Err("--call check,json: \"json\" is unknown".to_owned()));
        assert!(call(None, Some("build,format=json")).is_err());
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
