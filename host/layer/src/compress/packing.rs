//! How a layer is compressed: the format, and how hard it is tried.
//!
//! A packing is always one that its codec takes: levels are checked where they are given.

use wbuild_oci::Compression;

use super::{GZIP_LEVEL, ZSTD_LEVEL};

/// A compression and its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    pub(super) compression: Compression,
    pub(super) level: i32,
}

/// A level that a compression does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} has no level {level} (levels are {from} to {to})")]
pub struct LevelError {
    name: &'static str,
    level: i32,
    from: i32,
    to: i32,
}

impl Packing {
    /// A compression with one of its levels: gzip 0 (stored) to 12, zstd 1 to 22; without a level, 3 for both.
    ///
    /// # Errors
    /// [`LevelError`]; a tar that is not compressed has no level but 0.
    pub fn new(compression: Compression, level: Option<i32>) -> Result<Self, LevelError> {
        let (name, usual, from, to) = match compression {
            Compression::None => ("an uncompressed layer", 0, 0, 0),
            Compression::Gzip => ("gzip", GZIP_LEVEL, 0, 12),
            Compression::Zstd => ("zstd", ZSTD_LEVEL, 1, 22),
        };
        let level = level.unwrap_or(usual);
        if (from..=to).contains(&level) {
            Ok(Self { compression, level })
        } else {
            Err(LevelError { name, level, from, to })
        }
    }

    /// The format.
    #[must_use]
    pub const fn compression(self) -> Compression {
        self.compression
    }

    /// The level.
    #[must_use]
    pub const fn level(self) -> i32 {
        self.level
    }
}

impl std::fmt::Display for Packing {
    /// `gzip:3`: what tells one packing's bytes from another's, for cache keys and progress.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.compression {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        };
        write!(f, "{name}:{}", self.level)
    }
}

impl From<Compression> for Packing {
    /// At the usual level.
    fn from(compression: Compression) -> Self {
        let level = match compression {
            Compression::None => 0,
            Compression::Gzip => GZIP_LEVEL,
            Compression::Zstd => ZSTD_LEVEL,
        };
        Self { compression, level }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_format() {
        for (compression, good, bad) in [
            (Compression::Gzip, &[0, 1, 9, 12][..], &[-1, 13][..]),
            (Compression::Zstd, &[1, 3, 22], &[0, 23]),
            (Compression::None, &[0], &[1]),
        ] {
            assert_eq!(Packing::new(compression, None), Ok(compression.into()));
            for level in good {
                assert_eq!(Packing::new(compression, Some(*level)).map(Packing::level), Ok(*level));
            }
            for level in bad {
                assert!(Packing::new(compression, Some(*level)).is_err(), "{compression:?} {level}");
            }
        }
    }
}
