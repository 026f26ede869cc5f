//! A build context that is an archive, into a directory of the host.
//!
//! It is known by its content, plain or compressed as ADD has it. Nothing is written outside the directory: names and links are looked up
//! beneath it. Owners are not kept, because a context has none, and times only where they mean something; devices are refused.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};
use wbuild_layer::{Entry, EntryKind, LayerEntry, LayerReader, RootPath, Timestamp};

use crate::copy::detect;
use crate::error::FilesError;

/// What a file was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// An archive, which is unpacked now.
    Archive,
    /// Something else; nothing was done.
    Other,
}

/// Whether files get the times that an archive has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileTimes {
    /// They do.
    Kept,
    /// They are of now.
    Now,
}

/// Unpacks `file` into the empty directory `into`, if it is an archive; `written` names it in messages.
///
/// # Errors
/// [`FilesError::Archive`] for one that is broken, or that has what a context cannot have.
pub fn unpack_context(
    file: File,
    written: &str,
    into: &Dir,
    times: FileTimes,
) -> Result<Contents, FilesError> {
    let failed = |reason: String| FilesError::Archive { written: written.to_owned(), reason };
    let Some(archive) = detect(file, written)? else { return Ok(Contents::Other) };
    let mut reader = archive.reader()?;
    let mut directories = Vec::new();
    while let Some(entry) = reader.next_entry().map_err(|error| failed(error.to_string()))? {
        let LayerEntry::Present { path, entry } = entry else {
            return Err(failed("it has a whiteout, which only a layer can have".to_owned()));
        };
        if path.is_root() {
            continue;
        }
        let put = match entry.kind {
            EntryKind::Directory => {
                directories.push((path.clone(), entry.attributes.mode, entry.attributes.mtime));
                into.create_dir_all(path.as_path())
            }
            _ => file_entry(&path, &entry, into, &mut reader),
        };
        let timed = put.and_then(|()| match (&entry.kind, times) {
            (EntryKind::Directory, _) | (_, FileTimes::Now) => Ok(()),
            (_, FileTimes::Kept) => set_time(&path, entry.attributes.mtime, into),
        });
        timed.map_err(|error| failed(format!("{path}: {error}")))?;
    }
    // Deepest first, and when nothing more is put into them.
    directories.sort_by(|(a, ..), (b, ..)| b.cmp(a));
    for (path, mode, mtime) in directories {
        let set = match times {
            FileTimes::Kept => set_time(&path, mtime, into),
            FileTimes::Now => Ok(()),
        };
        let set = set.and_then(|()| into.set_permissions(path.as_path(), permissions(mode)));
        set.map_err(|error| failed(format!("{path}: {error}")))?;
    }
    Ok(Contents::Archive)
}

/// Sets the time of what stands at `path`, itself and not what a link leads to.
fn set_time(path: &RootPath, mtime: Timestamp, into: &Dir) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let room = if parent.is_root() { into.try_clone()? } else { into.open_dir(parent.as_path())? };
    let time = rustix::fs::Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let name = std::ffi::OsStr::from_bytes(name);
    Ok(rustix::fs::utimensat(&room, name, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)
}

fn permissions(mode: u32) -> Permissions {
    Permissions::from_mode(mode & 0o7777)
}

fn file_entry(path: &RootPath, entry: &Entry, into: &Dir, reader: &mut LayerReader) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.is_root()) {
        into.create_dir_all(parent.as_path())?;
    }
    // The last entry of a name counts.
    match into.remove_file(path.as_path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match &entry.kind {
        EntryKind::File { .. } => {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let mut file = into.open_with(path.as_path(), &options)?;
            loop {
                let piece = reader.content().map_err(io::Error::other)?;
                if piece.is_empty() {
                    break;
                }
                file.write_all(piece)?;
            }
            file.set_permissions(permissions(entry.attributes.mode))
        }
        EntryKind::Symlink { target } => {
            into.symlink_contents(std::ffi::OsStr::from_bytes(target), path.as_path())
        }
        EntryKind::HardLink { target } => into.hard_link(target.as_path(), into, path.as_path()),
        EntryKind::Directory => Ok(()),
        EntryKind::CharDevice(_) | EntryKind::BlockDevice(_) | EntryKind::Fifo => {
            Err(io::Error::other("a device or a FIFO cannot be in a build context"))
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test looks at the host with std")]
mod tests {
    use std::io::Seek;
    use std::os::unix::fs::PermissionsExt as _;

    use cap_std::ambient_authority;

    use super::*;
    use crate::copy::tests::tar;

    fn unpack(content: &[u8]) -> (tempfile::TempDir, Result<Contents, FilesError>) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        let outer = tempfile::tempdir().unwrap();
        std::fs::create_dir(outer.path().join("in")).unwrap();
        let dir = Dir::open_ambient_dir(outer.path().join("in"), ambient_authority()).unwrap();
        let result = unpack_context(file, "context.tar", &dir, FileTimes::Kept);
        (outer, result)
    }

    #[test]
    fn files_links_and_modes_are_unpacked() {
        let (outer, result) = unpack(&tar(&["./", "d/", "d/run", "l -> /d/run", "deep/er/f"]));
        assert_eq!(result.unwrap(), Contents::Archive);
        let at = |name: &str| outer.path().join("in").join(name);
        let mode = |name: &str| std::fs::symlink_metadata(at(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("d"), 0o600, "as the archive has it");
        std::fs::set_permissions(at("d"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(mode("d/run"), 0o600);
        assert_eq!(std::fs::read_to_string(at("deep/er/f")).unwrap(), "x");
        assert_eq!(std::fs::read_link(at("l")).unwrap().to_str(), Some("/d/run"));
    }

    #[test]
    fn nothing_leaves_the_directory() {
        for entries in [&["out -> ..", "out/evil"][..], &["../evil"], &["abs -> /tmp", "abs/wbuild-evil"]] {
            let (outer, result) = unpack(&tar(entries));
            assert!(matches!(result, Err(FilesError::Archive { .. })), "{entries:?}: {result:?}");
            assert!(!outer.path().join("evil").exists());
        }
        assert!(!std::path::Path::new("/tmp/wbuild-evil").exists());
    }

    #[test]
    fn a_dockerfile_is_no_archive() {
        assert_eq!(unpack(b"FROM scratch\n").1.unwrap(), Contents::Other);
    }
}
