//! One header block, with the extended headers before it, to an entry.
//!
//! Reads what Go's archive/tar reads of POSIX ustar, pax and GNU headers, and refuses what it does not understand where
//! ignoring it would change the content (sparse files, unknown types). Names are normalised as Docker does: a leading
//! slash means the root of the tree, `..` is taken lexically, and a name that leads out of the root is an error.

use std::collections::BTreeMap;

use super::Limits;
use crate::archive::{RECORD, XATTR, field, flag};
use crate::{Attributes, Device, Entry, EntryKind, RootPath, Timestamp, Xattrs};

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The archive ends within it.
    #[error("the archive is truncated here")]
    Truncated,
    /// The header's checksum is wrong: this is no tar, or it is damaged.
    #[error("not a tar header (wrong checksum)")]
    Checksum,
    /// A number is not written as one, or out of range.
    #[error("its {0} is not a valid number")]
    Number(&'static str),
    /// An extended header is not well formed.
    #[error("its pax extended header is malformed near {0:?}")]
    Pax(String),
    /// A sparse file.
    #[error("it is a sparse file (GNU tar --sparse), which layers must not have")]
    Sparse,
    /// A type that nobody knows.
    #[error("its type {0:?} is unknown")]
    Type(char),
    /// The name leads out of the root.
    #[error("its name leads out of the root directory")]
    Breakout,
    /// The target of a hard link leads out of the root.
    #[error("its hard link target {0:?} leads out of the root directory")]
    LinkBreakout(String),
    /// The name or a component of it is longer than Linux allows.
    #[error("its name or link text is too long")]
    TooLong,
    /// A NUL in a name.
    #[error("its name has a NUL byte")]
    Nul,
    /// No name, or a link without a target.
    #[error("it has no name or an empty link target")]
    Empty,
    /// A whiteout of nothing, or of `.` or `..`.
    #[error("it is a whiteout of no valid name")]
    Whiteout,
    /// The root of the tree as something else than a directory.
    #[error("the root can only be a directory")]
    Root,
}

/// A header block with a valid checksum.
pub(super) struct Block([u8; RECORD]);

/// What a header that only extends the next one holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ExtendedKind {
    Pax,
    /// Applies to all that follows; only git and old archivers write it, with a comment. Docker ignores it.
    Global,
    GnuName,
    GnuLink,
}

pub(super) struct Extended {
    pub(super) kind: ExtendedKind,
    pub(super) size: u64,
}

/// What extended headers say of the entry that follows.
#[derive(Default)]
pub(super) struct Extra {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// A parsed entry at its normalised path.
pub(super) struct Parsed {
    pub(super) path: RootPath,
    pub(super) entry: Entry,
}

impl Extra {
    pub(super) fn add(&mut self, kind: ExtendedKind, mut body: Vec<u8>) -> Result<(), Malformed> {
        let until_nul = |body: &[u8]| body.split(|b| *b == 0).next().unwrap_or_default().to_vec();
        match kind {
            ExtendedKind::Global => {}
            ExtendedKind::GnuName => self.name = Some(until_nul(&body)),
            ExtendedKind::GnuLink => self.link = Some(until_nul(&body)),
            ExtendedKind::Pax => {
                while !body.is_empty() {
                    let (len, key, value) = record(&body)?;
                    if key.starts_with(b"GNU.sparse.") {
                        return Err(Malformed::Sparse);
                    }
                    self.records.insert(key.to_vec(), value.to_vec());
                    body.drain(..len);
                }
            }
        }
        Ok(())
    }

    /// The value of a keyword; an empty one means that there is none (pax, "pax Extended Header").
    fn get(&self, key: &str) -> Option<&[u8]> {
        self.records.get(key.as_bytes()).map(Vec::as_slice).filter(|value| !value.is_empty())
    }

