//! Layers over one another: what stays, what goes, and what is written of it.

use std::collections::BTreeMap;

use super::*;
use crate::{Change, ChangeSet, Compression, Expected, Limits, Threads, write_layer};

/// Layers as they come out of archives, in memory.
struct Stack(Vec<Vec<u8>>);

impl Source for Stack {
    fn layer(&self, number: usize) -> io::Result<LayerReader> {
        let blob = self.0[number].clone();
        let expected = Expected { digest: crate::Digest::of(&blob), size: blob.len() as u64, diff_id: None };
        Ok(LayerReader::new(io::Cursor::new(blob), expected, Limits::default()))
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}

fn entry(kind: EntryKind, mode: u32) -> Entry {
    Entry { kind, attributes: Attributes { mode, ..Attributes::default() } }
}

/// `/dir/` is a directory, `-name` a whiteout, `a=text` a file, `a>b` a symbolic link, `a&b` a hard link.
fn layer(lines: &[&str]) -> Vec<u8> {
    let mut changes = ChangeSet::default();
    let mut contents = BTreeMap::new();
    let path = |text: &str| RootPath::new(text).unwrap();
    for line in lines {
        if let Some(name) = line.strip_prefix('-') {
            changes.insert(path(name), Change::Remove);
        } else if let Some(name) = line.strip_prefix('!') {
            changes.insert(path(name), Change::Opaque(entry(EntryKind::Directory, 0o700)));
        } else if let Some((name, text)) = line.split_once('=') {
            let kind = EntryKind::File { size: text.len() as u64 };
            changes.insert(path(name), Change::Upsert(entry(kind, 0o644)));
            contents.insert(path(name), text.as_bytes().to_vec());
        } else if let Some((name, target)) = line.split_once('>') {
            let kind = EntryKind::Symlink { target: target.as_bytes().to_vec() };
            changes.insert(path(name), Change::Upsert(entry(kind, 0o777)));
        } else if let Some((name, target)) = line.split_once('&') {
            let kind = EntryKind::HardLink { target: path(target) };
            changes.insert(path(name), Change::Upsert(entry(kind, 0o644)));
        } else {
            changes.insert(path(line), Change::Upsert(entry(EntryKind::Directory, 0o755)));
        }
    }
    let open = |path: &RootPath| Ok(io::Cursor::new(contents[path].clone()));
    write_layer(&changes, open, Compression::Gzip, Threads::exactly(1), Vec::new()).unwrap().0
}

/// The union as its tar has it, a line an entry.
fn shown(layers: &[&[&str]]) -> Vec<String> {
    let stack = Stack(layers.iter().map(|lines| layer(lines)).collect());
    let union = Union::of(&stack).unwrap();
    let mut out = Vec::new();
    union.write(&stack, &mut TarSink::new(&mut out)).unwrap();
    let mut archive = tar::Archive::new(out.as_slice());
    let line = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let link = entry.link_name().unwrap().map_or(String::new(), |link| format!(">{}", link.display()));
        format!("{}{link}{}{text}", entry.path().unwrap().display(), if text.is_empty() { "" } else { "=" })
    };
    archive.entries().unwrap().map(line).collect()
}

#[test]
fn later_layers_replace_and_remove() {
    let lower = &["a", "a/x=1", "a/y=2", "b=3", "c", "c/z=4"][..];
    let upper = &["-a/x", "a/y=5", "-b", "c=6", "d>a"][..];
    assert_eq!(shown(&[lower, upper]), ["a/", "a/y=5", "c=6", "d>a"]);
}

#[test]
fn an_opaque_directory_hides_what_is_beneath_and_keeps_its_own() {
    let lower = &["a", "a/x=1", "a/deep", "a/deep/y=2"][..];
    let upper = &["!a", "a/new=3"][..];
    assert_eq!(shown(&[lower, upper]), ["a/", "a/new=3"]);
}

#[test]
fn hard_links_share_one_content_and_the_first_name_has_it() {
    let lower = &["b=same", "c&b"][..];
    assert_eq!(shown(&[lower]), ["b=same", "c>b"]);
    // The name that had the content is gone: the other has it now.
    assert_eq!(shown(&[lower, &["-b"]]), ["c=same"]);
    assert_eq!(shown(&[lower, &["b=other"]]), ["c=same", "b=other"]);
}

#[test]
fn entries_beneath_a_link_lie_where_it_leads() {
    assert_eq!(
        shown(&[&["lib>/usr/lib", "usr", "usr/lib"], &["lib/x=1"]]),
        ["usr/", "usr/lib/", "usr/lib/x=1", "lib>/usr/lib"]
    );
}

#[test]
fn a_directory_stays_where_both_are_and_parents_are_made() {
    assert_eq!(shown(&[&["a", "a/x=1"], &["a"]]), ["a/", "a/x=1"]);
    assert_eq!(shown(&[&["p/q=1"]]), ["p/", "p/q=1"]);
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |layers: &[&[&str]]| {
        let stack = Stack(layers.iter().map(|lines| layer(lines)).collect());
        Union::of(&stack).unwrap_err().to_string()
    };
    assert_eq!(refused(&[&["f=1"], &["f/x=2"]]), "layer 1: /f/x is beneath something that is no directory");
    assert_eq!(refused(&[&["l>l"], &["l/x=2"]]), "layer 1: /l/x has too many symbolic links above it");
}
