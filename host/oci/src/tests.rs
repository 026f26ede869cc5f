//! Tests of documents as a whole, with oci-spec as the oracle.

use crate::*;
use proptest::prelude::*;

const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn a_digest_is_sha256_in_lower_case_hex() {
    let digest: Digest = EMPTY.parse().unwrap();
    assert_eq!(digest, Digest::of(b""));
    assert_eq!(digest.to_string(), EMPTY);
    assert_eq!(format!("sha256:{}", digest.hex()), EMPTY);
    assert_eq!(Digest::from_bytes(*digest.as_bytes()), digest);
    for text in [
        "",
        "sha256",
        "sha256:",
        ":ab",
        &EMPTY[..70],
        &EMPTY.to_uppercase(),
        &format!("{EMPTY}0"),
        "sha256:é",
    ] {
        assert!(matches!(text.parse::<Digest>(), Err(DigestError::Malformed(_))), "{text:?}");
    }
    let sha512 = format!("sha512:{}", "a".repeat(128));
    assert_eq!(sha512.parse::<Digest>(), Err(DigestError::Algorithm(sha512)));
}

#[test]
fn content_is_verified() {
    let digest = Digest::of(b"abc");
    digest.verify(b"abc").unwrap();
    let actual = Digest::of(b"abd");
    assert_eq!(digest.verify(b"abd"), Err(DigestError::Mismatch { expected: digest, actual }));
    let mut hasher = Hasher::new();
    hasher.update(b"a");
    hasher.update(b"bc");
    assert_eq!(hasher.finish(), digest);
}

#[test]
fn a_manifest_is_indented_as_buildkit_does_it() {
    let mut manifest = Manifest::new(Descriptor::of(media::CONFIG, b"{}"), vec![]);
    manifest.layers.push(Descriptor::of(media::LAYER_GZIP, b""));
    manifest.annotations.insert("b".to_owned(), "<&>".to_owned());
    manifest.annotations.insert("a".to_owned(), "1".to_owned());
    let expected = r#"{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {
    "mediaType": "application/vnd.oci.image.config.v1+json",
    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "size": 2
  },
  "layers": [
    {
      "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
      "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "size": 0
    }
  ],
  "annotations": {
    "a": "1",
    "b": "\u003c\u0026\u003e"
  }
}"#;
    assert_eq!(String::from_utf8(manifest.to_bytes()).unwrap(), expected);
    assert_eq!(Manifest::parse(expected.as_bytes()).unwrap(), manifest);
    let oracle = oci_spec::image::ImageManifest::from_reader(expected.as_bytes()).unwrap();
    assert_eq!(oracle.config().digest().to_string(), manifest.config.digest.to_string());
    assert_eq!(oracle.layers()[0].size(), 0);
    assert_eq!(oracle.annotations().as_ref().unwrap()["b"], "<&>");
}

