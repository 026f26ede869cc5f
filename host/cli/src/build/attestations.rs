//! `--provenance`, `--sbom` and `--attest`, as buildx spells them, and `--sign-key`.

use std::path::{Path, PathBuf};

use wbuild_build::{Provenance, ProvenanceMode};

use super::fields;
use crate::failure::Failure;

/// What is to be attested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AttestSettings {
    /// `--provenance`
    pub(crate) provenance: Option<Provenance>,
    /// `--sign-key`
    pub(crate) key: Option<PathBuf>,
}

impl AttestSettings {
    /// Reads the flags. `--attest` is overruled by the flag of its own type.
    ///
    /// # Errors
    /// Exit 2: what is unknown, or not built.
    pub(crate) fn new(
        attest: &[String],
        provenance: Option<&str>,
        key: Option<&Path>,
    ) -> Result<Self, Failure> {
        let mut settings = Self { provenance: None, key: key.map(Path::to_owned) };
        for text in attest {
            let wrong = |what: String| Failure::usage(format!("--attest {text}: {what}"));
            let mut pairs = fields::pairs(text).map_err(|error| wrong(error.to_string()))?;
            let kind = pairs.iter().position(|(key, _)| key == "type").map(|at| pairs.remove(at).1);
            match kind.as_deref() {
                Some("provenance") => settings.provenance = read(&pairs).map_err(wrong)?,
                Some("sbom") => return Err(wrong("an SBOM is not built yet".to_owned())),
                Some(other) => return Err(wrong(format!("type={other} is unknown; provenance is known"))),
                None => return Err(wrong("type= is missing".to_owned())),
            }
        }
        if let Some(text) = provenance {
            settings.provenance = flag(text)?;
        }
        if settings.key.is_some() && settings.provenance.is_none() {
            return Err(Failure::usage("--sign-key signs attestations, and there is none")
                .hint("--provenance makes one"));
        }
        Ok(settings)
    }
}

/// `true`, `false`, `min`, `max`, or pairs.
fn flag(text: &str) -> Result<Option<Provenance>, Failure> {
    let wrong = |what: String| Failure::usage(format!("--provenance={text}: {what}"));
    let mode = |mode| Ok(Some(Provenance { mode, builder_id: None }));
    match text {
        "true" | "1" | "min" => mode(ProvenanceMode::Min),
        "max" => mode(ProvenanceMode::Max),
        "false" | "0" => Ok(None),
        _ if !text.contains('=') => Err(wrong("it is true, false, min, max or mode=..".to_owned())),
        _ => {
            let pairs = fields::pairs(text).map_err(|error| wrong(error.to_string()))?;
            read(&pairs).map_err(wrong)
        }
    }
}

fn read(pairs: &[(String, String)]) -> Result<Option<Provenance>, String> {
    let mut provenance = Provenance { mode: ProvenanceMode::Min, builder_id: None };
    for (key, value) in pairs {
        match (key.as_str(), value.as_str()) {
            ("mode", "min") => provenance.mode = ProvenanceMode::Min,
            ("mode", "max") => provenance.mode = ProvenanceMode::Max,
            ("disabled", "true") => return Ok(None),
            ("disabled", "false") | ("version", "v1") => {}
            ("version", _) => return Err("SLSA provenance v1 is built, no other version".to_owned()),
            // It is where whoever verifies it looks it up: any URI.
            ("builder-id", id) if id.contains(':') => provenance.builder_id = Some(id.to_owned()),
            ("builder-id", id) => return Err(format!("builder-id={id} is no URI")),
            ("inline-only", "true") => return Err("inline-only is not built".to_owned()),
            ("inline-only", "false") => {}
            _ => return Err(format!("{key}={value} is unknown")),
        }
    }
    Ok(Some(provenance))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(attest: &[&str], provenance: Option<&str>) -> Result<Option<ProvenanceMode>, String> {
        let attest: Vec<String> = attest.iter().map(|text| (*text).to_owned()).collect();
        let read = AttestSettings::new(&attest, provenance, None).map_err(|failure| failure.message.clone());
        read.map(|settings| settings.provenance.map(|provenance| provenance.mode))
    }

    #[test]
    fn provenance_is_spelled_as_buildx_spells_it() {
        let (min, max) = (Ok(Some(ProvenanceMode::Min)), Ok(Some(ProvenanceMode::Max)));
        assert_eq!(settings(&[], None), Ok(None));
        for text in ["true", "mode=min", "1", "version=v1"] {
            assert_eq!(settings(&[], Some(text)), min, "{text}");
        }
        assert_eq!(settings(&[], Some("mode=max")), max);
        assert_eq!(settings(&["type=provenance,mode=max"], None), max);
        assert_eq!(settings(&["type=provenance,mode=max"], Some("false")), Ok(None));
        assert_eq!(settings(&["type=provenance,disabled=true"], None), Ok(None));
    }

    #[test]
    fn nothing_is_accepted_and_ignored() {
        for text in ["mode=most", "version=v0.2", "inline-only=true", "builder-id=me", "x=y", "yes"] {
            assert!(settings(&[], Some(text)).is_err(), "{text}");
        }
        assert!(settings(&["type=sbom"], None).is_err());
        assert!(settings(&["mode=max"], None).is_err());
        assert!(AttestSettings::new(&[], None, Some(Path::new("k"))).is_err());
    }
}
