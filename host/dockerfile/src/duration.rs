//! Durations as Go writes them: `1h30m`, `1.5s`, `500ms`.

/// Nanoseconds; `None` where the text is no duration or does not fit.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    #[expect(clippy::cast_precision_loss, reason = "the bound need not be exact")]
    let limit = i64::MAX as f64;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked against the limit; a fraction of a nanosecond goes"
    )]
    (total < limit).then_some((sign * total) as i64)
}
