//! Which files a source of COPY means: one path, or what a glob finds.
//!
//! As BuildKit: the components before the first wildcard are a path, links in it followed; the rest is matched, as Go's
//! filepath.Match, against paths beneath; what matches is not entered.

use wbuild_dockerfile::glob;
use wbuild_layer::RootPath;

use crate::error::{FilesError, Ignored};
use crate::files::{self, Files, Kind, Last, node, unreadable};

/// The paths that `pattern` names, in byte order; none where a glob matches nothing in a directory that is
/// there, which is no error in BuildKit.
pub(crate) fn sources(from: &dyn Files, pattern: &str, written: &str) -> Result<Vec<RootPath>, FilesError> {
    let components: Vec<&str> = pattern.split('/').filter(|component| !component.is_empty()).collect();
    let wild = components.iter().position(|component| glob::has_wildcards(component));
    let path = |components: &[&str]| {
        RootPath::new(components.join("/"))
            .map_err(|error| unreadable(from, &RootPath::root(), std::io::Error::other(error)))
    };
    let Some(wild) = wild else {
        let unescaped: Vec<String> = components.iter().map(|component| glob::unescape(component)).collect();
        return Ok(vec![path(&unescaped.iter().map(String::as_str).collect::<Vec<_>>())?]);
    };
    let unescaped: Vec<String> =
        components[..wild].iter().map(|component| glob::unescape(component)).collect();
    let base = path(&unescaped.iter().map(String::as_str).collect::<Vec<_>>())?;
    let base = files::resolve(from, &base, Last::Follow)?;
    if !base.is_root() && node(from, &base)?.is_none() {
        return Err(FilesError::Missing {
            written: written.to_owned(),
            place: from.place().to_owned(),
            ignored: Ignored::No,
        });
    }
    let mut found = Vec::new();
    match_below(from, &base, &components[wild..], &mut found)?;
    Ok(found)
}

/// A pattern component never matches a slash, so each level of directories takes one of them.
fn match_below(
    from: &dyn Files,
    dir: &RootPath,
    pattern: &[&str],
    found: &mut Vec<RootPath>,
) -> Result<(), FilesError> {
    let Some((first, rest)) = pattern.split_first() else { return Ok(()) };
    if !dir.is_root() && !node(from, dir)?.is_some_and(|node| node.kind == Kind::Directory) {
        return Ok(());
    }
    for name in from.list(dir).map_err(|error| unreadable(from, dir, error))? {
        if !glob::matches(first.as_bytes(), &name) {
            continue;
        }
        let path = dir.join(&name).map_err(|error| unreadable(from, dir, std::io::Error::other(error)))?;
        if node(from, &path)?.is_none() {
            continue;
        }
        if rest.is_empty() {
            found.push(path);
        } else {
            match_below(from, &path, rest, found)?;
        }
    }
    Ok(())
}
