//! Globs: tables of patterns and names, as Go answers them.

use super::*;

fn matched(pattern: &str, name: &str) -> bool {
    matches(pattern.as_bytes(), name.as_bytes())
}

#[test]
fn stars_and_question_marks_stop_at_slashes() {
    for (pattern, name, expected) in [
        ("abc", "abc", true),
        ("*", "abc", true),
        ("*", "", true),
        ("*c", "abc", true),
        ("a*", "ab/c", false),
        ("a*/b", "abc/b", true),
        ("a*/b", "a/c/b", false),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
        ("a*b?c*x", "abxbbxdbxebxczzx", true),
        ("a*b?c*x", "abxbbxdbxebxczzy", false),
        ("a?b", "a/b", false),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("a?b", "a☺b", true),
        ("a???b", "a☺b", false),
    ] {
        assert_eq!(matched(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn classes_are_ranges_of_characters() {
    for (pattern, name, expected) in [
        ("ab[c]", "abc", true),
        ("ab[b-d]", "abc", true),
        ("ab[e-g]", "abc", false),
        ("ab[^c]", "abc", false),
        ("ab[^e-g]", "abc", true),
        ("[a-ζ]*", "α", true),
        ("*[a-ζ]", "A", false),
        ("[\\]a]", "]", true),
        ("[\\-]", "-", true),
        ("[x\\-]", "z", false),
        ("[z-a]", "m", false),
    ] {
        assert_eq!(matched(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn malformed_patterns_are_refused_and_match_nothing() {
    for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "\\", "[a-b-c]", "a[\\"] {
        assert!(check(pattern).is_err(), "{pattern}");
        assert!(!matched(pattern, "a"), "{pattern}");
    }
}

#[test]
fn many_stars_take_no_exponential_time() {
    assert!(!matched(&"*a".repeat(200), &"a".repeat(199)));
    assert!(matched(&"*a".repeat(200), &"a".repeat(5000)));
}

#[test]
fn a_byte_that_is_no_text_is_one_character() {
    assert!(matches(b"a?c", b"a\xFFc"));
    assert!(!matches(b"a?c", b"a\xFF\xFEc"));
}

#[test]
fn a_path_without_wildcards_loses_its_escapes() {
    assert!(!has_wildcards("a\\*b"));
    assert!(has_wildcards("a\\\\*b"));
    assert_eq!(unescape("a\\*b\\\\c\\"), "a*b\\c\\");
}
