//! Two trees compared: name, type, mode, owner, link target, hard-link group, content.
//!
//! What may differ is one checked-in list, `allowed-differences.txt`: at most 20 patterns, a reason each; a pattern
//! that matches no difference is itself an error.

use crate::layout;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// One entry of a tree, but for its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `file`, `dir`, `symlink`, `char 1:3`..
    pub kind: String,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// `uid:gid`.
    pub owner: String,
    /// The target of a symlink.
    pub target: Option<PathBuf>,
    /// The smallest name of the same inode, where it has several.
    pub group: Option<PathBuf>,
    /// The digest of a file's content.
    pub content: Option<String>,
}

/// Everything beneath `root` that is not in `leave_out`, by its path relative to `root`.
pub fn read(root: &Path, leave_out: &[&str]) -> Result<BTreeMap<PathBuf, Entry>> {
    let mut entries = BTreeMap::new();
    let mut groups: BTreeMap<(u64, u64), BTreeSet<PathBuf>> = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(dir) = open.pop() {
        let listed = fs::read_dir(root.join(&dir)).with_context(|| dir.display().to_string())?;
        for child in listed {
            let name = dir.join(child?.file_name());
            if leave_out.iter().any(|left| name == Path::new(left)) {
                continue;
            }
            let metadata =
                fs::symlink_metadata(root.join(&name)).with_context(|| name.display().to_string())?;
            if metadata.is_dir() {
                open.push(name.clone());
            } else if metadata.nlink() > 1 {
                groups.entry((metadata.dev(), metadata.ino())).or_default().insert(name.clone());
            }
            entries.insert(name.clone(), entry(&root.join(&name), &metadata)?);
        }
    }
    for names in groups.values().filter(|names| names.len() > 1) {
        for name in names {
            if let Some(entry) = entries.get_mut(name) {
                entry.group = names.first().cloned();
            }
        }
    }
    Ok(entries)
}

fn entry(path: &Path, metadata: &fs::Metadata) -> Result<Entry> {
    let kind = metadata.file_type();
    let device = || format!("{}:{}", rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    let name = if kind.is_dir() {
        "dir".to_owned()
    } else if kind.is_symlink() {
        "symlink".to_owned()
    } else if kind.is_file() {
        "file".to_owned()
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else if kind.is_socket() {
        "socket".to_owned()
    } else if kind.is_char_device() {
        format!("char {}", device())
    } else {
        format!("block {}", device())
    };
    let content = if kind.is_file() { Some(layout::digest(File::open(path)?)?.0) } else { None };
    let target = if kind.is_symlink() { Some(fs::read_link(path)?) } else { None };
    // The mode of a symlink is not an attribute on Linux.
    let mode = if kind.is_symlink() { 0 } else { metadata.mode() & 0o7777 };
    Ok(Entry {
        kind: name,
        mode,
        owner: format!("{}:{}", metadata.uid(), metadata.gid()),
        target,
        group: None,
        content,
    })
}

/// One difference: where, in which aspect, and both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path in both trees.
    pub path: PathBuf,
    /// `missing`, `extra`, `type`, `mode`, `owner`, `target`, `group` or `content`.
    pub aspect: &'static str,
    /// Both sides, for a person.
    pub detail: String,
}

/// Every aspect in which `found` is not `expected`.
pub fn differences(expected: &BTreeMap<PathBuf, Entry>, found: &BTreeMap<PathBuf, Entry>) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut add =
        |path: &Path, aspect, detail| all.push(Difference { path: path.to_path_buf(), aspect, detail });
    for path in expected.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
        match (expected.get(path), found.get(path)) {
            (Some(_), None) => add(path, "missing", String::new()),
            (None, Some(_)) => add(path, "extra", String::new()),
            (Some(e), Some(f)) => {
                let sides = [
                    ("type", e.kind.clone(), f.kind.clone()),
                    ("mode", format!("{:04o}", e.mode), format!("{:04o}", f.mode)),
                    ("owner", e.owner.clone(), f.owner.clone()),
                    ("target", format!("{:?}", e.target), format!("{:?}", f.target)),
                    ("group", format!("{:?}", e.group), format!("{:?}", f.group)),
                    ("content", format!("{:?}", e.content), format!("{:?}", f.content)),
                ];
                for (aspect, e, f) in sides.into_iter().filter(|(_, e, f)| e != f) {
                    add(path, aspect, format!("{e} expected, {f} found"));
                }
            }
            (None, None) => {}
        }
    }
    all
}

