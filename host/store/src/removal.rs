//! Removing a tree that a guest made.
//!
//! Works on what `rm -rf` or a recursive function stumbles over: directories without permissions, names that are no text,
//! and nesting deeper than there are file descriptors or stack. Symbolic links are removed, never followed. The
//! caller keeps others away from the tree.

use crate::lock::unique;
use cap_std::fs::{Dir, PermissionsExt};
use rustix::fs::{Mode, OFlags, openat};
use std::ffi::{OsStr, OsString};
use std::io;

/// Removes the directory `name` in `parent` with everything in it. Something that is not there is no error.
///
/// # Errors
/// The filesystem's; what was removed until then is gone.
pub fn remove_tree(parent: &Dir, name: &str) -> io::Result<()> {
    let Some(top) = absent_is_none(open_writable(parent, OsStr::new(name)))? else { return Ok(()) };
    let mut pending = vec![OsString::from(".")];
    while let Some(name) = pending.pop() {
        let Some(dir) = absent_is_none(open_writable(&top, &name))? else { continue };
        // A directory is moved up before it is emptied, so that depth costs nothing.
        for entry in dir.entries()? {
            let entry = entry?;
            let entry_name = entry.file_name();
            if !entry.file_type()?.is_dir() {
                absent_is_none(dir.remove_file(&entry_name))?;
            } else if name == "." {
                pending.push(entry_name);
            } else {
                let moved = OsString::from(unique());
                // A directory that cannot be written cannot be moved: its `..` changes.
                absent_is_none(open_writable(&dir, &entry_name))?;
                absent_is_none(dir.rename(&entry_name, &top, &moved))?;
                pending.push(moved);
            }
        }
        if name != "." {
            absent_is_none(top.remove_dir(&name))?;
        }
    }
    absent_is_none(parent.remove_dir(name)).map(drop)
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a directory that may have lost its owner's permissions.
fn open_writable(parent: &Dir, name: &OsStr) -> io::Result<Dir> {
    if parent.symlink_metadata(name)?.permissions().mode() & 0o700 != 0o700 {
        parent.set_permissions(name, cap_std::fs::Permissions::from_mode(0o700))?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty())?;
    Ok(Dir::from_std_file(std::fs::File::from(directory)))
}
