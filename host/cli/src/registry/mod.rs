//! The registry client's settings: flags, credentials, roots of trust and proxies, from where Docker and Podman look.
//!
//! Credentials stay in this process and its credential helpers; no step ever sees them.

mod args;
mod certificates;
mod programs;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wbuild_registry::{Client, Credentials, GitLogins, Proxies, Roots, Settings};

pub(crate) use args::RegistryArgs;

use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;

/// A client as the flags and the environment describe it.
///
/// # Errors
/// A flag that cannot be understood; a file that is named but cannot be read, or is not what it should be.
pub(crate) fn client(args: &RegistryArgs, environment: &Environment) -> Result<Client, Failure> {
    client_with(args, environment, GitLogins::default())
}

/// As [`client`], with logins for git servers.
///
/// # Errors
/// As [`client`].
pub(crate) fn client_with(
    args: &RegistryArgs,
    environment: &Environment,
    git: GitLogins,
) -> Result<Client, Failure> {
    let settings = Settings {
        git,
        credentials: credentials(environment)?,
        helpers: Some(Arc::new(programs::Programs::new(environment))),
        roots: roots(environment)?,
        proxies: proxies(environment),
        plain_http: registries(&args.plain_http, "--plain-http")?,
        unverified: registries(&args.insecure_registries, "--insecure-registry")?,
        certificates: certificates::find(args.cert_dir.as_deref(), environment)?,
        mirrors: args.mirrors()?,
        ..Settings::default()
    };
    Client::new(settings).map_err(|error| Failure::from_error(Exit::Host, &error))
}

/// Asks the credential helpers of these names now, so that none runs after a step has.
///
/// # Errors
/// A helper failed.
pub(crate) fn log_in(client: &Client, names: &[wbuild_oci::Reference]) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    runtime()?.block_on(client.log_in(names)).map_err(|error| Failure::from_error(Exit::Registry, &error))
}

/// A runtime for requests outside a build.
///
/// # Errors
/// Threads cannot be started.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("wbuild-net")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Host, format!("cannot start the network threads: {error}")))
}

/// Registries as a flag names them: `host[:port]`.
fn registries(given: &[String], flag: &str) -> Result<BTreeSet<String>, Failure> {
    let one = |text: &String| match format!("{text}/x").parse::<wbuild_oci::Reference>() {
        Ok(reference) if reference.registry() == text => Ok(text.clone()),
        _ => Err(Failure::usage(format!("{flag} {text} is no registry (expected host[:port])"))),
    };
    given.iter().map(one).collect()
}

/// The first of these that is there decides, as in Docker; `REGISTRY_AUTH_FILE` is Podman's and Skopeo's.
fn credentials(environment: &Environment) -> Result<Credentials, Failure> {
    let mut credentials = Credentials::default();
    if let Some(json) = environment.get("DOCKER_AUTH_CONFIG") {
        credentials = credentials.or(parse(json.as_encoded_bytes(), "DOCKER_AUTH_CONFIG")?);
    }
    for (path, named) in files(environment) {
        match read(&path) {
            Ok(bytes) => credentials = credentials.or(parse(&bytes, &path.display().to_string())?),
            Err(error) if error.kind() == io::ErrorKind::NotFound && named == Named::ByDefault => {}
            // A default place that nobody may look into (HOME of another user) holds nothing for us.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && named == Named::ByDefault => {}
            Err(error) => {
                return Err(Failure::usage(format!(
                    "cannot read the credentials in {}: {error}",
                    path.display()
                )));
            }
        }
    }
    Ok(credentials)
}

/// Whether the user named a file, or it is where such files are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    ByUser,
    ByDefault,
}

fn files(environment: &Environment) -> Vec<(PathBuf, Named)> {
    let below =
        |variable: &str, path: &str| environment.get(variable).map(|base: &OsStr| Path::new(base).join(path));
    let mut files = Vec::new();
    if let Some(path) = environment.get("REGISTRY_AUTH_FILE") {
        files.push((PathBuf::from(path), Named::ByUser));
    }
    match below("DOCKER_CONFIG", "config.json") {
        Some(path) => files.push((path, Named::ByDefault)),
        None => files.extend(below("HOME", ".docker/config.json").map(|path| (path, Named::ByDefault))),
    }
    files.extend(below("XDG_RUNTIME_DIR", "containers/auth.json").map(|path| (path, Named::ByDefault)));
    files
}

