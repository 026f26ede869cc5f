//! Python's bytecode: what a step compiled is not stale in the image, although the sources' times are clamped.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use wbuild_tests::base;
use wbuild_tests::layout::Image;
use wbuild_tests::project::{Project, pod};

/// Sources with their mtime and size; bytecode with its first 16 bytes.
struct Python {
    sources: BTreeMap<PathBuf, (u64, u64)>,
    compiled: BTreeMap<PathBuf, [u8; 16]>,
}

fn python(image: &Image) -> Python {
    let mut found = Python { sources: BTreeMap::new(), compiled: BTreeMap::new() };
    for layer in image.layers().unwrap() {
        let mut archive = tar::Archive::new(image.archive(&layer).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().into_owned();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("py") if entry.header().entry_type().is_file() => {
                    found.sources.insert(path, (entry.header().mtime().unwrap(), entry.size()));
                }
                Some("pyc") => {
                    let mut head = [0; 16];
                    entry.read_exact(&mut head).unwrap();
                    found.compiled.insert(path, head);
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn a_wheel_is_installed_and_no_bytecode_is_stale() {
    let built = Project::example(&base::debian().unwrap(), "python").unwrap().build(pod().unwrap()).unwrap();
    assert_eq!(built.image.text("result.txt").unwrap(), "compiled 42\n");
    let python = python(&built.image);
    let word = |bytes: &[u8]| u64::from(u32::from_le_bytes(bytes.try_into().unwrap()));
    let mut stale = Vec::new();
    let mut checked = 0;
    for (path, head) in &python.compiled {
        // PEP 552: bit 0 of the flags says that the source's hash stands there, not its time and size.
        if word(&head[4..8]) & 1 == 1 {
            checked += 1;
            continue;
        }
        let (Some(dir), Some(name)) = (path.parent().and_then(Path::parent), path.file_name()) else {
            continue;
        };
        let module = name.to_str().unwrap().split('.').next().unwrap();
        if let Some((mtime, size)) = python.sources.get(&dir.join(format!("{module}.py"))) {
            checked += 1;
            if (*mtime, *size) != (word(&head[8..12]), word(&head[12..16])) {
                stale.push(path);
            }
        }
    }
    assert!(checked > 500, "only {checked} compiled files were found");
    assert!(stale.is_empty(), "{} of {checked} are stale: {stale:?}", stale.len());
}
