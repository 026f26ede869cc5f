//! Physical lines and the logical lines that continuations make of them.
//!
//! A [`Logical`] line knows where each of its bytes stood, so that everything parsed from it has a span. Lines are UTF-8 without
//! NUL and shorter than BuildKit's limit; anything else is refused here, with its line.

use std::cell::Cell;

use crate::error::DockerfileError;
use crate::span::{Position, Span};

/// The longest physical line in bytes with its line end, as in BuildKit.
pub const MAX_LINE: usize = 65_535;

/// The longest Dockerfile in bytes.
pub const MAX_DOCKERFILE: usize = 4 << 20;

/// The physical lines of a text, one at a time.
pub(crate) struct Lines<'a> {
    rest: &'a [u8],
    number: u32,
    place: Option<Span>,
}

/// One physical line.
#[derive(Clone, Copy)]
pub(crate) struct Physical<'a> {
    /// With its line end.
    pub(crate) text: &'a str,
    /// From 1.
    pub(crate) number: u32,
    /// Where everything in it is said to stand, if not here.
    place: Option<Span>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Result<Self, DockerfileError> {
        if text.len() > MAX_DOCKERFILE {
            let message = format!("the Dockerfile has {} bytes", text.len());
            let expected = format!("at most {MAX_DOCKERFILE} bytes");
            return Err(DockerfileError::Argument { message, expected: Some(expected) });
        }
        Ok(Self { rest: text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text), number: 0, place: None })
    }

    /// The lines of an ONBUILD trigger: everything in them stands at `place`.
    pub(crate) fn of_trigger(text: &'a str, place: Span) -> Result<Self, DockerfileError> {
        Ok(Self { place: Some(place), ..Self::new(text.as_bytes())? })
    }

    /// The span from here to the end of line `last`.
    pub(crate) fn span_to(&self, start: Position, last: u32) -> Span {
        self.place.unwrap_or(Span { start, end: Position { line: last, column: 1 } })
    }

    /// The number of the last line that was read.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The next line, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<Physical<'a>>, DockerfileError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let end = memchr_newline(self.rest).map_or(self.rest.len(), |i| i + 1);
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        let whole = Span::on_line(self.number, 1, 2);
        if line.len() > MAX_LINE {
            let message = format!("a line of {} bytes is too long", line.len());
            return Err(DockerfileError::expected(whole, message, format!("at most {MAX_LINE} bytes")));
        }
        let text = std::str::from_utf8(line).map_err(|e| {
            let valid = String::from_utf8_lossy(&line[..e.valid_up_to()]).chars().count();
            let column = column(valid);
            let span = Span::on_line(self.number, column, column + 1);
            DockerfileError::expected(span, "the line is not UTF-8", "UTF-8 text")
        })?;
        if let Some(at) = text.find('\0') {
            let column = column(text[..at].chars().count());
            let span = Span::on_line(self.number, column, column + 1);
            return Err(DockerfileError::syntax(span, "the line has a NUL byte"));
        }
        Ok(Some(Physical { text, number: self.number, place: self.place }))
    }
}

fn memchr_newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|b| *b == b'\n')
}

// The 1-based column after `chars` characters; lines are shorter than MAX_LINE.
fn column(chars: usize) -> u32 {
    u32::try_from(chars).unwrap_or(u32::MAX - 1).saturating_add(1)
}

impl<'a> Physical<'a> {
    /// Without its line end.
    pub(crate) fn content(&self) -> &'a str {
        self.text.trim_end_matches(['\r', '\n'])
    }

    /// Whether the first character that is not white space is `#`.
    pub(crate) fn is_comment(&self) -> bool {
        self.text.trim_start().starts_with('#')
    }

    /// The span of the whole content.
    pub(crate) fn span(&self) -> Span {
        let line = Span::on_line(self.number, 1, column(self.content().chars().count()));
        self.place.unwrap_or(line)
    }
}

/// One instruction's text: physical lines joined where they continue, without comments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logical {
    text: String,
    pieces: Vec<Piece>,
    place: Option<Span>,
    // A byte offset, and the characters of its piece before it.
    counted: Cell<(usize, usize)>,
}

// A part of one physical line: from `offset` of the joined text on, characters stand from `start` on.
#[derive(Clone, Copy, Debug)]
struct Piece {
    offset: usize,
    start: Position,
}

impl Logical {
    /// Appends `part`, which stands in `physical` after `skipped` bytes.
    pub(crate) fn push(&mut self, physical: &Physical<'_>, skipped: usize, part: &str) {
        let start = Position {
            line: physical.number,
            column: column(physical.text.get(..skipped).map_or(0, |s| s.chars().count())),
        };
        self.place = physical.place;
        self.pieces.push(Piece { offset: self.text.len(), start });
        self.text.push_str(part);
    }

    /// The joined text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where the byte at `offset` stood; the end of the text is one past its last character.
    fn position(&self, offset: usize) -> Position {
        let after = self.pieces.partition_point(|p| p.offset <= offset);
        let Some(piece) = self.pieces.get(after.saturating_sub(1)) else {
            return Position { line: 1, column: 1 };
        };
        // Words are looked up in order: counting from the last one keeps a long line linear.
        let (from, before) = self.counted.get();
        let (from, before) =
            if from >= piece.offset && from <= offset { (from, before) } else { (piece.offset, 0) };
        let chars = before + self.text.get(from..offset).map_or(0, |s| s.chars().count());
        self.counted.set((offset, chars));
        Position { line: piece.start.line, column: piece.start.column.saturating_add(column(chars) - 1) }
    }

    /// The span of `range` in the joined text.
    pub(crate) fn span(&self, range: std::ops::Range<usize>) -> Span {
        if let Some(place) = self.place {
            return place;
        }
        let start = self.position(range.start);
        // The end belongs to the line of the last character, not to the line after a continuation.
        let last = self.text.get(range.clone()).and_then(|s| s.char_indices().next_back());
        let end = match last {
            Some((i, _)) => {
                let p = self.position(range.start + i);
                Position { line: p.line, column: p.column.saturating_add(1) }
            }
            None => start,
        };
        Span { start, end }
    }

    /// The span of the whole line without surrounding white space.
    pub(crate) fn whole(&self) -> Span {
        let start = self.text.len() - self.text.trim_start().len();
        self.span(start..self.text.trim_end().len().max(start))
    }
}

/// Cuts the continuation character and the blanks after it; `None` where the line does not continue.
///
/// It continues where its last character, blanks aside, is the escape character and no other stands before that.
pub(crate) fn continued(line: &str, escape: char) -> Option<&str> {
    let cut = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!cut.ends_with(escape)).then_some(cut)
}
