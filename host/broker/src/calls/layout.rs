//! The kernel's structures as guests lay them out in memory: exact sizes, per architecture.
//!
//! Written and read byte by byte, in native order, so that nothing depends on how this program lays out its own.

use rustix::fs::{StatFs, Statx, StatxTimestamp};

/// A structure under construction.
struct Bytes<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Bytes<N> {
    fn new() -> Self {
        Self { bytes: [0; N], at: 0 }
    }

    fn put<const M: usize>(&mut self, field: [u8; M]) -> &mut Self {
        self.bytes[self.at..self.at + M].copy_from_slice(&field);
        self.at += M;
        self
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.put(value.to_ne_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.put(value.to_ne_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.put(value.to_ne_bytes())
    }

    /// `struct timespec`.
    fn time(&mut self, time: &StatxTimestamp) -> &mut Self {
        self.u64(time.tv_sec.cast_unsigned()).u64(time.tv_nsec.into())
    }

    /// `struct statx_timestamp`.
    fn statx_time(&mut self, time: &StatxTimestamp) -> &mut Self {
        self.u64(time.tv_sec.cast_unsigned()).u32(time.tv_nsec).u32(0)
    }
}

/// `new_encode_dev` of linux/kdev_t.h: how user space sees a device number.
fn device(major: u32, minor: u32) -> u64 {
    u64::from((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// The other way round: major and minor of a `dev_t` given to mknod (`new_decode_dev`).
#[must_use]
pub(super) fn decode_device(device: u32) -> (u32, u32) {
    ((device & 0xf_ff00) >> 8, (device & 0xff) | ((device >> 12) & 0xf_ff00))
}

/// `struct stat` of x86_64 (asm/stat.h).
#[cfg(target_arch = "x86_64")]
#[must_use]
pub(super) fn stat(s: &Statx) -> [u8; 144] {
    let mut out = Bytes::new();
    out.u64(device(s.stx_dev_major, s.stx_dev_minor)).u64(s.stx_ino).u64(s.stx_nlink.into());
    out.u32(s.stx_mode.into()).u32(s.stx_uid).u32(s.stx_gid).u32(0);
    out.u64(device(s.stx_rdev_major, s.stx_rdev_minor));
    out.u64(s.stx_size).u64(s.stx_blksize.into()).u64(s.stx_blocks);
    out.time(&s.stx_atime).time(&s.stx_mtime).time(&s.stx_ctime);
    out.bytes
}

/// `struct stat` of arm64 (asm-generic/stat.h).
#[cfg(target_arch = "aarch64")]
#[must_use]
pub(super) fn stat(s: &Statx) -> [u8; 128] {
    let mut out = Bytes::new();
    out.u64(device(s.stx_dev_major, s.stx_dev_minor)).u64(s.stx_ino);
    out.u32(s.stx_mode.into()).u32(s.stx_nlink).u32(s.stx_uid).u32(s.stx_gid);
    out.u64(device(s.stx_rdev_major, s.stx_rdev_minor)).u64(0);
    out.u64(s.stx_size).u32(s.stx_blksize).u32(0).u64(s.stx_blocks);
    out.time(&s.stx_atime).time(&s.stx_mtime).time(&s.stx_ctime);
    out.bytes
}

/// `struct statx` (linux/stat.h), the same everywhere.
#[must_use]
pub(super) fn statx(s: &Statx) -> [u8; 256] {
    let mut out = Bytes::new();
    out.u32(s.stx_mask).u32(s.stx_blksize).u64(s.stx_attributes.bits());
    out.u32(s.stx_nlink).u32(s.stx_uid).u32(s.stx_gid).u16(s.stx_mode).u16(0);
    out.u64(s.stx_ino).u64(s.stx_size).u64(s.stx_blocks).u64(s.stx_attributes_mask.bits());
    out.statx_time(&s.stx_atime).statx_time(&s.stx_btime).statx_time(&s.stx_ctime).statx_time(&s.stx_mtime);
    out.u32(s.stx_rdev_major).u32(s.stx_rdev_minor).u32(s.stx_dev_major).u32(s.stx_dev_minor);
    out.u64(s.stx_mnt_id).u32(s.stx_dio_mem_align).u32(s.stx_dio_offset_align).u64(s.stx_subvol);
    out.bytes
}

/// `struct statfs` of 64-bit architectures (asm-generic/statfs.h).
#[must_use]
pub(super) fn statfs(s: &StatFs) -> [u8; 120] {
    let mut out = Bytes::new();
    let word = |value: i64| value.cast_unsigned();
    out.u64(word(s.f_type)).u64(word(s.f_bsize));
    out.u64(s.f_blocks).u64(s.f_bfree).u64(s.f_bavail).u64(s.f_files).u64(s.f_ffree);
    // f_fsid: Linux's own file systems answer what cannot be used to find them; zero means unknown.
    out.u64(0).u64(word(s.f_namelen)).u64(word(s.f_frsize)).u64(word(s.f_flags));
    out.bytes
}

/// `N` 64-bit words.
#[must_use]
pub(super) fn words<const N: usize>(bytes: &[u8]) -> [i64; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = i64::from_ne_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive_both_ways() {
        for (major, minor) in [(1, 3), (8, 255), (8, 256), (259, 1_000_000), (0xfff, 0xf_ffff)] {
            let encoded = u32::try_from(device(major, minor)).unwrap();
            assert_eq!(decode_device(encoded), (major, minor));
        }
        assert_eq!(device(1, 3), 0x103);
    }

    /// The C library's own structure, filled by the kernel for the same file, is the reference.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn stat_has_the_kernels_offsets() {
        use rustix::fs::{AtFlags, StatxFlags};
        let ours = rustix::fs::statx(
            rustix::fs::CWD,
            "/dev/null",
            AtFlags::empty(),
            StatxFlags::BASIC_STATS | StatxFlags::BTIME,
        )
        .unwrap();
        let theirs = rustix::fs::stat("/dev/null").unwrap();
        let bytes = stat(&ours);
        let u64_at = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        let u32_at = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((u64_at(0), u64_at(8), u64_at(16)), (theirs.st_dev, theirs.st_ino, theirs.st_nlink));
        assert_eq!((u32_at(24), u32_at(28), u32_at(32)), (theirs.st_mode, theirs.st_uid, theirs.st_gid));
        assert_eq!((u64_at(40), u64_at(48)), (theirs.st_rdev, theirs.st_size.cast_unsigned()));
        assert_eq!(
            (u64_at(56), u64_at(64)),
            (theirs.st_blksize.cast_unsigned(), theirs.st_blocks.cast_unsigned())
        );
        assert_eq!(u64_at(88), theirs.st_mtime.cast_unsigned());
        assert_eq!(u64_at(96), theirs.st_mtime_nsec);
        assert_eq!(u64_at(104), theirs.st_ctime.cast_unsigned());
    }
}
