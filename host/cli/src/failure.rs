//! What the user reads when something did not work: one message, where it is, why, and what to do.
//!
//! Libraries return errors as data; only this crate turns them into text and an exit code.

use std::io::{self, Write};

use crate::exit::Exit;
use crate::terminal::{Paint, Style};

/// ENOSPC and EDQUOT, as the errors of the standard library and of rustix end.
const FULL: [&str; 2] = ["(os error 28)", "(os error 122)"];
const DISK_HINT: &str = "the disk is full: make room and try again; `wbuild cache prune` removes what earlier builds left in \
                         the store, --root DIR puts the store on another disk";

/// A failure, ready to be shown; boxed, because it travels through every `?`.
#[derive(Debug)]
pub(crate) struct Failure(Box<Report>);

/// What a [`Failure`] says.
#[derive(Debug)]
pub(crate) struct Report {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// The sentence after `error:`.
    pub(crate) message: String,
    /// What led to it, outermost first.
    pub(crate) causes: Vec<String>,
    /// The place in a file.
    pub(crate) place: Option<Place>,
    /// Lines shown as they are, under a heading: the last output of a failed step.
    pub(crate) excerpt: Option<Excerpt>,
    /// What the user can do.
    pub(crate) hints: Vec<String>,
}

/// A place in a text file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file as the user named it.
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// How many characters are meant, at least one.
    pub(crate) width: usize,
    /// The line itself.
    pub(crate) text: String,
}

/// Lines quoted in a message.
#[derive(Debug)]
pub(crate) struct Excerpt {
    /// What they are.
    pub(crate) heading: String,
    /// The lines.
    pub(crate) lines: Vec<String>,
}

impl std::ops::Deref for Failure {
    type Target = Report;

    fn deref(&self) -> &Report {
        &self.0
    }
}

impl std::ops::DerefMut for Failure {
    fn deref_mut(&mut self) -> &mut Report {
        &mut self.0
    }
}

impl Failure {
    /// A failure with nothing but its message.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self(Box::new(Report {
            exit,
            message: message.into(),
            causes: Vec::new(),
            place: None,
            excerpt: None,
            hints: Vec::new(),
        }))
    }

    /// A wrong command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The message of `error`, with its sources as causes.
    pub(crate) fn from_error(exit: Exit, error: &dyn std::error::Error) -> Self {
        Self::new(exit, error.to_string()).because(error.source())
    }

    /// Adds what the user can do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the chain of sources, leaving out those whose text the message already holds.
    #[must_use]
    pub(crate) fn because(mut self, mut source: Option<&(dyn std::error::Error + 'static)>) -> Self {
        while let Some(error) = source {
            let text = error.to_string();
            let said = self.message.contains(&text) || self.causes.iter().any(|c| c.contains(&text));
            if !said {
                self.causes.push(text);
            }
            source = error.source();
        }
        self
    }

    /// Whatever could not be written because a disk is full ends in one way: exit 8, and what to do. The system's answer stands
    /// at the end of a sentence, wherever it came from: a step's supervisor is another process, whose causes are text.
    #[must_use]
    pub(crate) fn weighed(mut self) -> Self {
        let full = |text: &String| FULL.iter().any(|answer| text.ends_with(answer));
        if full(&self.message) || self.causes.iter().any(full) {
            self = self.disk_is_full();
        }
        self
    }

    /// Exit 8 and what to do about a full disk.
    #[must_use]
    pub(crate) fn disk_is_full(mut self) -> Self {
        self.exit = Exit::Host;
        if !self.hints.iter().any(|hint| hint == DISK_HINT) {
            self.hints.push(DISK_HINT.to_owned());
        }
        self
    }

    /// Adds the place.
    #[must_use]
    pub(crate) fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// Writes the failure.
    ///
    /// # Errors
    /// As `out` has them.
    pub(crate) fn render(&self, out: &mut dyn Write, paint: Paint) -> io::Result<()> {
        writeln!(out, "{}{}", paint.of(Style::Error, "error: "), paint.of(Style::Strong, &self.message))?;
        if let Some(place) = &self.place {
            place.render(out, paint)?;
        }
        for cause in &self.causes {
            writeln!(out, "  {} {cause}", paint.of(Style::Faint, "because:"))?;
        }
        if let Some(excerpt) = &self.excerpt {
            writeln!(out, "  {}", paint.of(Style::Faint, &format!("{}:", excerpt.heading)))?;
            for line in &excerpt.lines {
                writeln!(out, "    {line}")?;
            }
        }
        for hint in &self.hints {
            writeln!(out, "  {} {hint}", paint.of(Style::Hint, "hint:"))?;
        }
        Ok(())
    }
}

