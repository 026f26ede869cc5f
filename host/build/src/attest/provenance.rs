//! SLSA provenance v1 (slsa.dev/spec/v1.0/provenance): what an image was made of, how, and under which policy.
//!
//! `min` and `max` tell what BuildKit's tell: values of build arguments and labels, and the ids of secrets, are in `max` alone. The evidence of
//! steps is a by-product: the step lines of an audit (docs/audit.md).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wbuild_oci::{Digest, Platform, Reference};

use super::{Provenance, ProvenanceMode};
use crate::evidence::{AuditLine, StepAccount, UsedPolicy};
use crate::request::GitMaterial;

/// The type of the predicate.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// What `buildDefinition` means: docs/provenance.md. A tag URI: it names and is not looked up.
pub const BUILD_TYPE: &str = "tag:wbuild,2026:dockerfile/v1";
const BUILDER: &str = "tag:wbuild,2026:builder";

/// Something an image was made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Material {
    /// A package URL, a URL, or a git source with its reference.
    pub(crate) uri: String,
    /// The algorithm (`sha256`, `sha1`) and the hexadecimal digits.
    pub(crate) digest: (String, String),
}

impl Material {
    /// A base image.
    pub(crate) fn image(name: &str, platform: &Platform, digest: Digest) -> Self {
        let uri = match name.parse::<Reference>() {
            Ok(reference) => package_url(&reference, platform),
            Err(_) => format!("pkg:oci/{}?platform={}", escaped(name), escaped(&platform.to_string())),
        };
        Self { uri, digest: ("sha256".to_owned(), digest.hex()) }
    }

    /// What a URL gave.
    pub(crate) fn url(url: &str, digest: Digest) -> Self {
        Self { uri: without_credentials(url), digest: ("sha256".to_owned(), digest.hex()) }
    }

    /// A git commit, as BuildKit names it.
    pub(crate) fn git(git: &GitMaterial) -> Self {
        let algorithm = if git.commit.len() == 64 { "sha256" } else { "sha1" };
        Self { uri: without_credentials(&git.source), digest: (algorithm.to_owned(), git.commit.clone()) }
    }
}

/// What a build knows of itself.
pub(crate) struct Facts<'a> {
    pub(crate) wanted: &'a Provenance,
    pub(crate) dockerfile: (&'a str, &'a [u8]),
    pub(crate) target: Option<&'a str>,
    pub(crate) arguments: &'a BTreeMap<String, String>,
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) secrets: Vec<String>,
    pub(crate) platform: &'a Platform,
    pub(crate) builder_platform: &'a Platform,
    pub(crate) network: &'static str,
    pub(crate) policy: Option<UsedPolicy>,
    pub(crate) materials: Vec<Material>,
    pub(crate) steps: Vec<StepAccount>,
    pub(crate) started: String,
    pub(crate) finished: String,
}

/// The predicate.
pub(crate) fn predicate(facts: &Facts<'_>) -> Value {
    let max = facts.wanted.mode == ProvenanceMode::Max;
    let (name, text) = facts.dockerfile;
    let mut request = json!({
        "frontend": "dockerfile.v0",
        "args": arguments(facts),
        "locals": [{ "name": "context" }, { "name": "dockerfile" }],
    });
    let mut internal = json!({
        "builderPlatform": facts.builder_platform.to_string(),
        "builderVersion": env!("CARGO_PKG_VERSION"),
    });
    if max {
        request["secrets"] = facts.secrets.iter().map(|id| json!({ "id": id })).collect();
        internal["dockerfile"] =
            json!({ "filename": name, "language": "Dockerfile", "data": STANDARD.encode(text) });
    }
    if let Some(policy) = &facts.policy {
        // Where the files lie on the builder's machine is nobody's business.
        internal["policy"] = json!({
            "digest": { "sha256": policy.digest.hex() },
            "mode": policy.mode,
            "files": policy.files.iter().map(|file| base_name(file)).collect::<Vec<_>>(),
        });
    }
    let mut materials = facts.materials.clone();
    materials.sort();
    materials.dedup();
    let material = |material: &Material| {
        let (algorithm, digits) = &material.digest;
        json!({ "uri": material.uri, "digest": { algorithm: digits } })
    };
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "configSource": { "path": name, "digest": { "sha256": Digest::of(text).hex() } },
                "request": request,
            },
            "internalParameters": internal,
            "resolvedDependencies": materials.iter().map(material).collect::<Vec<_>>(),
        },
        "runDetails": {
            "builder": { "id": facts.wanted.builder_id.as_deref().unwrap_or(BUILDER), "version": { "wbuild": env!("CARGO_PKG_VERSION") } },
            "metadata": {
                "invocationId": invocation(facts),
                "startedOn": facts.started,
                "finishedOn": facts.finished,
            },
            "byproducts": [evidence(facts)],
        },
    })
}

/// What names this run and no other.
fn invocation(facts: &Facts<'_>) -> String {
    let mut random = [0; 16];
    // Without random numbers the time and the process tell runs apart.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    let seed = format!("{random:?} {} {}", facts.started, std::process::id());
    Digest::of(seed.as_bytes()).hex()[..32].to_owned()
}

