//! Rules on Rust files: header, size, names, unsafe, suppressed lints, and each crate's manifest.

use super::{File, Findings};
use anyhow::Result;
use std::path::Path;

const WARN_LINES: usize = 600;
const FAIL_LINES: usize = 750;
const SAYS_NOTHING: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc", "core", "manager"];
/// The crates that may hold unsafe code; every other crate root forbids it.
const UNSAFE_CRATES: &[&str] = &["host/sys", "host/stub"];
/// The one file elsewhere: wasmtime's loading of compiled code is unsafe. Its crate's root denies what it cannot forbid.
const UNSAFE_FILE: &str = "host/wasi/src/load.rs";
const ITS_ROOT: &str = "host/wasi/src/lib.rs";

pub(super) fn check(files: &[File], findings: &mut Findings) -> Result<()> {
    for file in files {
        if let Some(part) = file.path.iter().find_map(|part| says_nothing(Path::new(part))) {
            findings.error(format!("{}: the name {part} says nothing", file.path.display()));
        }
        if file.path.ends_with("Cargo.toml") && file.path.parent() != Some(Path::new("")) {
            check_manifest(file, findings);
        }
        if file.is_rust() {
            check_rust(file, findings);
        }
    }
    Ok(())
}

fn says_nothing(part: &Path) -> Option<&str> {
    let stem = part.file_stem()?.to_str()?;
    SAYS_NOTHING.contains(&stem).then_some(stem)
}

fn check_manifest(file: &File, findings: &mut Findings) {
    let own_workspace = file.path.starts_with("host/stub") || file.text.contains("\n[workspace]");
    if !own_workspace && !file.text.contains("[lints]\nworkspace = true") {
        findings.error(format!("{}: does not take the workspace's lints", file.path.display()));
    }
}

fn check_rust(file: &File, findings: &mut Findings) {
    let shown = file.path.display();
    // A crate of one workload example is somebody's program, not ours.
    if file.path.starts_with("examples") {
        return;
    }
    if !file.text.starts_with("//! ") {
        findings.error(format!("{shown}:1: the first line is not a `//!` header"));
    }
    if !is_test_file(&file.path) {
        let lines = lines_without_tests(&file.text);
        if lines > FAIL_LINES {
            findings.error(format!("{shown}: {lines} lines without tests, more than {FAIL_LINES}"));
        } else if lines > WARN_LINES {
            findings.warn(format!("{shown}: {lines} lines without tests, more than {WARN_LINES}"));
        }
    }
    let may_be_unsafe =
        file.path == Path::new(UNSAFE_FILE) || UNSAFE_CRATES.iter().any(|dir| file.path.starts_with(dir));
    let rule =
        if file.path == Path::new(ITS_ROOT) { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
    for (number, line) in code_lines(&file.text) {
        let place = format!("{shown}:{number}");
        if !may_be_unsafe && has_word(line, "unsafe") {
            findings.error(format!("{place}: unsafe outside {UNSAFE_CRATES:?}"));
        }
        if line.contains("#[allow(") || line.contains("#![allow(") {
            findings.error(format!("{place}: suppress with #[expect(.., reason = \"..\")]"));
        }
        // A measurement is run by hand; it has no result to be right or wrong.
        if line.trim_start().starts_with("#[ignore") && !file.path.ends_with("bench.rs") {
            findings.error(format!("{place}: a test that is not run is not a test"));
        }
    }
    if is_crate_root(&file.path) && !may_be_unsafe && !file.text.contains(rule) {
        findings.error(format!("{shown}: the crate root does not forbid unsafe code"));
    }
}

fn is_crate_root(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.parent().is_some_and(|parent| parent.ends_with("src")) && (name == "lib.rs" || name == "main.rs")
}

/// `x/tests.rs` and files beneath a `tests` folder of a crate; the files of the end-to-end crate are ordinary code.
fn is_test_file(path: &Path) -> bool {
    path.ends_with("tests.rs") || (path.starts_with("host") && path.iter().any(|part| part == "tests"))
}

/// The lines before the file's own test module, which stands last.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'));
    tests.unwrap_or(lines.len())
}

/// Lines that are not comments, numbered from 1, each without its trailing comment and without plain string literals.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let code = line.split_once("//").map_or(line, |(code, _)| code);
        let code = code.split_once('"').map_or(code, |(code, _)| code);
        (!code.trim().is_empty()).then_some((index + 1, code))
    })
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_at_the_end_do_not_count() {
        assert_eq!(lines_without_tests("//! a\nfn a() {}\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(lines_without_tests("//! a\n#[cfg(test)]\nmod tests;\nfn a() {}\n"), 4);
    }

    #[test]
    fn unsafe_is_found_in_code_only() {
        let text = "// unsafe\nlet a = \"unsafe\";\n#![forbid(unsafe_code)]\nunsafe { b() }\n";
        let found: Vec<usize> =
            code_lines(text).filter(|(_, line)| has_word(line, "unsafe")).map(|(n, _)| n).collect();
        assert_eq!(found, [4]);
    }

    #[test]
    fn empty_names_are_found() {
        assert_eq!(says_nothing(Path::new("utils.rs")), Some("utils"));
        assert_eq!(says_nothing(Path::new("core_pattern.rs")), None);
    }
}
