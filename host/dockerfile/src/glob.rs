//! Go's `filepath.Match` on Unix: what a source of COPY may hold.
//!
//! Patterns: `*` and `?` (neither matches `/`), `[a-z]`, `[^a-z]`, and `\` before anything. Names are bytes; what is not UTF-8
//! counts as one unknown character for each byte. Nothing is looked up: the caller lists directories.

use std::str::Chars;

/// A pattern that Go would call malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed pattern {pattern:?}: {why}")]
pub struct GlobError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// One element of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// `*`
    Star,
    /// `?`
    Any,
    /// One of these ranges, or none of them.
    Class { negated: bool, ranges: Vec<(char, char)> },
    /// Itself.
    Literal(char),
}

/// Whether `pattern` holds an unescaped `*`, `?` or `[`.
#[must_use]
pub fn has_wildcards(pattern: &str) -> bool {
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

/// The name that a pattern without wildcards stands for: without its escaping backslashes.
#[must_use]
pub fn unescape(pattern: &str) -> String {
    let mut chars = pattern.chars();
    let mut name = String::with_capacity(pattern.len());
    while let Some(c) = chars.next() {
        name.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    name
}

/// Checks a pattern's form.
///
/// # Errors
/// An unfinished class, an empty one, a bare `-` or `]` in it, a backslash at the end.
pub fn check(pattern: &str) -> Result<(), GlobError> {
    tokens(pattern).map(|_| ())
}

/// Whether the whole of `name` matches the whole of `pattern`; a malformed pattern ([`check`]) matches nothing.
#[must_use]
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let Ok(pattern) = std::str::from_utf8(pattern) else { return false };
    let Ok(tokens) = tokens(pattern) else { return false };
    let name = characters(name);
    // A star cannot cross a slash, so going back to the last star is enough.
    let (mut t, mut n) = (0, 0);
    let mut star = None;
    loop {
        match (tokens.get(t), name.get(n)) {
            (None, None) => return true,
            (Some(Token::Star), _) => {
                star = Some((t + 1, n));
                t += 1;
                continue;
            }
            (Some(token), Some(c)) if token.takes(*c) => {
                t += 1;
                n += 1;
                continue;
            }
            _ => {}
        }
        match star {
            Some((after, from)) if name.get(from).is_some_and(|c| *c != '/') => {
                star = Some((after, from + 1));
                t = after;
                n = from + 1;
            }
            _ => return false,
        }
    }
}

// Go decodes names rune by rune, a wrong byte as U+FFFD.
pub(crate) fn characters(name: &[u8]) -> Vec<char> {
    let mut out = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        out.extend(chunk.valid().chars());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    out
}

impl Token {
    pub(crate) fn takes(&self, c: char) -> bool {
        match self {
            Self::Star => false,
            Self::Any => c != '/',
            Self::Literal(literal) => *literal == c,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

pub(crate) fn tokens(pattern: &str) -> Result<Vec<Token>, GlobError> {
    let malformed = |why| GlobError { pattern: pattern.chars().take(200).collect(), why };
    let mut chars = pattern.chars();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::Any,
            '[' => class(&mut chars).map_err(malformed)?,
            '\\' => Token::Literal(chars.next().ok_or_else(|| malformed("a backslash at its end"))?),
            _ => Token::Literal(c),
        });
    }
    Ok(tokens)
}

// After `[`.
fn class(chars: &mut Chars<'_>) -> Result<Token, &'static str> {
    let mut peek = chars.clone();
    let negated = peek.next() == Some('^');
    if negated {
        *chars = peek;
    }
    let mut ranges = Vec::new();
    loop {
        let mut peek = chars.clone();
        if peek.next() == Some(']') && !ranges.is_empty() {
            *chars = peek;
            return Ok(Token::Class { negated, ranges });
        }
        let low = member(chars)?;
        let mut peek = chars.clone();
        let high = if peek.next() == Some('-') {
            *chars = peek;
            member(chars)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

fn member(chars: &mut Chars<'_>) -> Result<char, &'static str> {
    match chars.next() {
        None => Err("a class without its ]"),
        Some('-') => Err("a - without a start of its range"),
        Some(']') => Err("an empty class or range"),
        Some('\\') => chars.next().ok_or("a backslash at its end"),
        Some(c) => Ok(c),
    }
}

#[cfg(test)]
mod tests;