#[test]
fn one_document_is_never_two_kinds() {
    let manifest = Manifest::new(Descriptor::of(media::CONFIG, b"{}"), vec![]);
    let index = Index::new(vec![manifest.descriptor()]);
    assert!(Index::parse(&manifest.to_bytes()).is_err());
    assert!(Manifest::parse(&index.to_bytes()).is_err());
    let config = r#""config":{"digest":"EMPTY","size":0}"#.replace("EMPTY", EMPTY);
    let both = format!(r#"{{"schemaVersion":2,{config},"layers":[],"manifests":[]}}"#);
    assert!(Index::parse(both.as_bytes()).is_err());
    assert!(Manifest::parse(both.as_bytes()).is_err());
    for schema in ["1", "3"] {
        let text = format!(r#"{{"schemaVersion":{schema},{config},"layers":[]}}"#);
        assert!(Manifest::parse(text.as_bytes()).is_err());
        assert!(Index::parse(format!(r#"{{"schemaVersion":{schema},"manifests":[]}}"#).as_bytes()).is_err());
    }
    assert!(Layout::parse(br#"{"imageLayoutVersion":"2.0.0"}"#).is_err());
    Layout::parse(&Layout::to_bytes()).unwrap();
}

#[test]
fn other_writers_documents_are_read() {
    // Docker: null lists, media types of its own. Podman: no media type.
    let digest = format!(r#""digest":"{EMPTY}","size":0"#);
    let docker = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}",{digest}}},
           "layers":[{{"mediaType":"{}",{digest},"urls":null,"annotations":null}}]}}"#,
        media::DOCKER_MANIFEST,
        media::DOCKER_CONFIG,
        media::DOCKER_LAYER_GZIP
    );
    let manifest = Manifest::parse(docker.as_bytes()).unwrap();
    assert_eq!(manifest.media_type(), media::DOCKER_MANIFEST);
    assert_eq!(manifest.layers[0].kind(), media::Kind::Layer(Compression::Gzip));
    assert_eq!(manifest.config.kind(), media::Kind::Config);
    assert_eq!(manifest.blobs().count(), 2);
    let index = Index::parse(br#"{"schemaVersion":2,"manifests":null}"#).unwrap();
    assert_eq!((index.media_type(), index.manifests.len()), (media::INDEX, 0));
}

#[test]
fn the_best_entry_of_an_index_is_chosen() {
    let entry = |platform: &str, content: &str| {
        let mut entry = Descriptor::of(media::MANIFEST, content.as_bytes());
        entry.platform = (!platform.is_empty()).then(|| platform.parse().unwrap());
        entry
    };
    let index = Index::new(vec![
        entry("", "plain"),
        entry("unknown/unknown", "attestation"),
        entry("linux/386", "386"),
        entry("linux/arm/v6", "arm6"),
        entry("linux/amd64", "first"),
        entry("linux/amd64", "second"),
        entry("linux/amd64/v3", "v3"),
    ]);
    let chosen = |platform: &str| index.select(&platform.parse().unwrap()).unwrap().digest;
    assert_eq!(chosen("linux/amd64"), Digest::of(b"first"));
    assert_eq!(chosen("linux/amd64/v4"), Digest::of(b"v3"));
    assert_eq!(chosen("linux/arm64"), Digest::of(b"arm6"));
    assert_eq!(chosen("linux/riscv64"), Digest::of(b"plain"));
    let mut without = index.clone();
    without.manifests.remove(0);
    assert_eq!(without.select(&"linux/riscv64".parse().unwrap()), None);
    let listed: Vec<_> = without.platforms().map(ToString::to_string).collect();
    assert_eq!(listed[..2], ["linux/386", "linux/arm/v6"]);
    let oracle = oci_spec::image::ImageIndex::from_reader(index.to_bytes().as_slice()).unwrap();
    assert_eq!(oracle.manifests().len(), 7);
    assert_eq!(oracle.manifests()[4].platform().as_ref().unwrap().architecture().to_string(), "amd64");
}

proptest! {
    #[test]
    fn documents_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), json in r#"[{}\[\]":,a-zA-Z0-9.+ ]{0,200}"#) {
        for document in [bytes.as_slice(), json.as_bytes()] {
            let _ = Manifest::parse(document);
            let _ = Index::parse(document);
            let _ = ImageConfig::parse(document);
            let _ = Layout::parse(document);
        }
    }

    #[test]
    fn a_mutilated_manifest_is_an_error_or_a_manifest(at in 0..600usize, byte in any::<u8>()) {
        let manifest = Manifest::new(Descriptor::of(media::CONFIG, b"{}"), vec![Descriptor::of(media::LAYER_TAR, b"x")]);
        let mut bytes = manifest.to_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(read) = Manifest::parse(&bytes) {
            // What was read is written and read again without a change.
            prop_assert_eq!(Manifest::parse(&read.to_bytes()).unwrap(), read);
        }
    }

    #[test]
    fn text_comes_through_json(text in any::<String>(), key in any::<String>()) {
        let mut manifest = Manifest::new(Descriptor::of(media::CONFIG, b"{}"), vec![]);
        manifest.annotations.insert(key, text);
        let bytes = manifest.to_bytes();
        prop_assert!(!bytes.iter().any(|byte| b"<>&".contains(byte)));
        prop_assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
    }
}
