//! How a build's progress is shown on standard error.
//!
//! A sink never fails a build: when standard error cannot be written any more, it is silent.

mod plain;
mod raw;
mod tty;

use std::sync::Arc;

use wbuild_build::{Event, Progress};
use wbuild_dockerfile::Span;

use crate::build::{ProgressMode, Source};
use crate::terminal::Paint;

/// The sink for a mode; `source` is what warnings point into.
#[must_use]
pub(crate) fn sink(mode: ProgressMode, paint: Paint, source: Source) -> Arc<dyn Progress> {
    match mode {
        ProgressMode::Plain => Arc::new(plain::Plain::new(std::io::stderr(), source)),
        ProgressMode::Tty => Arc::new(tty::Tty::new(paint, source)),
        ProgressMode::RawJson => Arc::new(raw::Raw::new(std::io::stderr(), source)),
        ProgressMode::Quiet => Arc::new(Quiet),
    }
}

/// `Dockerfile:3: message`.
fn warning(source: &Source, span: Option<Span>, message: &str) -> String {
    match span {
        Some(span) => format!("warning: {}:{}: {message}", source.name, span.start.line),
        None => format!("warning: {message}"),
    }
}

/// Shows nothing.
struct Quiet;

impl Progress for Quiet {
    fn event(&self, _event: Event<'_>) {}
}

/// Splits a vertex's output into lines; what has no end yet waits.
#[derive(Default)]
struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// A line longer than this is cut here: a step that never ends a line must not fill memory.
    const LONGEST: usize = 64 << 10;

    fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        self.pending.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(at) = self.pending[from..].iter().position(|b| *b == b'\n') {
            each(&Self::shown(&self.pending[from..from + at]));
            from += at + 1;
        }
        self.pending.drain(..from);
        if self.pending.len() > Self::LONGEST {
            each(&Self::shown(&std::mem::take(&mut self.pending)));
        }
    }

    fn finish(&mut self, mut each: impl FnMut(&str)) {
        if !self.pending.is_empty() {
            each(&Self::shown(&std::mem::take(&mut self.pending)));
        }
    }

    /// What a terminal would show of the line after its carriage returns, without control sequences.
    fn shown(line: &[u8]) -> String {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
        let mut out = String::with_capacity(text.len());
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                // A guest must not move the cursor or rename the window of whoever reads its output.
                '\u{1b}' if chars.peek() == Some(&'[') => {
                    chars.next();
                    while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {}
                }
                '\t' => out.push(c),
                c if c.is_control() => {}
                c => out.push(c),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            lines.push(chunk, |line| seen.push(line.to_owned()));
        }
        lines.finish(|line| seen.push(line.to_owned()));
        seen
    }

    #[test]
    fn lines_are_joined_over_chunks() {
        assert_eq!(lines(&[b"a", b"b\nc\n", b"\nd"]), ["ab", "c", "", "d"]);
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn control_sequences_do_not_reach_the_terminal() {
        assert_eq!(lines(&[b"\x1b[31mred\x1b[0m\ttab\x07\x1b]0;title\x07\n"]), ["red\ttab]0;title"]);
        assert_eq!(lines(&[b"10%\r100%\r\n"]), ["100%"]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let long = vec![b'x'; 3 * Lines::LONGEST];
        assert_eq!(lines(&[&long]).concat().len(), long.len());
        let mut split = Lines::default();
        split.push(&long, |_| {});
        assert!(split.pending.len() <= Lines::LONGEST);
    }
}
