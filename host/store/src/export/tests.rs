//! Tests of writing layouts, with skopeo and umoci as the witnesses.

use super::*;
use crate::test_rooms::{Rooms, empty, entries};
use std::process::Command;

fn names(texts: &[&str]) -> Vec<Reference> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn index(dir: &Dir) -> Index {
    Index::parse(&dir.read(INDEX).unwrap()).unwrap()
}

fn annotated(dir: &Dir, key: &str) -> Vec<String> {
    index(dir).manifests.iter().filter_map(|entry| entry.annotations.get(key).cloned()).collect()
}

#[test]
fn an_archive_depends_on_the_image_alone() {
    let archive = |rooms: &Rooms| {
        let (descriptor, _) = rooms.image("linux/amd64", &[b"one", &[7; 1500]]);
        let mut archive = Vec::new();
        write_layout_tar(
            &rooms.store,
            &descriptor,
            &names(&["app:1", "reg.example/app:1"]),
            ArchiveForm::Oci,
            &mut archive,
        )
        .unwrap();
        archive
    };
    let first = archive(&Rooms::new());
    assert_eq!(first, archive(&Rooms::new()));
    assert_eq!(first.len() % 512, 0);
    let mut reader = tar::Archive::new(first.as_slice());
    let members: Vec<_> = reader
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
            entry.path().unwrap().display().to_string()
        })
        .collect();
    assert!(members.is_sorted(), "{members:?}");
    assert_eq!(members.len(), 2 + 4 + 2);
}

#[test]
fn other_images_of_a_layout_stay_and_names_move() {
    let rooms = Rooms::new();
    let (_files, dir) = empty();
    let (one, _) = rooms.image("linux/amd64", &[b"one"]);
    let (two, _) = rooms.image("linux/amd64", &[b"two"]);
    write_layout_dir(&rooms.store, &one, &names(&["app:1", "app:latest"]), &dir).unwrap();
    write_layout_dir(&rooms.store, &two, &names(&["app:2", "app:latest"]), &dir).unwrap();
    write_layout_dir(&rooms.store, &two, &[], &dir).unwrap();
    write_layout_dir(&rooms.store, &two, &[], &dir).unwrap();
    let listed: Vec<_> = index(&dir)
        .manifests
        .iter()
        .map(|entry| (entry.annotations.get(ANNOTATION_IMAGE_NAME).cloned(), entry.digest))
        .collect();
    let named = |name: &str| Some(format!("docker.io/library/app:{name}"));
    assert_eq!(
        listed,
        [
            (named("1"), one.digest),
            (named("2"), two.digest),
            (named("latest"), two.digest),
            (None, two.digest)
        ]
    );
    assert_eq!(annotated(&dir, ANNOTATION_REF_NAME), ["1", "2", "latest"]);
    assert_eq!(annotated(&dir, ANNOTATION_CREATED), vec!["2023-11-14T22:13:20Z"; 4]);
    assert_eq!(entries(&dir, "."), ["blobs", "index.json", "oci-layout"]);
}

#[test]
fn writers_at_once_lose_nothing() {
    let rooms = Rooms::new();
    let (_files, dir) = empty();
    let images: Vec<_> = (0..12u8).map(|number| rooms.image("linux/amd64", &[&[number]]).0).collect();
    std::thread::scope(|scope| {
        for (number, image) in images.iter().enumerate() {
            let (dir, rooms) = (dir.try_clone().unwrap(), &rooms);
            scope.spawn(move || {
                write_layout_dir(&rooms.store, image, &names(&[&format!("app:{number}")]), &dir).unwrap();
            });
        }
    });
    assert_eq!(index(&dir).manifests.len(), 12);
}