    fn number(&self, key: &'static str) -> Result<Option<u64>, Malformed> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let text = std::str::from_utf8(value).map_err(|_| Malformed::Number(key))?;
        text.parse().map(Some).map_err(|_| Malformed::Number(key))
    }
}

/// The first of some records: its length, key and value.
fn record(body: &[u8]) -> Result<(usize, &[u8], &[u8]), Malformed> {
    let near = || Malformed::Pax(String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned());
    let space = body.iter().take(20).position(|b| *b == b' ').ok_or_else(near)?;
    let digits = std::str::from_utf8(&body[..space]).map_err(|_| near())?;
    let len: usize = digits.parse().map_err(|_| near())?;
    let text = body.get(space + 1..len).ok_or_else(near)?;
    let text = text.strip_suffix(b"\n").ok_or_else(near)?;
    let equals = text.iter().position(|b| *b == b'=').ok_or_else(near)?;
    if equals == 0 {
        return Err(near());
    }
    Ok((len, &text[..equals], &text[equals + 1..]))
}

/// Octal with blanks and NULs around it, or base 256 where the top bit of the first byte is set (GNU).
fn number(bytes: &[u8], what: &'static str) -> Result<i64, Malformed> {
    let wrong = || Malformed::Number(what);
    if bytes[0] & 0x80 != 0 {
        let negative = bytes[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (i, byte) in bytes.iter().enumerate() {
            // The first byte's top bit is the mark, the next one the sign.
            let byte = if i == 0 && !negative { byte & 0x7f } else { *byte };
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).map_err(|_| wrong());
    }
    let blank = |b: &u8| *b == b' ' || *b == 0;
    let start = bytes.iter().position(|b| !blank(b)).unwrap_or(bytes.len());
    let rest = &bytes[start..];
    let digits = rest.split(blank).next().unwrap_or_default();
    if !rest[digits.len()..].iter().all(blank) {
        return Err(wrong());
    }
    digits.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8).map(|v| v + i64::from(digit - b'0')).ok_or_else(wrong),
        _ => Err(wrong()),
    })
}

/// Seconds with an optional fraction, cut to nanoseconds.
fn timestamp(text: &[u8]) -> Result<Timestamp, Malformed> {
    let wrong = || Malformed::Number("mtime");
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    let (negative, magnitude) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let seconds: i64 = whole.parse().map_err(|_| wrong())?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().map_err(|_| wrong())?;
    Ok(match (negative, nanoseconds) {
        (false, _) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp { seconds: -seconds, nanoseconds: 0 },
        (true, _) => Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

/// Where a rooted name that climbs above its root ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Climb {
    /// At the root: Go's `Clean("/../a")` is `/a`, and Docker cleans names.
    Stops,
    /// Outside.
    Leaves,
}

/// Normalises a name of the archive as Docker does; `None` if it leads out.
fn normalise(name: &[u8], climb: Climb) -> Option<Vec<u8>> {
    let rooted = climb == Climb::Stops && name.starts_with(b"/");
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in name.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." if kept.pop().is_none() && !rooted => return None,
            b".." => {}
            name => kept.push(name),
        }
    }
    Some(kept.join(&b'/'))
}

impl Block {
    pub(super) fn new(bytes: [u8; RECORD]) -> Result<Self, Malformed> {
        let sum = |signed: bool| -> i64 {
            let byte = |(i, b): (usize, &u8)| match (field::CHECKSUM.contains(&i), signed) {
                (true, _) => i64::from(b' '),
                (false, false) => i64::from(*b),
                (false, true) => i64::from(b.cast_signed()),
            };
            bytes.iter().enumerate().map(byte).sum()
        };
        let said = number(&bytes[field::CHECKSUM], "checksum").map_err(|_| Malformed::Checksum)?;
        // Some old archivers summed signed bytes.
        if said != sum(false) && said != sum(true) {
            return Err(Malformed::Checksum);
        }
        Ok(Self(bytes))
    }

    /// Set if this header only extends the next one.
    pub(super) fn extended(&self) -> Result<Option<Extended>, Malformed> {
        let kind = match self.0[field::TYPE] {
            flag::PAX => ExtendedKind::Pax,
            b'g' => ExtendedKind::Global,
            b'L' => ExtendedKind::GnuName,
            b'K' => ExtendedKind::GnuLink,
            _ => return Ok(None),
        };
        let size = self.number(field::SIZE, "size")?;
        Ok(Some(Extended { kind, size: u64::try_from(size).map_err(|_| Malformed::Number("size"))? }))
    }

    /// The entry that this header and `extra` describe; with an error comes its name, if it has one.
    pub(super) fn entry(
        &self,
        extra: Extra,
        limits: &Limits,
    ) -> Result<Parsed, (Option<Vec<u8>>, Malformed)> {
        let name = self.name(&extra);
        self.parse(&name, extra, limits).map_err(|source| (Some(name).filter(|n| !n.is_empty()), source))
    }

