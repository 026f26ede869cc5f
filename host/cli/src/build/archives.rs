//! Contexts that are archives or git repositories: a tar on standard input, in a file or at a URL, the files of a commit, unpacked into a
//! directory of the store.
//!
//! What is no archive is the Dockerfile of a build without a context, as `docker build - < Dockerfile` has it. The directories go with
//! the [`Unpacked`] that names them; what a killed build leaves, the next one removes.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wbuild_build::{Contents, FileTimes, GitMaterial, SubmoduleGate, unpack_context};
use wbuild_oci::{GitSource, GitTimes};
use wbuild_registry::GitLogins;
use wbuild_store::{Remote, Silent, Store, Tree};

use super::args::BuildArgs;
use super::contexts::NamedContext;
use super::settings::{ContextFrom, DockerfileFrom, Settings};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{location, registry};

/// The most that a context at a URL may have, in bytes: 64 GiB.
const LONGEST: u64 = 64 << 30;

/// Directories that archives were unpacked into.
#[derive(Default)]
pub(super) struct Unpacked(Vec<Tree>);

impl Drop for Unpacked {
    fn drop(&mut self) {
        for tree in self.0.drain(..) {
            if let Err(error) = tree.remove() {
                tracing::warn!(%error, "an unpacked context stays until the next build");
            }
        }
    }
}

/// Turns every context of `settings` that is an archive into a directory.
///
/// # Errors
/// What cannot be read, downloaded or unpacked.
pub(super) fn unpack(
    args: &BuildArgs,
    settings: &mut Settings,
    environment: &Environment,
    logins: &GitLogins,
) -> Result<Unpacked, Failure> {
    let is_archive = |path: &Path| path.is_file();
    let mut unpacked = Unpacked::default();
    let from = settings.context.clone();
    if let ContextFrom::Git(source) = &from {
        let room = Room::new(args, settings, environment, logins)?;
        let (tree, path) = room.check_out(source, settings)?;
        unpacked.0.push(tree);
        settings.dockerfile = match args.file.as_deref() {
            Some(file) if file.as_os_str() == "-" => DockerfileFrom::Stdin,
            file => DockerfileFrom::Within(file.unwrap_or(Path::new("Dockerfile")).to_owned()),
        };
        settings.context = ContextFrom::Checkout(path);
    } else if !matches!(&from, ContextFrom::Directory(path) if !is_archive(path)) {
        let room = Room::new(args, settings, environment, logins)?;
        let file = room.file(&from, settings)?;
        let (tree, path, contents) = room.unpack(file.try_clone().map_err(failed)?, &from.shown())?;
        unpacked.0.push(tree);
        settings.dockerfile = dockerfile(args, contents, file, &from)?;
        settings.context = ContextFrom::Directory(path);
    }
    let mut named = std::mem::take(&mut settings.contexts);
    for (name, context) in &mut named {
        let from = match context {
            NamedContext::Directory(path) if is_archive(path) => ContextFrom::Directory(path.clone()),
            NamedContext::Url(url) => ContextFrom::Url(url.clone()),
            NamedContext::Git(source) => {
                let room = Room::new(args, settings, environment, logins)?;
                let (tree, path) = room.check_out(source, settings)?;
                unpacked.0.push(tree);
                *context = NamedContext::Checkout(path);
                continue;
            }
            NamedContext::Directory(_)
            | NamedContext::Checkout(_)
            | NamedContext::Layout { .. }
            | NamedContext::Image(_) => continue,
        };
        let room = Room::new(args, settings, environment, logins)?;
        let (tree, path, contents) = room.unpack(room.file(&from, settings)?, &from.shown())?;
        unpacked.0.push(tree);
        if contents == Contents::Other {
            let what = from.shown();
            return Err(Failure::usage(format!(
                "--build-context {name}={what} is neither a directory nor a tar"
            )));
        }
        *context = NamedContext::Directory(path);
    }
    settings.contexts = named;
    Ok(unpacked)
}

/// Where the Dockerfile of an archive is, or of what turned out to be one.
fn dockerfile(
    args: &BuildArgs,
    contents: Contents,
    mut file: File,
    from: &ContextFrom,
) -> Result<DockerfileFrom, Failure> {
    let named = args.file.as_deref().filter(|path| path.as_os_str() != "-");
    match (contents, named) {
        (Contents::Archive, _) if args.file.is_some() && named.is_none() => Ok(DockerfileFrom::Stdin),
        (Contents::Archive, named) => {
            Ok(DockerfileFrom::Within(named.unwrap_or(Path::new("Dockerfile")).to_owned()))
        }
        (Contents::Other, None) if args.file.is_none() => {
            let mut text = Vec::new();
            let longest = wbuild_dockerfile::MAX_DOCKERFILE as u64 + 1;
            file.rewind().and_then(|()| file.take(longest).read_to_end(&mut text)).map_err(failed)?;
            Ok(DockerfileFrom::Text(text))
        }
        (Contents::Other, _) => {
            Err(Failure::usage(format!("{} is no archive, so -f names nothing in it", from.shown())))
        }
    }
}

