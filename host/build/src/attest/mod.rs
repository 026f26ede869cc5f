//! Attestations: in-toto statements about an image, attached to it as BuildKit attaches them and as an OCI referrer.
//!
//! One manifest for an image holds its statements as layers. It is an entry of an index beside the image (platform `unknown/unknown`,
//! annotated with what it is about), and its `subject` is the image's manifest. The image's own manifest stays what it is without attestations.
//! With a signer each statement is there a second time, in a DSSE envelope. A statement holds no credential and no value of a secret.

mod dsse;
mod provenance;

use std::collections::BTreeMap;
use std::sync::Arc;

use wbuild_oci::{Descriptor, Digest, Index, Manifest, Platform, Reference, media};
use wbuild_store::{Store, StoreError};

pub use dsse::{Envelope, PAYLOAD_TYPE, Signature, pae};
pub use provenance::{BUILD_TYPE, PREDICATE_TYPE};
pub(crate) use provenance::{Facts, Material, predicate};

/// The media type of a statement.
pub const STATEMENT: &str = "application/vnd.in-toto+json";
/// The media type of a signed statement.
pub const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// The annotation of a statement's layer.
pub const PREDICATE_ANNOTATION: &str = "in-toto.io/predicate-type";
/// The annotations of an attestation's entry in an index.
pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// See [`REFERENCE_TYPE`].
pub const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// The value of [`REFERENCE_TYPE`].
pub const ATTESTATION: &str = "attestation-manifest";
const ARTIFACT_TYPE: &str = "application/vnd.docker.attestation.manifest.v1+json";

/// Signs what is attested; the key stays with the caller.
pub trait Sign: Send + Sync {
    /// The signature of a message, and the name of the key.
    fn sign(&self, message: &[u8]) -> Signature;
}

/// What is attested of an image.
#[derive(Clone, Default)]
pub struct Attest {
    /// `--provenance`
    pub provenance: Option<Provenance>,
    /// `--sign-key`
    pub signer: Option<Arc<dyn Sign>>,
}

/// What provenance is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// How much.
    pub mode: ProvenanceMode,
    /// Who built; the default is wbuild itself.
    pub builder_id: Option<String>,
}

/// How much provenance tells, as BuildKit has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvenanceMode {
    /// Materials, policy, evidence, times.
    Min,
    /// The Dockerfile, the values of build arguments, labels and the ids of secrets, too.
    Max,
}

/// A statement's predicate.
pub(crate) struct Predicate {
    pub(crate) kind: &'static str,
    pub(crate) body: serde_json::Value,
}

/// Puts the attestation of an image into the store; answers the index of both.
pub(crate) fn attach(
    store: &Store,
    (image, platform): (&Descriptor, &Platform),
    names: &[Reference],
    predicates: &[Predicate],
    signer: Option<&dyn Sign>,
) -> Result<Descriptor, StoreError> {
    let mut layers = Vec::new();
    for predicate in predicates {
        let statement = serde_json::json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subjects(image, platform, names),
            "predicateType": predicate.kind,
            "predicate": predicate.body,
        })
        .to_string()
        .into_bytes();
        let mut put = |media_type: &str, bytes: &[u8]| -> Result<(), StoreError> {
            let mut layer = store.ingest_bytes(media_type, bytes)?;
            layer.annotations.insert(PREDICATE_ANNOTATION.to_owned(), predicate.kind.to_owned());
            layers.push(layer);
            Ok(())
        };
        put(STATEMENT, &statement)?;
        if let Some(signer) = signer {
            put(ENVELOPE, &dsse::seal(&statement, signer))?;
        }
    }
    // As BuildKit: the configuration of an image of no platform.
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
    let config = serde_json::json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = store.ingest_bytes(media::CONFIG, config.to_string().as_bytes())?;
    let mut manifest = Manifest::new(config, layers);
    manifest.artifact_type = Some(ARTIFACT_TYPE.to_owned());
    manifest.subject = Some(Descriptor::new(image.media_type.clone(), image.digest, image.size));
    let mut attestation = store.ingest_bytes(media::MANIFEST, &manifest.to_bytes())?;
    attestation.platform =
        Some(Platform { os: "unknown".into(), architecture: "unknown".into(), ..Platform::default() });
    attestation.annotations = BTreeMap::from([
        (REFERENCE_TYPE.to_owned(), ATTESTATION.to_owned()),
        (REFERENCE_DIGEST.to_owned(), image.digest.to_string()),
    ]);
    let mut entry = Descriptor::new(image.media_type.clone(), image.digest, image.size);
    entry.platform = Some(platform.clone());
    store.ingest_bytes(media::INDEX, &Index::new(vec![entry, attestation]).to_bytes())
}

/// What a statement is about, under each of the image's names.
fn subjects(image: &Descriptor, platform: &Platform, names: &[Reference]) -> Vec<serde_json::Value> {
    let subject =
        |name: String| serde_json::json!({ "name": name, "digest": { "sha256": image.digest.hex() } });
    match names {
        [] => vec![subject("_".to_owned())],
        names => names.iter().map(|name| subject(provenance::package_url(name, platform))).collect(),
    }
}
