//! `.dockerignore` and `<Dockerfile>.dockerignore`: which files of a build context are not there.
//!
//! moby's patternmatcher: patterns apply in order, the last that matches decides, `!` brings back, a pattern that matches a parent
//! directory matches everything beneath, `**` crosses directories. Every pattern becomes one regular expression, whose matching
//! time is linear. The file itself and the Dockerfile can be excluded: they are read before.

use regex::Regex;

use crate::glob::{self, GlobError, Token};

/// The patterns of an ignore file; the default excludes nothing.
#[derive(Clone, Debug, Default)]
pub struct IgnoreFile {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    matcher: Matcher,
    effect: Effect,
    is_everything: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Exclude,
    Include,
}

#[derive(Clone, Debug)]
enum Matcher {
    /// The path itself: most patterns.
    Exact(String),
    /// `**` and `prefix/**`.
    Prefix(String),
    /// `**/name` and `**name`.
    Suffix(String),
    /// Anything with a wildcard.
    Regex(Regex),
}

/// Why an ignore file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IgnoreError {
    /// A `!` without a pattern.
    #[error("line {line}: a ! without a pattern")]
    Bare {
        /// From 1.
        line: usize,
    },
    /// A pattern Go's filepath.Match refuses.
    #[error("line {line}: {source}")]
    Malformed {
        /// From 1.
        line: usize,
        /// What is wrong.
        source: GlobError,
    },
    /// A pattern too large to compile.
    #[error("line {line}: {source}")]
    TooLarge {
        /// From 1.
        line: usize,
        /// The limit.
        source: Box<regex::Error>,
    },
    /// A line that is not UTF-8.
    #[error("line {line} is not UTF-8")]
    Encoding {
        /// From 1.
        line: usize,
    },
}

/// Why a pattern cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// A `!` without a pattern.
    #[error("a ! without a pattern")]
    Bare,
    /// A pattern Go's filepath.Match refuses.
    #[error(transparent)]
    Malformed(#[from] GlobError),
    /// A pattern too large to compile.
    #[error(transparent)]
    TooLarge(Box<regex::Error>),
}

impl PatternError {
    fn on_line(self, line: usize) -> IgnoreError {
        match self {
            Self::Bare => IgnoreError::Bare { line },
            Self::Malformed(source) => IgnoreError::Malformed { line, source },
            Self::TooLarge(source) => IgnoreError::TooLarge { line, source },
        }
    }
}

impl IgnoreFile {
    /// Reads an ignore file: comments start with `#` in the first column, white space around patterns goes, paths are cleaned and
    /// relative to the context.
    ///
    /// # Errors
    /// [`IgnoreError`] with the line.
    pub fn parse(text: &[u8]) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let mut patterns = Vec::new();
        for (index, bytes) in text.split(|b| *b == b'\n').enumerate() {
            let line = index + 1;
            let text = std::str::from_utf8(bytes).map_err(|_| IgnoreError::Encoding { line })?;
            let pattern = text.trim();
            if text.starts_with('#') || pattern.is_empty() {
                continue;
            }
            let (effect, pattern) = match pattern.strip_prefix('!') {
                Some(rest) => (Effect::Include, rest.trim()),
                None => (Effect::Exclude, pattern),
            };
            let cleaned = clean(pattern);
            if pattern.is_empty() || (effect == Effect::Include && cleaned == "/") {
                return Err(IgnoreError::Bare { line });
            }
            let relative = if cleaned.len() > 1 { cleaned.trim_start_matches('/') } else { &cleaned };
            // moby trims and cleans once more: white space that stood before a trailing slash goes, too.
            let relative = clean(relative.trim());
            patterns.push(Pattern::new(&relative, effect).map_err(|error| error.on_line(line))?);
        }
        Ok(Self { patterns })
    }

    /// The patterns of `--exclude` and `--parents`, one each: cleaned, but a leading slash stays, and so matches nothing.
    ///
    /// # Errors
    /// What is wrong with the first pattern that cannot be used.
    pub fn of_patterns<'p>(given: impl IntoIterator<Item = &'p str>) -> Result<Self, PatternError> {
        let mut patterns = Vec::new();
        for text in given {
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            let cleaned = clean(text);
            let (effect, pattern) = match cleaned.strip_prefix('!') {
                Some("") => return Err(PatternError::Bare),
                Some(rest) => (Effect::Include, rest),
                None => (Effect::Exclude, cleaned.as_str()),
            };
            patterns.push(Pattern::new(pattern, effect)?);
        }
        Ok(Self { patterns })
    }

    /// Leaves out this path, which is meant literally, and what is beneath it, whatever the patterns say.
    ///
    /// # Errors
    /// [`PatternError::TooLarge`].
    pub fn hide(&mut self, path: &str) -> Result<(), PatternError> {
        let mut pattern = String::with_capacity(path.len());
        for character in path.chars() {
            if matches!(character, '*' | '?' | '[' | '\\') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        self.patterns.push(Pattern::new(&pattern, Effect::Exclude)?);
        Ok(())
    }

    /// As [`IgnoreFile::excludes`]: for a list that says what is chosen.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        self.excludes(path)
    }

    /// Whether there are no patterns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a pattern leaves nothing of a context: `*`, `**` or `**/*`.
    #[must_use]
    pub fn has_everything(&self) -> bool {
        self.patterns.iter().any(|p| p.effect == Effect::Exclude && p.is_everything)
    }

    /// Whether the file at `path` (relative to the context, cleaned, raw bytes) is excluded, itself or with a directory above it.
    #[must_use]
    pub fn excludes(&self, path: &[u8]) -> bool {
        // Go matches runes; a byte that is not UTF-8 is U+FFFD to it.
        let path: String = glob::characters(path).into_iter().collect();
        let mut excluded = false;
        for pattern in &self.patterns {
            let turns = (pattern.effect == Effect::Include) == excluded;
            if turns && pattern.matches_or_parent(&path) {
                excluded = pattern.effect == Effect::Exclude;
            }
        }
        excluded
    }

    /// Whether an excluded directory can have files that are not: there is a `!` pattern.
    #[must_use]
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|p| p.effect == Effect::Include)
    }
}

