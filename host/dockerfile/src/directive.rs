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
    /// Which experimental rules are checked, too.
    pub experimental: Skip,
    /// What a finding does.
    pub findings: Findings,
    /// Its line.
    pub span: Span,
}

impl Check {
    /// Reads the value of `# check=`, or of the build argument BUILDKIT_DOCKERFILE_CHECK.
    ///
    /// # Errors
    /// An option that does not exist or has no such value.
    pub fn parse(value: &str, span: Span) -> Result<Self, DockerfileError> {
        check(value, span)
    }

    /// The `check=` of the comments above an instruction, which is for that instruction alone; what cannot be read is a comment.
    #[must_use]
    pub fn of_comments(comments: &[String], span: Span) -> Option<Self> {
        let value = comments.iter().find_map(|comment| {
            let (key, value) = split(&format!("# {comment}")).map(|(k, v)| (k, v.to_owned()))?;
            (key == "check").then_some(value)
        })?;
        check(value.split(' ').next().unwrap_or_default(), span).ok()
    }
}

/// Some of the lint rules.
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

/// What a line was.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Directive,
    Other,
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
    pub(crate) fn take(&mut self, line: &Physical<'_>) -> Result<Taken, DockerfileError> {
        if self.done {
            return Ok(Taken::Other);
        }
        let Some((key, value)) = split(line.content()) else {
            self.done = true;
            return Ok(Taken::Other);
        };
        let span = line.span();
        let repeated = match key.as_str() {
            "escape" => std::mem::replace(&mut self.escape_seen, true),
            "syntax" => self.directives.syntax.is_some(),
            "check" => self.directives.check.is_some(),
            _ => {
                self.done = true;
                return Ok(Taken::Other);
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
        Ok(Taken::Directive)
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
    let none = || Skip::Rules(Vec::new());
    let mut check = Check { skip: none(), experimental: none(), findings: Findings::Warn, span };
    let rules = |value: &str| match value {
        "all" => Skip::All,
        value => Skip::Rules(value.split(',').map(|rule| rule.trim().to_owned()).collect()),
    };
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
            "skip" => check.skip = rules(value),
            "experimental" => check.experimental = rules(value),
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
            _ => {
                return Err(DockerfileError::Unknown {
                    span,
                    what: "check option".to_owned(),
                    found: key.to_owned(),
                    nearest: nearest(key, ["skip", "error", "experimental"]),
                });
            }
        }
    }
    Ok(check)
}
