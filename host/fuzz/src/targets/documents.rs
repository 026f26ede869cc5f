//! Documents and names: what is read is written and read again as the same.

use wbuild_oci::{ImageConfig, Index, Manifest, Reference};
use wbuild_policy::{Ruleset, Source};
use wbuild_registry::Credentials;

use super::{Target, as_it_is};

const JSON: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"true",
    b"\"\"",
    b"-0",
    b"1e400",
    b"\\u0000",
    b"\\ud800",
    b"\"schemaVersion\":2",
    b"\"mediaType\":",
    b"\"application/vnd.oci.image.layer.v1.tar+gzip\"",
    b"\"application/vnd.docker.distribution.manifest.v2+json\"",
    b"\"digest\":",
    b"\"size\":",
    b"\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"",
    b"\"sha512:00\"",
    b"\"layers\":[]",
    b"\"manifests\":[]",
    b"\"config\":{}",
    b"\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}",
    b"\"annotations\":{\"a\":\"b\"}",
    b"\"urls\":[\"https://x\"]",
    b"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}",
    b"\"history\":[{\"empty_layer\":true}]",
    b"\"created\":\"2020-01-01T00:00:00.1+02:00\"",
    b"\"Env\":[\"A=b\"]",
    b"\"Healthcheck\":{\"Interval\":1}",
    b"\"auths\":{\"r/p\":{\"auth\":\"YTpi\"}}",
    b"\"credHelpers\":{\"r\":\"h\"}",
    b"\"identitytoken\":\"t\"",
    b"\"subject\":{}",
];

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

pub(super) const MANIFEST: Target = Target {
    name: "manifest",
    seeds: || {
        let text = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":
            "application/vnd.oci.image.config.v1+json","digest":"D","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",
            "digest":"D","size":3,"annotations":{"a":"b"}}],"annotations":{"c":"d"}}"#;
        let docker = text.replace("vnd.oci.image.manifest.v1", "vnd.docker.distribution.manifest.v2");
        vec![text.replace('D', DIGEST).into_bytes(), docker.replace('D', DIGEST).into_bytes()]
    },
    words: JSON,
    repair: as_it_is,
    read: |input| match Manifest::parse(input) {
        Ok(read) => {
            let again = Manifest::parse(&read.to_bytes());
            assert_eq!(again.as_ref().ok(), Some(&read), "{again:?}");
            format!("{} {}", read.media_type(), "l".repeat(read.layers.len()))
        }
        Err(error) => error.to_string(),
    },
};

pub(super) const INDEX: Target = Target {
    name: "index",
    seeds: || {
        let text = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":
            "application/vnd.oci.image.manifest.v1+json","digest":"D","size":2,"platform":{"os":"linux","architecture":"arm","variant":"v7"}},
            {"mediaType":"application/vnd.oci.image.index.v1+json","digest":"D","size":9,"annotations":{"org.opencontainers.image.ref.name":"x"}}]}"#;
        vec![text.replace('D', DIGEST).into_bytes()]
    },
    words: JSON,
    repair: as_it_is,
    read: |input| match Index::parse(input) {
        Ok(read) => {
            let again = Index::parse(&read.to_compact_bytes());
            assert_eq!(again.as_ref().ok(), Some(&read), "{again:?}");
            let chosen = read.select(&wbuild_oci::Platform::new("linux", "arm64"));
            format!("{} {} {}", read.media_type(), "m".repeat(read.manifests.len()), chosen.is_some())
        }
        Err(error) => error.to_string(),
    },
};

pub(super) const CONFIG: Target = Target {
    name: "config",
    seeds: || {
        let text = r#"{"architecture":"amd64","os":"linux","created":"2020-01-01T00:00:00.5Z","author":"a","config":{"User":"1:2","Env":["A=b"],
            "Cmd":["x"],"Entrypoint":null,"Labels":{"a":"b"},"ExposedPorts":{"80/tcp":{}},"Volumes":{"/v":{}},"OnBuild":["RUN x"],"Healthcheck":
            {"Test":["NONE"],"Interval":1000000},"StopSignal":"9","WorkingDir":"/x","Unknown":[1.5]},"rootfs":{"type":"layers","diff_ids":["D"]},
            "history":[{"created":"2020-01-01T00:00:00Z","created_by":"x","empty_layer":true}],"os.version":"1"}"#;
        vec![text.replace("\"D\"", &format!("\"{DIGEST}\"")).into_bytes()]
    },
    words: JSON,
    repair: as_it_is,
    read: |input| match ImageConfig::parse(input) {
        Ok(read) => {
            let again = ImageConfig::parse(&read.to_bytes());
            assert_eq!(again.as_ref().ok(), Some(&read), "{again:?}");
            format!("config {} {}", read.rootfs.diff_ids.len(), read.created.is_some())
        }
        Err(error) => error.to_string(),
    },
};

