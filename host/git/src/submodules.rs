//! `.gitmodules`: which repository a submodule is (gitmodules(5), the file format of git-config(1)).
//!
//! Only what a checkout needs is taken from it: path, URL, and `update = none`. A command that stands in it (`update = !..`) is not run; git
//! runs none either that comes from this file.

use std::collections::BTreeMap;

use wbuild_oci::GitSource;

/// The most that is read of the file, in bytes.
pub(crate) const LONGEST: usize = 1 << 20;

/// One submodule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Submodule {
    pub(crate) url: String,
    /// `update = none`: its directory stays empty.
    pub(crate) left_out: bool,
}

/// Reads the file: by path.
pub(crate) fn parse(text: &[u8]) -> Result<BTreeMap<Vec<u8>, Submodule>, String> {
    let text = String::from_utf8_lossy(text);
    let mut by_name: BTreeMap<String, (Option<String>, Submodule)> = BTreeMap::new();
    let mut section: Option<String> = None;
    // A backslash at the end of a line goes on with the next.
    let text = text.trim_start_matches('\u{feff}').replace("\\\r\n", "").replace("\\\n", "");
    for (number, line) in (1..).zip(text.lines()) {
        let wrong = |what: &str| format!(".gitmodules, line {number}: {what}");
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            section = header(rest).ok_or_else(|| wrong("a section without an end"))?;
            continue;
        }
        let Some(name) = &section else { continue };
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let value = self::value(value.trim()).ok_or_else(|| wrong("a value that cannot be read"))?;
        let (path, module) = by_name.entry(name.clone()).or_default();
        match key.trim().to_ascii_lowercase().as_str() {
            "path" => *path = Some(value),
            "url" => module.url = value,
            "update" => module.left_out = value == "none",
            _ => {}
        }
    }
    Ok(by_name.into_values().filter_map(|(path, module)| Some((path?.into_bytes(), module))).collect())
}

/// The name in `submodule "NAME"]`; `None` within for another section.
fn header(rest: &str) -> Option<Option<String>> {
    let Some((kind, quoted)) = rest.split_once('"') else {
        return rest.contains(']').then_some(None);
    };
    let (mut name, mut chars) = (String::new(), quoted.chars());
    loop {
        match chars.next()? {
            '\\' => name.push(chars.next()?),
            '"' => break,
            other => name.push(other),
        }
    }
    chars.as_str().trim_start().starts_with(']').then_some(())?;
    Some(kind.trim().eq_ignore_ascii_case("submodule").then_some(name))
}

/// A value without quotes, escapes and comment.
fn value(text: &str) -> Option<String> {
    let (mut value, mut spaces, mut quoted) = (String::new(), String::new(), false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '"' => {
                quoted = !quoted;
                continue;
            }
            '#' | ';' if !quoted => break,
            '\\' => match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'b' => '\u{8}',
                c @ ('"' | '\\') => c,
                _ => return None,
            },
            c if c.is_whitespace() && !quoted => {
                spaces.push(c);
                continue;
            }
            c => c,
        };
        value.push_str(&std::mem::take(&mut spaces));
        value.push(c);
    }
    (!quoted).then_some(value)
}

/// The repository of a submodule of the one at `parent`: `./` and `../` begin there.
pub(crate) fn resolve(parent: &str, url: &str) -> Result<GitSource, String> {
    let usable = |text: &str| GitSource::parse_remote(text).map_err(|error| format!("{url:?}: {error}"));
    if !url.starts_with("./") && !url.starts_with("../") {
        return usable(url);
    }
    let (scheme, rest) = parent.split_once("://").unwrap_or(("", parent));
    let mut base: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
    let mut left = url;
    loop {
        if let Some(rest) = left.strip_prefix("./") {
            left = rest;
        } else if let Some(rest) = left.strip_prefix("../") {
            left = rest;
            // The host is no directory.
            if base.len() < 2 {
                return Err(format!("{url:?} leads out of the server"));
            }
            base.pop();
        } else {
            break;
        }
    }
    let climbs = left.split('/').any(|part| part == "..");
    if climbs {
        return Err(format!("{url:?} is no usable URL"));
    }
    usable(&format!("{scheme}://{}/{}", base.join("/"), left.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_urls_are_read_as_git_writes_them() {
        let text = b"# a comment\n[core]\n\tpath = no\n[submodule \"a \\\"b\\\"\"]\n\tpath = dir/a b\n\turl = \"../x.git\" ; c\n\
            [Submodule \"two\"]\r\n  URL=https://h/y.git\r\n  path = two\n  update = none\n[submodule \"three\"]\n\turl = nowhere\n";
        let read = parse(text).expect("it is right");
        let module = |url: &str, left_out| Submodule { url: url.to_owned(), left_out };
        assert_eq!(read.get(b"dir/a b".as_slice()), Some(&module("../x.git", false)));
        assert_eq!(read.get(b"two".as_slice()), Some(&module("https://h/y.git", true)));
        assert_eq!(read.len(), 2, "one without a path is none");
        assert!(parse(b"[submodule \"a\npath = x").is_err());
        assert!(parse(b"[submodule \"a\"]\npath = \"x").is_err());
    }

    #[test]
    fn relative_urls_begin_at_the_parent() {
        let parent = "https://h:1/group/main.git";
        for (url, remote) in [
            ("../lib.git", "https://h:1/group/lib.git"),
            ("./in.git", "https://h:1/group/main.git/in.git"),
            ("../../other/x", "https://h:1/other/x"),
            ("http://127.0.0.1/x.git", "http://127.0.0.1/x.git"),
        ] {
            assert_eq!(resolve(parent, url).expect(url).remote, remote, "{url}");
        }
        for url in [
            "../../../x",
            "../a/../../../../x",
            "/srv/git/x",
            "file:///x.git",
            "ext::sh -c true",
            "--upload-pack=x",
            "",
        ] {
            assert!(resolve(parent, url).is_err(), "{url}");
        }
    }
}
