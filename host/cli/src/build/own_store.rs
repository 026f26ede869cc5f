//! A store that lies within a build context is no part of it: COPY would copy the tree into itself, without end.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, MetadataExt};
use wbuild_build::{BuildRequest, ContextDir, NamedContext};

use crate::exit::Exit;
use crate::failure::Failure;

/// Hides the store from the contexts that it lies in. Answers what the user is told.
///
/// # Errors
/// A context that is the store itself; what the host says.
pub(super) fn hide(store: &Path, request: &mut BuildRequest) -> Result<Option<String>, Failure> {
    let named = request.contexts.values_mut().filter_map(|context| match context {
        NamedContext::Directory(found) => Some(found),
        NamedContext::Layout { .. } | NamedContext::Image(_) => None,
    });
    let mut hidden = None;
    for context in std::iter::once(&mut request.context).chain(named) {
        hidden = hide_in(store, context)?.or(hidden);
    }
    Ok(hidden)
}

fn hide_in(store: &Path, context: &mut ContextDir) -> Result<Option<String>, Failure> {
    let host = |error: std::io::Error| {
        Failure::new(Exit::Host, format!("cannot find out where {} lies: {error}", store.display()))
    };
    let Some(within) = place_in(store, &context.dir).map_err(host)? else { return Ok(None) };
    let shown = within.display();
    if within.as_os_str().is_empty() {
        return Err(Failure::usage(format!(
            "the store at {} is the build context: give another --root, or another context",
            store.display()
        )));
    }
    if context.ignore.excludes(within.as_os_str().as_bytes()) {
        return Ok(None);
    }
    context.ignore.hide(&within.to_string_lossy()).map_err(|error| {
        Failure::usage(format!("the store lies in the build context, and {shown} cannot be hidden: {error}"))
            .hint("give another --root")
    })?;
    Ok(Some(format!("the store lies in the build context; {shown} is left out of it")))
}

/// The store's path beneath a context, if it is there.
fn place_in(store: &Path, context: &Dir) -> std::io::Result<Option<PathBuf>> {
    let of_context = context.dir_metadata()?;
    let store = store.canonicalize()?;
    for above in store.ancestors() {
        let found = std::fs::metadata(above)?;
        let key = (std::os::unix::fs::MetadataExt::dev(&found), std::os::unix::fs::MetadataExt::ino(&found));
        if key == (of_context.dev(), of_context.ino()) {
            return Ok(store.strip_prefix(above).ok().map(Path::to_owned));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cap_std::ambient_authority;

    #[test]
    fn the_store_is_found_in_the_contexts_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("a/b/store");
        std::fs::DirBuilder::new().recursive(true).create(&store).unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        let place = |context: &str| {
            let context = Dir::open_ambient_dir(dir.path().join(context), ambient_authority()).unwrap();
            place_in(&dir.path().join("link/b/store"), &context).unwrap()
        };
        assert_eq!(place("."), Some("a/b/store".into()));
        assert_eq!(place("a"), Some("b/store".into()));
        assert_eq!(place("link/b/store"), Some("".into()));
        std::fs::DirBuilder::new().create(dir.path().join("c")).unwrap();
        assert_eq!(place("c"), None);
    }
}
