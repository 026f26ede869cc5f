//! The `--flag` words of one instruction: known by a table, taken once, none left over.

use crate::error::{DockerfileError, nearest};
use crate::instruction::{Flag, Word};
use crate::span::Span;

/// What a flag's value may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `--name=value`, once.
    Value,
    /// `--name=value`, as often as wanted.
    Values,
    /// `--name`, `--name=true`, `--name=false`, once.
    Switch,
}

/// The flags an instruction knows.
pub(crate) type Table = &'static [(&'static str, Shape)];

/// The flags that were given.
pub(crate) struct Flags {
    given: Vec<Flag>,
}

impl Flags {
    /// Checks `words` against the table of `instruction`.
    pub(crate) fn new(words: Vec<Word>, table: Table, instruction: &str) -> Result<Self, DockerfileError> {
        let mut given: Vec<Flag> = Vec::new();
        for word in words {
            let span = word.span;
            let (name, value) = match word.text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word.text.as_str(), None),
            };
            let name = name.trim_start_matches("--");
            let Some((_, shape)) = table.iter().find(|(known, _)| *known == name) else {
                return Err(DockerfileError::Unknown {
                    span,
                    what: format!("flag of {instruction}"),
                    found: format!("--{name}"),
                    nearest: nearest(name, table.iter().map(|(n, _)| *n)).map(|n| format!("--{n}")),
                });
            };
            if *shape != Shape::Values && given.iter().any(|f| f.name == name) {
                return Err(DockerfileError::syntax(span, format!("--{name} is given twice")));
            }
            let value = match (shape, value) {
                (Shape::Switch, value) => switch(name, value, span)?,
                (_, Some(value)) => value,
                (_, None) => {
                    let expected = format!("--{name}=VALUE");
                    return Err(DockerfileError::expected(span, format!("--{name} has no value"), expected));
                }
            };
            given.push(Flag { name: name.to_owned(), value: value.to_owned(), span });
        }
        Ok(Self { given })
    }

    /// The value of a flag that can be given once.
    pub(crate) fn value(&self, name: &str) -> Option<Word> {
        let flag = self.given.iter().find(|f| f.name == name)?;
        Some(Word { text: flag.value.clone(), span: flag.span })
    }

    /// All flags but `taken`, without switches that are off.
    pub(crate) fn rest(self, taken: &[&str]) -> Vec<Flag> {
        let off = |f: &Flag| f.value == "false" && f.name != "unpack" && f.name != "keep-git-dir";
        self.given.into_iter().filter(|f| !taken.contains(&f.name.as_str()) && !off(f)).collect()
    }
}

fn switch<'a>(name: &str, value: Option<&'a str>, span: Span) -> Result<&'a str, DockerfileError> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("true") => Ok("true"),
        Some("false") => Ok("false"),
        Some(_) => {
            let message = format!("--{name} is a switch");
            Err(DockerfileError::expected(
                span,
                message,
                format!("--{name}, --{name}=true or --{name}=false"),
            ))
        }
    }
}
