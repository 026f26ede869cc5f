//! Cutting an instruction's text: keyword, flags, words, name=value words, JSON arrays.
//!
//! Words keep their quotes and escapes (expansion removes them later); flags lose them here, as in BuildKit. Every piece
//! knows its byte range in the logical line.

use std::ops::Range;

/// A piece of a logical line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) range: Range<usize>,
}

/// White space between keyword and arguments, and between words of the instructions without quoting.
pub(crate) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// `line[range]` without white space at its ends, as a range.
pub(crate) fn trimmed(line: &str, range: Range<usize>) -> Range<usize> {
    let part = &line[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..(start + part.trim().len())
}

/// The keyword and what follows it.
pub(crate) fn keyword(line: &str) -> (Range<usize>, Range<usize>) {
    let all = trimmed(line, 0..line.len());
    let part = &line[all.clone()];
    match part.find(is_blank) {
        None => (all.clone(), all.end..all.end),
        Some(i) => {
            let rest = part[i..].trim_start_matches(is_blank);
            (all.start..all.start + i, all.end - rest.len()..all.end)
        }
    }
}

/// The `--flag` words at the start of `range`, and the range of what follows them.
///
/// Quotes and escapes are removed; a bare `--` ends the flags and is dropped.
pub(crate) fn flags(line: &str, range: Range<usize>, escape: char) -> (Vec<Word>, Range<usize>) {
    let mut found = Vec::new();
    let mut at = range.start;
    loop {
        let rest = &line[at..range.end];
        let start = range.end - rest.trim_start().len();
        if !line[start..range.end].starts_with("--") {
            return (found, trimmed(line, start..range.end));
        }
        let word = flag_word(line, start..range.end, escape);
        at = word.range.end;
        if word.text == "--" {
            return (found, trimmed(line, at..range.end));
        }
        if !word.text.is_empty() {
            found.push(word);
        }
    }
}

fn flag_word(line: &str, range: Range<usize>, escape: char) -> Word {
    let mut text = String::new();
    let mut quote = None;
    let mut chars = line[range.clone()].char_indices();
    while let Some((i, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return Word { text, range: range.start..range.start + i },
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if c == q => quote = None,
            // An escape character at the end is dropped.
            _ if c == escape => text.extend(chars.next().map(|(_, next)| next)),
            _ => text.push(c),
        }
    }
    Word { text, range }
}

/// Words as ENV, LABEL and ARG cut them: white space separates, quotes protect it, and everything stays in the word.
pub(crate) fn quoted_words(line: &str, range: Range<usize>, escape: char) -> Vec<Word> {
    let mut words = Vec::new();
    let mut at = range.start;
    loop {
        let rest = &line[at..range.end];
        let start = range.end - rest.trim_start().len();
        if start == range.end {
            return words;
        }
        let word = quoted_word(line, start..range.end, escape);
        at = word.range.end;
        if !word.text.is_empty() {
            words.push(word);
        }
    }
}

fn quoted_word(line: &str, range: Range<usize>, escape: char) -> Word {
    let mut text = String::new();
    let mut quote = None;
    let mut chars = line[range.clone()].char_indices();
    while let Some((i, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return Word { text, range: range.start..range.start + i },
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ => {}
        }
        // Nothing can be escaped within single quotes. An escape character at the end is dropped.
        if c == escape && quote != Some('\'') {
            if let Some((_, next)) = chars.next() {
                text.push(c);
                text.push(next);
            }
            continue;
        }
        text.push(c);
    }
    Word { text, range }
}

/// Words as COPY, EXPOSE and FROM cut them: blanks separate, nothing protects them.
pub(crate) fn plain_words(line: &str, range: Range<usize>) -> Vec<Word> {
    let base = range.start;
    let part = &line[range];
    let mut words = Vec::new();
    let mut start = None;
    for (i, c) in part.char_indices().chain([(part.len(), ' ')]) {
        match (start, is_blank(c)) {
            (None, false) => start = Some(i),
            (Some(from), true) => {
                words.push(Word { text: part[from..i].to_owned(), range: base + from..base + i });
                start = None;
            }
            _ => {}
        }
    }
    words
}

/// What an argument that may be a JSON array of strings is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Json {
    /// An array of strings.
    Strings(Vec<String>),
    /// Valid JSON, but not all of its elements are strings.
    NotStrings,
    /// Something else: the shell form.
    No,
}

/// Reads an exec form.
pub(crate) fn json(text: &str) -> Json {
    let text = text.trim();
    if !text.starts_with('[') {
        return Json::No;
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Json::No };
    let strings = values.into_iter().map(|v| match v {
        serde_json::Value::String(s) => Some(s),
        _ => None,
    });
    strings.collect::<Option<Vec<_>>>().map_or(Json::NotStrings, Json::Strings)
}
