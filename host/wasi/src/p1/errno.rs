//! Preview 1's error numbers (wasi_snapshot_preview1.witx, `errno`), and Linux's in them.

use rustix::io::Errno as Linux;

/// One of preview 1's error numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) u16);

impl Errno {
    pub(crate) const BADF: Self = Self(8);
    pub(crate) const FAULT: Self = Self(21);
    pub(crate) const INVAL: Self = Self(28);
    pub(crate) const IO: Self = Self(29);
    pub(crate) const MFILE: Self = Self(33);
    pub(crate) const NAMETOOLONG: Self = Self(37);
    pub(crate) const NOSYS: Self = Self(52);
    pub(crate) const NOTDIR: Self = Self(54);
    pub(crate) const NOTSOCK: Self = Self(57);
    pub(crate) const OVERFLOW: Self = Self(61);
}

/// Linux's number and preview 1's.
const TABLE: &[(Linux, u16)] = &[
    (Linux::TOOBIG, 1),
    (Linux::ACCESS, 2),
    (Linux::AGAIN, 6),
    (Linux::BADF, 8),
    (Linux::BUSY, 10),
    (Linux::DEADLK, 16),
    (Linux::DQUOT, 19),
    (Linux::EXIST, 20),
    (Linux::FAULT, 21),
    (Linux::FBIG, 22),
    (Linux::ILSEQ, 25),
    (Linux::INTR, 27),
    (Linux::INVAL, 28),
    (Linux::IO, 29),
    (Linux::ISDIR, 31),
    (Linux::LOOP, 32),
    (Linux::MFILE, 33),
    (Linux::MLINK, 34),
    (Linux::NAMETOOLONG, 37),
    (Linux::NFILE, 41),
    (Linux::NODEV, 43),
    (Linux::NOENT, 44),
    (Linux::NOLCK, 46),
    (Linux::NOMEM, 48),
    (Linux::NOSPC, 51),
    (Linux::NOSYS, 52),
    (Linux::NOTDIR, 54),
    (Linux::NOTEMPTY, 55),
    (Linux::NOTSOCK, 57),
    (Linux::OPNOTSUPP, 58),
    (Linux::NOTTY, 59),
    (Linux::NXIO, 60),
    (Linux::OVERFLOW, 61),
    (Linux::PERM, 63),
    (Linux::PIPE, 64),
    (Linux::RANGE, 68),
    (Linux::ROFS, 69),
    (Linux::SPIPE, 70),
    (Linux::TXTBSY, 74),
    (Linux::XDEV, 75),
];

impl From<Linux> for Errno {
    fn from(errno: Linux) -> Self {
        TABLE.iter().find(|(linux, _)| *linux == errno).map_or(Self::IO, |(_, number)| Self(*number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_errors_keep_their_meaning_and_unknown_ones_are_io() {
        assert_eq!(Errno::from(Linux::NOENT), Errno(44));
        assert_eq!(Errno::from(Linux::XDEV), Errno(75));
        assert_eq!(Errno::from(Linux::NOTUNIQ), Errno::IO);
    }

    #[test]
    fn no_number_stands_twice() {
        let numbers: std::collections::BTreeSet<u16> = TABLE.iter().map(|(_, number)| *number).collect();
        assert_eq!(numbers.len(), TABLE.len());
    }
}
