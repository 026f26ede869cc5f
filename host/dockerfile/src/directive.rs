//! Parser directives: `# escape=`, `# syntax=`, `# check=`, only before anything else in the file.

use crate::error::{DockerfileError, nearest};
use crate::line::Physical;
use crate::span::Span;

/// What the head of a Dockerfile says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The escape and continuation character: `\` or a backtick.
    pub escape: char,
    /// `# syntax=`: noted, never pulled; this program is the frontend.
    pub syntax: Option<Directive>,
    /// `# check=`: which lint rules are skipped and whether warnings are errors.
    pub check: Option<Check>,
}

/// The value of a directive and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// Without surrounding white space.
    pub value: String,
    /// Its line.
    pub span: Span,
}

/// `# check=skip=a,b;error=true`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Rules that are not checked.
    pub skip: Skip,
    /// What a finding does.
    pub findings: Findings,
    /// Its line.
    pub span: Span,
}

/// Which lint rules are off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skip {
    /// These, by name.
    Rules(Vec<String>),
    /// All of them.
    All,
}

/// What lint findings do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Findings {
    /// They are shown.
    Warn,
    /// They fail the build.
    Fail,
}

/// Reads directives until a line is none.
pub(crate) struct Reader {
    pub(crate) directives: Directives,
    escape_seen: bool,
    done: bool,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self {
            directives: Directives { escape: '\\', syntax: None, check: None },
            escape_seen: false,
            done: false,
        }
    }

    /// Takes the next physical line of the file; the first that is no directive ends the head.
    pub(crate) fn take(&mut self, line: &Physical<'_>) -> Result<(), DockerfileError> {
        if self.done {
            return Ok(());
        }
        let Some((key, value)) = split(line.content()) else {
            self.done = true;
            return Ok(());
        };
        let span = line.span();
        let repeated = match key.as_str() {
            "escape" => std::mem::replace(&mut self.escape_seen, true),
            "syntax" => self.directives.syntax.is_some(),
            "check" => self.directives.check.is_some(),
            _ => {
                self.done = true;
                return Ok(());
            }
        };
        if repeated {
            let message = format!("only one {key} parser directive can be used");
            return Err(DockerfileError::syntax(span, message));
        }
        match key.as_str() {
            "escape" => self.directives.escape = escape(value, span)?,
            "syntax" => self.directives.syntax = Some(Directive { value: value.to_owned(), span }),
            _ => self.directives.check = Some(check(value, span)?),
        }
        Ok(())
    }
}

// `# key = value`; a key is letters and digits and starts with a letter.
fn split(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.trim_start().strip_prefix('#')?.trim_start().split_once('=')?;
    let (key, value) = (key.trim_end(), value.trim());
    let named =
        key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.bytes().all(|b| b.is_ascii_alphanumeric());
    (named && !value.is_empty()).then(|| (key.to_ascii_lowercase(), value))
}

fn escape(value: &str, span: Span) -> Result<char, DockerfileError> {
    match value {
        "\\" => Ok('\\'),
        "`" => Ok('`'),
        _ => Err(DockerfileError::expected(
            span,
            format!("invalid escape character {value:?}"),
            "\\ or a backtick",
        )),
    }
}

fn check(value: &str, span: Span) -> Result<Check, DockerfileError> {
    let mut check = Check { skip: Skip::Rules(Vec::new()), findings: Findings::Warn, span };
    for part in value.split(';') {
        let part = part.trim();
        let (key, value) = part.split_once('=').ok_or_else(|| {
            DockerfileError::expected(
                span,
                format!("invalid check option {part:?}"),
                "skip=RULE,.. or error=true",
            )
        })?;
        let (key, value) = (key.trim(), value.trim());
        match key {
            "skip" if value == "all" => check.skip = Skip::All,
            "skip" => {
                check.skip = Skip::Rules(value.split(',').map(|rule| rule.trim().to_owned()).collect());
            }
            "error" => {
                check.findings = match value.to_ascii_lowercase().as_str() {
                    "true" | "1" | "t" => Findings::Fail,
                    "false" | "0" | "f" => Findings::Warn,
                    _ => {
                        let message = format!("invalid value {value:?} of the check option error");
                        return Err(DockerfileError::expected(span, message, "true or false"));
                    }
                }
            }
            "experimental" => {
                return Err(DockerfileError::Unsupported {
                    span,
                    feature: "the check option experimental".to_owned(),
                    supported: "skip=RULE,.. and error=false".to_owned(),
                });
            }
            _ => {
                return Err(DockerfileError::Unknown {
                    span,
                    what: "check option".to_owned(),
                    found: key.to_owned(),
                    nearest: nearest(key, ["skip", "error"]),
                });
            }
        }
    }
    Ok(check)
}
