//! Hostile layers: each is refused with an error or kept inside the tree, and nothing outside is touched.

use std::fs::{self, File};
use std::path::Path;
use tar::{Builder, EntryType, Header};
use wbuild_tests::base::Base;
use wbuild_tests::layout;
use wbuild_tests::project::Project;
use wbuild_tests::session::Caller;
use wbuild_tests::workspace::Scratch;

/// One entry whose name and link are written as they are, without the tar crate's own care.
fn entry(tar: &mut Builder<File>, kind: EntryType, name: &str, link: &str, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o777);
    header.set_size(content.len() as u64);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    if kind == EntryType::Char {
        header.set_device_major(1).unwrap();
        header.set_device_minor(1).unwrap();
    }
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

/// Builds on an image whose one layer is made by `hostile`, which gets the path of a directory outside of every tree.
fn build_on(hostile: impl Fn(&mut Builder<File>, &Path)) -> (Result<(), String>, Vec<String>) {
    let dir = Scratch::new("hostile").unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "unharmed").unwrap();
    std::os::unix::fs::chown(&outside, Some(12_349), Some(12_349)).unwrap();
    std::os::unix::fs::chown(outside.join("victim"), Some(12_349), Some(12_349)).unwrap();
    let mut tar = Builder::new(File::create(dir.path().join("layer.tar")).unwrap());
    entry(&mut tar, EntryType::Directory, "etc/", "", b"");
    hostile(&mut tar, &outside);
    tar.into_inner().unwrap();
    let layout = dir.path().join("layout");
    layout::write(&layout, "latest", &dir.path().join("layer.tar"), &serde_json::json!({})).unwrap();
    let base = Base { layout, tag: "latest", rootfs: None };
    let project = Project::new(&base, "FROM base\nCOPY file /etc/file\n").unwrap();
    project.file("file", "x").unwrap();
    let attempt = project.try_build(Caller::User(12_349), &[]).unwrap();
    assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "unharmed");
    let left = fs::read_dir(&outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let text = attempt.outcome.text();
    (if attempt.outcome.status.success() { Ok(()) } else { Err(text) }, left)
}

fn assert_refused(what: &str, built: (Result<(), String>, Vec<String>)) {
    assert_eq!(built.1, ["victim"], "{what} wrote outside");
    let error = built.0.expect_err(what);
    assert!(error.contains("layer") && !error.contains("panicked"), "{what}: {error}");
}

#[test]
fn names_that_lead_out_are_refused() {
    let name =
        |outside: &Path, name: &str| format!("../../../../../../../../../../..{}/{name}", outside.display());
    assert_refused(
        "`..`",
        build_on(|tar, outside| entry(tar, EntryType::Regular, &name(outside, "x"), "", b"x")),
    );
    assert_refused(
        "`etc/..`",
        build_on(|tar, outside| {
            entry(tar, EntryType::Regular, &format!("etc/../{}", name(outside, "x")), "", b"x");
        }),
    );
    assert_refused(
        "a hard link out",
        build_on(|tar, outside| {
            entry(tar, EntryType::Link, "etc/hard", &name(outside, "victim"), b"");
        }),
    );
}

#[test]
fn an_absolute_name_stays_inside() {
    let (result, left) = build_on(|tar, outside| {
        entry(tar, EntryType::Regular, &format!("{}/x", outside.display()), "", b"x");
    });
    assert_eq!(left, ["victim"]);
    if let Err(error) = result {
        assert!(error.contains("layer") && !error.contains("panicked"), "{error}");
    }
}

#[test]
fn a_symlinked_parent_does_not_lead_out() {
    let (result, left) = build_on(|tar, outside| {
        entry(tar, EntryType::Symlink, "etc/out", outside.to_str().unwrap(), b"");
        entry(tar, EntryType::Regular, "etc/out/x", "", b"x");
        entry(tar, EntryType::Regular, "etc/out/victim", "", b"harmed");
        entry(tar, EntryType::Regular, "etc/out/.wh.victim", "", b"");
    });
    assert_eq!(left, ["victim"]);
    if let Err(error) = result {
        assert!(error.contains("layer") && !error.contains("panicked"), "{error}");
    }
}

#[test]
fn whiteouts_do_not_lead_out() {
    for name in [".wh...", ".wh..", "etc/.wh..wh..opq/../../x", ".wh."] {
        let (result, left) = build_on(|tar, _| entry(tar, EntryType::Regular, name, "", b""));
        assert_eq!(left, ["victim"], "{name}");
        if let Err(error) = result {
            assert!(error.contains("layer") && !error.contains("panicked"), "{name}: {error}");
        }
    }
}

#[test]
fn a_device_node_of_a_layer_is_not_the_device() {
    let (result, left) = build_on(|tar, _| entry(tar, EntryType::Char, "etc/mem", "", b""));
    result.unwrap();
    assert_eq!(left, ["victim"]);
}

#[test]
fn a_truncated_layer_and_a_wrong_digest_are_refused() {
    let dir = Scratch::new("broken").unwrap();
    let mut tar = Builder::new(File::create(dir.path().join("layer.tar")).unwrap());
    entry(&mut tar, EntryType::Regular, "etc", "", &[7; 5000]);
    tar.into_inner().unwrap();
    let layout = dir.path().join("layout");
    layout::write(&layout, "latest", &dir.path().join("layer.tar"), &serde_json::json!({})).unwrap();
    let largest = fs::read_dir(layout.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let blob = largest.filter(|path| fs::read(path).unwrap().starts_with(&[0x1f, 0x8b])).max().unwrap();
    let whole = fs::read(&blob).unwrap();
    let base = Base { layout, tag: "latest", rootfs: None };
    for harmed in [whole[..whole.len() - 9].to_vec(), [&whole[..20], &[whole[20] ^ 1], &whole[21..]].concat()]
    {
        fs::write(&blob, harmed).unwrap();
        let project = Project::new(&base, "FROM base\nCOPY Dockerfile /x\n").unwrap();
        let attempt = project.try_build(Caller::User(12_349), &[]).unwrap();
        let text = attempt.outcome.text();
        assert!(
            !attempt.outcome.status.success() && text.contains("sha256:") && !text.contains("panicked"),
            "{text}"
        );
    }
}
