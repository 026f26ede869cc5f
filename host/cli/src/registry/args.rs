//! The flags about registries, which several subcommands share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use wbuild_oci::Reference;
use wbuild_registry::Mirror;

use crate::failure::Failure;

/// How registries are reached.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct RegistryArgs {
    /// Look for images there first: `[REGISTRY=][http[s]://]HOST[:PORT][/PATH]`, without REGISTRY for Docker Hub; repeatable
    #[arg(long = "registry-mirror", value_name = "[REGISTRY=]URL")]
    registry_mirrors: Vec<String>,

    /// Speak plain HTTP to this registry, `HOST[:PORT]`; repeatable. Registries on loopback need no flag
    #[arg(long, value_name = "REGISTRY")]
    pub(super) plain_http: Vec<String>,

    /// Do not verify the certificate of this registry, `HOST[:PORT]`; repeatable
    #[arg(long = "insecure-registry", value_name = "REGISTRY")]
    pub(super) insecure_registries: Vec<String>,

    /// Certificates by registry, `DIR/HOST[:PORT]/{*.crt,*.cert,*.key}` [default: $HOME/.config/containers/certs.d,
    /// /etc/containers/certs.d, /etc/docker/certs.d]
    #[arg(long, value_name = "DIR")]
    pub(super) cert_dir: Option<PathBuf>,
}

impl RegistryArgs {
    /// Mirrors by registry, in the order given.
    ///
    /// # Errors
    /// Exit 2 for an address that is none.
    pub(super) fn mirrors(&self) -> Result<BTreeMap<String, Vec<Mirror>>, Failure> {
        let mut mirrors: BTreeMap<String, Vec<Mirror>> = BTreeMap::new();
        for text in &self.registry_mirrors {
            let wrong = |why: String| Failure::usage(format!("--registry-mirror {text}: {why}"));
            let (registry, address) = text.split_once('=').unwrap_or(("docker.io", text));
            match format!("{registry}/x").parse::<Reference>() {
                Ok(reference) if reference.registry() == registry => {}
                _ => return Err(wrong(format!("{registry:?} is no registry (expected host[:port])"))),
            }
            let mirror = Mirror::parse(address).map_err(|error| wrong(error.to_string()))?;
            mirrors.entry(registry.to_owned()).or_default().push(mirror);
        }
        Ok(mirrors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(given: &[&str]) -> Result<BTreeMap<String, Vec<Mirror>>, Failure> {
        let registry_mirrors = given.iter().map(|text| (*text).to_owned()).collect();
        RegistryArgs { registry_mirrors, ..RegistryArgs::default() }.mirrors()
    }

    #[test]
    fn mirrors_are_docker_hubs_unless_they_say_whose() {
        let found =
            mirrors(&["https://m.example", "ghcr.io=m.example/ghcr", "http://n.example:5000"]).unwrap();
        assert_eq!(found["docker.io"].len(), 2);
        assert_eq!(found["ghcr.io"], [Mirror::parse("m.example/ghcr").unwrap()]);
        assert!(mirrors(&["ghcr.io/x=m.example"]).unwrap_err().message.contains("no registry"));
        assert!(mirrors(&["ghcr.io=user@m"]).unwrap_err().message.contains("address of a mirror"));
    }
}
