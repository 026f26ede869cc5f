//! Where a name that a module gives leads: relative to a directory it opened, or to the working directory, or to `/`.
//!
//! A module is given one directory, called `/`, and the guests' C library removes the leading slash before it asks, so that
//! `/src/a` and `src/a` reach us as the same `src/a`. A name is therefore looked up in the working directory first and in
//! `/` then; one that is to be made is made where its parent directory is, in the same order. With the working directory
//! `/` both are one. This is no fence: every call it leads to is answered by the broker, which knows nothing outside the
//! rootfs.

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;

/// A directory that names may be relative to.
#[derive(Debug)]
pub(crate) enum Directory {
    /// The one a module is given: the working directory, and behind it `/`.
    Given(Cwd),
    /// One it opened.
    Opened(OwnedFd),
}

/// Whether the working directory and `/` are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cwd {
    /// Names lead to one place.
    Root,
    /// Names may lead to two.
    Elsewhere,
}

/// What is to be done with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is there, or the call fails.
    Find,
    /// It is made if it is not there.
    Make,
}

/// A descriptor, and a path relative to it.
pub(crate) type Place<'a> = (BorrowedFd<'a>, Cow<'a, [u8]>);

impl Cwd {
    /// Of this process.
    pub(crate) fn of_process() -> Self {
        match rustix::process::getcwd(Vec::new()) {
            Ok(path) if path.as_bytes() == b"/" => Self::Root,
            _ => Self::Elsewhere,
        }
    }
}

impl Directory {
    /// Where `path` leads for this purpose.
    ///
    /// # Errors
    /// EPERM for an absolute path, as WASI has it; ENOENT for an empty one.
    pub(crate) fn place<'a>(&'a self, path: &'a [u8], purpose: Purpose) -> Result<Place<'a>, Errno> {
        match path.first() {
            None => return Err(Errno::NOENT),
            Some(b'/') => return Err(Errno::PERM),
            Some(_) => {}
        }
        Ok(match self {
            Self::Opened(directory) => (directory.as_fd(), path.into()),
            Self::Given(Cwd::Root) => (CWD, path.into()),
            Self::Given(Cwd::Elsewhere) => (CWD, choose(path, purpose, &is_there)),
        })
    }
}

fn is_there(path: &[u8]) -> bool {
    rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

fn choose<'a>(path: &'a [u8], purpose: Purpose, is_there: &dyn Fn(&[u8]) -> bool) -> Cow<'a, [u8]> {
    let rooted = |path: &[u8]| [b"/", path].concat();
    // A name of one component that is to be made is not looked for in `/`: a tool's `out` is never meant for `/out`.
    let parent = path.iter().rposition(|byte| *byte == b'/').map(|end| &path[..end]);
    if is_there(path) {
        return path.into();
    }
    let in_root = match (purpose, parent) {
        (Purpose::Find, _) => is_there(&rooted(path)),
        (Purpose::Make, None) => false,
        (Purpose::Make, Some(parent)) => !is_there(parent) && is_there(&rooted(parent)),
    };
    if in_root { rooted(path).into() } else { path.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(path: &str, purpose: Purpose, there: &[&str]) -> String {
        let there = |path: &[u8]| there.iter().any(|one| one.as_bytes() == path);
        String::from_utf8(choose(path.as_bytes(), purpose, &there).into_owned()).unwrap()
    }

    #[test]
    fn the_working_directory_comes_first() {
        assert_eq!(chosen("src/a", Purpose::Find, &["src/a", "/src/a"]), "src/a");
        assert_eq!(chosen("src/a", Purpose::Find, &["/src/a"]), "/src/a");
        assert_eq!(chosen("src/a", Purpose::Find, &[]), "src/a");
    }

    #[test]
    fn what_is_made_is_made_where_its_parent_is() {
        assert_eq!(chosen("out", Purpose::Make, &["/out"]), "out");
        assert_eq!(chosen("src/out", Purpose::Make, &["src", "/src"]), "src/out");
        assert_eq!(chosen("src/out", Purpose::Make, &["/src"]), "/src/out");
        assert_eq!(chosen("src/out", Purpose::Make, &[]), "src/out");
    }

    #[test]
    fn absolute_and_empty_names_are_refused() {
        let given = Directory::Given(Cwd::Elsewhere);
        assert_eq!(given.place(b"/etc", Purpose::Find).unwrap_err(), Errno::PERM);
        assert_eq!(given.place(b"", Purpose::Find).unwrap_err(), Errno::NOENT);
    }
}
