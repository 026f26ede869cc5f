//! What a build reads of the host and writes to it: the Dockerfile, contexts, resolv.conf.
//!
//! Here paths become capabilities and bytes; nothing below `cli` opens a path by name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wbuild_build::{ContextDir, NamedContext};
use wbuild_dockerfile::IgnoreFile;
use wbuild_monitor::JournalCheck;
use wbuild_store::{LayoutSource, Pick};

use super::contexts::{self, Selector};
use super::settings::{ContextFrom, DockerfileFrom, Settings};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;

/// The Dockerfile as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its name for messages.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: Vec<u8>,
}

/// A Dockerfile is read up to one byte more than may be: the parser says that it is too long.
const LONGEST: u64 = wbuild_dockerfile::MAX_DOCKERFILE as u64 + 1;

pub(super) fn dockerfile(settings: &Settings) -> Result<Source, Failure> {
    let mut text = Vec::new();
    match &settings.dockerfile {
        DockerfileFrom::Stdin => {
            let read = io::stdin().lock().take(LONGEST).read_to_end(&mut text);
            read.map_err(|error| {
                Failure::usage(format!("cannot read the Dockerfile from standard input: {error}"))
            })?;
            Ok(Source { name: "Dockerfile (standard input)".to_owned(), text })
        }
        DockerfileFrom::File(path) => {
            let opened = open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
            opened.map_err(|error| {
                let failure =
                    Failure::usage(format!("cannot read the Dockerfile {}: {error}", path.display()));
                if error.kind() == io::ErrorKind::NotFound {
                    failure
                        .hint("name it with -f FILE; the last argument is the directory of the build context")
                } else {
                    failure
                }
            })?;
            Ok(Source { name: path.display().to_string(), text })
        }
        DockerfileFrom::Within(path) => {
            let dir = context_dir(settings)?;
            let opened = dir.open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
            opened.map_err(|error| {
                Failure::usage(format!("cannot read {} of the build context: {error}", path.display()))
            })?;
            Ok(Source { name: path.display().to_string(), text })
        }
        DockerfileFrom::Text(text) => Ok(Source { name: "Dockerfile".to_owned(), text: text.clone() }),
    }
}