#[test]
fn a_missing_or_damaged_layer_stops_it() {
    let rooms = Rooms::new();
    let (image, manifest) = rooms.image("linux/amd64", &[b"layer"]);
    let path = format!("blobs/sha256/{}", manifest.layers[0].digest.hex());
    rooms.dir.write(&path, b"lyaer").unwrap();
    let (_files, dir) = empty();
    let attempt = || write_layout_dir(&rooms.store, &image, &[], &dir).unwrap_err();
    assert!(matches!(attempt(), LayoutError::Blob { source: StoreError::Digest(_), .. }));
    rooms.dir.remove_file(&path).unwrap();
    assert!(matches!(attempt(), LayoutError::Blob { source: StoreError::Missing(_), .. }));
    assert!(!dir.exists(INDEX));
    assert!(write_layout_tar(&rooms.store, &image, &[], ArchiveForm::Oci, &mut io::sink()).is_err());
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|_| panic!("{program} is needed for this test (Debian: apt install {program})"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

#[test]
fn skopeo_and_umoci_read_what_is_written() {
    let rooms = Rooms::new();
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = header(tar::EntryType::Regular, 0o644, 5);
    layer.append_data(&mut header, "file", &b"hello"[..]).unwrap();
    let (image, manifest) = rooms.image("linux/amd64", &[&layer.into_inner().unwrap()]);
    let (files, dir) = empty();
    dir.create_dir("layout").unwrap();
    write_layout_dir(&rooms.store, &image, &names(&["app:1"]), &dir.open_dir("layout").unwrap()).unwrap();
    let mut archive = dir.create("layout.tar").unwrap();
    write_layout_tar(&rooms.store, &image, &names(&["app:1"]), ArchiveForm::Oci, &mut archive).unwrap();
    let at = |path: &str| files.path().join(path).display().to_string();
    for source in [format!("oci:{}:1", at("layout")), format!("oci-archive:{}:1", at("layout.tar"))] {
        dir.create_dir("copy").unwrap();
        run("skopeo", &["--insecure-policy", "copy", &source, &format!("dir:{}", at("copy"))]);
        assert_eq!(dir.read("copy/manifest.json").unwrap(), manifest.to_bytes());
        dir.remove_dir_all("copy").unwrap();
    }
    run("umoci", &["unpack", "--rootless", "--image", &format!("{}:1", at("layout")), &at("bundle")]);
    assert_eq!(dir.read("bundle/rootfs/file").unwrap(), b"hello");
}

#[test]
fn an_archive_for_docker_lists_config_tags_and_layers() {
    let rooms = Rooms::new();
    let (descriptor, manifest) = rooms.image("linux/amd64", &[b"one", b"two"]);
    let mut archive = Vec::new();
    let named = names(&["app", "reg.example/team/app:1.2"]);
    write_layout_tar(&rooms.store, &descriptor, &named, ArchiveForm::Docker, &mut archive).unwrap();
    let mut reader = tar::Archive::new(archive.as_slice());
    let mut list = reader
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.path().unwrap().as_os_str() == "manifest.json")
        .unwrap();
    let list: serde_json::Value = serde_json::from_reader(&mut list).unwrap();
    let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let layers: Vec<_> = manifest.layers.iter().map(|layer| path(&layer.digest)).collect();
    let tags = ["app:latest", "reg.example/team/app:1.2"];
    assert_eq!(
        list,
        serde_json::json!([{ "Config": path(&manifest.config.digest), "RepoTags": tags, "Layers": layers }])
    );
}

#[test]
fn an_index_is_written_with_all_its_images() {
    let rooms = Rooms::new();
    let (_files, dir) = empty();
    let mut entries = Vec::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        let (mut descriptor, _) = rooms.image(platform, &[platform.as_bytes(), b"shared"]);
        descriptor.platform = Some(platform.parse().unwrap());
        entries.push(descriptor);
    }
    let whole = Index::new(entries.clone());
    let descriptor = rooms.store.ingest_bytes(media::INDEX, &whole.to_bytes()).unwrap();
    write_layout_dir(&rooms.store, &descriptor, &names(&["app"]), &dir).unwrap();
    let listed = index(&dir).manifests;
    assert_eq!(
        (listed.len(), listed[0].digest, listed[0].kind()),
        (1, descriptor.digest, media::Kind::Index)
    );
    let blobs = dir.read_dir("blobs/sha256").unwrap().count();
    assert_eq!(blobs, 1 + 2 * 3 + 1, "index, two images of manifest, config and a layer, and the shared one");
    let docker = write_layout_tar(&rooms.store, &descriptor, &[], ArchiveForm::Docker, &mut io::sink());
    assert!(matches!(docker, Err(LayoutError::SeveralImages(_))));
}
