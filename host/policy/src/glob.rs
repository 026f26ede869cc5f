//! Patterns over guest paths and over plain text.
//!
//! In a path `*` and `?` stay within a component and `**` is any number of components; `/a/**` is `/a` and everything beneath it. In text
//! (references, commands, names) `*` is anything. The frequent shapes, a whole path and a directory, are compared without a walk.

use serde::{Deserialize, Serialize};

/// A pattern over absolute paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PathPattern {
    text: String,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    /// Every path.
    All,
    /// This path.
    Exact(Vec<u8>),
    /// This directory and everything beneath it.
    Beneath(Vec<u8>),
    /// Component by component.
    Parts(Vec<Part>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`
    Any,
    /// One component.
    One(TextPattern),
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence fragment.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("{text:?} is not absolute: a path pattern begins with / (or /**/)"));
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let clean = rest.is_empty() || parts.iter().all(|part| !matches!(*part, "" | "." | ".."));
        if !clean {
            return Err(format!(
                "{text:?} is not a clean path: no empty component, . or .. and no / at the end"
            ));
        }
        if let Some(part) = parts.iter().find(|part| part.contains("**") && **part != "**") {
            return Err(format!("{part:?}: ** stands alone between slashes"));
        }
        let wild = |part: &&str| part.contains(['*', '?']);
        let shape = match parts.split_last() {
            Some((last, [])) if *last == "**" => Shape::All,
            _ if !parts.iter().any(wild) => Shape::Exact(text.as_bytes().to_vec()),
            Some((last, dir)) if *last == "**" && !dir.iter().any(wild) => {
                Shape::Beneath(format!("/{}", dir.join("/")).into_bytes())
            }
            _ => Shape::Parts(
                parts
                    .iter()
                    .map(|part| if *part == "**" { Part::Any } else { Part::One(TextPattern::new(part)) })
                    .collect(),
            ),
        };
        Ok(Self { text: text.to_owned(), shape })
    }

    /// As written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the path is meant.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        match &self.shape {
            Shape::All => true,
            Shape::Exact(exact) => path == exact.as_slice(),
            Shape::Beneath(dir) => is_at_or_beneath(path, dir),
            Shape::Parts(parts) => walk(parts, &components(path), Ends::Whole),
        }
    }

    /// Whether something beneath the directory `path` could be meant: moving the directory would move it away from the rule.
    pub(crate) fn reaches_beneath(&self, path: &[u8]) -> bool {
        match &self.shape {
            Shape::All => true,
            Shape::Exact(exact) | Shape::Beneath(exact) => {
                exact.len() > path.len() && is_at_or_beneath(exact, path)
            }
            Shape::Parts(parts) => match parts.split_first() {
                // `/**/a/b` means it wherever it is moved to, unless the directory is one of its own components.
                Some((Part::Any, own)) => {
                    let path = components(path);
                    (0..path.len()).any(|from| walk(own, &path[from..], Ends::Within))
                }
                _ => walk(parts, &components(path), Ends::Within),
            },
        }
    }
}

fn is_at_or_beneath(path: &[u8], dir: &[u8]) -> bool {
    dir == b"/" || path.starts_with(dir) && matches!(path.get(dir.len()), None | Some(b'/'))
}

fn components(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()).collect()
}

/// What a path must do to the pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Use it up.
    Whole,
    /// Leave some of it.
    Within,
}

fn walk(parts: &[Part], path: &[&[u8]], ends: Ends) -> bool {
    match (parts.split_first(), path.split_first()) {
        (None, None) => ends == Ends::Whole,
        (None, Some(_)) => false,
        (Some(_), None) if ends == Ends::Within => true,
        // `/a*/**` is the directory, too, as `/a/**` is.
        (Some((Part::Any, rest)), None) => walk(rest, path, ends),
        (Some((Part::One(_), _)), None) => false,
        (Some((Part::Any, rest)), Some((_, deeper))) => walk(rest, path, ends) || walk(parts, deeper, ends),
        (Some((Part::One(name), rest)), Some((component, deeper))) => {
            name.matches(component) && walk(rest, deeper, ends)
        }
    }
}

impl TryFrom<String> for PathPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text)
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> Self {
        pattern.text
    }
}

/// A pattern over text: `*` is any run, `?` any one byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TextPattern(String);

impl TextPattern {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether the whole of `text` is meant.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let pattern = self.0.as_bytes();
        let (mut at, mut from) = (0, 0);
        // Where the last star stands and how much of the text it has taken: one star is enough to go back to.
        let mut star: Option<(usize, usize)> = None;
        while from < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, from));
                    at += 1;
                }
                Some(byte) if *byte == b'?' || *byte == text[from] => {
                    at += 1;
                    from += 1;
                }
                _ => {
                    let Some((place, taken)) = star else { return false };
                    star = Some((place, taken + 1));
                    (at, from) = (place + 1, taken + 1);
                }
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}
