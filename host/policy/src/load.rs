//! From text to a [`Ruleset`]: TOML with places, unknown keys with a suggestion, what is extended.

use std::ops::Range;

use crate::builtin::built_in;
use crate::error::{Place, PolicyError};
use crate::file::{File, LATER};
use crate::rules::Ruleset;

/// The text of a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As messages name it; what it extends is found relative to it.
    pub name: String,
    /// The text.
    pub text: String,
}

/// A file that was read, with its text for places.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) source: Source,
    pub(crate) file: File,
}

impl Loaded {
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        place(&self.source, span)
    }

    pub(crate) fn line(&self, span: &Range<usize>) -> u32 {
        u32::try_from(self.place(span).line).unwrap_or(u32::MAX)
    }
}

impl Ruleset {
    /// Reads a policy and what it extends. `read` is asked for the files that are named by a path: the name of the file that extends and the path
    /// in it; its error is a sentence fragment.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn load(
        source: Source,
        read: &mut dyn FnMut(&str, &str) -> Result<Source, String>,
    ) -> Result<Self, PolicyError> {
        let mut files = Vec::new();
        collect(source, read, &mut Vec::new(), &mut files)?;
        Self::of(files)
    }

    /// One of the policies that wbuild holds, by name.
    ///
    /// # Errors
    /// None for the names of [`crate::BUILT_IN`].
    pub fn built_in(name: &str) -> Result<Self, PolicyError> {
        let text = built_in(name).ok_or_else(|| unknown_name(name, None))?;
        let source = Source { name: name.to_owned(), text: text.to_owned() };
        Self::load(source, &mut |_, path| Err(format!("a built-in policy names no file ({path})")))
    }
}

/// Reads `source` and, before it, what it extends.
fn collect(
    source: Source,
    read: &mut dyn FnMut(&str, &str) -> Result<Source, String>,
    open: &mut Vec<String>,
    files: &mut Vec<Loaded>,
) -> Result<(), PolicyError> {
    if files.iter().any(|done| done.source.name == source.name) {
        return Ok(());
    }
    let loaded = parse(source)?;
    open.push(loaded.source.name.clone());
    for base in &loaded.file.extends {
        let at = || Some(loaded.place(&base.span));
        let next = match built_in(&base.value) {
            Some(text) => Source { name: base.value.clone(), text: text.to_owned() },
            None if is_path(&base.value) => read(&loaded.source.name, &base.value)
                .map_err(|why| PolicyError::new(format!("cannot extend {:?}: {why}", base.value), at()))?,
            None => return Err(unknown_name(&base.value, at())),
        };
        if open.contains(&next.name) {
            return Err(PolicyError::new(format!("{} extends itself", next.name), at()));
        }
        collect(next, read, open, files)?;
    }
    open.pop();
    files.push(loaded);
    Ok(())
}

fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".toml")
}

fn unknown_name(name: &str, place: Option<Place>) -> PolicyError {
    let error = PolicyError::new(format!("there is no built-in policy {name:?}"), place);
    match closest(name, crate::BUILT_IN.iter().map(|(name, _)| *name)) {
        Some(known) => error.hint(format!("did you mean {known:?}? A path ends in .toml")),
        None => {
            error.hint("built in are trusted, ci, untrusted, hermetic and wasm-only; a path ends in .toml")
        }
    }
}

/// Reads one file.
pub(crate) fn parse(source: Source) -> Result<Loaded, PolicyError> {
    match toml::from_str::<File>(&source.text) {
        Ok(file) => Ok(Loaded { source, file }),
        Err(error) => {
            let place = error.span().map(|span| place(&source, &span));
            Err(reworded(error.message(), place))
        }
    }
}

/// serde's message in our words: what is enforced later, what was meant.
pub(crate) fn reworded(message: &str, place: Option<Place>) -> PolicyError {
    let message = message.lines().next().unwrap_or_default();
    let Some(rest) = message.strip_prefix("unknown field ") else {
        return PolicyError::new(message, place);
    };
    let mut names = rest.split('`').skip(1).step_by(2);
    let field = names.next().unwrap_or_default();
    let expected: Vec<&str> = names.collect();
    if expected == ["default"] {
        return PolicyError::new(format!("net.{field} is not enforced yet"), place)
            .hint("net.default = \"deny\" leaves a step without internet sockets");
    }
    if let Some((_, why)) = LATER.iter().find(|(name, _)| *name == field) {
        return PolicyError::new(format!("{field} is not enforced yet"), place).hint(*why);
    }
    let error = PolicyError::new(format!("there is no key {field:?} here"), place);
    match closest(field, expected.iter().copied()) {
        Some(known) => error.hint(format!("did you mean {known:?}?")),
        None => error.hint(format!("here may stand: {}", expected.join(", "))),
    }
}

/// The name that differs least, if it differs little.
pub(crate) fn closest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let measured = known.map(|name| (distance(given, name), name)).min()?;
    (measured.0 <= 1 + given.chars().count() / 4).then_some(measured.1)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

pub(crate) fn place(source: &Source, span: &Range<usize>) -> Place {
    let start = span.start.min(source.text.len());
    let before = source.text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let head = before.rsplit('\n').next().unwrap_or_default();
    let text = source.text.lines().nth(line - 1).unwrap_or_default().to_owned();
    let meant = source.text.get(span.clone()).and_then(|text| text.lines().next()).unwrap_or_default();
    Place {
        file: source.name.clone(),
        line,
        column: head.chars().count() + 1,
        width: meant.chars().count().max(1),
        text,
    }
}
