//! Provenance: attached as BuildKit does, read by the in-toto project's own package, complete and without secrets.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;
use wbuild_tests::base;
use wbuild_tests::command::{self, command};
use wbuild_tests::oracles;
use wbuild_tests::project::Project;
use wbuild_tests::registry::Registry;
use wbuild_tests::session::{Caller, Session};

fn blob(layout: &Path, digest: &Value) -> Vec<u8> {
    let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
    std::fs::read(layout.join("blobs/sha256").join(hex)).unwrap()
}

fn document(layout: &Path, digest: &Value) -> Value {
    serde_json::from_slice(&blob(layout, digest)).unwrap()
}

/// What a layout holds: the descriptor of the image, the attestation's manifest, its statements by predicate.
struct Attested {
    image: Value,
    manifest: Value,
    statement: Value,
}

fn attested(layout: &Path) -> Attested {
    let top: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let index = document(layout, &top["manifests"][0]["digest"]);
    let image = index["manifests"][0].clone();
    let entry = &index["manifests"][1];
    assert_eq!(entry["platform"], serde_json::json!({"architecture": "unknown", "os": "unknown"}));
    assert_eq!(entry["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(entry["annotations"]["vnd.docker.reference.digest"], image["digest"]);
    let manifest = document(layout, &entry["digest"]);
    assert_eq!(manifest["subject"]["digest"], image["digest"]);
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
    assert_eq!(layer["annotations"]["in-toto.io/predicate-type"], "https://slsa.dev/provenance/v1");
    let statement = document(layout, &layer["digest"]);
    Attested { image, manifest, statement }
}

/// Holds a statement against the in-toto project's own types: the statement's rules, and every field of the SLSA predicate.
fn check(statement: &Value) {
    let script = "import json, sys\n\
        from google.protobuf import json_format\n\
        from in_toto_attestation.v1.statement import Statement\n\
        from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor\n\
        import in_toto_attestation.v1.statement_pb2 as spb\n\
        import in_toto_attestation.predicates.provenance.v1.provenance_pb2 as ppb\n\
        text = sys.argv[1]\n\
        pb = json_format.Parse(text, spb.Statement())\n\
        Statement.copy_from_pb(pb).validate()\n\
        body = json_format.ParseDict(json.loads(text)['predicate'], ppb.Provenance())\n\
        assert body.build_definition.build_type and body.run_details.builder.id\n\
        for one in list(body.build_definition.resolved_dependencies) + list(body.run_details.byproducts):\n\
        \x20   ResourceDescriptor.copy_from_pb(one).validate()\n\
        assert body.run_details.metadata.started_on.seconds > 1700000000\n";
    let python = oracles::python(&["in-toto-attestation"]).unwrap();
    let check = command(python, ["-c", script, &statement.to_string()]);
    command::run(check).unwrap().success().unwrap();
}

/// A server on loopback that gives these bytes for every path; its address.
fn server(content: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(content).unwrap();
        }
    });
    address
}

fn evidence(statement: &Value) -> String {
    let product = &statement["predicate"]["runDetails"]["byproducts"][0];
    assert_eq!(product["name"], "wbuild.audit/v1");
    let script = "import base64, sys; sys.stdout.buffer.write(base64.b64decode(sys.argv[1]))";
    let decode = command("python3", ["-c", script, product["content"].as_str().unwrap()]);
    let text = command::run(decode).unwrap().success().unwrap().stdout;
    let (digest, _) = wbuild_tests::layout::digest(text.as_bytes()).unwrap();
    assert_eq!(product["digest"]["sha256"].as_str().unwrap(), digest.trim_start_matches("sha256:"));
    text
}

