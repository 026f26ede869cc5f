//! Preview 1's records about files, and the numbers of their types and flags.

use std::time::Duration;

use rustix::fs::{FileType, OFlags, Stat, Timespec};

use crate::p1::errno::Errno;

/// The size of a `filestat`.
pub(super) const FILE_STAT: usize = 64;

/// `fdflags`: number and Linux's.
const FLAGS: [(u16, OFlags); 5] =
    [(1, OFlags::APPEND), (2, OFlags::DSYNC), (4, OFlags::NONBLOCK), (8, OFlags::RSYNC), (16, OFlags::SYNC)];

/// `filetype`.
pub(super) fn kind(kind: FileType) -> u8 {
    match kind {
        FileType::BlockDevice => 1,
        FileType::CharacterDevice => 2,
        FileType::Directory => 3,
        FileType::RegularFile => 4,
        FileType::Socket => 6,
        FileType::Symlink => 7,
        FileType::Fifo | FileType::Unknown => 0,
    }
}

/// `fdflags` of an open file.
pub(super) fn flags(flags: OFlags) -> u16 {
    FLAGS.iter().filter(|(_, linux)| flags.contains(*linux)).map(|(number, _)| number).sum()
}

/// Linux's flags for `fdflags`.
///
/// # Errors
/// EINVAL for one that nobody knows.
pub(super) fn open_flags(flags: u32) -> Result<OFlags, Errno> {
    if flags & !0b1_1111 != 0 {
        return Err(Errno::INVAL);
    }
    Ok(FLAGS
        .iter()
        .filter(|(number, _)| flags & u32::from(*number) != 0)
        .fold(OFlags::empty(), |all, (_, linux)| all | *linux))
}

/// A `filestat`.
#[cfg_attr(
    target_arch = "x86_64",
    expect(clippy::useless_conversion, reason = "it is 32 bits on other architectures")
)]
pub(super) fn encode(stat: &Stat) -> [u8; FILE_STAT] {
    let mut bytes = [0; FILE_STAT];
    let mut put = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0, stat.st_dev);
    put(8, stat.st_ino);
    put(24, stat.st_nlink.into());
    put(32, u64::try_from(stat.st_size).unwrap_or(0));
    put(40, nanoseconds(stat.st_atime, stat.st_atime_nsec));
    put(48, nanoseconds(stat.st_mtime, stat.st_mtime_nsec));
    put(56, nanoseconds(stat.st_ctime, stat.st_ctime_nsec));
    bytes[16] = kind(FileType::from_raw_mode(stat.st_mode));
    bytes
}

/// Times before 1970 are 0, as preview 1 has no sign.
fn nanoseconds(seconds: i64, nanoseconds: u64) -> u64 {
    u64::try_from(seconds)
        .map_or(0, |seconds| seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
}

/// A time since 1970 as Linux takes it.
pub(crate) fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_there_and_back() {
        for number in [0, 1, 4, 5] {
            assert_eq!(u32::from(flags(open_flags(number).unwrap())), number);
        }
        assert_eq!(open_flags(32), Err(Errno::INVAL));
    }

    #[test]
    fn a_directory_is_told_as_one() {
        let stat = rustix::fs::stat("/").unwrap();
        let bytes = encode(&stat);
        assert_eq!(bytes[16], 3);
        assert_eq!(bytes[8..16], stat.st_ino.to_le_bytes());
        assert_eq!(nanoseconds(-5, 3), 0);
    }
}
