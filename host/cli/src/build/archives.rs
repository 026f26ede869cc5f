//! Contexts that are archives: a tar on standard input, in a file or at a URL, unpacked into a directory of the store.
//!
//! What is no archive is the Dockerfile of a build without a context, as `docker build - < Dockerfile` has it. The directories go with
//! the [`Unpacked`] that names them; what a killed build leaves, the next one removes.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use wbuild_build::{Contents, unpack_context};
use wbuild_store::{Silent, Store, Tree};

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
) -> Result<Unpacked, Failure> {
    let is_archive = |path: &Path| path.is_file();
    let mut unpacked = Unpacked::default();
    let from = settings.context.clone();
    if !matches!(&from, ContextFrom::Directory(path) if !is_archive(path)) {
        let room = Room::new(args, settings, environment)?;
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
            NamedContext::Directory(_) | NamedContext::Layout { .. } | NamedContext::Image(_) => continue,
        };
        let room = Room::new(args, settings, environment)?;
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
}

impl<'a> Room<'a> {
    fn new(args: &'a BuildArgs, settings: &Settings, environment: &'a Environment) -> Result<Self, Failure> {
        let root = location::find(settings.root.as_deref(), environment)?;
        Ok(Self { store: super::open_store(&root)?, root, args, environment })
    }

    /// The archive as a file that can be read twice.
    fn file(&self, from: &ContextFrom, settings: &Settings) -> Result<File, Failure> {
        match from {
            ContextFrom::Directory(path) => super::inputs::open(path).map_err(|error| {
                Failure::usage(format!("cannot open the build context {}: {error}", path.display()))
            }),
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
        let home = self.store.tree().map_err(|error| Failure::from_error(Exit::Host, &error))?;
        let dir = home.dir().create_dir("context").and_then(|()| home.dir().open_dir("context"));
        let contents = unpack_context(file, shown, &dir.map_err(failed)?)
            .map_err(|error| Failure::from_error(Exit::Usage, &error))?;
        let path = self.root.join(home.path()).join("context");
        Ok((home, path, contents))
    }
}

fn failed(error: io::Error) -> Failure {
    Failure::new(Exit::Host, format!("cannot keep the build context: {error}"))
}