#[test]
fn provenance_names_every_material_and_the_policy_and_no_secret() {
    let mut session = Session::new(Caller::Root).unwrap();
    let address = server(b"hello\n");
    let text = format!(
        "FROM base\nARG WORD\nADD http://{address}/a.txt /a\n\
         RUN --mount=type=secret,id=token cat /run/secrets/token | wc -c && echo $WORD > /w\n"
    );
    let project = Project::new(&base::busybox().unwrap(), &text).unwrap();
    let (host, seen) = session.out("token").unwrap();
    std::fs::write(host, "swordfish-and-more").unwrap();
    let (host, policy) = session.out("own.toml").unwrap();
    std::fs::write(host, "[[step]]\nfs.write.deny = [\"/etc/**\"]\n").unwrap();
    let secret = format!("id=token,src={seen}");
    let (metadata, metadata_seen) = session.out("metadata.json").unwrap();
    let digest = session.succeed(&["policy", "digest", &policy]).unwrap().stdout;
    let digest = digest.trim().trim_start_matches("sha256:");
    let more = |provenance: &'static str| {
        let more =
            ["--secret", &secret, "--policy", &policy, "--build-arg", "WORD=w0rd-of-arg", "-t", "app:1"];
        let mut more: Vec<String> = more.iter().map(|text| (*text).to_owned()).collect();
        more.extend([provenance.to_owned(), "--metadata-file".to_owned(), metadata_seen.clone()]);
        more
    };
    let mut statements = Vec::new();
    for flag in ["--provenance", "--provenance=mode=max"] {
        let more = more(flag);
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let (layout, outcome) = project.build_in(&mut session, &more).unwrap();
        outcome.success().unwrap();
        let Attested { image, statement, .. } = attested(&layout);
        check(&statement);
        let told = statement["subject"][0]["digest"]["sha256"].as_str().unwrap();
        assert_eq!(format!("sha256:{told}"), image["digest"].as_str().unwrap());
        let definition = &statement["predicate"]["buildDefinition"];
        let materials = definition["resolvedDependencies"].as_array().unwrap();
        let sum = wbuild_tests::layout::digest(&b"hello\n"[..]).unwrap().0;
        assert_eq!(materials.len(), 2, "{materials:?}");
        assert!(materials.iter().any(|m| m["uri"] == format!("http://{address}/a.txt")
            && sum.ends_with(m["digest"]["sha256"].as_str().unwrap())));
        assert!(materials.iter().any(|m| m["uri"].as_str().unwrap().starts_with("pkg:docker/base")));
        assert_eq!(definition["internalParameters"]["policy"]["digest"]["sha256"], digest);
        let metadata: Value = serde_json::from_slice(&std::fs::read(&metadata).unwrap()).unwrap();
        assert_eq!(metadata["buildx.build.provenance"], statement["predicate"]);
        let whole = format!("{statement}{}", evidence(&statement));
        assert!(!whole.contains("swordfish") && !whole.contains(policy.as_str()), "{whole}");
        statements.push(whole);
    }
    assert!(evidence_of(&statements[0], "/bin/busybox"), "{}", statements[0]);
    assert!(!statements[0].contains("w0rd-of-arg") && !statements[0].contains("Dockerfile\",\"language"));
    assert!(statements[1].contains("build-arg:WORD") && statements[1].contains("w0rd-of-arg"));
}

/// The first of the two builds ran the step.
fn evidence_of(whole: &str, program: &str) -> bool {
    whole.contains(&format!("\"path\":\"{program}\""))
}

#[test]
fn the_image_itself_is_the_same_with_and_without() {
    let mut session = Session::new(Caller::Root).unwrap();
    let project = Project::new(&base::busybox().unwrap(), "FROM base\nRUN echo x > /x\n").unwrap();
    let (with, outcome) = project.build_in(&mut session, &["--attest", "type=provenance,mode=max"]).unwrap();
    outcome.success().unwrap();
    let (without, outcome) = project.build_in(&mut session, &["--provenance=false"]).unwrap();
    outcome.success().unwrap();
    let top: Value = serde_json::from_slice(&std::fs::read(without.join("index.json")).unwrap()).unwrap();
    let Attested { image, manifest, .. } = attested(&with);
    assert_eq!(top["manifests"][0]["digest"], image["digest"]);
    assert_eq!(manifest["artifactType"], "application/vnd.docker.attestation.manifest.v1+json");
}

#[test]
fn a_registry_gets_the_index_and_docker_archives_the_image_alone() {
    let registry = Registry::start().unwrap();
    let mut session = Session::new(Caller::Root).unwrap();
    let project = Project::new(&base::busybox().unwrap(), "FROM base\nRUN echo x > /x\n").unwrap();
    let name = registry.reference("app:1");
    let (archive, seen) = session.out("docker.tar").unwrap();
    let docker = format!("type=docker,dest={seen}");
    let more = ["--provenance", "-t", &name, "--push", "-o", &docker];
    let (layout, outcome) = project.build_in(&mut session, &more).unwrap();
    let said = outcome.success().unwrap().text();
    assert!(said.contains("the other outputs have no place for them"), "{said}");
    let raw = command("skopeo", ["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
    let index: Value = serde_json::from_str(&command::run(raw).unwrap().success().unwrap().stdout).unwrap();
    assert_eq!(index["manifests"][0]["digest"], attested(&layout).image["digest"]);
    // Whoever asks for a platform gets the image.
    registry.pull("app:1", &session.out("pulled").unwrap().0).unwrap();
    let list = command("tar", ["-xOf", archive.to_str().unwrap(), "manifest.json"]);
    assert!(command::run(list).unwrap().success().unwrap().stdout.contains("Layers"));
}