    fn parse(&self, name: &[u8], extra: Extra, limits: &Limits) -> Result<Parsed, Malformed> {
        if name.is_empty() {
            return Err(Malformed::Empty);
        }
        check_length(name, limits)?;
        let path = normalise(name, Climb::Stops).ok_or(Malformed::Breakout)?;
        let path = RootPath::new(path).map_err(|_| Malformed::Nul)?;
        let kind = self.kind(name, &extra, limits)?;
        let owner = |range, key: &'static str| -> Result<u32, Malformed> {
            let id = match extra.number(key)? {
                Some(id) => i64::try_from(id).map_err(|_| Malformed::Number(key))?,
                None => self.number(range, key)?,
            };
            u32::try_from(id).map_err(|_| Malformed::Number(key))
        };
        let (uid, gid) = (owner(field::UID, "uid")?, owner(field::GID, "gid")?);
        let mode = self.number(field::MODE, "mode")? & 0o7777;
        let mtime = match extra.get("mtime") {
            Some(text) => timestamp(text)?,
            None => Timestamp { seconds: self.number(field::MTIME, "mtime")?, nanoseconds: 0 },
        };
        let xattr =
            |(key, value): (Vec<u8>, Vec<u8>)| key.strip_prefix(XATTR).map(|key| (key.to_vec(), value));
        let xattrs: Xattrs = extra.records.into_iter().filter_map(xattr).collect();
        let mode = u32::try_from(mode).map_err(|_| Malformed::Number("mode"))?;
        Ok(Parsed { path, entry: Entry { kind, attributes: Attributes { mode, uid, gid, mtime, xattrs } } })
    }

    fn kind(&self, name: &[u8], extra: &Extra, limits: &Limits) -> Result<EntryKind, Malformed> {
        Ok(match self.0[field::TYPE] {
            // Before ustar a directory was a file whose name ends with a slash.
            0 | flag::FILE if name.ends_with(b"/") => EntryKind::Directory,
            // '7' is a contiguous file, which means nothing today.
            0 | flag::FILE | b'7' => {
                let size = match extra.number("size")? {
                    Some(size) => size,
                    None => u64::try_from(self.number(field::SIZE, "size")?)
                        .map_err(|_| Malformed::Number("size"))?,
                };
                // A length that no file can have would wrap where it is rounded up.
                if i64::try_from(size).is_err() {
                    return Err(Malformed::Number("size"));
                }
                EntryKind::File { size }
            }
            flag::HARD_LINK => {
                let text = self.link(extra, limits)?;
                let out = || Malformed::LinkBreakout(String::from_utf8_lossy(&text).into_owned());
                let target = normalise(&text, Climb::Leaves).ok_or_else(out)?;
                EntryKind::HardLink { target: RootPath::new(target).map_err(|_| Malformed::Nul)? }
            }
            flag::SYMLINK => EntryKind::Symlink { target: self.link(extra, limits)? },
            flag::CHAR => EntryKind::CharDevice(self.device()?),
            flag::BLOCK => EntryKind::BlockDevice(self.device()?),
            flag::DIRECTORY => EntryKind::Directory,
            flag::FIFO => EntryKind::Fifo,
            b'S' => return Err(Malformed::Sparse),
            other => return Err(Malformed::Type(char::from(other))),
        })
    }

    fn name(&self, extra: &Extra) -> Vec<u8> {
        if let Some(name) = extra.get("path").or(extra.name.as_deref()) {
            return name.to_vec();
        }
        let name = text(&self.0[field::NAME]);
        // GNU headers have other things where ustar has the prefix.
        let prefix =
            if &self.0[field::MAGIC][..6] == b"ustar\0" { text(&self.0[field::PREFIX]) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    fn link(&self, extra: &Extra, limits: &Limits) -> Result<Vec<u8>, Malformed> {
        let link =
            extra.get("linkpath").or(extra.link.as_deref()).unwrap_or_else(|| text(&self.0[field::LINK]));
        if link.is_empty() {
            return Err(Malformed::Empty);
        }
        if link.contains(&0) {
            return Err(Malformed::Nul);
        }
        if link.len() >= limits.name {
            return Err(Malformed::TooLong);
        }
        Ok(link.to_vec())
    }

    fn device(&self) -> Result<Device, Malformed> {
        let part = |range, what| -> Result<u32, Malformed> {
            u32::try_from(self.number(range, what)?).map_err(|_| Malformed::Number(what))
        };
        Ok(Device {
            major: part(field::MAJOR, "device number")?,
            minor: part(field::MINOR, "device number")?,
        })
    }

    fn number(&self, range: std::ops::Range<usize>, what: &'static str) -> Result<i64, Malformed> {
        number(&self.0[range], what)
    }
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// NAME_MAX and PATH_MAX, before anything is done with the name.
fn check_length(name: &[u8], limits: &Limits) -> Result<(), Malformed> {
    let component_too_long = name.split(|b| *b == b'/').any(|component| component.len() > 255);
    if name.len() > limits.name || component_too_long { Err(Malformed::TooLong) } else { Ok(()) }
}
