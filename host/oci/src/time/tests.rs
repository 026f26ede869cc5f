//! Tests of times.

use super::*;
use proptest::prelude::*;

#[test]
fn times_print_as_go_prints_them() {
    for (text, printed, unix) in [
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", 0),
        ("2026-11-23T16:00:00.120Z", "2026-11-23T16:00:00.12Z", 1_795_449_600),
        ("2024-02-29T23:59:59.123456789+05:30", "2024-02-29T23:59:59.123456789+05:30", 1_709_231_399),
        ("2000-01-01T00:00:00+00:00", "2000-01-01T00:00:00Z", 946_684_800),
        ("1969-12-31T23:59:59.5-01:00", "1969-12-31T23:59:59.5-01:00", 3599),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", -62_135_596_800),
    ] {
        let time: Time = text.parse().unwrap();
        assert_eq!((time.to_string().as_str(), time.unix()), (printed, unix), "{text}");
    }
}

#[test]
fn what_is_no_time_is_refused() {
    for text in [
        "",
        "2026",
        "2026-11-23",
        "2026-11-23 16:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00+24:00",
        "+026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Zx",
        "２026-01-01T00:00:00Z",
    ] {
        assert!(text.parse::<Time>().is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_second_comes_through(seconds in -62_167_219_200i64..=253_402_300_799, nanoseconds in 0u32..1_000_000_000) {
        let time = Time::from_unix_nanos(seconds, nanoseconds);
        prop_assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
        prop_assert_eq!((time.unix(), time.nanoseconds()), (seconds, nanoseconds));
    }

    #[test]
    fn no_text_makes_it_panic(text in "[0-9T:.Z+-]{0,40}|\\PC{0,30}") {
        let _ = text.parse::<Time>();
    }
}