/// A line of the list: `pattern aspect reason`.
struct Allowed {
    pattern: String,
    aspect: String,
}

/// An error that lists every difference that `allowed-differences.txt` does not allow, and every pattern in vain.
pub fn check(differences: &[Difference]) -> Result<()> {
    let list = parse(include_str!("allowed-differences.txt"))?;
    let allows = |allowed: &Allowed, difference: &Difference| {
        (allowed.aspect == "any" || allowed.aspect == difference.aspect)
            && matches(allowed.pattern.as_bytes(), difference.path.as_os_str().as_bytes())
    };
    let refused: Vec<String> = differences
        .iter()
        .filter(|difference| !list.iter().any(|allowed| allows(allowed, difference)))
        .map(|d| format!("/{}: {}: {}", d.path.display(), d.aspect, d.detail))
        .collect();
    let unused: Vec<&str> = list
        .iter()
        .filter(|allowed| !differences.iter().any(|difference| allows(allowed, difference)))
        .map(|allowed| allowed.pattern.as_str())
        .collect();
    if !refused.is_empty() || !unused.is_empty() {
        bail!("{} differences, patterns in vain: {unused:?}\n{}", refused.len(), refused.join("\n"));
    }
    Ok(())
}

fn parse(text: &str) -> Result<Vec<Allowed>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let list = lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let (Some(pattern), Some(aspect), Some(_reason)) = (words.next(), words.next(), words.next())
            else {
                bail!("allowed-differences.txt: a pattern, an aspect and a reason are needed: {line}");
            };
            Ok(Allowed { pattern: pattern.to_owned(), aspect: aspect.to_owned() })
        })
        .collect::<Result<Vec<_>>>()?;
    ensure!(list.len() <= 20, "allowed-differences.txt has {} patterns, more than 20", list.len());
    Ok(list)
}

/// Shell-like matching of a whole path: `*` stands for any run of bytes, slashes too.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((b'*', rest)) => (0..=path.len()).any(|skip| matches(rest, &path[skip..])),
        Some((byte, rest)) => path.first() == Some(byte) && matches(rest, &path[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_aspect_is_compared() {
        let dir = tempfile::tempdir().unwrap();
        for side in ["a", "b"] {
            fs::create_dir(dir.path().join(side)).unwrap();
            fs::write(dir.path().join(side).join("same"), "x").unwrap();
            fs::write(dir.path().join(side).join("content"), side).unwrap();
        }
        fs::hard_link(dir.path().join("a/same"), dir.path().join("a/twin")).unwrap();
        fs::write(dir.path().join("b/twin"), "x").unwrap();
        std::os::unix::fs::symlink("same", dir.path().join("a/link")).unwrap();
        let read = |side: &str| read(&dir.path().join(side), &[]).unwrap();
        let found = differences(&read("a"), &read("b"));
        let found: Vec<(&str, &str)> = found.iter().map(|d| (d.path.to_str().unwrap(), d.aspect)).collect();
        assert_eq!(
            found,
            [("content", "content"), ("link", "missing"), ("same", "group"), ("twin", "group")]
        );
        assert!(differences(&read("a"), &read("a")).is_empty());
    }

    #[test]
    fn patterns_match_whole_paths() {
        assert!(matches(b"var/log/*", b"var/log/apt/term.log"));
        assert!(matches(b"*.pyc", b"usr/lib/a.pyc"));
        assert!(!matches(b"var/log", b"var/log/x"));
    }
}
