//! Tests of reading layouts.

use super::*;
use crate::test_rooms::{Rooms, empty, entries};
use crate::{write_layout_dir, write_layout_tar};
use cap_std::fs::Dir;

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn read(dir: &Dir, pick: &Pick, platform: &str) -> Result<(Rooms, Image), LayoutError> {
    let rooms = Rooms::new();
    let source = LayoutSource::directory(dir.try_clone().unwrap())?;
    let image = import(&rooms.store, &source, pick, &platform.parse().unwrap())?;
    Ok((rooms, image))
}

fn pick(name: &str) -> Pick {
    Pick::new(Some(name), None).unwrap()
}

#[test]
fn an_image_comes_back_as_it_was_written() {
    let from = Rooms::new();
    let (descriptor, manifest) = from.image("linux/amd64", &[b"one", b"two", b"two"]);
    let (_files, dir) = empty();
    write_layout_dir(&from.store, &descriptor, &["app:1".parse().unwrap()], &dir).unwrap();
    let mut archive = Vec::new();
    write_layout_tar(
        &from.store,
        &descriptor,
        &["app:1".parse().unwrap()],
        crate::ArchiveForm::Oci,
        &mut archive,
    )
    .unwrap();
    dir.write("layout.tar", &archive).unwrap();
    for picked in [
        Pick::Only,
        pick("1"),
        pick("app:1"),
        pick("docker.io/library/app:1"),
        Pick::Digest(descriptor.digest),
    ] {
        for source in [
            LayoutSource::directory(dir.try_clone().unwrap()).unwrap(),
            LayoutSource::tar(dir.open("layout.tar").unwrap()).unwrap(),
        ] {
            let to = Rooms::new();
            let image = import(&to.store, &source, &picked, &amd64()).unwrap();
            assert_eq!((image.descriptor.digest, &image.manifest), (descriptor.digest, &manifest));
            assert_eq!(entries(&to.dir, "blobs/sha256"), entries(&from.dir, "blobs/sha256"));
        }
    }
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let from = Rooms::new();
    let (_files, dir) = empty();
    for name in ["app:1", "app:2"] {
        let (descriptor, _) = from.image("linux/amd64", &[name.as_bytes()]);
        write_layout_dir(&from.store, &descriptor, &[name.parse().unwrap()], &dir).unwrap();
    }
    let message = |picked: &Pick, platform: &str| read(&dir, picked, platform).err().unwrap().to_string();
    let several = message(&Pick::Only, "linux/amd64");
    assert!(several.contains("docker.io/library/app:1, docker.io/library/app:2"), "{several}");
    assert!(message(&pick("3"), "linux/amd64").contains("no image \"3\""));
    assert!(message(&Pick::Digest(Digest::of(b"")), "linux/amd64").contains("app:2"));
    assert!(message(&pick("1"), "linux/arm64").contains("no image for linux/arm64 (it has: linux/amd64)"));
    assert_eq!(
        read(&dir, &pick("2"), "linux/amd64").unwrap().1.manifest.layers[0].digest,
        Digest::of(b"app:2")
    );
}

#[test]
fn one_name_for_several_platforms_and_nested_indexes() {
    let from = Rooms::new();
    let (_files, dir) = empty();
    let mut listed = Vec::new();
    for platform in ["linux/arm64", "linux/amd64"] {
        let (mut descriptor, _) = from.image(platform, &[platform.as_bytes()]);
        write_layout_dir(&from.store, &descriptor, &[], &dir).unwrap();
        descriptor.platform = Some(platform.parse().unwrap());
        listed.push(descriptor);
    }
    let layer =
        |picked: &Pick, platform: &str| read(&dir, picked, platform).unwrap().1.manifest.layers[0].digest;
    // The writer put both into the layout's own index, each with its platform.
    assert_eq!(layer(&Pick::Only, "linux/arm64"), Digest::of(b"linux/arm64"));
    assert_eq!(layer(&Pick::Only, "linux/amd64"), Digest::of(b"linux/amd64"));
    // BuildKit puts an index in between.
    let inner = Index::new(listed).to_bytes();
    let mut entry = Descriptor::of(media::INDEX, &inner);
    dir.write(format!("blobs/sha256/{}", entry.digest.hex()), &inner).unwrap();
    entry.annotations.insert(wbuild_oci::ANNOTATION_REF_NAME.to_owned(), "t".to_owned());
    dir.write("index.json", Index::new(vec![entry]).to_bytes()).unwrap();
    assert_eq!(layer(&pick("t"), "linux/arm64"), Digest::of(b"linux/arm64"));
    assert!(matches!(read(&dir, &Pick::Only, "linux/riscv64"), Err(LayoutError::Platform { .. })));
}

