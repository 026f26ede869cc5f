//! Here-documents: which words of a line open one, and their contents.
//!
//! As in BuildKit, the words are found by the expander with everything kept, so a `<<` inside quotes opens nothing, and a line
//! with an unfinished quote has no heredocs at all (the shell will complain about it).

use crate::error::DockerfileError;
use crate::expand::{Escapes, Expander, NoVariables, Quotes, Unset};
use crate::line::Lines;
use crate::span::{Position, Span};

/// One here-document of a RUN, COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes; for COPY and ADD also the name of the file.
    pub name: String,
    /// The descriptor before `<<`; 0 where there is none.
    pub fd: u32,
    /// Whether variables in it are expanded (the delimiter is not quoted).
    pub expansion: Expansion,
    /// Whether leading tabs go (`<<-`).
    pub tabs: Tabs,
    /// The lines between operator and delimiter, with their line ends and leading tabs.
    pub content: String,
    /// The content's lines.
    pub span: Span,
}

/// Whether the content of a heredoc is expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expansion {
    /// By whoever reads it: COPY and ADD expand variables, the shell of a RUN does what it does.
    Expand,
    /// Taken as it stands.
    Literal,
}

/// What becomes of leading tabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tabs {
    /// They stay.
    Keep,
    /// They are removed from each line.
    Strip,
}

/// What opens a heredoc: a whole word `[fd]<<[-]WORD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) name: String,
    fd: u32,
    expansion: Expansion,
    tabs: Tabs,
}

impl Heredoc {
    /// The content as it is used: without leading tabs where `<<-` asks for that.
    #[must_use]
    pub fn text(&self) -> String {
        match self.tabs {
            Tabs::Keep => self.content.clone(),
            Tabs::Strip => {
                self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
            }
        }
    }
}

fn kept(quotes: Quotes, escapes: Escapes) -> Expander {
    Expander { escape: '\\', quotes, escapes, unset: Unset::Keep }
}

/// Whether a whole word opens a heredoc.
pub(crate) fn opening(word: &str) -> Option<Opening> {
    let (digits, rest) = word.split_once("<<")?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) || rest.contains('<') {
        return None;
    }
    let (tabs, rest) = rest.strip_prefix('-').map_or((Tabs::Keep, rest), |r| (Tabs::Strip, r));
    let rest = rest.trim_start_matches([' ', '\t', '\n', '\u{c}', '\r']);
    if rest.is_empty() {
        return None;
    }
    let plain = kept(Quotes::Remove, Escapes::Remove).expand(rest, &NoVariables).ok()?;
    let quoted = kept(Quotes::Keep, Escapes::Remove).expand(rest, &NoVariables).ok()?;
    let ([plain], [quoted]) = (plain.words.as_slice(), quoted.words.as_slice()) else { return None };
    let count = |s: &str| s.matches(['\'', '"']).count();
    let expansion = if count(plain) == count(quoted) { Expansion::Expand } else { Expansion::Literal };
    Some(Opening { name: plain.clone(), fd: digits.parse().unwrap_or(0), expansion, tabs })
}

/// The heredocs a logical line opens, in order.
pub(crate) fn openings(line: &str) -> Vec<Opening> {
    if !line.contains("<<") {
        return Vec::new();
    }
    let words = kept(Quotes::Keep, Escapes::Keep).expand(line, &NoVariables).map(|e| e.words);
    words.unwrap_or_default().iter().filter_map(|w| opening(w)).collect()
}

/// Reads the content of one heredoc from the lines that follow its instruction.
pub(crate) fn read(
    opening: Opening,
    lines: &mut Lines<'_>,
    instruction: Span,
) -> Result<Heredoc, DockerfileError> {
    let mut content = String::new();
    let start = Position { line: lines.number() + 1, column: 1 };
    while let Some(line) = lines.next()? {
        let text = line.content();
        let candidate = if opening.tabs == Tabs::Strip { text.trim_start_matches('\t') } else { text };
        if candidate == opening.name {
            let Opening { name, fd, expansion, tabs } = opening;
            let span = lines.span_to(start, line.number);
            return Ok(Heredoc { name, fd, expansion, tabs, content, span });
        }
        content.push_str(line.text);
    }
    Err(DockerfileError::expected(
        instruction,
        "unterminated heredoc",
        format!("a line {:?} that ends it", opening.name),
    ))
}
