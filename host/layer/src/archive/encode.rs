//! One entry to its header bytes.
//!
//! A value that fits its ustar field is written there and nowhere else; otherwise the field is zero (or cut) and a pax
//! record has it. There are no user or group names, no access or change times, no vendor's flags: the bytes say what the
//! entry says. Contents are not handled here.

use std::collections::BTreeMap;

use super::{RECORD, XATTR, field, flag};
use crate::{Attributes, EntryKind, Timestamp};

/// The largest value of a seven-digit octal field.
const OCTAL7: u64 = 0o777_7777;
/// The largest value of an eleven-digit octal field.
const OCTAL11: u64 = 0o777_7777_7777;

/// Why an entry has no tar form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// The name starts with `.wh.`, which layers reserve for whiteouts.
    #[error("its name starts with .wh., which layers reserve for whiteouts")]
    ReservedName,
    /// The name of an extended attribute holds `=` or NUL, or is empty.
    #[error("its extended attribute {0:?} has a name that pax records cannot hold")]
    XattrName(String),
    /// A symbolic link without text, or with a NUL in it.
    #[error("its link text is empty or has a NUL byte")]
    LinkText,
    /// A device number past 2097151.
    #[error("its device number {0} does not fit a tar header")]
    Device(u32),
    /// A hard link whose target the changeset does not hold before it as something that can have two names.
    #[error("it is a hard link to {0}, which the changeset does not hold before it as a file")]
    DanglingLink(crate::RootPath),
    /// The root of the tree, or an opaque entry, as something else than a directory; or the root removed.
    #[error("it must be a directory, because it is the root or opaque")]
    NotDirectory,
}

/// Pax records by keyword, in the order in which they are written.
type Pax<'a> = BTreeMap<Vec<u8>, std::borrow::Cow<'a, [u8]>>;

/// Appends the header blocks of one entry to `out`. `name` is as the archive has it: relative, directories with a
/// trailing slash.
pub(crate) fn entry(
    out: &mut Vec<u8>,
    name: &[u8],
    kind: &EntryKind,
    attributes: &Attributes,
) -> Result<(), Unwritable> {
    let mut header = [0_u8; RECORD];
    let mut pax = Pax::new();
    put_name(&mut header, &mut pax, name);
    let size = if let EntryKind::File { size } = kind { *size } else { 0 };
    octal(&mut header[field::MODE], u64::from(attributes.mode & 0o7777));
    number(&mut header[field::UID], &mut pax, "uid", u64::from(attributes.uid), OCTAL7);
    number(&mut header[field::GID], &mut pax, "gid", u64::from(attributes.gid), OCTAL7);
    number(&mut header[field::SIZE], &mut pax, "size", size, OCTAL11);
    put_mtime(&mut header, &mut pax, attributes.mtime);
    let mut device = None;
    header[field::TYPE] = match kind {
        EntryKind::File { .. } => flag::FILE,
        EntryKind::Directory => flag::DIRECTORY,
        EntryKind::Symlink { target } => {
            if target.is_empty() || target.contains(&0) {
                return Err(Unwritable::LinkText);
            }
            put_link(&mut header, &mut pax, target);
            flag::SYMLINK
        }
        EntryKind::HardLink { target } => {
            put_link(&mut header, &mut pax, target.as_bytes());
            flag::HARD_LINK
        }
        EntryKind::CharDevice(number) => {
            device = Some(number);
            flag::CHAR
        }
        EntryKind::BlockDevice(number) => {
            device = Some(number);
            flag::BLOCK
        }
        EntryKind::Fifo => flag::FIFO,
    };
    for (range, number) in [(field::MAJOR, device.map(|d| d.major)), (field::MINOR, device.map(|d| d.minor))]
    {
        let number = number.unwrap_or(0);
        if u64::from(number) > OCTAL7 {
            return Err(Unwritable::Device(number));
        }
        octal(&mut header[range], u64::from(number));
    }
    for (key, value) in &attributes.xattrs {
        if key.is_empty() || key.contains(&b'=') || key.contains(&0) {
            return Err(Unwritable::XattrName(String::from_utf8_lossy(key).into_owned()));
        }
        pax.insert([XATTR, key].concat(), value.as_slice().into());
    }
    if !pax.is_empty() {
        pax_entry(out, name, &pax);
    }
    seal(&mut header);
    out.extend_from_slice(&header);
    Ok(())
}

/// How many bytes of padding follow a content of `size` bytes.
pub(crate) fn padding(size: u64) -> usize {
    let record = RECORD as u64;
    usize::try_from((record - size % record) % record).unwrap_or(0)
}