#[test]
fn a_layout_that_lies_is_refused_and_nothing_wrong_enters() {
    let from = Rooms::new();
    let (descriptor, manifest) = from.image("linux/amd64", &[b"layer", b"other"]);
    let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    for digest in [&descriptor.digest, &manifest.config.digest, &manifest.layers[0].digest] {
        let (_files, dir) = empty();
        write_layout_dir(&from.store, &descriptor, &[], &dir).unwrap();
        let mut bytes = dir.read(blob(digest)).unwrap();
        bytes[2] ^= 1;
        dir.write(blob(digest), &bytes).unwrap();
        assert!(matches!(read(&dir, &Pick::Only, "linux/amd64"), Err(LayoutError::Blob { .. })));
        bytes.push(b' ');
        dir.write(blob(digest), &bytes).unwrap();
        assert!(matches!(read(&dir, &Pick::Only, "linux/amd64"), Err(LayoutError::Blob { .. })));
        dir.remove_file(blob(digest)).unwrap();
        assert!(
            matches!(read(&dir, &Pick::Only, "linux/amd64"), Err(LayoutError::MissingBlob(missing)) if missing == *digest)
        );
    }
}

#[test]
fn what_is_no_layout_is_refused() {
    let (_files, dir) = empty();
    assert!(matches!(
        read(&dir, &Pick::Only, "linux/amd64"),
        Err(LayoutError::NotALayout { missing: "oci-layout" })
    ));
    dir.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    assert!(matches!(
        read(&dir, &Pick::Only, "linux/amd64"),
        Err(LayoutError::NotALayout { missing: "index.json" })
    ));
    dir.write("index.json", b"[]").unwrap();
    assert!(matches!(read(&dir, &Pick::Only, "linux/amd64"), Err(LayoutError::Document { .. })));
    dir.write("index.json", vec![b' '; 5 << 20]).unwrap();
    assert!(matches!(read(&dir, &Pick::Only, "linux/amd64"), Err(LayoutError::Io { .. })));
    dir.write("index.json", Index::new(vec![]).to_bytes()).unwrap();
    assert!(matches!(read(&dir, &Pick::Only, "linux/amd64"), Err(LayoutError::NoSuchImage { .. })));
    for (magic, form) in [
        (&b"\x1f\x8b\x08"[..], "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh9", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
    ] {
        dir.write("archive", magic).unwrap();
        let error = LayoutSource::tar(dir.open("archive").unwrap()).unwrap_err();
        assert!(matches!(error, LayoutError::Compressed { form: found } if found == form), "{error}");
    }
    dir.write("archive", b"this is no archive").unwrap();
    assert!(LayoutSource::tar(dir.open("archive").unwrap()).is_err());
}

#[test]
fn links_lead_nowhere() {
    // A link in a directory cannot leave it, and one in an archive is no blob.
    let from = Rooms::new();
    let (descriptor, manifest) = from.image("linux/amd64", &[b"layer"]);
    let (files, outer) = empty();
    outer.create_dir("layout").unwrap();
    let dir = outer.open_dir("layout").unwrap();
    write_layout_dir(&from.store, &descriptor, &[], &dir).unwrap();
    let layer = format!("blobs/sha256/{}", manifest.layers[0].digest.hex());
    dir.remove_file(&layer).unwrap();
    outer.write("secret", b"layer").unwrap();
    dir.symlink("../../../secret", &layer).unwrap();
    assert!(matches!(read(&dir, &Pick::Only, "linux/amd64"), Err(LayoutError::Io { .. })));
    let mut archive = tar::Builder::new(Vec::new());
    for name in ["oci-layout", "index.json"] {
        archive.append_path_with_name(files.path().join("layout").join(name), name).unwrap();
    }
    for digest in [descriptor.digest, manifest.config.digest] {
        let name = format!("blobs/sha256/{}", digest.hex());
        archive.append_path_with_name(files.path().join("layout").join(&name), &name).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    archive.append_link(&mut header, &layer, "/etc/hostname").unwrap();
    outer.write("archive.tar", archive.into_inner().unwrap()).unwrap();
    let source = LayoutSource::tar(outer.open("archive.tar").unwrap()).unwrap();
    let rooms = Rooms::new();
    let error = import(&rooms.store, &source, &Pick::Only, &amd64()).unwrap_err();
    assert!(matches!(error, LayoutError::MissingBlob(_)), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(40))]

    #[test]
    fn a_mutilated_archive_is_an_error_or_the_image(at in 0..9000usize, byte: u8, length in 0..9000usize) {
        let from = Rooms::new();
        let (descriptor, _) = from.image("linux/amd64", &[b"layer"]);
        let mut archive = Vec::new();
        write_layout_tar(&from.store, &descriptor, &[], crate::ArchiveForm::Oci, &mut archive).unwrap();
        let at = at % archive.len();
        archive[at] = byte;
        archive.truncate(length.max(1000));
        from.dir.write("archive.tar", &archive).unwrap();
        let to = Rooms::new();
        let image = LayoutSource::tar(from.dir.open("archive.tar").unwrap())
            .and_then(|source| import(&to.store, &source, &Pick::Only, &amd64()));
        if let Ok(image) = image {
            proptest::prop_assert_eq!(image.descriptor.digest, descriptor.digest);
        }
        for name in entries(&to.dir, "blobs/sha256") {
            to.store.read(&Digest::from_hex(&name).unwrap(), 1 << 20).unwrap();
        }
    }
}
