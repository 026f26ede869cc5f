//! Certificates by registry: the `certs.d` layout of Docker and containers-certs.d(5).
//!
//! `DIR/HOST[:PORT]/*.crt` are roots that are trusted for that registry, `NAME.cert` with `NAME.key` is a client's certificate. Of
//! the default places the first that has a directory for a registry decides. A file that is there and cannot be used is an
//! error, never passed over.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use wbuild_registry::Certificates;

use super::read;
use crate::environment::Environment;
use crate::failure::Failure;

/// Every registry that a place has certificates for.
///
/// # Errors
/// Exit 2: the directory that was named, or a file in it, cannot be read; a certificate without its key.
pub(super) fn find(
    named: Option<&Path>,
    environment: &Environment,
) -> Result<BTreeMap<String, Certificates>, Failure> {
    let mut found = BTreeMap::new();
    if let Some(dir) = named {
        let hosts = hosts(dir).map_err(|error| cannot_read(dir, &error))?;
        gather(&hosts, &mut found)?;
        return Ok(found);
    }
    let home = environment.get("HOME").map(|home| Path::new(home).join(".config/containers/certs.d"));
    let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    for dir in home.into_iter().chain(system) {
        match hosts(&dir) {
            Ok(hosts) => gather(&hosts, &mut found)?,
            // A default place that is not there, or that nobody may look into, holds nothing for us.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
            Err(error) => return Err(cannot_read(&dir, &error)),
        }
    }
    Ok(found)
}

/// The directories of registries in a `certs.d`.
fn hosts(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut hosts = dir.read_dir()?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    hosts.retain(|path| path.is_dir());
    hosts.sort();
    Ok(hosts)
}

fn gather(hosts: &[PathBuf], found: &mut BTreeMap<String, Certificates>) -> Result<(), Failure> {
    for dir in hosts {
        let Some(name) = dir.file_name().and_then(|name| name.to_str()) else { continue };
        if found.contains_key(name) {
            continue;
        }
        let certificates = of_host(dir)?;
        if !certificates.roots.is_empty() || certificates.identity.is_some() {
            found.insert(name.to_owned(), certificates);
        }
    }
    Ok(())
}

fn of_host(dir: &Path) -> Result<Certificates, Failure> {
    let entries = dir.read_dir().and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut paths: Vec<PathBuf> =
        entries.map_err(|error| cannot_read(dir, &error))?.iter().map(std::fs::DirEntry::path).collect();
    paths.sort();
    let mut certificates = Certificates::default();
    for path in &paths {
        let content = |path: &Path| read(path).map_err(|error| cannot_read(path, &error));
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => certificates.roots.push(content(path)?),
            Some("cert") => {
                let key = path.with_extension("key");
                if !key.exists() {
                    return Err(Failure::usage(format!(
                        "{} has no {} beside it",
                        path.display(),
                        key.display()
                    )));
                }
                if certificates.identity.is_none() {
                    let mut identity = content(path)?;
                    identity.push(b'\n');
                    identity.extend(content(&key)?);
                    certificates.identity = Some(identity);
                }
            }
            Some("key") if !path.with_extension("cert").exists() => {
                let cert = path.with_extension("cert");
                return Err(Failure::usage(format!(
                    "{} has no {} beside it",
                    path.display(),
                    cert.display()
                ))
                .hint("roots end in .crt, client certificates in .cert"));
            }
            _ => {}
        }
    }
    Ok(certificates)
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot read the certificates in {}: {error}", path.display()))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test sets up what the environment names")]
mod tests {
    use super::*;

    #[test]
    fn roots_and_client_certificates_go_by_registry() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("reg.example:5000/ca.crt", "root");
        write("reg.example:5000/client.cert", "chain");
        write("reg.example:5000/client.key", "key");
        write("other.example/README", "nothing");
        let found = find(Some(dir.path()), &Environment::default()).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["reg.example:5000"]);
        let certificates = &found["reg.example:5000"];
        assert_eq!(certificates.roots, [b"root".to_vec()]);
        assert_eq!(certificates.identity.as_deref(), Some(b"chain\nkey".as_slice()));
        write("reg.example:5000/lonely.cert", "chain");
        assert!(find(Some(dir.path()), &Environment::default()).unwrap_err().message.contains("lonely.key"));
        assert!(find(Some(Path::new("/nonexistent")), &Environment::default()).is_err());
        assert!(find(None, &Environment::default()).is_ok());
    }
}
