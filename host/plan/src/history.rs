//! Texts of the image history in the forms Go gives them: `%q` of strings, `%v` of lists and durations.

use std::fmt::Write as _;

/// `["a" "b"]`: `%q` of a list.
pub(crate) fn quoted_list(list: &[String]) -> String {
    let items: Vec<String> = list.iter().map(|s| quoted(s)).collect();
    format!("[{}]", items.join(" "))
}

/// `[a b]`: `%v` of a list.
pub(crate) fn plain_list(list: &[String]) -> String {
    format!("[{}]", list.join(" "))
}

/// `strconv.Quote`.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if is_print(c) => out.push(c),
            // Writing to a String cannot fail.
            c if c < '\u{80}' => _ = write!(out, "\\x{:02x}", u32::from(c)),
            c if c <= '\u{ffff}' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => _ = write!(out, "\\U{:08x}", u32::from(c)),
        }
    }
    out.push('"');
    out
}

// Go's unicode.IsPrint: letters, marks, numbers, punctuation, symbols and the ASCII space. Rust's table of what a string
// escapes is the same but for spaces.
fn is_print(c: char) -> bool {
    let escaped = || format!("a{c}").escape_debug().nth(1) == Some('\\');
    matches!(c, ' ' | '\'') || (!c.is_whitespace() && !escaped())
}

/// Go's `Duration.String`: `1m30s`, `1.5s`, `250ms`, `0s`.
pub(crate) fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let n = nanoseconds.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let (whole, part) = (value / unit, value % unit);
        let digits = unit.to_string().len() - 1;
        let part = format!("{part:0digits$}");
        match part.trim_end_matches('0') {
            "" => whole.to_string(),
            part => format!("{whole}.{part}"),
        }
    };
    let text = match n {
        0 => "0s".to_owned(),
        1..1_000 => format!("{n}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(n, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(n, 1_000_000)),
        _ => {
            const MINUTE: u64 = 60_000_000_000;
            let seconds = fraction(n % MINUTE, 1_000_000_000);
            match (n / (60 * MINUTE), n / MINUTE % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_does() {
        let list = ["/bin/sh", "-c", "echo 'q' \"a\\b\"\t\n\u{1}\u{7f}é\u{a0}\u{200b}\u{1f600}e\u{301}"];
        let list: Vec<String> = list.iter().map(|s| (*s).to_owned()).collect();
        assert_eq!(
            quoted_list(&list),
            "[\"/bin/sh\" \"-c\" \"echo 'q' \\\"a\\\\b\\\"\\t\\n\\x01\\x7fé\\u00a0\\u200b😀e\u{301}\"]"
        );
        assert_eq!(quoted_list(&[]), "[]");
    }

    #[test]
    fn durations_are_written_as_go_does() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_661_500_000_000, "1h1m1.5s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
    }
}
