//! `wbuild:step/events`: lines on the process's standard error, in the form of wbuild's own messages.
//!
//! Invariant: what a tool says is shown, not interpreted: control characters are escaped, a message is cut at [`LONGEST`] bytes.

use std::collections::BTreeMap;
use std::io::Write;

use super::View;
use super::bindings::wbuild::step::events::{Host, Level, Span};

/// Bytes of one message.
const LONGEST: usize = 16 << 10;
/// Kinds of progress that are told apart.
const MOST: usize = 256;

/// What was told of each progress.
pub(crate) type Told = BTreeMap<String, u64>;

impl Host for View<'_> {
    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        self.say(&format!("{}{}", prefix(level), shown(&message)));
        Ok(())
    }

    fn progress(&mut self, id: String, done: u64, total: u64) -> wasmtime::Result<()> {
        if let Some(line) = progress(&mut self.step.told, &id, done, total) {
            self.say(&line);
        }
        Ok(())
    }

    fn diagnostic(
        &mut self,
        level: Level,
        message: String,
        at: Option<Span>,
        hint: Option<String>,
    ) -> wasmtime::Result<()> {
        let place = at.map(|Span { file, line, column }| format!("{}:{line}:{column}: ", shown(&file)));
        let mut text = format!("{}{}{}", place.unwrap_or_default(), prefix(level), shown(&message));
        if let Some(hint) = hint {
            text.push_str(&format!("\n  hint: {}", shown(&hint)));
        }
        self.say(&text);
        Ok(())
    }
}

impl View<'_> {
    pub(super) fn say(&mut self, line: &str) {
        if let Some(file) = &mut self.step.errors {
            // Whoever closed standard error does not want to hear.
            drop(file.write_all(format!("{line}\n").as_bytes()));
        }
    }
}

fn prefix(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug: ",
        Level::Info => "",
        Level::Warning => "warning: ",
        Level::Error => "error: ",
    }
}

/// Each tenth once, the beginning and the end; where the total is unknown, each tenfold.
fn progress(told: &mut Told, id: &str, done: u64, total: u64) -> Option<String> {
    let now = match total {
        0 => 1 + u64::from(done.checked_ilog10().map_or(0, |digits| digits + 1)),
        total => 1 + u64::try_from(u128::from(done.min(total)) * 10 / u128::from(total)).unwrap_or(10),
    };
    if told.get(id).is_some_and(|before| *before >= now) || (told.len() == MOST && !told.contains_key(id)) {
        return None;
    }
    told.insert(id.to_owned(), now);
    let id = shown(id);
    Some(match total {
        0 => format!("{id}: {done}"),
        total => format!("{id}: {} % ({done} of {total})", (now - 1) * 10),
    })
}

/// A message as it is shown: tabs and line ends are kept, other control characters escaped.
fn shown(message: &str) -> String {
    let end = message.floor_char_boundary(LONGEST.min(message.len()));
    let mut text = String::with_capacity(end);
    for character in message[..end].chars() {
        if character.is_control() && !matches!(character, '\n' | '\t') {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_by_tenths() {
        let mut told = Told::new();
        let lines: Vec<String> =
            (0..=1000).filter_map(|done| progress(&mut told, "unpack", done, 1000)).collect();
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[0], "unpack: 0 % (0 of 1000)");
        assert_eq!(lines[10], "unpack: 100 % (1000 of 1000)");
        assert_eq!(progress(&mut told, "unpack", 5000, 1000), None);
        let unknown: Vec<String> =
            (0..=100).filter_map(|done| progress(&mut told, "files", done, 0)).collect();
        assert_eq!(unknown, ["files: 0", "files: 1", "files: 10", "files: 100"]);
    }

    #[test]
    fn a_message_cannot_steer_a_terminal() {
        assert_eq!(shown("a\x1b[2Jb\r\n\tc"), "a\\u{1b}[2Jb\\r\n\tc");
        assert!(shown(&"é".repeat(LONGEST)).len() <= LONGEST);
    }
}
