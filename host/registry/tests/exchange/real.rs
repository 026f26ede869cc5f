//! Against docker-registry, with skopeo as the other party.

use crate::docker_registry::{Access, DockerRegistry, PASSWORD, USER, skopeo};
use crate::images::{Reports, TestStore, amd64, client, client_knowing, noise, pull, reference, whole};
use base64::{Engine, engine::general_purpose::STANDARD};
use cap_std::{ambient_authority, fs::Dir};
use wbuild_oci::{Index, Manifest, Platform};
use wbuild_registry::Client;
use wbuild_store::{ErrorClass, Remote, Silent, TransferKind, write_layout_dir};

fn open(files: &tempfile::TempDir) -> Dir {
    Dir::open_ambient_dir(files.path(), ambient_authority()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_skopeo_reads() {
    let registry = DockerRegistry::start(Access::Open);
    let store = TestStore::new();
    let large = noise(9 << 20, 1);
    let (manifest, document) = store.image(&[&large, b"", b"small", b"small"]);
    let to = [reference(&registry.name("team/app:1")), reference(&registry.name("team/app:latest"))];
    let pushed = client().push(&store.store, &manifest, &to, &Silent).await.unwrap();
    assert_eq!(pushed.iter().map(|one| &one.reference).collect::<Vec<_>>(), to.iter().collect::<Vec<_>>());
    assert!(pushed.iter().all(|one| one.digest == manifest.digest));
    for tag in ["1", "latest"] {
        let out = tempfile::tempdir().unwrap();
        let source = format!("docker://{}", registry.name(&format!("team/app:{tag}")));
        let target = format!("dir:{}", out.path().display());
        skopeo(&["copy", "--src-tls-verify=false", &source, &target]);
        let dir = open(&out);
        assert_eq!(dir.read("manifest.json").unwrap(), document.to_bytes(), "{tag}");
        for blob in document.blobs() {
            blob.digest.verify(&dir.read(blob.digest.hex()).unwrap()).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_skopeo_pushes_is_read() {
    let registry = DockerRegistry::start(Access::Open);
    let source = TestStore::new();
    let (manifest, document) = source.image(&[&noise(3 << 20, 2), b"second"]);
    let layout = tempfile::tempdir().unwrap();
    write_layout_dir(&source.store, &manifest, &[reference("x:y")], &open(&layout)).unwrap();
    let oci = format!("oci:{}:y", layout.path().display());
    for (format, media_type) in
        [("oci", wbuild_oci::media::MANIFEST), ("v2s2", wbuild_oci::media::DOCKER_MANIFEST)]
    {
        let name = registry.name(&format!("from-skopeo:{format}"));
        skopeo(&["copy", "--dest-tls-verify=false", "--format", format, &oci, &format!("docker://{name}")]);
        let store = TestStore::new();
        let image = pull(&client(), &store.store, &name).await.unwrap();
        assert_eq!(image.manifest.media_type(), media_type);
        assert_eq!(image.descriptor.platform, Some(amd64()));
        assert_eq!(
            image.config.rootfs.diff_ids,
            document.layers.iter().map(|l| l.digest).collect::<Vec<_>>()
        );
        // Every blob, the manifest and the config: whole, under its own name.
        let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
        let raw = Manifest::parse(&raw).unwrap();
        for blob in raw.blobs() {
            let bytes = store.store.read(&blob.digest, u64::MAX - 1).unwrap();
            assert_eq!(bytes.len() as u64, blob.size);
        }
        assert_eq!(store.blobs().len(), 4);
        // By digest it needs no registry any more.
        let pinned = reference(&registry.name("from-skopeo")).with_digest(image.descriptor.digest);
        assert_eq!(client().resolve(&store.store, &pinned, &amd64()).await.unwrap(), image);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_sent_and_siblings_mount() {
    let registry = DockerRegistry::start(Access::Open);
    let store = TestStore::new();
    let (base, base_document) = store.image(&[&noise(1 << 20, 3)]);
    let layer = base_document.layers[0].digest;
    let push = async |client: &Client, name: &str| {
        let reports = Reports::default();
        client.push(&store.store, &base, &[reference(&registry.name(name))], &reports).await.unwrap();
        reports.of(&layer)
    };
    let first = push(&client(), "base:1").await;
    assert_eq!((first.first(), first.last()), (Some(&TransferKind::Started), Some(&TransferKind::Done)));
    assert_eq!(push(&client(), "base:2").await, [TransferKind::Exists]);
    // A client that has seen where a layer comes from has it mounted.
    let knowing = client();
    knowing.resolve(&store.store, &reference(&registry.name("base:1")), &amd64()).await.unwrap();
    assert_eq!(push(&knowing, "derived/app:1").await, [TransferKind::Mounted { from: "base".to_owned() }]);
    // And of several names in one push the second repository takes from the first.
    let reports = Reports::default();
    let names = [reference(&registry.name("one:t")), reference(&registry.name("two:t"))];
    client().push(&store.store, &base, &names, &reports).await.unwrap();
    assert!(reports.of(&layer).contains(&TransferKind::Mounted { from: "one".to_owned() }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_layer_that_nothing_needed_is_still_pushed() {
    let (from, to) = (DockerRegistry::start(Access::Open), DockerRegistry::start(Access::Open));
    let source = TestStore::new();
    let (manifest, document) = source.image(&[&noise(1 << 20, 4)]);
    client().push(&source.store, &manifest, &[reference(&from.name("base"))], &Silent).await.unwrap();
    let (store, client) = (TestStore::new(), client());
    client.resolve(&store.store, &reference(&from.name("base")), &amd64()).await.unwrap();
    assert!(!store.store.has(&document.layers[0].digest).unwrap());
    client.push(&store.store, &manifest, &[reference(&to.name("base"))], &Silent).await.unwrap();
    let third = TestStore::new();
    pull(&client, &third.store, &to.name("base")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_lets_in_and_nothing_else_does() {
    let registry = DockerRegistry::start(Access::Password);
    let store = TestStore::new();
    let (manifest, _) = store.image(&[b"layer"]);
    let to = [reference(&registry.name("private/app:1"))];
    let config = |password: &str| {
        let auth = STANDARD.encode(format!("{USER}:{password}"));
        format!(r#"{{"auths":{{"http://127.0.0.1:{}":{{"auth":"{auth}"}}}}}}"#, registry.port)
    };
    let good = client_knowing(&config(PASSWORD));
    for (client, why) in
        [(client(), "no credentials"), (client_knowing(&config("wrong-one")), "not accepted")]
    {
        for error in [
            client.push(&store.store, &manifest, &to, &Silent).await.unwrap_err(),
            client.resolve(&store.store, &to[0], &amd64()).await.unwrap_err(),
        ] {
            assert_eq!(error.class(), ErrorClass::Refused);
            let text = whole(&error);
            assert!(text.contains(why) && !text.contains("wrong-one"), "{text}");
        }
    }
    good.push(&store.store, &manifest, &to, &Silent).await.unwrap();
    let other = TestStore::new();
    pull(&good, &other.store, &registry.name("private/app:1")).await.unwrap();
    let source = format!("docker://{}", registry.name("private/app:1"));
    let login = format!("--creds={USER}:{PASSWORD}");
    skopeo(&["inspect", "--tls-verify=false", &login, &source]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_refused() {
    let registry = DockerRegistry::start(Access::Open);
    let store = TestStore::new();
    let (manifest, document) = store.image(&[b"layer"]);
    client().push(&store.store, &manifest, &[reference(&registry.name("app:1"))], &Silent).await.unwrap();
    for name in ["nothing", "app:2"] {
        let error =
            client().resolve(&store.store, &reference(&registry.name(name)), &amd64()).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Missing);
        assert!(whole(&error).contains("UNKNOWN"), "{}", whole(&error));
    }
    let arm = Platform::new("linux", "arm64");
    let error = client().resolve(&store.store, &reference(&registry.name("app:1")), &arm).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Refused);
    assert!(whole(&error).contains("linux/amd64"), "{}", whole(&error));
    // A manifest of a repository that lacks its layers.
    let empty = TestStore::new();
    let missing = reference(&registry.name("other"));
    let error = client().fetch(&empty.store, &missing, &document.layers, &Silent).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_gives_the_image_of_the_platform() {
    let registry = DockerRegistry::start(Access::Open);
    let source = TestStore::new();
    let mut entries = Vec::new();
    let mut images = Vec::new();
    for (architecture, variant) in [("arm", "v7"), ("arm64", ""), ("amd64", "")] {
        let platform: Platform =
            format!("linux/{architecture}/{variant}").trim_end_matches('/').parse().unwrap();
        let mut config = wbuild_oci::ImageConfig::scratch(&platform);
        let layer = source.store.ingest_bytes(wbuild_oci::media::LAYER_TAR, architecture.as_bytes()).unwrap();
        config.rootfs.diff_ids.push(layer.digest);
        let config = source.store.ingest_bytes(wbuild_oci::media::CONFIG, &config.to_bytes()).unwrap();
        let manifest = Manifest::new(config, vec![layer]);
        let mut entry = source.store.ingest_bytes(wbuild_oci::media::MANIFEST, &manifest.to_bytes()).unwrap();
        entry.platform = Some(platform.clone());
        images.push((platform, entry.digest));
        entries.push(entry);
    }
    // skopeo pushes the index; our own push is for one image.
    let layout = tempfile::tempdir().unwrap();
    let dir = open(&layout);
    for entry in &entries {
        write_layout_dir(&source.store, entry, &[], &dir).unwrap();
    }
    let index = Index::new(entries).to_bytes();
    let digest = wbuild_oci::Digest::of(&index);
    dir.write(format!("blobs/sha256/{}", digest.hex()), &index).unwrap();
    let mut top = wbuild_oci::Descriptor::new(wbuild_oci::media::INDEX, digest, index.len() as u64);
    top.annotations.insert(wbuild_oci::ANNOTATION_REF_NAME.to_owned(), "all".to_owned());
    dir.write("index.json", Index::new(vec![top]).to_bytes()).unwrap();
    let oci = format!("oci:{}:all", layout.path().display());
    let target = format!("docker://{}", registry.name("multi:1"));
    skopeo(&["copy", "--all", "--preserve-digests", "--dest-tls-verify=false", &oci, &target]);
    for (platform, digest) in images {
        let store = TestStore::new();
        let image =
            client().resolve(&store.store, &reference(&registry.name("multi:1")), &platform).await.unwrap();
        assert_eq!(image.descriptor.digest, digest, "{platform}");
        assert_eq!(image.config.platform(), platform);
    }
    let store = TestStore::new();
    let riscv = Platform::new("linux", "riscv64");
    let error =
        client().resolve(&store.store, &reference(&registry.name("multi:1")), &riscv).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Refused);
    assert!(whole(&error).contains("linux/arm/v7, linux/arm64, linux/amd64"), "{}", whole(&error));
}