fn put_name(header: &mut [u8; RECORD], pax: &mut Pax<'_>, name: &[u8]) {
    if name.len() <= field::NAME.len() {
        header[..name.len()].copy_from_slice(name);
        return;
    }
    if let Some(slash) = split(name) {
        header[field::PREFIX][..slash].copy_from_slice(&name[..slash]);
        header[..name.len() - slash - 1].copy_from_slice(&name[slash + 1..]);
        return;
    }
    header[field::NAME].copy_from_slice(&name[..field::NAME.len()]);
    pax.insert(b"path".to_vec(), name.to_vec().into());
}

/// Where a long name is cut into prefix and name: at the last slash that makes both fit.
fn split(name: &[u8]) -> Option<usize> {
    let earliest = name.len().checked_sub(field::NAME.len() + 1)?;
    let latest = field::PREFIX.len().min(name.len().checked_sub(2)?);
    (earliest.max(1)..=latest).rev().find(|i| name[*i] == b'/')
}

fn put_link<'a>(header: &mut [u8; RECORD], pax: &mut Pax<'a>, target: &'a [u8]) {
    let len = target.len().min(field::LINK.len());
    header[field::LINK][..len].copy_from_slice(&target[..len]);
    if len < target.len() {
        pax.insert(b"linkpath".to_vec(), target.into());
    }
}

fn put_mtime(header: &mut [u8; RECORD], pax: &mut Pax<'_>, mtime: Timestamp) {
    let fits = u64::try_from(mtime.seconds).ok().filter(|seconds| *seconds <= OCTAL11);
    octal(&mut header[field::MTIME], fits.unwrap_or(0));
    if fits.is_some() && mtime.nanoseconds == 0 {
        return;
    }
    // Decimal of seconds + nanoseconds: before 1970 the fraction counts away from zero.
    let total = i128::from(mtime.seconds) * 1_000_000_000 + i128::from(mtime.nanoseconds);
    let sign = if total < 0 { "-" } else { "" };
    let (whole, fraction) = (total.unsigned_abs() / 1_000_000_000, total.unsigned_abs() % 1_000_000_000);
    let text = match fraction {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction:09}").trim_end_matches('0').to_owned(),
    };
    pax.insert(b"mtime".to_vec(), text.into_bytes().into());
}

fn number(field: &mut [u8], pax: &mut Pax<'_>, keyword: &str, value: u64, most: u64) {
    if value <= most {
        octal(field, value);
    } else {
        octal(field, 0);
        pax.insert(keyword.into(), value.to_string().into_bytes().into());
    }
}

/// Octal digits with leading zeros and a final NUL; the value fits.
fn octal(field: &mut [u8], mut value: u64) {
    let digits = field.len() - 1;
    for digit in field[..digits].iter_mut().rev() {
        *digit = b'0' + u8::try_from(value & 7).unwrap_or(0);
        value >>= 3;
    }
}

fn pax_entry(out: &mut Vec<u8>, name: &[u8], pax: &Pax<'_>) {
    let mut body = Vec::new();
    for (key, value) in pax {
        pax_record(&mut body, key, value);
    }
    let mut header = [0_u8; RECORD];
    // The name only shows where a reader knows no pax: the directory that pax(1) itself suggests.
    let stem = name.strip_suffix(b"/").unwrap_or(name);
    let base = stem.rsplit(|b| *b == b'/').next().unwrap_or(stem);
    let shown = [b"PaxHeaders.0/", base].concat();
    let len = shown.len().min(field::NAME.len());
    header[..len].copy_from_slice(&shown[..len]);
    octal(&mut header[field::MODE], 0o644);
    for range in [field::UID, field::GID, field::MTIME, field::MAJOR, field::MINOR] {
        octal(&mut header[range], 0);
    }
    octal(&mut header[field::SIZE], body.len() as u64);
    header[field::TYPE] = flag::PAX;
    seal(&mut header);
    out.extend_from_slice(&header);
    out.extend_from_slice(&body);
    out.resize(out.len() + padding(body.len() as u64), 0);
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn pax_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Writes magic, version and checksum.
fn seal(header: &mut [u8; RECORD]) {
    header[field::MAGIC].copy_from_slice(b"ustar\x0000");
    header[field::CHECKSUM].fill(b' ');
    let sum: u64 = header.iter().map(|b| u64::from(*b)).sum();
    octal(&mut header[field::CHECKSUM][..7], sum);
}

#[cfg(test)]
mod tests;