impl Place {
    fn render(&self, out: &mut dyn Write, paint: Paint) -> io::Result<()> {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let bar = paint.of(Style::Faint, "|");
        // A tab is as wide as the terminal likes: the caret line repeats it.
        let lead: String = self
            .text
            .chars()
            .take(self.column.saturating_sub(1))
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let room = self.text.chars().count().saturating_sub(self.column.saturating_sub(1)).max(1);
        let carets = "^".repeat(self.width.clamp(1, room));
        writeln!(
            out,
            "{gutter}{} {}:{}:{}",
            paint.of(Style::Faint, "-->"),
            self.file,
            self.line,
            self.column
        )?;
        writeln!(out, "{gutter} {bar}")?;
        writeln!(out, "{} {bar} {}", paint.of(Style::Faint, &number), self.text)?;
        writeln!(out, "{gutter} {bar} {lead}{}", paint.of(Style::Error, &carets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(failure: &Failure) -> String {
        let mut out = Vec::new();
        failure.render(&mut out, Paint::Plain).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_place_is_shown_with_its_line_and_carets() {
        let mut failure = Failure::new(Exit::Dockerfile, "unknown instruction: FORM").at(Some(Place {
            file: "Dockerfile".into(),
            line: 12,
            column: 2,
            width: 4,
            text: "\tFORM scratch".into(),
        }));
        failure = failure.hint("did you mean FROM?");
        assert_eq!(
            shown(&failure),
            "error: unknown instruction: FORM\n  --> Dockerfile:12:2\n   |\n12 | \tFORM scratch\n   | \t^^^^\n  hint: did you mean FROM?\n"
        );
    }

    #[test]
    fn carets_stay_within_the_line() {
        let failure = Failure::new(Exit::Dockerfile, "x").at(Some(Place {
            file: "D".into(),
            line: 1,
            column: 1,
            width: 99,
            text: "abc".into(),
        }));
        assert!(shown(&failure).ends_with("  | ^^^\n"), "{}", shown(&failure));
    }

    #[test]
    fn causes_are_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read: {source}")]
        struct Outer {
            source: Inner,
        }
        #[derive(Debug, thiserror::Error)]
        #[error("no such file")]
        struct Inner;
        let failure = Failure::from_error(Exit::Internal, &Outer { source: Inner });
        assert_eq!(failure.message, "cannot read: no such file");
        assert!(failure.causes.is_empty());
    }

    #[test]
    fn a_full_disk_is_one_exit_code_and_one_hint() {
        let full = std::io::Error::from_raw_os_error(28);
        let failure = Failure::from_error(Exit::Usage, &full).weighed().disk_is_full();
        assert_eq!((failure.exit, failure.hints.len()), (Exit::Host, 1));
        assert!(shown(&failure).contains("hint: the disk is full: make room"), "{}", shown(&failure));
        let step = Failure::new(Exit::Step, "x").because(Some(&full)).weighed();
        assert_eq!(step.exit, Exit::Host);
        let other = Failure::from_error(Exit::Usage, &std::io::Error::from_raw_os_error(13)).weighed();
        assert_eq!((other.exit, other.hints.len()), (Exit::Usage, 0));
        // A name that a stranger chose is no answer of the system's.
        let name = Failure::new(Exit::Step, "cannot read \"x (os error 28)\"").weighed();
        assert_eq!(name.exit, Exit::Step);
    }

    #[test]
    fn colours_only_where_asked() {
        let mut out = Vec::new();
        Failure::usage("no").render(&mut out, Paint::Colour).unwrap();
        assert!(out.contains(&0x1b));
        assert!(!shown(&Failure::usage("no")).contains('\u{1b}'));
    }
}
