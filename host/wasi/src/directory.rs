//! The entries of a directory, in the order of their names: the order of a file system differs from one host to the next.

use std::os::fd::AsFd;

use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

use crate::p1::table::Listed;

/// Reads a whole directory, with `.` and `..`.
///
/// # Errors
/// The kernel's.
pub(crate) fn list(directory: &impl AsFd) -> Result<Vec<Listed>, Errno> {
    let mut listed = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes().to_vec();
        let kind = match entry.file_type() {
            // Some file systems do not say, and an empty file may stand for a device.
            FileType::Unknown => {
                match rustix::fs::statat(directory, name.as_slice(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(_gone) => FileType::Unknown,
                }
            }
            known => known,
        };
        listed.push(Listed { name, inode: entry.ino(), kind });
    }
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_the_order_of_their_names() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["z", "a", "m"] {
            let path = directory.path().join(name);
            rustix::fs::open(&path, rustix::fs::OFlags::CREATE, rustix::fs::Mode::RUSR).unwrap();
        }
        let fd = rustix::fs::open(directory.path(), rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())
            .unwrap();
        let names: Vec<Vec<u8>> = list(&fd).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, [b".".to_vec(), b"..".to_vec(), b"a".to_vec(), b"m".to_vec(), b"z".to_vec()]);
    }
}