/// Where archives are unpacked, and what they are fetched with.
struct Room<'a> {
    store: Store,
    root: PathBuf,
    args: &'a BuildArgs,
    environment: &'a Environment,
    logins: &'a GitLogins,
}

impl<'a> Room<'a> {
    fn new(
        args: &'a BuildArgs,
        settings: &Settings,
        environment: &'a Environment,
        logins: &'a GitLogins,
    ) -> Result<Self, Failure> {
        let root = location::find(settings.root.as_deref(), environment)?;
        Ok(Self { store: super::open_store(&root)?, root, args, environment, logins })
    }

    /// The files of a commit in a directory. The command line names the repository; its submodules are asked of the policy.
    fn check_out(&self, source: &GitSource, settings: &mut Settings) -> Result<(Tree, PathBuf), Failure> {
        let mut logins = self.logins.clone();
        logins.add_url(source);
        let client = registry::client_with(&self.args.registry, self.environment, logins)?;
        let gate = SubmoduleGate::new(Arc::new(super::policy(settings)?));
        let fetch = async {
            let found = client.git_find(source).await?;
            let digest = client.git_checkout(&self.store, source, &found, gate.admit()).await?;
            Ok((found, digest))
        };
        let (found, digest) = registry::runtime()?.block_on(fetch).map_err(|error| match gate.denied() {
            denied if denied.is_empty() => super::remote_failure("cannot fetch the build context", &error),
            denied => Failure::new(Exit::Policy, format!("cannot fetch {source}: {}", denied.join("; "))),
        })?;
        settings.notes.push(format!("{source} is commit {}", found.commit));
        settings.materials.push(GitMaterial { source: source.to_string(), commit: found.commit });
        let blob = self.store.blob(&digest).map_err(|error| Failure::from_error(Exit::Host, &error))?;
        let times = match source.times {
            GitTimes::Commit => FileTimes::Kept,
            GitTimes::Checkout => FileTimes::Now,
        };
        let (tree, path, _) = self.unpack_with(blob.into_std(), &source.to_string(), times)?;
        Ok((tree, path))
    }

    /// The archive as a file that can be read twice.
    fn file(&self, from: &ContextFrom, settings: &Settings) -> Result<File, Failure> {
        match from {
            ContextFrom::Directory(path) | ContextFrom::Checkout(path) => {
                super::inputs::open(path).map_err(|error| {
                    Failure::usage(format!("cannot open the build context {}: {error}", path.display()))
                })
            }
            ContextFrom::Stdin if settings.dockerfile == DockerfileFrom::Stdin => {
                Err(Failure::usage("standard input cannot be both the build context and the Dockerfile"))
            }
            ContextFrom::Stdin => {
                let mut file = tempfile::tempfile_in(&self.root).map_err(failed)?;
                io::copy(&mut io::stdin().lock(), &mut file).map_err(failed)?;
                file.rewind().map_err(failed)?;
                Ok(file)
            }
            ContextFrom::Url(url) => self.download(url),
            ContextFrom::Git(_) => Err(Failure::new(Exit::Internal, "a git repository is no archive")),
        }
    }

    fn download(&self, url: &str) -> Result<File, Failure> {
        let client = registry::client(&self.args.registry, self.environment)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let gave = runtime.block_on(client.download(&self.store, url, None, LONGEST, &Silent));
        let gave = gave.map_err(|error| {
            let error = wbuild_store::RemoteError::new(error.class(), url, error);
            super::remote_failure("cannot download the build context", &error)
        })?;
        let blob = self.store.blob(&gave.digest).map_err(|error| Failure::from_error(Exit::Host, &error))?;
        Ok(blob.into_std())
    }

    fn unpack(&self, file: File, shown: &str) -> Result<(Tree, PathBuf, Contents), Failure> {
        self.unpack_with(file, shown, FileTimes::Now)
    }

    fn unpack_with(
        &self,
        file: File,
        shown: &str,
        times: FileTimes,
    ) -> Result<(Tree, PathBuf, Contents), Failure> {
        let home = self.store.tree().map_err(|error| Failure::from_error(Exit::Host, &error))?;
        let dir = home.dir().create_dir("context").and_then(|()| home.dir().open_dir("context"));
        let contents = unpack_context(file, shown, &dir.map_err(failed)?, times)
            .map_err(|error| Failure::from_error(Exit::Usage, &error))?;
        let path = self.root.join(home.path()).join("context");
        Ok((home, path, contents))
    }
}

fn failed(error: io::Error) -> Failure {
    Failure::new(Exit::Host, format!("cannot keep the build context: {error}"))
}