/// The request's arguments, named as BuildKit names them.
fn arguments(facts: &Facts<'_>) -> BTreeMap<String, String> {
    let mut args = BTreeMap::from([("platform".to_owned(), facts.platform.to_string())]);
    args.extend(facts.target.map(|target| ("target".to_owned(), target.to_owned())));
    if facts.network != "default" {
        args.insert("force-network-mode".to_owned(), facts.network.to_owned());
    }
    if facts.wanted.mode == ProvenanceMode::Max {
        // Proxies may hold passwords, and change nothing of what is built.
        let arguments = facts.arguments.iter().filter(|(name, _)| !wbuild_plan::is_proxy_argument(name));
        args.extend(arguments.map(|(name, value)| (format!("build-arg:{name}"), value.clone())));
        args.extend(facts.labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone())));
    }
    args
}

/// The step lines of an audit as a resource.
fn evidence(facts: &Facts<'_>) -> Value {
    let mut lines = Vec::new();
    for step in &facts.steps {
        let mut step = step.clone();
        if facts.wanted.mode == ProvenanceMode::Min {
            step.secrets.clear();
            // The command is told with its variables expanded.
            let place = step.step.split_inclusive("] ").next().unwrap_or_default();
            step.step = format!("{place}{}", step.instruction);
        }
        for denial in &mut step.denials {
            if let Some(rule) = &mut denial.rule {
                rule.file = base_name(&rule.file).to_owned();
            }
        }
        // Strings and numbers: nothing here can fail.
        lines.extend(serde_json::to_vec(&AuditLine::Step(Box::new(step))).unwrap_or_default());
        lines.push(b'\n');
    }
    json!({
        "name": AuditLine::SCHEMA,
        "mediaType": "application/x-ndjson",
        "digest": { "sha256": Digest::of(&lines).hex() },
        "content": STANDARD.encode(&lines),
    })
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A URL without the user and password that it may have.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// The package URL of an image, as BuildKit writes it.
pub(super) fn package_url(reference: &Reference, platform: &Platform) -> String {
    let familiar = reference.familiar();
    let name = familiar.split('@').next().unwrap_or_default();
    let tag =
        reference.tag().filter(|_| name.ends_with(&format!(":{}", reference.tag().unwrap_or_default())));
    let bare = tag.map_or(name, |tag| &name[..name.len() - tag.len() - 1]);
    let path: Vec<String> = bare.split('/').map(escaped).collect();
    let tag = reference.tag().map(|tag| format!("@{}", escaped(tag))).unwrap_or_default();
    let digest = reference.digest().map(|digest| format!("digest={}&", digest)).unwrap_or_default();
    format!("pkg:docker/{}{tag}?{digest}platform={}", path.join("/"), escaped(&platform.to_string()))
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_as_buildkit_names_them() {
        let platform = Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() };
        let named = |text: &str| package_url(&text.parse().unwrap(), &platform);
        assert_eq!(named("debian:12"), "pkg:docker/debian@12?platform=linux%2Famd64");
        assert_eq!(
            named("registry.example:5000/team/app:1.0"),
            "pkg:docker/registry.example%3A5000/team/app@1.0?platform=linux%2Famd64"
        );
    }

    #[test]
    fn a_url_is_told_without_its_password() {
        assert_eq!(without_credentials("https://u:p@h.test/a@b?c"), "https://h.test/a@b?c");
        assert_eq!(without_credentials("https://h.test/x"), "https://h.test/x");
    }

    #[test]
    fn min_holds_no_values() {
        let (platform, arguments) =
            (Platform::host(), BTreeMap::from([("A".to_owned(), "value-of-a".to_owned())]));
        let facts = |mode| {
            let wanted = Provenance { mode, builder_id: None };
            let labels = BTreeMap::new();
            let step = StepAccount {
                step: "[2/2] RUN echo value-of-a".into(),
                instruction: "RUN".into(),
                secrets: vec!["token-id".into()],
                ..StepAccount::default()
            };
            let facts = Facts {
                wanted: &wanted,
                dockerfile: ("Dockerfile", b"FROM scratch"),
                target: None,
                arguments: &arguments,
                labels: &labels,
                secrets: vec!["token-id".into()],
                platform: &platform,
                builder_platform: &platform,
                network: "default",
                policy: None,
                materials: Vec::new(),
                steps: vec![step],
                started: String::new(),
                finished: String::new(),
            };
            let predicate = predicate(&facts);
            let content = predicate["runDetails"]["byproducts"][0]["content"].as_str().unwrap().to_owned();
            format!("{predicate}{}", String::from_utf8(STANDARD.decode(content).unwrap()).unwrap())
        };
        let (min, max) = (facts(ProvenanceMode::Min), facts(ProvenanceMode::Max));
        assert!(
            !min.contains("value-of-a") && !min.contains("token-id") && !min.contains("Language"),
            "{min}"
        );
        assert!(max.contains("value-of-a") && max.contains("token-id"), "{max}");
    }
}