fn parse(bytes: &[u8], from: &str) -> Result<Credentials, Failure> {
    Credentials::parse(bytes).map_err(|error| {
        let mut failure = Failure::from_error(Exit::Usage, &error);
        failure.message = format!("{from}: {}", failure.message);
        failure
    })
}

/// As OpenSSL and Go: what these variables name takes the place of the bundled roots.
fn roots(environment: &Environment) -> Result<Roots, Failure> {
    let mut documents = Vec::new();
    if let Some(path) = environment.get("SSL_CERT_FILE") {
        let path = Path::new(path);
        let pem = read(path).map_err(|error| {
            Failure::usage(format!("cannot read SSL_CERT_FILE {}: {error}", path.display()))
        })?;
        documents.push(pem);
    }
    for dir in environment.get("SSL_CERT_DIR").iter().flat_map(std::env::split_paths) {
        let pems = certificates(&dir).map_err(|error| {
            Failure::usage(format!("cannot read SSL_CERT_DIR {}: {error}", dir.display()))
        })?;
        documents.extend(pems);
    }
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| environment.get(name).is_some());
    Ok(if named { Roots::Only(documents) } else { Roots::Bundled })
}

/// The files of a directory that hold certificates; others, such as c_rehash's broken links, are passed over.
fn certificates(dir: &Path) -> io::Result<Vec<Vec<u8>>> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let mut paths = dir.read_dir()?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    let files = paths.iter().filter(|path| path.is_file()).filter_map(|path| read(path).ok());
    Ok(files.filter(|bytes| bytes.windows(BEGIN.len()).any(|window| window == BEGIN)).collect())
}

fn proxies(environment: &Environment) -> Proxies {
    let either = |lower: &str, upper: &str| {
        environment
            .text(lower)
            .or_else(|| environment.text(upper))
            .filter(|v| !v.is_empty())
            .map(str::to_owned)
    };
    Proxies {
        http: either("http_proxy", "HTTP_PROXY"),
        https: either("https_proxy", "HTTPS_PROXY"),
        except: either("no_proxy", "NO_PROXY"),
    }
}

#[expect(clippy::disallowed_methods, reason = "files the user or the environment names")]
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(16 << 20).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_config_takes_the_place_of_home() {
        let environment: Environment = [("DOCKER_CONFIG", "/d"), ("HOME", "/h")].into_iter().collect();
        let paths: Vec<PathBuf> = files(&environment).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, [PathBuf::from("/d/config.json")]);
        assert!(files(&Environment::default()).is_empty(), "nothing is guessed without HOME");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test sets up what the environment names")]
    fn roots_are_what_the_variables_name() {
        assert!(matches!(roots(&Environment::default()), Ok(Roots::Bundled)));
        let dir = tempfile::tempdir().unwrap();
        let pem = b"# a comment\n-----BEGIN CERTIFICATE-----\n".to_vec();
        std::fs::write(dir.path().join("ca.pem"), &pem).unwrap();
        std::fs::write(dir.path().join("README"), b"nothing").unwrap();
        let path = dir.path().to_str().unwrap();
        let environment: Environment = [("SSL_CERT_DIR", path)].into_iter().collect();
        assert!(matches!(roots(&environment), Ok(Roots::Only(documents)) if documents == [pem]));
        for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            let environment: Environment = [(variable, "/nonexistent/roots")].into_iter().collect();
            assert!(roots(&environment).unwrap_err().message.contains(variable));
        }
    }

    #[test]
    fn a_named_file_must_be_there() {
        let environment: Environment = [("REGISTRY_AUTH_FILE", "/nonexistent/auth")].into_iter().collect();
        assert!(credentials(&environment).unwrap_err().message.contains("/nonexistent/auth"));
        let default: Environment = [("HOME", "/nonexistent")].into_iter().collect();
        assert!(credentials(&default).is_ok());
    }
}
