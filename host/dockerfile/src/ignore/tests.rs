//! Ignore files: tables of patterns and paths, as moby's patternmatcher answers them.

use super::*;

fn excludes(text: &str, path: &str) -> bool {
    IgnoreFile::parse(text.as_bytes()).unwrap().excludes(path.as_bytes())
}

#[test]
fn one_pattern() {
    for (pattern, path, expected) in [
        ("**", "file", true),
        ("**", "dir/file", true),
        ("**/", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir", false),
        ("dir/**", "dir2/file", false),
        ("**/dir", "dir", true),
        ("**/dir", "a/b/dir", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/*", "dir/dir2/dir2/file", true),
        ("**file", "dir/file", true),
        ("**/file", "dir/file", true),
        ("**/*.txt", "a/b.txt", true),
        ("*.txt", "a/b.txt", false),
        ("**/*.txt", "a.txt", true),
        ("a**b", "a/x/b", true),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "ab", false),
        ("abc*", "abc/def", true),
        ("*", "a/b", true),
        ("?", "ab", false),
        (".", ".", true),
        ("a.b", "axb", false),
        ("/a/b", "a/b", true),
        ("./a//b/", "a/b", true),
        ("a/../b", "b", true),
        ("./ b /", "b", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("[a-c]d", "bd", true),
        ("[^a-c]d", "bd", false),
        ("file", "file/under/it", true),
        ("a+(b)|{c}$", "a+(b)|{c}$", true),
    ] {
        assert_eq!(excludes(pattern, path), expected, "{pattern} {path}");
    }
}

#[test]
fn the_last_pattern_that_matches_decides() {
    for (patterns, path, expected) in [
        ("*\n!a", "a", false),
        ("*\n!a", "b", true),
        ("!a\n*", "a", true),
        ("dir\n!dir/keep", "dir/keep", false),
        ("dir\n!dir/keep", "dir/other", true),
        ("dir\n!dir\ndir/x", "dir/x", true),
        ("**\n!src\nsrc/*.o", "src/a.c", false),
        ("**\n!src\nsrc/*.o", "src/a.o", true),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
        ("*.md\n!README*.md\nREADME-secret.md", "README-x.md", false),
        ("docs\n! docs/a", "docs/a", false),
    ] {
        assert_eq!(excludes(patterns, path), expected, "{patterns:?} {path}");
    }
}

#[test]
fn comments_marks_and_blank_lines() {
    let file = IgnoreFile::parse(b"\xEF\xBB\xBF# no\r\n\r\n  a \r\n #b\n").unwrap();
    assert!(file.excludes(b"a"));
    assert!(file.excludes(b"#b"));
    assert!(!file.excludes(b"# no"));
    assert!(!file.has_exceptions());
    assert!(!IgnoreFile::default().excludes(b"a"));
}

#[test]
fn errors_name_the_line() {
    let line = |text: &[u8]| IgnoreFile::parse(text).unwrap_err().to_string();
    assert_eq!(line(b"a\n!\n"), "line 2: a ! without a pattern");
    assert_eq!(line(b"! /\n"), "line 1: a ! without a pattern");
    assert_eq!(line(b"a\n\n[x\n"), "line 3: malformed pattern \"[x\": a class without its ]");
    assert_eq!(
        line(b"[Local-Only]/"),
        "line 1: malformed pattern \"[Local-Only]\": a range that ends before it starts"
    );
    assert_eq!(line(b"\xFF"), "line 1 is not UTF-8");
}

#[test]
fn raw_bytes_in_a_path_are_unknown_characters() {
    let file = IgnoreFile::parse(b"a?c").unwrap();
    assert!(file.excludes(b"a\xFFc"));
}

#[test]
fn cleaning_is_gos() {
    for (path, expected) in [
        ("", "."),
        (".", "."),
        ("/", "/"),
        ("a//b/./c/..", "a/b"),
        ("../a", "../a"),
        ("a/../..", ".."),
        ("/..", "/"),
        ("/../a", "/a"),
    ] {
        assert_eq!(clean(path), expected, "{path}");
    }
}

#[test]
fn a_hidden_path_is_meant_literally_and_comes_last() {
    let mut file = IgnoreFile::default();
    file.hide("a*/[x]").unwrap();
    assert!(file.excludes(b"a*/[x]"));
    assert!(file.excludes(b"a*/[x]/below"));
    assert!(!file.excludes(b"ab/x"));
    let mut file = IgnoreFile::parse(b"!store\n").unwrap();
    file.hide("store").unwrap();
    assert!(file.excludes(b"store/blobs"));
}
