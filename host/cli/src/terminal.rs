//! Whether and how to colour what is written to standard error.
//!
//! Colours are for terminals only, and never with `NO_COLOR` (no-color.org) or `TERM=dumb`.

use std::io::IsTerminal;

use crate::environment::Environment;

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// As it is.
    Plain,
    /// With ANSI sequences.
    Colour,
}

/// What a piece of text is, so that it gets its colour.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    /// Something went wrong.
    Error,
    /// Something to look at.
    Warning,
    /// What the user can do.
    Hint,
    /// Stands out.
    Strong,
    /// Stands back.
    Faint,
    /// Something succeeded.
    Good,
}

impl Paint {
    /// For standard error.
    #[must_use]
    pub(crate) fn for_stderr(environment: &Environment) -> Self {
        Self::choose(std::io::stderr().is_terminal(), environment)
    }

    /// For standard output.
    #[must_use]
    pub(crate) fn for_stdout(environment: &Environment) -> Self {
        Self::choose(std::io::stdout().is_terminal(), environment)
    }

    fn choose(terminal: bool, environment: &Environment) -> Self {
        let dumb = environment.text("TERM") == Some("dumb");
        if terminal && !dumb && environment.get("NO_COLOR").is_none() { Self::Colour } else { Self::Plain }
    }

    /// `text` in the colour of `style`.
    #[must_use]
    pub(crate) fn of(self, style: Style, text: &str) -> String {
        if self == Self::Plain {
            return text.to_owned();
        }
        let code = match style {
            Style::Error => "1;31",
            Style::Warning => "1;33",
            Style::Hint => "36",
            Style::Strong => "1",
            Style::Faint => "2",
            Style::Good => "32",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_and_dumb_terminals_win_over_the_terminal() {
        let nothing = Environment::default();
        assert_eq!(Paint::choose(true, &nothing), Paint::Colour);
        assert_eq!(Paint::choose(false, &nothing), Paint::Plain);
        let no_color: Environment = [("NO_COLOR", "1")].into_iter().collect();
        assert_eq!(Paint::choose(true, &no_color), Paint::Plain);
        let dumb: Environment = [("TERM", "dumb")].into_iter().collect();
        assert_eq!(Paint::choose(true, &dumb), Paint::Plain);
    }
}
