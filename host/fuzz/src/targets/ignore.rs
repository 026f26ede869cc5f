//! An ignore file and paths, beside a second reading of what moby's patternmatcher does: each pattern as a regular expression.
//!
//! The input is the file, a NUL and the paths, a line each. Files with classes (`[`), `^`, backslashes or bytes beyond ASCII are read, and not
//! compared: there the regular expressions of two languages differ.

use regex::bytes::Regex;
use wbuild_dockerfile::IgnoreFile;

use super::{Target, as_it_is};

pub(super) const TARGET: Target = Target { name: "ignore", seeds, words: WORDS, repair: as_it_is, read };

const WORDS: &[&[u8]] = &[
    b"**", b"**/", b"/**", b"*", b"?", b"!", b"/", b"./", b"../", b"a", b"b", b"a/b", b"a/b/c", b".git",
    b"#", b"\n", b"[a-c]", b"[^a]", b"\\*", b"$", b"+", b"(", b"|", b"{1}", b" ", b"\t", b"\r\n", b"\0",
];

fn seeds() -> Vec<Vec<u8>> {
    [
        "*\n!a\n!**/b*\n# no\n./c/../d/\n\0a\na/b\nb\nd\nd/e\nx/b1\n",
        "**/*.o\n/build\n!build/keep\nq?x\n\0x.o\na/b/x.o\nbuild/y\nbuild/keep\nqax\n",
        "a**b\n**\n!**/c/**\n[a-c]d\n\\!x\n\0ab\na/x/b\nc/d\nx/c/y\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn read(input: &[u8]) -> String {
    let mut halves = input.splitn(2, |byte| *byte == 0);
    let (text, paths) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
    let file = match IgnoreFile::parse(text) {
        Ok(file) => file,
        Err(error) => return format!("parse: {error}"),
    };
    let model = model(text);
    let mut shape = String::from(if model.is_some() { "compared " } else { "read " });
    for path in paths.split(|byte| *byte == b'\n').take(50) {
        let excluded = file.excludes(path);
        shape.push(if excluded { 'x' } else { '.' });
        let Some(model) = model.as_ref().filter(|_| is_path(path)) else { continue };
        let expected = expect(model, path);
        assert_eq!(
            excluded,
            expected,
            "{:?} by {:?}",
            String::from_utf8_lossy(path),
            String::from_utf8_lossy(text)
        );
    }
    shape
}

/// A path as a context has it: relative, plain and clean.
fn is_path(path: &[u8]) -> bool {
    path.is_ascii()
        && !path.is_empty()
        && path.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

struct Pattern {
    is_exception: bool,
    regex: Regex,
    /// What follows a leading `**` without another wildcard: moby compares the end of the path alone, so `**o` is `*o` at any depth.
    suffix: Option<String>,
}

impl Pattern {
    fn is_match(&self, path: &[u8]) -> bool {
        match &self.suffix {
            Some(suffix) => {
                let whole = suffix.strip_prefix('/').is_some_and(|rest| path == rest.as_bytes());
                whole || path.ends_with(suffix.as_bytes())
            }
            None => self.regex.is_match(path),
        }
    }
}

/// `ReadAll` of moby's ignorefile, then `New` of its patternmatcher; `None` for what is not compared.
fn model(text: &[u8]) -> Option<Vec<Pattern>> {
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.is_ascii() && !text.contains(['[', ']', '^', '\\', '\r', '\x0b', '\x0c']))?;
    let mut patterns = Vec::new();
    for line in text.split('\n').filter(|line| !line.starts_with('#')) {
        let line = line.trim();
        let (is_exception, line) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        if line.is_empty() {
            continue;
        }
        let mut line = clean(line);
        if line.len() > 1 {
            line = line.strip_prefix('/').map_or(line.clone(), str::to_owned);
        }
        // New trims once more, and takes a second `!` for one.
        if line.trim() != line || line.starts_with('!') {
            return None;
        }
        let line = clean(&line);
        let suffix = line.strip_prefix("**").filter(|rest| !rest.contains(['*', '?'])).map(str::to_owned);
        patterns.push(Pattern { is_exception, regex: Regex::new(&expression(&line)).ok()?, suffix });
    }
    Some(patterns)
}

/// Go's filepath.Clean.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part != ".." {
            parts.push(part);
        } else if parts.last().is_some_and(|last| *last != "..") {
            parts.pop();
        } else if !rooted {
            parts.push(part);
        }
    }
    match (rooted, parts.join("/")) {
        (true, rest) => format!("/{rest}"),
        (false, rest) if rest.is_empty() => ".".to_owned(),
        (false, rest) => rest,
    }
}

fn expression(pattern: &str) -> String {
    let mut text = String::from("(?-u)^");
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '*' if rest.next_if_eq(&'*').is_some() => {
                rest.next_if_eq(&'/');
                text.push_str(if rest.peek().is_none() { ".*" } else { "(.*/)?" });
            }
            '*' => text.push_str("[^/]*"),
            '?' => text.push_str("[^/]"),
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => {
                text.push('\\');
                text.push(character);
            }
            other => text.push(other),
        }
    }
    text + "$"
}

/// `MatchesOrParentMatches`: in order, the path or one of its parents.
fn expect(patterns: &[Pattern], path: &[u8]) -> bool {
    let ends: Vec<usize> =
        (0..path.len()).filter(|at| path[*at] == b'/').chain(std::iter::once(path.len())).collect();
    let mut excluded = false;
    for pattern in patterns {
        if ends.iter().any(|end| pattern.is_match(&path[..*end])) {
            excluded = !pattern.is_exception;
        }
    }
    excluded
}
