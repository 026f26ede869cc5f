//! What a pack stands for, added up before it is decoded.
//!
//! Each entry is decompressed once, into nothing, so that what it declares is known to be true; of a delta only its first bytes are
//! looked at, which say how long its result is. What a delta is based on is counted with it: both are in memory at once.

use std::io::{self, BufRead, Read};

use flate2::bufread::ZlibDecoder;

use crate::error::GitError;
use crate::limits::Limits;

/// What is wrong with a pack.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Broken(&'static str),
    TooMuch { what: &'static str, limit: u64 },
}

impl Wrong {
    pub(crate) fn of(self, remote: &str) -> GitError {
        let remote = remote.to_owned();
        match self {
            Self::Broken(why) => GitError::Pack { remote, why: why.to_owned() },
            Self::TooMuch { what, limit } => GitError::Limit { remote, what, limit },
        }
    }
}

impl From<io::Error> for Wrong {
    fn from(_: io::Error) -> Self {
        Self::Broken("it ends early or cannot be decompressed")
    }
}

/// What an entry needs to be decoded.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    offset: u64,
    bytes: u64,
    depth: u64,
}

/// How an entry is stored.
#[derive(Clone, Copy)]
enum Base {
    None,
    /// The entry that begins so many bytes before.
    Before(u64),
    /// An object by its id, which may be anywhere.
    Named,
}

/// Adds up a pack, from its first byte on.
pub(crate) fn measure(pack: &mut impl BufRead, kind: gix_hash::Kind, limits: &Limits) -> Result<(), Wrong> {
    let check = |value: u64, limit: u64, what| match value > limit {
        true => Err(Wrong::TooMuch { what, limit }),
        false => Ok(()),
    };
    let mut header = [0_u8; 12];
    pack.read_exact(&mut header)?;
    if !header.starts_with(b"PACK\0\0\0\x02") {
        return Err(Wrong::Broken("it is no pack of version 2"));
    }
    let count = u64::from(u32::from_be_bytes([header[8], header[9], header[10], header[11]]));
    check(count, limits.objects, "a pack's objects")?;
    let mut known: Vec<Chain> = Vec::new();
    // Deltas on what is named by its id: each is taken to be on all others.
    let mut named = Chain::default();
    let (mut offset, mut total, mut longest) = (12_u64, 0_u64, Chain::default());
    for _ in 0..count {
        let at = offset;
        let (base, size) = entry(pack, kind, &mut offset)?;
        check(size, limits.object, "an object's bytes")?;
        let (result, used) = inflate(pack, size, base)?;
        offset = offset.saturating_add(used);
        check(result, limits.object, "an object's bytes")?;
        total = total.saturating_add(result).saturating_add(size);
        check(total, limits.expanded, "what a pack stands for")?;
        let mut chain = match base {
            Base::None => Chain { offset: at, bytes: 0, depth: 0 },
            Base::Before(distance) => {
                let begin = at.checked_sub(distance).ok_or(Wrong::Broken("a delta on what is not there"))?;
                let found = known.binary_search_by_key(&begin, |chain| chain.offset);
                let below = known[found.map_err(|_| Wrong::Broken("a delta on what is not there"))?];
                Chain { offset: at, bytes: below.bytes.saturating_add(size), depth: below.depth + 1 }
            }
            Base::Named => {
                named.bytes = named.bytes.saturating_add(result).saturating_add(size);
                named.depth += 1;
                Chain { offset: at, bytes: 0, depth: 0 }
            }
        };
        chain.bytes = chain.bytes.saturating_add(result);
        longest.bytes = longest.bytes.max(chain.bytes);
        longest.depth = longest.depth.max(chain.depth);
        check(longest.bytes.saturating_add(named.bytes), limits.chain, "what an object is made from")?;
        check(longest.depth, limits.depth, "deltas on one another")?;
        known.push(chain);
    }
    Ok(())
}

fn byte(pack: &mut impl BufRead, offset: &mut u64) -> Result<u8, Wrong> {
    let mut one = [0];
    pack.read_exact(&mut one)?;
    *offset += 1;
    Ok(one[0])
}

/// The head of an entry: how it is stored, and the size of what is compressed.
fn entry(pack: &mut impl BufRead, kind: gix_hash::Kind, offset: &mut u64) -> Result<(Base, u64), Wrong> {
    let first = byte(pack, offset)?;
    let (mut size, mut shift, mut last) = (u64::from(first & 15), 4, first);
    while last & 0x80 != 0 {
        last = byte(pack, offset)?;
        if shift > 57 {
            return Err(Wrong::Broken("a size that is none"));
        }
        size |= u64::from(last & 0x7f) << shift;
        shift += 7;
    }
    let base = match (first >> 4) & 7 {
        1..=4 => Base::None,
        6 => {
            let mut last = byte(pack, offset)?;
            let mut distance = u64::from(last & 0x7f);
            while last & 0x80 != 0 {
                last = byte(pack, offset)?;
                distance = distance
                    .checked_add(1)
                    .and_then(|distance| distance.checked_mul(128))
                    .ok_or(Wrong::Broken("a delta on what is not there"))?
                    | u64::from(last & 0x7f);
            }
            Base::Before(distance)
        }
        7 => {
            let mut id = [0_u8; 32];
            let length = kind.len_in_bytes();
            pack.read_exact(&mut id[..length])?;
            *offset += length as u64;
            Base::Named
        }
        _ => return Err(Wrong::Broken("an object of an unknown kind")),
    };
    Ok((base, size))
}

/// Decompresses an entry that says it has `size` bytes; the size of its object, and how many bytes it takes in the pack.
fn inflate(pack: &mut impl BufRead, size: u64, base: Base) -> Result<(u64, u64), Wrong> {
    // More than any compressor makes of it: nothing but padding.
    let most = size.saturating_mul(2).saturating_add(64 << 10);
    let mut decoder = ZlibDecoder::new(pack);
    let mut start = Vec::new();
    let mut buffer = [0_u8; 16 << 10];
    let mut inflated = 0_u64;
    loop {
        let count = decoder.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        if start.len() < 20 {
            start.extend_from_slice(&buffer[..count.min(20)]);
        }
        inflated += count as u64;
        if inflated > size || decoder.total_in() > most {
            return Err(Wrong::Broken("an object is longer than it says"));
        }
    }
    if inflated != size || decoder.total_in() > most {
        return Err(Wrong::Broken("an object is shorter than it says"));
    }
    if matches!(base, Base::None) {
        return Ok((size, decoder.total_in()));
    }
    // A delta begins with the size of its base and that of its result.
    let mut numbers = start.iter();
    let mut number = || {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = *numbers.next().ok_or(Wrong::Broken("a delta without sizes"))?;
            if shift > 56 {
                return Err(Wrong::Broken("a delta without sizes"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
    };
    let _base = number()?;
    Ok((number()?, decoder.total_in()))
}
