//! `--build-context NAME=SOURCE`: directories and images by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use wbuild_oci::GitSource;

use crate::failure::Failure;

/// What a named build context is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamedContext {
    /// A directory of this machine, or an archive of one.
    Directory(PathBuf),
    /// An archive at a URL.
    Url(String),
    /// A git repository.
    Git(Box<GitSource>),
    /// The directory that the files of a commit were put into. As in BuildKit, its `.dockerignore` hides nothing.
    Checkout(PathBuf),
    /// An image of an OCI layout, a directory or a tar.
    Layout {
        /// The layout.
        path: PathBuf,
        /// Which of its images.
        selector: Selector,
    },
    /// An image of a registry, by another name.
    Image(String),
}

/// Which image of a layout is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    /// The only one, or the one tagged `latest`.
    Default,
    /// The one with this tag.
    Tag(String),
    /// The one with this digest.
    Digest(String),
}

/// Reads every `--build-context`.
///
/// # Errors
/// Exit 2: no `=`, a name twice, a kind of source that is not built yet.
pub(crate) fn parse(given: &[String]) -> Result<BTreeMap<String, NamedContext>, Failure> {
    let mut contexts = BTreeMap::new();
    for text in given {
        let (name, source) =
            text.split_once('=').filter(|(name, source)| !name.is_empty() && !source.is_empty()).ok_or_else(
                || Failure::usage(format!("--build-context {text:?} is not of the form NAME=SOURCE")),
            )?;
        if contexts.insert(name.to_owned(), source_of(name, source)?).is_some() {
            return Err(Failure::usage(format!("--build-context names {name} twice")));
        }
    }
    Ok(contexts)
}

fn source_of(name: &str, source: &str) -> Result<NamedContext, Failure> {
    if let Some(layout) = source.strip_prefix("oci-layout://") {
        let (path, selector) = layout_of(layout);
        if path.as_os_str().is_empty() {
            return Err(Failure::usage(format!("--build-context {name}=oci-layout:// names no path")));
        }
        return Ok(NamedContext::Layout { path, selector });
    }
    if let Some(reference) = source.strip_prefix("docker-image://") {
        return Ok(NamedContext::Image(reference.to_owned()));
    }
    if let Some(git) = super::settings::git(source, &format!("--build-context {name}"))? {
        return Ok(NamedContext::Git(Box::new(git)));
    }
    if source.contains("://") {
        return super::settings::url(source).map(NamedContext::Url);
    }
    if source == "-" {
        return Err(Failure::usage(format!(
            "--build-context {name}={source}: this kind of source is not built yet"
        ))
        .hint(
            "a directory, a tar, https://, a git URL, oci-layout://PATH[:TAG|@DIGEST] and docker-image://REFERENCE are",
        ));
    }
    Ok(NamedContext::Directory(PathBuf::from(source)))
}

/// `PATH`, `PATH:TAG` or `PATH@sha256:..`; a colon before the last slash belongs to the path.
pub(crate) fn layout_of(text: &str) -> (PathBuf, Selector) {
    if let Some((path, digest)) = text.rsplit_once('@')
        && digest.contains(':')
        && !digest.contains('/')
    {
        return (PathBuf::from(path), Selector::Digest(digest.to_owned()));
    }
    if let Some((path, tag)) = text.rsplit_once(':')
        && !tag.contains('/')
        && !tag.is_empty()
    {
        return (PathBuf::from(path), Selector::Tag(tag.to_owned()));
    }
    (PathBuf::from(text), Selector::Default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> NamedContext {
        parse(&[text.to_owned()]).unwrap().into_values().next().unwrap()
    }

    #[test]
    fn layouts_have_tags_and_digests() {
        let layout = |path: &str, selector| NamedContext::Layout { path: path.into(), selector };
        assert_eq!(one("a=oci-layout:///x/y"), layout("/x/y", Selector::Default));
        assert_eq!(one("a=oci-layout://./y:12"), layout("./y", Selector::Tag("12".into())));
        assert_eq!(one("a=oci-layout://x:1/y"), layout("x:1/y", Selector::Default));
        assert_eq!(one("a=oci-layout://y@sha256:ab"), layout("y", Selector::Digest("sha256:ab".into())));
    }

    #[test]
    fn directories_may_be_relative_and_remote_sources_are_refused() {
        assert_eq!(one("src=../lib"), NamedContext::Directory("../lib".into()));
        assert_eq!(one("d=docker-image://debian:12"), NamedContext::Image("debian:12".into()));
        assert!(
            matches!(one("g=https://x/y.git#main"), NamedContext::Git(source) if source.reference == "main")
        );
        for (text, why) in [("g=git@x:y", "does not speak ssh"), ("s=-", "not built yet")] {
            let refused = parse(&[text.to_owned()]).unwrap_err();
            assert!(refused.message.contains(why), "{}", refused.message);
        }
        assert!(parse(&["noequals".to_owned()]).is_err());
        assert!(parse(&["a=b".to_owned(), "a=c".to_owned()]).is_err());
    }
}
