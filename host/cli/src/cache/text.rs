//! Sizes, ages and tables, as they are read and written.

use std::fmt::Write;

use wbuild_build::CacheEntry;

/// Reads `10g`, `500m`, `1.5GiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    wbuild_plan::ram_in_bytes(text).ok_or_else(|| "a size is a number with k, m, g or t: 10g".to_owned())
}

/// Reads `7d`, `12h`, `30m`, `90s`; answers seconds.
pub(super) fn age(text: &str) -> Result<i64, String> {
    let wrong = || "an age is a number with d, h, m or s: 7d".to_owned();
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => return Err(wrong()),
    };
    number.parse::<i64>().ok().and_then(|number| number.checked_mul(seconds)).ok_or_else(wrong)
}

/// `1.5GB`, in powers of ten as docker shows sizes.
pub(super) fn readable(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let shown = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes}B"),
        1_000..1_000_000 => format!("{:.1}kB", shown / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}MB", shown / 1e6),
        _ => format!("{:.2}GB", shown / 1e9),
    }
}

pub(super) fn since(then: i64, now: i64) -> String {
    match now.saturating_sub(then).max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m", seconds / 60),
        seconds @ 3_600..86_400 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A line for each entry beneath a heading.
pub(super) fn table(entries: &[CacheEntry], now: i64) -> String {
    let mut text =
        format!("{:<12}  {:>5}  {:>5}  {:>9}  {:>8}  STEP\n", "KEY", "RAN", "USED", "SIZE", "TOOK");
    for entry in entries {
        let used = entry.used.map_or("gone".to_owned(), |used| since(used, now));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {:>5}  {used:>5}  {:>9}  {:>8}  {}",
            &entry.key.hex()[..12],
            since(entry.created, now),
            readable(entry.size),
            format!("{}.{}s", entry.took / 1_000, entry.took % 1_000 / 100),
            entry.step
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_a_unit() {
        assert_eq!(age("7d"), Ok(604_800));
        assert_eq!(age("12h"), Ok(43_200));
        assert_eq!(age("30m"), Ok(1_800));
        for wrong in ["", "7", "d", "7w", "-7d", "9223372036854775807d", "1.5h"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(size("10g"), Ok(10 << 30));
        assert!(size("much").is_err());
    }

    #[test]
    fn a_table_shows_what_matters() {
        let entry = CacheEntry {
            key: wbuild_oci::Digest::of(b"key"),
            step: "[1/2] RUN make".to_owned(),
            created: 1_000,
            took: 12_340,
            layer: None,
            size: 1_500,
            used: Some(4_600),
        };
        let text = table(&[entry.clone(), CacheEntry { used: None, ..entry }], 1_000 + 7_200);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1][1..], ["2h", "1h", "1.5kB", "12.3s", "[1/2]", "RUN", "make"]);
        assert_eq!(lines[2][2], "gone");
    }
}
