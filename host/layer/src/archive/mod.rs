//! The tar format of layers: POSIX ustar with pax records (POSIX.1-2017 pax, "ustar Interchange Format"), which is
//! what Go's archive/tar writes and every engine reads. Reading also takes GNU long names and base-256 numbers.

pub(crate) mod encode;

/// Headers are one block, contents are padded to one.
pub(crate) const RECORD: usize = 512;
/// Name prefix of a whiteout (image-spec layer.md, "Whiteouts").
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// Name of an opaque whiteout.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Prefix of the pax keyword of an extended attribute.
pub(crate) const XATTR: &[u8] = b"SCHILY.xattr.";

/// Field positions in a ustar header.
pub(crate) mod field {
    use std::ops::Range;
    pub(crate) const NAME: Range<usize> = 0..100;
    pub(crate) const MODE: Range<usize> = 100..108;
    pub(crate) const UID: Range<usize> = 108..116;
    pub(crate) const GID: Range<usize> = 116..124;
    pub(crate) const SIZE: Range<usize> = 124..136;
    pub(crate) const MTIME: Range<usize> = 136..148;
    pub(crate) const CHECKSUM: Range<usize> = 148..156;
    pub(crate) const TYPE: usize = 156;
    pub(crate) const LINK: Range<usize> = 157..257;
    pub(crate) const MAGIC: Range<usize> = 257..265;
    pub(crate) const MAJOR: Range<usize> = 329..337;
    pub(crate) const MINOR: Range<usize> = 337..345;
    pub(crate) const PREFIX: Range<usize> = 345..500;
}

/// Type flags.
pub(crate) mod flag {
    pub(crate) const FILE: u8 = b'0';
    pub(crate) const HARD_LINK: u8 = b'1';
    pub(crate) const SYMLINK: u8 = b'2';
    pub(crate) const CHAR: u8 = b'3';
    pub(crate) const BLOCK: u8 = b'4';
    pub(crate) const DIRECTORY: u8 = b'5';
    pub(crate) const FIFO: u8 = b'6';
    pub(crate) const PAX: u8 = b'x';
}