pub(super) const REFERENCE: Target = Target {
    name: "reference",
    seeds: || {
        let with = format!("localhost:5000/a/b.c__d-e:v1.0_x@{DIGEST}");
        [
            "alpine",
            "a/b:1",
            "docker.io/library/x",
            "r.example:443/p@sha256:00",
            "[::1]:5000/x:y",
            "index.docker.io/x",
            &with,
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    },
    words: &[
        b"/",
        b":",
        b"@",
        b"sha256:",
        b"..",
        b"localhost",
        b"library/",
        b"docker.io/",
        b"[::1]",
        b"A",
        b"_",
        b"__",
        b"-",
        b"%2f",
        b"?",
        b"#",
        b"//",
    ],
    repair: as_it_is,
    read: |input| {
        let Ok(text) = std::str::from_utf8(input) else { return "no text".to_owned() };
        match text.parse::<Reference>() {
            Ok(read) => {
                let again = read.to_string().parse::<Reference>();
                assert_eq!(again.as_ref().ok(), Some(&read), "{again:?}");
                assert_eq!(read.familiar().parse::<Reference>().as_ref().ok(), Some(&read), "familiar");
                let plain = |character: char| {
                    character.is_ascii_lowercase() || character.is_ascii_digit() || "._-/".contains(character)
                };
                assert!(read.repository().chars().all(plain), "{}", read.repository());
                assert!(
                    !read.repository().split('/').any(|part| matches!(part, "" | "." | "..")),
                    "{}",
                    read.repository()
                );
                format!("reference {} {}", read.tag().is_some(), read.digest().is_some())
            }
            Err(error) => error.to_string(),
        }
    },
};

pub(super) const CREDENTIALS: Target = Target {
    name: "credentials",
    seeds: || {
        let text = r#"{"auths":{"r.example":{"auth":"YTpzZWNyZXQ="},"https://index.docker.io/v1/":{"username":"u","password":"p"},"r/x":{"identitytoken":"t"},
            "e":{}},"credHelpers":{"h.example":"test"},"credsStore":"store"}"#;
        vec![text.as_bytes().to_vec(), b"{}".to_vec()]
    },
    words: JSON,
    repair: as_it_is,
    read: |input| match Credentials::parse(input) {
        Ok(read) => {
            let shown = format!("{read:?}");
            assert!(!shown.contains("YTpzZWNyZXQ"), "a secret is shown: {shown}");
            format!("credentials {}", shown.len() / 50)
        }
        Err(error) => error.to_string(),
    },
};

pub(super) const POLICY: Target = Target {
    name: "policy",
    seeds: || {
        let ready = wbuild_policy::BUILT_IN.iter().map(|(_, text)| text.as_bytes().to_vec());
        ready.chain([b"version = 1\n".to_vec()]).collect()
    },
    words: &[
        b"\n[",
        b"]\n",
        b" = ",
        b"\"",
        b"[[",
        b"]]",
        b"version = 1\n",
        b"extends = [\"standard\"]\n",
        b"mode = \"audit\"\n",
        b"allow = [\"**\"]\n",
        b"deny = []\n",
        b"[run]\n",
        b"[network]\n",
        b"[files]\n",
        b"[limits]\n",
        b"memory = \"1GiB\"\n",
        b"true",
        b"-1",
        b"'''",
        b"\\u0000",
        b"1979-05-27",
        b"{",
        b"}",
        b"#",
    ],
    repair: as_it_is,
    read: |input| {
        let Ok(text) = std::str::from_utf8(input) else { return "no text".to_owned() };
        let source = Source { name: "given".to_owned(), text: text.to_owned() };
        match Ruleset::load(source, &mut |_, _| Err("there is none".to_owned())) {
            Ok(_) => "a policy".to_owned(),
            Err(error) => error.to_string(),
        }
    },
};
