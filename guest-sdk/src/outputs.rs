//! Attributes of files that WASI has no calls for. Names are those of [`std::fs`]; links are followed.
//!
//! Owners are numbers of the image's own users; what a tool sets is in the image's layer, whoever builds it.

use crate::Result;

/// Says that the tool makes this. A tool that ends well without it fails the step.
///
/// # Errors
/// The name is empty or holds a NUL.
pub fn declare(path: &str) -> Result {
    #[cfg(target_family = "wasm")]
    return told(crate::bindings::outputs::declare(path));
    #[cfg(not(target_family = "wasm"))]
    change(path, |mock, path| mock.declared.push(path))
}

/// Sets owner and group.
///
/// # Errors
/// There is no such file, or the step's user may not.
pub fn set_owner(path: &str, uid: u32, gid: u32) -> Result {
    #[cfg(target_family = "wasm")]
    return told(crate::bindings::outputs::set_owner(path, uid, gid));
    #[cfg(not(target_family = "wasm"))]
    existing(path, |mock, path| mock.file(path).owner = Some((uid, gid)))
}

/// Sets the permission bits, with setuid (`0o4000`), setgid and sticky.
///
/// # Errors
/// As [`set_owner`].
pub fn set_mode(path: &str, mode: u32) -> Result {
    #[cfg(target_family = "wasm")]
    return told(crate::bindings::outputs::set_mode(path, mode));
    #[cfg(not(target_family = "wasm"))]
    existing(path, |mock, path| mock.file(path).mode = Some(mode))
}

/// Sets the modification time, in seconds since 1970. It stays where the build keeps the times of what a step writes.
///
/// # Errors
/// As [`set_owner`].
pub fn set_mtime(path: &str, seconds: i64) -> Result {
    #[cfg(target_family = "wasm")]
    return told(crate::bindings::outputs::set_mtime(path, seconds));
    #[cfg(not(target_family = "wasm"))]
    existing(path, |mock, path| mock.file(path).mtime = Some(seconds))
}

/// Sets an extended attribute, as `user.comment` or `security.capability`.
///
/// # Errors
/// As [`set_owner`].
pub fn set_xattr(path: &str, name: &str, value: &[u8]) -> Result {
    #[cfg(target_family = "wasm")]
    return told(crate::bindings::outputs::set_xattr(path, name, value));
    #[cfg(not(target_family = "wasm"))]
    existing(path, |mock, path| {
        mock.file(path).xattrs.insert(name.to_owned(), value.to_vec());
    })
}

#[cfg(target_family = "wasm")]
fn told(answer: std::result::Result<(), crate::bindings::outputs::Error>) -> Result {
    answer.map_err(|error| crate::Error::new(error.message))
}

#[cfg(not(target_family = "wasm"))]
fn change(path: &str, change: impl FnOnce(&mut crate::mock::Mock, String)) -> Result {
    if path.is_empty() || path.contains('\0') {
        return Err(crate::Error::new(format!("{path:?} is no name of a file")));
    }
    crate::mock::with(|mock| change(mock, path.to_owned()));
    Ok(())
}

#[cfg(not(target_family = "wasm"))]
fn existing(path: &str, set: impl FnOnce(&mut crate::mock::Mock, String)) -> Result {
    if let Err(error) = std::fs::metadata(path) {
        return Err(crate::Error::from(error).context(format!("cannot change {path:?}")));
    }
    change(path, set)
}
