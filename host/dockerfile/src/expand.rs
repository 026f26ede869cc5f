//! Variables, quotes and escapes: the small shell that Dockerfile words are written in.
//!
//! One lexer serves every place BuildKit expands: words of instructions (quotes and escapes go), heredoc contents (quotes stay),
//! display names (unset variables stay) and the search for heredocs in a line (everything stays). Nesting and size are
//! bounded: neither a deep `${a:-${b:-..}}` nor a chain of doublings can exhaust the process.

use std::collections::BTreeSet;

use regex::Regex;

/// The deepest nesting of `${..}` that is expanded.
const MAX_DEPTH: u32 = 64;

/// The longest result of one expansion in bytes; Linux refuses longer arguments long before (128 KiB).
const MAX_EXPANSION: usize = 1 << 20;

/// Where variables come from.
pub trait Variables {
    /// The value, or `None` where the variable is unset.
    fn get(&self, name: &str) -> Option<&str>;
}

/// No variable is set.
pub struct NoVariables;

impl Variables for NoVariables {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }
}

impl Variables for std::collections::BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        Self::get(self, name).map(String::as_str)
    }
}

/// Why a word cannot be expanded; the caller knows where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpandError(pub(crate) String);

/// What happens to quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotes {
    /// They protect and are removed.
    Remove,
    /// They protect and stay.
    Keep,
    /// They are characters like any other.
    Ordinary,
}

/// What happens to escape characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escapes {
    /// They protect and are removed.
    Remove,
    /// They protect and stay.
    Keep,
}

/// What becomes of a variable that is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// Nothing.
    Empty,
    /// The text that names it.
    Keep,
}

/// How a text is expanded.
#[derive(Clone, Copy, Debug)]
pub struct Expander {
    /// The escape character.
    pub escape: char,
    /// Quotes.
    pub quotes: Quotes,
    /// Escapes outside patterns.
    pub escapes: Escapes,
    /// Unset variables.
    pub unset: Unset,
}

/// What came of an expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// As one word.
    pub text: String,
    /// Cut at white space that is neither quoted nor escaped; values of variables are cut too.
    pub words: Vec<String>,
    /// Variables that were named and set.
    pub used: BTreeSet<String>,
    /// Variables that were named and not set.
    pub missing: BTreeSet<String>,
}

impl Expander {
    /// For words of instructions.
    #[must_use]
    pub fn words(escape: char) -> Self {
        Self { escape, quotes: Quotes::Remove, escapes: Escapes::Remove, unset: Unset::Empty }
    }

    /// For the content of a heredoc, whose escape character is always the backslash.
    #[must_use]
    pub fn heredoc() -> Self {
        Self { quotes: Quotes::Ordinary, ..Self::words('\\') }
    }

    /// For what a progress line shows of a RUN.
    #[must_use]
    pub fn display(escape: char) -> Self {
        Self { quotes: Quotes::Keep, unset: Unset::Keep, ..Self::words(escape) }
    }

    /// Expands `text`.
    ///
    /// # Errors
    /// An unfinished quote or `${`, a modifier that does not exist, `${v:?message}` of an unset variable, a pattern with a wrong
    /// escape, or a result that is too large.
    pub fn expand(&self, text: &str, variables: &dyn Variables) -> Result<Expanded, ExpandError> {
        let mut run = Run {
            how: *self,
            variables,
            rest: text.chars().peekable(),
            depth: 0,
            used: BTreeSet::new(),
            missing: BTreeSet::new(),
        };
        let (text, words) = run.until(None, self.escapes)?;
        Ok(Expanded { text, words, used: run.used, missing: run.missing })
    }
}

// One expansion under way.
struct Run<'a> {
    how: Expander,
    variables: &'a dyn Variables,
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    depth: u32,
    used: BTreeSet<String>,
    missing: BTreeSet<String>,
}

// Collects words beside the whole result.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
    inside: bool,
}