/// The directory of the build context: archives are unpacked by now.
fn context_dir(settings: &Settings) -> Result<Dir, Failure> {
    match &settings.context {
        ContextFrom::Directory(path) | ContextFrom::Checkout(path) => directory(path, "the build context"),
        ContextFrom::Stdin | ContextFrom::Url(_) | ContextFrom::Git(_) => {
            Err(Failure::new(Exit::Internal, "the build context was not unpacked"))
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the user names this file")]
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// The build context, with the ignore file that goes with the Dockerfile, or its own.
pub(super) fn context(settings: &Settings) -> Result<ContextDir, Failure> {
    let dir = context_dir(settings)?;
    if matches!(settings.context, ContextFrom::Checkout(_)) {
        return Ok(ContextDir { dir, ignore: IgnoreFile::default() });
    }
    if let DockerfileFrom::File(path) = &settings.dockerfile {
        let mut beside = path.clone().into_os_string();
        beside.push(".dockerignore");
        let mut text = Vec::new();
        match open(Path::new(&beside)).and_then(|mut file| file.read_to_end(&mut text)) {
            Ok(_) => return Ok(ContextDir { dir, ignore: parse(&text, &PathBuf::from(beside))? }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Failure::usage(format!("cannot read {}: {error}", Path::new(&beside).display())));
            }
        }
    }
    if let DockerfileFrom::Within(path) = &settings.dockerfile {
        let mut beside = path.clone().into_os_string();
        beside.push(".dockerignore");
        let beside = PathBuf::from(beside);
        match dir.read(&beside) {
            Ok(text) => return Ok(ContextDir { dir, ignore: parse(&text, &beside)? }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Failure::usage(format!("cannot read {}: {error}", beside.display())));
            }
        }
    }
    let ignore = own_ignore(&dir, Path::new(&settings.context.shown()))?;
    Ok(ContextDir { dir, ignore })
}

fn own_ignore(dir: &Dir, path: &Path) -> Result<IgnoreFile, Failure> {
    let shown = path.join(".dockerignore");
    match dir.read(".dockerignore") {
        Ok(text) => parse(&text, &shown),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(IgnoreFile::default()),
        Err(error) => Err(Failure::usage(format!("cannot read {}: {error}", shown.display()))),
    }
}

fn parse(text: &[u8], path: &Path) -> Result<IgnoreFile, Failure> {
    IgnoreFile::parse(text).map_err(|error| {
        let mut failure = Failure::from_error(Exit::Dockerfile, &error);
        failure.message = format!("{}: {}", path.display(), failure.message);
        failure
    })
}

fn directory(path: &Path, what: &str) -> Result<Dir, Failure> {
    Dir::open_ambient_dir(path, ambient_authority())
        .map_err(|error| Failure::usage(format!("cannot open {what} {}: {error}", path.display())))
}

pub(super) fn named_contexts(settings: &Settings) -> Result<BTreeMap<String, NamedContext>, Failure> {
    let mut opened = BTreeMap::new();
    for (name, context) in &settings.contexts {
        let context = match context {
            contexts::NamedContext::Directory(path) => {
                let dir = directory(path, &format!("--build-context {name}"))?;
                let ignore = own_ignore(&dir, path)?;
                NamedContext::Directory(ContextDir { dir, ignore })
            }
            contexts::NamedContext::Checkout(path) => {
                let dir = directory(path, &format!("--build-context {name}"))?;
                NamedContext::Directory(ContextDir { dir, ignore: IgnoreFile::default() })
            }
            contexts::NamedContext::Url(_) | contexts::NamedContext::Git(_) => {
                return Err(Failure::new(Exit::Internal, "a named context was not unpacked"));
            }
            contexts::NamedContext::Layout { path, selector } => layout(name, path, selector)?,
            contexts::NamedContext::Image(text) => {
                let reference = text.parse().map_err(|error| {
                    Failure::usage(format!("--build-context {name}=docker-image://{text}: {error}"))
                })?;
                NamedContext::Image(reference)
            }
        };
        opened.insert(name.clone(), context);
    }
    Ok(opened)
}

fn layout(name: &str, path: &Path, selector: &Selector) -> Result<NamedContext, Failure> {
    let failed = |error: &dyn std::error::Error| {
        let mut failure = Failure::from_error(Exit::Usage, error);
        failure.message = format!("--build-context {name}: {}: {}", path.display(), failure.message);
        failure
    };
    let is_dir = path.metadata().map_err(|error| failed(&error))?.is_dir();
    let source = if is_dir {
        LayoutSource::directory(directory(path, &format!("--build-context {name}"))?)
    } else {
        LayoutSource::tar(cap_std::fs::File::from_std(open(path).map_err(|error| failed(&error))?))
    };
    let (tag, digest) = match selector {
        Selector::Default => (None, None),
        Selector::Tag(tag) => (Some(tag.as_str()), None),
        Selector::Digest(digest) => (None, Some(digest.as_str())),
    };
    Ok(NamedContext::Layout {
        source: source.map_err(|error| failed(&error))?,
        pick: Pick::new(tag, digest).map_err(|error| failed(&error))?,
        path: path.to_owned(),
    })
}

/// The host's resolver configuration, which steps get; nothing where there is none.
pub(super) fn resolv_conf() -> Vec<u8> {
    let mut text = Vec::new();
    match open(Path::new("/etc/resolv.conf")).and_then(|file| file.take(1 << 20).read_to_end(&mut text)) {
        Ok(_) => text,
        Err(_) => Vec::new(),
    }
}

/// `WBUILD_COUNT_CALLS=1` counts the calls that the broker of each step answers, and tells them in a note: the benches run with it.
pub(super) fn accounting(environment: &Environment) -> Result<wbuild_native::Accounting, Failure> {
    match environment.text("WBUILD_COUNT_CALLS") {
        None | Some("" | "0") => Ok(wbuild_native::Accounting::Off),
        Some("1") => Ok(wbuild_native::Accounting::Counted),
        Some(other) => Err(Failure::usage(format!("WBUILD_COUNT_CALLS={other} is neither 0 nor 1"))),
    }
}

/// `WBUILD_JOURNAL_CHECK=1` holds the journal of every step against full walks: the tests run with it.
pub(super) fn journal_check(environment: &Environment) -> Result<JournalCheck, Failure> {
    match environment.text("WBUILD_JOURNAL_CHECK") {
        None | Some("" | "0") => Ok(JournalCheck::Off),
        Some("1") => Ok(JournalCheck::FullWalk),
        Some(other) => Err(Failure::usage(format!("WBUILD_JOURNAL_CHECK={other} is neither 0 nor 1"))),
    }
}

/// Writes a small file that the user named, in place of what is there.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .and_then(|mut file| file.write_all(content));
    written.map_err(|error| Failure::new(Exit::Host, format!("cannot write {}: {error}", path.display())))
}
