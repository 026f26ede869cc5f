//! Expansion: tables of texts with what they come to, and bounds on what they may ask for.

use std::collections::BTreeMap;

use super::*;

fn variables() -> BTreeMap<String, String> {
    [
        ("x", "value"),
        ("empty", ""),
        ("path", "/usr/local/bin:/usr/bin"),
        ("two", "a b"),
        ("x1", "one"),
        ("é", "accent"),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect()
}

fn with(how: Expander, text: &str) -> String {
    match how.expand(text, &variables()) {
        Ok(expanded) => expanded.text,
        Err(e) => format!("error: {e}"),
    }
}

fn check(how: Expander, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(with(how, text), *expected, "{text}");
    }
}

#[test]
fn names_and_defaults() {
    check(
        Expander::words('\\'),
        &[
            ("$x", "value"),
            ("${x}y", "valuey"),
            ("$xy", ""),
            ("$x1", "one"),
            ("$1x", "x"),
            ("$é", "accent"),
            ("$", "$"),
            ("$.", "$."),
            ("a$", "a$"),
            ("$@b", "b"),
            ("${x:-w}", "value"),
            ("${empty:-w}", "w"),
            ("${empty-w}", ""),
            ("${no-w}", "w"),
            ("${no:-$x}", "value"),
            ("${no:-${empty:-deep}}", "deep"),
            ("${x:+w}", "w"),
            ("${empty:+w}", ""),
            ("${empty+w}", "w"),
            ("${no+w}", ""),
            ("${x?e}", "value"),
            ("${empty:?is gone}", "error: empty: is gone"),
            ("${empty?e}", ""),
            ("${no?}", "error: no: is not allowed to be unset"),
            ("${empty:?}", "error: empty: is not allowed to be empty"),
            ("${no:-a}b}", "ab}"),
        ],
    );
}

#[test]
fn patterns() {
    check(
        Expander::words('\\'),
        &[
            ("${path#*/}", "usr/local/bin:/usr/bin"),
            ("${path##*/}", "bin"),
            ("${path%/*}", "/usr/local/bin:/usr"),
            ("${path%%/*}", ""),
            ("${path%%:*}", "/usr/local/bin"),
            ("${path#no}", "/usr/local/bin:/usr/bin"),
            ("${x#v?}", "lue"),
            ("${x%?e}", "val"),
            ("${path/usr/opt}", "/opt/local/bin:/usr/bin"),
            ("${path//usr/opt}", "/opt/local/bin:/opt/bin"),
            ("${path//\\//_}", "_usr_local_bin:_usr_bin"),
            ("${x/a*/}", "v"),
            ("${x//?/.}", "....."),
            ("${x/./!}", "value"),
            ("${no#a}", ""),
            ("${no/a/b}", ""),
            ("${no/*/b}", "b"),
            ("${no#\\q}", "error: invalid pattern (\\q) in substitution: invalid escape '\\q'"),
            ("${x#\\q}", "error: invalid pattern (\\q) in substitution: invalid escape '\\q'"),
            ("${x/a}", "error: syntax error: missing '/' in ${}"),
            ("${x/a/b", "error: syntax error: missing '}'"),
        ],
    );
}

#[test]
fn quotes_and_escapes() {
    check(
        Expander::words('\\'),
        &[
            ("'$x'", "$x"),
            ("\"$x\"", "value"),
            ("\\$x", "$x"),
            ("\"\\$x\"", "$x"),
            ("a\\ b", "a b"),
            ("a\\", "a"),
            ("\"a\\b\"", "a\\b"),
            ("\"a\\\\b\"", "a\\b"),
            ("'a\\b'", "a\\b"),
            ("'it'\\''s'", "it's"),
            ("${no:-'$x'}", "$x"),
            ("'open", "error: unexpected end of statement while looking for matching single-quote"),
            ("\"open", "error: unexpected end of statement while looking for matching double-quote"),
            ("${x", "error: syntax error: missing '}'"),
            ("${}", "error: syntax error: bad substitution"),
            ("${x^}", "error: unsupported modifier (^) in substitution"),
            ("${x:=v}", "error: unsupported modifier (:=) in substitution"),
        ],
    );
    check(Expander::words('`'), &[("`$x", "$x"), ("\\$x", "\\value"), ("a` b", "a b")]);
}

#[test]
fn heredocs_keep_quotes_and_displays_keep_what_is_unset() {
    check(Expander::heredoc(), &[("'$x' \"$no\"", "'value' \"\""), ("\\$x", "$x"), ("it's", "it's")]);
    check(
        Expander::display('\\'),
        &[
            ("echo \"$x\" $no ${no} ${no:-d} ${no##d}", "echo \"value\" $no ${no} ${no:-d} ${no##d}"),
            ("${no/a/b} ${no//a/b}", "${no/a/b} ${no//a/b}"),
        ],
    );
}

#[test]
fn words_are_cut_where_nothing_protects_them() {
    let words = |text| Expander::words('\\').expand(text, &variables()).unwrap().words;
    assert_eq!(words(" a  $two \"$two\" c\\ d '' "), ["a", "a", "b", "a b", "c d"]);
    assert_eq!(words("80${no:-80}"), ["8080"]);
}

#[test]
fn used_and_missing_names_are_reported() {
    let expanded = Expander::words('\\').expand("$x ${no:-d} '$quoted'", &variables()).unwrap();
    assert_eq!(expanded.used.into_iter().collect::<Vec<_>>(), ["x"]);
    assert_eq!(expanded.missing.into_iter().collect::<Vec<_>>(), ["no"]);
}

#[test]
fn nesting_and_growth_are_bounded() {
    let deep = "${a:-".repeat(10_000);
    assert_eq!(with(Expander::words('\\'), &deep), "error: substitutions are nested more than 64 deep");
    let many = BTreeMap::from([("v".to_owned(), "y".repeat(100_000))]);
    for text in [
        "$v".repeat(20_000),
        format!("\"{}\"", "$v".repeat(20_000)),
        format!("${{v//y/{}}}", "z".repeat(60_000)),
    ] {
        let error = Expander::words('\\').expand(&text, &many).unwrap_err();
        assert_eq!(error.to_string(), "the expansion is longer than 1048576 bytes");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_text_makes_the_expander_panic(text in "[$x{}:\\-+?#%/'\"\\\\ a<\u{e9}*]{0,40}") {
        for how in [Expander::words('\\'), Expander::words('`'), Expander::heredoc(), Expander::display('\\')] {
            let _ = how.expand(&text, &variables());
        }
    }
}
