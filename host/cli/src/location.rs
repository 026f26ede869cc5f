//! Where the store lies: `--root`, `WBUILD_ROOT`, /scratch, the user's cache directory.
//!
//! A place the user named is the place or an error; the others are tried in order and must be writable. Nothing is
//! guessed from /etc/passwd: in a pod the user has no entry there and HOME is often not set.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;

/// One place that was considered, and why it was not taken.
struct Refused {
    place: String,
    reason: String,
}

/// Finds the store's directory and makes sure it can be written.
///
/// # Errors
/// Exit 8 naming every place considered.
pub(crate) fn find(root: Option<&Path>, environment: &Environment) -> Result<PathBuf, Failure> {
    find_with(root, environment, Path::new("/scratch"), &writable)
}

fn find_with(
    root: Option<&Path>,
    environment: &Environment,
    scratch: &Path,
    writable: &dyn Fn(&Path, Make) -> std::io::Result<()>,
) -> Result<PathBuf, Failure> {
    if let Some(root) = root {
        return named(root, "--root", writable);
    }
    if let Some(root) = environment.get("WBUILD_ROOT") {
        return named(Path::new(root), "WBUILD_ROOT", writable);
    }
    let mut refused = vec![
        Refused { place: "--root".into(), reason: "not given".into() },
        Refused { place: "WBUILD_ROOT".into(), reason: "not set".into() },
    ];
    let cache = |variable: &str, below: &str| {
        environment.get(variable).map(|base: &OsStr| PathBuf::from(base).join(below)).ok_or_else(|| Refused {
            place: format!("${variable}/{below}"),
            reason: format!("{variable} is not set"),
        })
    };
    let candidates = [
        Ok((scratch.to_owned(), Make::No)),
        cache("XDG_CACHE_HOME", "wbuild").map(|path| (path, Make::Yes)),
        cache("HOME", ".cache/wbuild").map(|path| (path, Make::Yes)),
    ];
    for candidate in candidates {
        match candidate {
            Ok((path, make)) => match writable(&path, make) {
                Ok(()) => return Ok(path),
                Err(error) => {
                    refused.push(Refused { place: path.display().to_string(), reason: error.to_string() });
                }
            },
            Err(unset) => refused.push(unset),
        }
    }
    let mut failure = Failure::new(Exit::Host, "there is no writable place for the store")
        .hint("give one with --root DIR or WBUILD_ROOT=DIR; in a pod, mount a volume at /scratch");
    failure.causes = refused.into_iter().map(|r| format!("{}: {}", r.place, r.reason)).collect();
    Err(failure)
}

/// Whether a missing directory is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Make {
    No,
    Yes,
}

fn named(
    path: &Path,
    by: &str,
    writable: &dyn Fn(&Path, Make) -> std::io::Result<()>,
) -> Result<PathBuf, Failure> {
    match writable(path, Make::Yes) {
        Ok(()) => Ok(path.to_owned()),
        Err(error) => {
            let mut failure = Failure::new(
                Exit::Host,
                format!("the store cannot be written at {} (from {by}): {error}", path.display()),
            );
            failure = failure.hint("name a directory on a writable volume");
            Err(failure)
        }
    }
}

/// Makes a file that has no name: access(2) would lie on a read-only or full volume.
fn writable(path: &Path, make: Make) -> std::io::Result<()> {
    if make == Make::Yes {
        std::fs::DirBuilder::new().recursive(true).create(path)?;
    }
    tempfile::tempfile_in(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none_writable(_: &Path, _: Make) -> std::io::Result<()> {
        Err(std::io::ErrorKind::PermissionDenied.into())
    }

    #[test]
    fn every_place_is_named_when_none_can_be_written() {
        let environment: Environment = [("HOME", "/home/u")].into_iter().collect();
        let failure = find_with(None, &environment, Path::new("/scratch"), &none_writable).unwrap_err();
        assert_eq!(failure.exit, Exit::Host);
        let said = failure.causes.join("\n");
        for place in ["--root", "WBUILD_ROOT", "/scratch", "XDG_CACHE_HOME", "/home/u/.cache/wbuild"] {
            assert!(said.contains(place), "{place} is missing in {said}");
        }
    }

    #[test]
    fn the_order_is_root_variable_scratch_cache_home() {
        let environment: Environment =
            [("WBUILD_ROOT", "/w"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")].into_iter().collect();
        let all = |_: &Path, _: Make| Ok(());
        let scratch = Path::new("/scratch");
        let at = |root, environment: &Environment, ok: &dyn Fn(&Path, Make) -> std::io::Result<()>| {
            find_with(root, environment, scratch, ok).unwrap()
        };
        assert_eq!(at(Some(Path::new("/r")), &environment, &all), Path::new("/r"));
        assert_eq!(at(None, &environment, &all), Path::new("/w"));
        let no_variable: Environment = [("XDG_CACHE_HOME", "/x"), ("HOME", "/h")].into_iter().collect();
        assert_eq!(at(None, &no_variable, &all), Path::new("/scratch"));
        let not_scratch = |path: &Path, make: Make| {
            if path.starts_with("/scratch") { none_writable(path, make) } else { Ok(()) }
        };
        assert_eq!(at(None, &no_variable, &not_scratch), Path::new("/x/wbuild"));
        let home: Environment = [("HOME", "/h")].into_iter().collect();
        assert_eq!(at(None, &home, &not_scratch), Path::new("/h/.cache/wbuild"));
    }

    #[test]
    fn a_named_place_is_never_passed_over() {
        let environment: Environment = [("HOME", "/home/u")].into_iter().collect();
        let only_home = |path: &Path, make: Make| {
            if path.starts_with("/home") { Ok(()) } else { none_writable(path, make) }
        };
        let failure = find_with(Some(Path::new("/nowhere")), &environment, Path::new("/scratch"), &only_home)
            .unwrap_err();
        assert_eq!(failure.exit, Exit::Host);
        assert!(failure.message.contains("/nowhere") && failure.message.contains("--root"));
    }

    #[test]
    fn a_directory_is_probed_by_writing() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        writable(&below, Make::Yes).unwrap();
        assert_eq!(below.read_dir().unwrap().count(), 0);
        assert!(writable(&dir.path().join("missing"), Make::No).is_err());
    }
}
