//! The records of a tree on disk: `<tree>/records`.
//!
//! Little-endian and length-framed: the magic, whether the tree may hold FIFOs, the records by inode, the hard-link index, the shared inodes. The device number is not
//! written, since it may change from boot to boot: everything in a tree lies on the device of its root. A file that is not exactly what
//! [`save`] writes is an error, never skipped.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use wbuild_layer::{Device, RootPath, Timestamp, Xattrs};

use crate::RootError;
use crate::record::{InodeKey, Record, Scope, Special};
use crate::root::Root;

const MAGIC: &[u8] = b"wbuild records 2\n";
const NAME: &str = "records";
const TEMPORARY: &str = "records.new";

/// Writes what [`load`] reads.
pub(crate) fn save(root: &Root) -> Result<(), RootError> {
    let bytes = encode(root);
    let host = |source| RootError::Host { action: "write", path: root.path().join(NAME), source };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&root.dir, TEMPORARY, flags, Mode::from_raw_mode(0o600)).map_err(host)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        match rustix::io::write(&file, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(host(errno)),
        }
    }
    root.give(file.as_fd()).map_err(host)?;
    rustix::fs::renameat(&root.dir, TEMPORARY, &root.dir, NAME).map_err(host)
}

fn encode(root: &Root) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(u8::from(root.may_hold_fifos()));
    let records = root.records().persistent();
    put_count(&mut out, records.len());
    for (key, birth, record) in records {
        out.extend_from_slice(&key.inode.to_le_bytes());
        out.extend_from_slice(&birth.seconds.to_le_bytes());
        out.extend_from_slice(&birth.nanoseconds.to_le_bytes());
        for value in [record.uid, record.gid, record.mode] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        let (tag, device) = match record.special {
            None => (0, Device { major: 0, minor: 0 }),
            Some(Special::Char(device)) => (1, device),
            Some(Special::Block(device)) => (2, device),
        };
        out.push(tag);
        out.extend_from_slice(&device.major.to_le_bytes());
        out.extend_from_slice(&device.minor.to_le_bytes());
        put_count(&mut out, record.xattrs.len());
        for (name, value) in &record.xattrs {
            put_bytes(&mut out, name);
            put_bytes(&mut out, value);
        }
    }
    let links = root.links().snapshot();
    put_count(&mut out, links.len());
    for (key, names) in links {
        out.extend_from_slice(&key.inode.to_le_bytes());
        put_count(&mut out, names.len());
        for name in names {
            put_bytes(&mut out, name.as_bytes());
        }
    }
    let shared = root.sharing().list();
    put_count(&mut out, shared.len());
    for inode in shared {
        out.extend_from_slice(&inode.to_le_bytes());
    }
    out
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&(count as u64).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Fills the records and the index of a tree that was just opened.
pub(crate) fn load(root: &Root) -> Result<(), RootError> {
    let path = root.path().join(NAME);
    let host = |source| RootError::Host { action: "read", path: path.clone(), source };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&root.dir, NAME, flags, Mode::empty()).map_err(host)?;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match rustix::io::read(&file, &mut chunk) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(host(errno)),
        }
    }
    let mut reader = Reader { bytes: &bytes, offset: 0 };
    decode(root, &mut reader).map_err(|detail| RootError::Records {
        path: root.path().join(NAME),
        offset: reader.offset,
        detail,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let end = self.offset.checked_add(length).ok_or("a sane length")?;
        let taken = self.bytes.get(self.offset..end).ok_or("more bytes")?;
        self.offset = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N)?.try_into().map_err(|_| "more bytes")
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        self.array().map(u64::from_le_bytes)
    }

    fn count(&mut self) -> Result<usize, &'static str> {
        usize::try_from(self.u64()?).map_err(|_| "a sane count")
    }

    fn bytes(&mut self) -> Result<&'a [u8], &'static str> {
        let length = self.count()?;
        self.take(length)
    }

    fn key(&mut self, root: &Root) -> Result<InodeKey, &'static str> {
        Ok(InodeKey { device: root.key().device, inode: self.u64()? })
    }
}

fn decode(root: &Root, reader: &mut Reader<'_>) -> Result<(), &'static str> {
    if reader.take(MAGIC.len())? != MAGIC {
        return Err("the magic of wbuild records, version 2");
    }
    match reader.take(1)? {
        [0] => {}
        [1] => root.set_holds_fifos(),
        _ => return Err("whether there are FIFOs"),
    }
    for _ in 0..reader.count()? {
        let key = reader.key(root)?;
        let seconds = i64::from_le_bytes(reader.array()?);
        let birth = Timestamp { seconds, nanoseconds: reader.u32()? };
        let (uid, gid, mode) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let tag = reader.take(1)?[0];
        let device = Device { major: reader.u32()?, minor: reader.u32()? };
        let special = match tag {
            0 => None,
            1 => Some(Special::Char(device)),
            2 => Some(Special::Block(device)),
            _ => return Err("a known special file"),
        };
        let mut xattrs = Xattrs::new();
        for _ in 0..reader.count()? {
            let name = reader.bytes()?.to_vec();
            xattrs.insert(name, reader.bytes()?.to_vec());
        }
        root.records().restore(key, birth, Record { uid, gid, mode, special, xattrs, scope: Scope::Tree });
    }
    for _ in 0..reader.count()? {
        let key = reader.key(root)?;
        for _ in 0..reader.count()? {
            let name = RootPath::new(reader.bytes()?).map_err(|_| "a path of the tree")?;
            root.links().add(key, None, name);
        }
    }
    let shared = (0..reader.count()?).map(|_| reader.u64()).collect::<Result<Vec<_>, _>>()?;
    if !shared.is_empty() {
        root.sharing().set(root.key().device, shared);
    }
    if reader.offset == reader.bytes.len() { Ok(()) } else { Err("the end") }
}
