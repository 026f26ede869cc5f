//! Paths inside a captured rootfs, as layers and journals name them.
//!
//! A [`RootPath`] is canonical by construction: relative, without empty, `.` or `..` components, without NUL.
//! It says nothing about what stands there; following links is the reference monitor's work.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A path relative to the root of a captured rootfs, as raw bytes; the root itself is the empty path.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct RootPath(Vec<u8>);

/// Why bytes are not a [`RootPath`].
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum RootPathError {
    /// A `..` component would leave the directory it stands in.
    #[error("path {0:?} has a .. component")]
    DotDot(String),
    /// A NUL byte ends every path for the kernel.
    #[error("path {0:?} has a NUL byte")]
    Nul(String),
}

impl RootPath {
    /// The root of the tree.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Normalises `bytes`: leading, doubled and trailing slashes and `.` components are dropped.
    ///
    /// # Errors
    /// `..` components and NUL bytes are refused, never resolved.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, RootPathError> {
        let bytes = bytes.as_ref();
        let shown = || String::from_utf8_lossy(bytes).into_owned();
        if bytes.contains(&0) {
            return Err(RootPathError::Nul(shown()));
        }
        let mut out = Vec::with_capacity(bytes.len());
        for component in bytes.split(|b| *b == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(RootPathError::DotDot(shown())),
                name => {
                    if !out.is_empty() {
                        out.push(b'/');
                    }
                    out.extend_from_slice(name);
                }
            }
        }
        Ok(Self(out))
    }

    /// True for the root of the tree.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The raw bytes, without a leading slash; empty for the root.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a relative host path; `.` for the root, so that it can be given to an `*at` call.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        if self.0.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(&self.0)) }
    }

    /// The components in order, none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|c| !c.is_empty())
    }

    /// The directory this path stands in; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// The last component; `None` for the root.
    #[must_use]
    pub fn file_name(&self) -> Option<&[u8]> {
        self.0.rsplit(|b| *b == b'/').next().filter(|n| !n.is_empty())
    }

    /// This path with one more component.
    ///
    /// # Errors
    /// As [`RootPath::new`] has them; a name that holds slashes is joined component by component.
    pub fn join(&self, name: impl AsRef<[u8]>) -> Result<Self, RootPathError> {
        let mut joined = self.0.clone();
        joined.push(b'/');
        joined.extend_from_slice(name.as_ref());
        Self::new(joined)
    }

    /// True if `self` is `ancestor` or lies beneath it.
    #[must_use]
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        ancestor.0.is_empty()
            || self.0 == ancestor.0
            || (self.0.len() > ancestor.0.len()
                && self.0.starts_with(&ancestor.0)
                && self.0[ancestor.0.len()] == b'/')
    }
}

/// By component, so that a directory's subtree directly follows it: `a`, `a/b`, `a.b`.
impl Ord for RootPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // A slash sorts below every other byte a name can hold; NUL cannot occur.
        let key = |b: &u8| if *b == b'/' { 0 } else { *b };
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl PartialOrd for RootPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Debug for RootPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// Shown with its leading slash, lossily where the bytes are not UTF-8.
impl std::fmt::Display for RootPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_and_refuses() {
        assert_eq!(RootPath::new("/usr//./bin/").unwrap().as_bytes(), b"usr/bin");
        assert!(RootPath::new("./").unwrap().is_root());
        assert!(matches!(RootPath::new("a/../b"), Err(RootPathError::DotDot(_))));
        assert!(matches!(RootPath::new("a\0b"), Err(RootPathError::Nul(_))));
    }

    #[test]
    fn knows_its_relatives() {
        let path = RootPath::new("usr/bin/env").unwrap();
        assert_eq!(path.parent().unwrap().as_bytes(), b"usr/bin");
        assert_eq!(path.file_name().unwrap(), b"env");
        assert!(path.starts_with(&RootPath::new("usr").unwrap()));
        assert!(!path.starts_with(&RootPath::new("us").unwrap()));
        assert_eq!(RootPath::new("usr").unwrap().parent().unwrap(), RootPath::root());
        assert!(RootPath::new("a/b").unwrap() < RootPath::new("a.b").unwrap());
        assert_eq!(RootPath::root().join("etc/passwd").unwrap().as_bytes(), b"etc/passwd");
    }
}