impl Pattern {
    fn new(text: &str, effect: Effect) -> Result<Self, PatternError> {
        check(text)?;
        let matcher = Matcher::new(text).map_err(|source| PatternError::TooLarge(Box::new(source)))?;
        Ok(Self { matcher, effect, is_everything: matches!(text, "*" | "**" | "**/*") })
    }

    fn matches_or_parent(&self, path: &str) -> bool {
        self.matcher.matches(path)
            || path.match_indices('/').any(|(slash, _)| self.matcher.matches(&path[..slash]))
    }
}

impl Matcher {
    fn new(pattern: &str) -> Result<Self, regex::Error> {
        if !pattern.contains(['*', '?', '[', '\\']) {
            return Ok(Self::Exact(pattern.to_owned()));
        }
        let plain = |s: &str| !s.contains(['*', '?', '[', '\\']);
        if let Some(prefix) = pattern.strip_suffix("**").filter(|p| plain(p) && !p.is_empty()) {
            return Ok(Self::Prefix(prefix.to_owned()));
        }
        if let Some(suffix) = pattern.strip_prefix("**").filter(|s| plain(s)) {
            // `**/` at the end was cleaned away, so `**` alone is the only empty suffix: everything.
            return Ok(Self::Suffix(suffix.to_owned()));
        }
        regex(pattern).map(Self::Regex)
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(name) => path == name,
            Self::Prefix(prefix) => path.starts_with(prefix),
            Self::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix('/').is_some_and(|name| path == name)
            }
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

// Go's regular expressions refuse a range that ends before it starts, which its globs take for an empty one.
fn check(pattern: &str) -> Result<(), GlobError> {
    let reversed = |token: &Token| match token {
        Token::Class { ranges, .. } => ranges.iter().any(|(low, high)| low > high),
        Token::Star | Token::Any | Token::Literal(_) => false,
    };
    if glob::tokens(pattern)?.iter().any(reversed) {
        return Err(GlobError { pattern: pattern.to_owned(), why: "a range that ends before it starts" });
    }
    Ok(())
}

// As moby: `*` and `?` stop at slashes, `**/` is any number of directories, `**` at the end is everything.
fn regex(pattern: &str) -> Result<Regex, regex::Error> {
    let mut out = String::from("^");
    let mut rest = pattern;
    let mut literal = [0; 4];
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**") {
            rest = after.strip_prefix('/').unwrap_or(after);
            out.push_str(if rest.is_empty() { ".*" } else { "(?:.*/)?" });
            continue;
        }
        // Classes and escapes take several characters; `check` has accepted them.
        let length = element(rest);
        match glob::tokens(&rest[..length]).ok().as_deref() {
            Some([Token::Star]) => out.push_str("[^/]*"),
            Some([Token::Any]) => out.push_str("[^/]"),
            Some([Token::Class { negated, ranges }]) => class(&mut out, *negated, ranges),
            Some([Token::Literal(c)]) => out.push_str(&regex::escape(c.encode_utf8(&mut literal))),
            _ => out.push_str(&regex::escape(c.encode_utf8(&mut literal))),
        }
        rest = &rest[length..];
    }
    out.push('$');
    Regex::new(&out)
}

// The bytes of the first element of a well-formed pattern.
fn element(pattern: &str) -> usize {
    let mut ends = pattern.char_indices().map(|(i, c)| i + c.len_utf8());
    let first = ends.next().unwrap_or(0);
    match pattern.as_bytes().first() {
        Some(b'[' | b'\\') => std::iter::once(first)
            .chain(ends)
            .find(|end| glob::tokens(&pattern[..*end]).is_ok_and(|t| t.len() == 1))
            .unwrap_or(first),
        _ => first,
    }
}

fn class(out: &mut String, negated: bool, ranges: &[(char, char)]) {
    out.push_str(if negated { "[^" } else { "[" });
    for (low, high) in ranges {
        out.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(*low), u32::from(*high)));
    }
    out.push(']');
}

/// Go's `path.Clean`: no doubled slashes, no `.`, `..` resolved where it can be, no trailing slash; `.` for nothing.
#[must_use]
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, rest) => format!("/{rest}"),
        (false, rest) if rest.is_empty() => ".".to_owned(),
        (false, rest) => rest,
    }
}

#[cfg(test)]
mod tests;