impl Words {
    fn push(&mut self, c: char) {
        if !c.is_whitespace() {
            self.push_raw(c);
        } else if self.inside && !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
            self.inside = false;
        }
    }

    fn push_raw(&mut self, c: char) {
        self.word.push(c);
        self.inside = true;
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

fn error<T>(message: impl Into<String>) -> Result<T, ExpandError> {
    Err(ExpandError(message.into()))
}

fn bounded(length: usize) -> Result<(), ExpandError> {
    if length <= MAX_EXPANSION {
        return Ok(());
    }
    error(format!("the expansion is longer than {MAX_EXPANSION} bytes"))
}

const MISSING_BRACE: &str = "syntax error: missing '}'";

impl Run<'_> {
    // Up to `stop` (which is consumed), or to the end where there is none.
    fn until(&mut self, stop: Option<char>, escapes: Escapes) -> Result<(String, Vec<String>), ExpandError> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(c) = self.rest.peek().copied() {
            bounded(text.len())?;
            if Some(c) == stop {
                self.rest.next();
                return Ok((text, words.finish()));
            }
            match c {
                '\'' | '"' if self.how.quotes != Quotes::Ordinary => {
                    let quoted = if c == '"' { self.double_quoted(escapes)? } else { self.single_quoted()? };
                    quoted.chars().for_each(|q| words.push_raw(q));
                    words.inside = true;
                    text.push_str(&quoted);
                }
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|v| words.push(v));
                    text.push_str(&value);
                }
                '<' => {
                    let operator = self.redirection();
                    operator.chars().for_each(|o| words.push_raw(o));
                    text.push_str(&operator);
                }
                _ => {
                    self.rest.next();
                    if c != self.how.escape {
                        words.push(c);
                        text.push(c);
                        continue;
                    }
                    let next = self.rest.next();
                    let kept = (escapes == Escapes::Keep).then_some(c);
                    for c in kept.into_iter().chain(next) {
                        words.push_raw(c);
                        text.push(c);
                    }
                }
            }
        }
        bounded(text.len())?;
        match stop {
            None => Ok((text, words.finish())),
            Some('}') => error(MISSING_BRACE),
            Some(c) => error(format!("syntax error: missing '{c}' in ${{}}")),
        }
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        self.rest.next();
        let keep = self.how.quotes == Quotes::Keep;
        text.extend(keep.then_some('\''));
        for c in self.rest.by_ref() {
            if c == '\'' {
                text.extend(keep.then_some('\''));
                return Ok(text);
            }
            text.push(c);
        }
        error("unexpected end of statement while looking for matching single-quote")
    }

    fn double_quoted(&mut self, escapes: Escapes) -> Result<String, ExpandError> {
        let mut text = String::new();
        self.rest.next();
        let keep = self.how.quotes == Quotes::Keep;
        text.extend(keep.then_some('"'));
        while let Some(c) = self.rest.peek().copied() {
            bounded(text.len())?;
            if c == '$' {
                text.push_str(&self.dollar()?);
                continue;
            }
            self.rest.next();
            if c == '"' {
                text.extend(keep.then_some('"'));
                return Ok(text);
            }
            if c != self.how.escape {
                text.push(c);
                continue;
            }
            text.extend((escapes == Escapes::Keep).then_some(c));
            match self.rest.peek().copied() {
                None => {}
                Some(next) if next == '"' || next == '$' || next == self.how.escape => {
                    self.rest.next();
                    text.push(next);
                }
                // Before anything else an escape character is itself.
                Some(_) => text.push(c),
            }
        }
        error("unexpected end of statement while looking for matching double-quote")
    }

    // `<<  EOF` is one word: the blanks belong to the operator.
    fn redirection(&mut self) -> String {
        self.rest.next();
        if self.rest.next_if_eq(&'<').is_none() {
            return "<".to_owned();
        }
        let mut operator = "<<".to_owned();
        while let Some(c) = self.rest.next_if(|c| matches!(c, '\t' | '\r' | ' ')) {
            operator.push(c);
        }
        operator
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        let value = self.variables.get(name).map(str::to_owned);
        let names = if value.is_some() { &mut self.used } else { &mut self.missing };
        names.insert(name.to_owned());
        value
    }

    // Letters, digits and `_`; or digits alone; or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        if let Some(c) = self.rest.next_if(|c| matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!')) {
            return c.to_string();
        }
        let digits = self.rest.peek().is_some_and(char::is_ascii_digit);
        let belongs = |c: &char| if digits { c.is_ascii_digit() } else { c.is_alphanumeric() || *c == '_' };
        while let Some(c) = self.rest.next_if(belongs) {
            name.push(c);
        }
        name
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        self.rest.next();
        if self.rest.next_if_eq(&'{').is_none() {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.lookup(&name) {
                Some(value) => value,
                None if self.how.unset == Unset::Keep => format!("${name}"),
                None => String::new(),
            });
        }
        if self.depth == MAX_DEPTH {
            return error(format!("substitutions are nested more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        let value = self.braced();
        self.depth -= 1;
        value
    }

    // After `${`.
    fn braced(&mut self) -> Result<String, ExpandError> {
        match self.rest.peek() {
            None => return error(MISSING_BRACE),
            Some('{' | '}' | ':') => return error("syntax error: bad substitution"),
            Some(_) => {}
        }
        let name = self.name();
        let Some(first) = self.rest.next() else { return error(MISSING_BRACE) };
        match first {
            '}' => Ok(match self.lookup(&name) {
                Some(value) => value,
                None if self.how.unset == Unset::Keep => format!("${{{name}}}"),
                None => String::new(),
            }),
            ':' => {
                let Some(second) = self.rest.next() else { return error(MISSING_BRACE) };
                match second {
                    '-' | '+' | '?' => self.conditional(&name, second, NullIs::Unset),
                    _ => error(format!("unsupported modifier (:{second}) in substitution")),
                }
            }
            '-' | '+' | '?' => self.conditional(&name, first, NullIs::Set),
            '#' | '%' => self.trimmed(&name, first),
            '/' => self.replaced(&name),
            _ => error(format!("unsupported modifier ({first}) in substitution")),
        }
    }

    fn conditional(&mut self, name: &str, modifier: char, null: NullIs) -> Result<String, ExpandError> {
        let (word, _) = self.until(Some('}'), Escapes::Remove)?;
        let value = self.lookup(name);
        let colon = if null == NullIs::Unset { ":" } else { "" };
        if value.is_none() && self.how.unset == Unset::Keep {
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let usable = value.as_ref().filter(|v| null == NullIs::Set || !v.is_empty());
        match (modifier, usable) {
            ('-', Some(v)) | ('?', Some(v)) => Ok(v.clone()),
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            _ if !word.is_empty() => error(format!("{name}: {word}")),
            _ if value.is_none() => error(format!("{name}: is not allowed to be unset")),
            _ => error(format!("{name}: is not allowed to be empty")),
        }
    }

    fn trimmed(&mut self, name: &str, modifier: char) -> Result<String, ExpandError> {
        let (word, _) = self.until(Some('}'), Escapes::Keep)?;
        let value = match self.lookup(name) {
            None if self.how.unset == Unset::Keep => return Ok(format!("${{{name}{modifier}{word}}}")),
            value => value.unwrap_or_default(),
        };
        let (greed, pattern) = match word.strip_prefix(modifier) {
            Some(rest) => (Greed::Longest, rest),
            None => (Greed::Shortest, word.as_str()),
        };
        if modifier == '#' {
            let cut = pattern_to_regex(pattern, greed, Anchor::Start)?.find(&value).map_or(0, |m| m.end());
            return Ok(value[cut..].to_owned());
        }
        // The shortest match at the end is a leftmost one of the reversed text.
        let reversed: String = value.chars().rev().collect();
        let regex = pattern_to_regex(&reverse_pattern(pattern), greed, Anchor::Start)?;
        let cut = regex.find(&reversed).map_or(0, |m| m.end());
        Ok(reversed[cut..].chars().rev().collect())
    }

    fn replaced(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.rest.next_if_eq(&'/').is_some();
        let (pattern, _) = self.until(Some('/'), Escapes::Keep)?;
        let (replacement, _) = self.until(Some('}'), Escapes::Keep)?;
        // A pattern such as `*` matches the empty value of an unset variable, too.
        let value = match self.lookup(name) {
            None if self.how.unset == Unset::Keep => {
                let slashes = if all { "//" } else { "/" };
                return Ok(format!("${{{name}{slashes}{pattern}/{replacement}}}"));
            }
            value => value.unwrap_or_default(),
        };
        let regex = pattern_to_regex(&pattern, Greed::Longest, Anchor::Nowhere)?;
        let matches = if all { regex.find_iter(&value).count() } else { 1 };
        bounded(value.len().saturating_add(matches.saturating_mul(replacement.len())))?;
        // Only the replacement of all has `$1`-like references in BuildKit; a pattern has no groups, so they are empty.
        Ok(if all {
            regex.replace_all(&value, replacement.as_str()).into_owned()
        } else {
            regex.replace(&value, regex::NoExpand(&replacement)).into_owned()
        })
    }
}

// Whether an empty variable counts as unset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NullIs {
    Unset,
    Set,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Greed {
    Shortest,
    Longest,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Anchor {
    Start,
    Nowhere,
}

// A shell pattern (`*`, `?`, backslash escapes, no brackets) as a regular expression.
fn pattern_to_regex(pattern: &str, greed: Greed, anchor: Anchor) -> Result<Regex, ExpandError> {
    let invalid = |why: &str| ExpandError(format!("invalid pattern ({pattern}) in substitution: {why}"));
    let mut out = String::new();
    if anchor == Anchor::Start {
        out.push('^');
    }
    let mut chars = pattern.chars().peekable();
    let mut literal = [0; 4];
    while let Some(c) = chars.next() {
        match c {
            '*' if greed == Greed::Longest => out.push_str(".*"),
            '*' => out.push_str(".*?"),
            '?' => out.push('.'),
            // `}` and `/` are escaped for `${..}`; the escape is no part of the pattern.
            '\\' if matches!(chars.peek(), Some('}' | '/')) => {}
            '\\' => match chars.next() {
                Some(e @ ('*' | '?' | '\\')) => out.push_str(&regex::escape(e.encode_utf8(&mut literal))),
                Some(e) => return Err(invalid(&format!("invalid escape '\\{e}'"))),
                None => return Err(invalid("an escape at its end")),
            },
            _ => out.push_str(&regex::escape(c.encode_utf8(&mut literal))),
        }
    }
    Regex::new(&out).map_err(|e| invalid(&e.to_string()))
}

// The pattern read from its end; an escape stays before the character it protects.
fn reverse_pattern(pattern: &str) -> String {
    let mut tokens: Vec<String> = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        tokens.push(std::iter::once(c).chain(escaped).collect());
    }
    tokens.reverse();
    tokens.concat()
}

#[cfg(test)]
mod tests;
