//! A pack that a server sent: measured, then indexed, then read by id (gitformat-pack(5)).
//!
//! Every object's id is computed from its content, with a hash that notices the known collisions of SHA-1; what a pack says of
//! itself is believed nowhere. The decoding is gitoxide's. It is given a pack only after all that it would make wbuild hold or compute was
//! added up here, from the sizes that stand in it and that decompressing confirms.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use cap_std::fs::Dir;
use gix_hash::ObjectId;
use gix_object::Kind;

use crate::error::{GitError, host, printable};
use crate::limits::Limits;
use crate::measure::measure;

/// The objects of one pack.
pub(crate) struct Objects {
    bundle: gix_pack::Bundle,
    remote: String,
    pub(crate) kind: gix_hash::Kind,
}

impl Objects {
    /// Receives a pack into the directory `room`, which is empty and stays.
    pub(crate) fn receive(
        remote: &str,
        stream: &mut dyn Read,
        room: &Dir,
        kind: gix_hash::Kind,
        limits: &Limits,
    ) -> Result<Self, GitError> {
        let cut = |source| GitError::Cut { remote: remote.to_owned(), source };
        let mut options = cap_std::fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = room.open_with("received", &options).map_err(host("keep a pack"))?;
        let mut file = file.into_std();
        let mut left = limits.pack;
        let mut buffer = vec![0; 128 << 10];
        loop {
            let count = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(cut(error)),
            };
            left = left.checked_sub(count as u64).ok_or_else(|| GitError::Limit {
                remote: remote.to_owned(),
                what: "a pack's bytes",
                limit: limits.pack,
            })?;
            file.write_all(&buffer[..count]).map_err(host("keep a pack"))?;
        }
        let objects = Self::index(remote, file, room, kind, limits)?;
        room.remove_file("received").map_err(host("remove a pack"))?;
        Ok(objects)
    }

    /// Measures the pack in `file` and indexes it in `room`.
    pub(crate) fn index(
        remote: &str,
        mut file: File,
        room: &Dir,
        kind: gix_hash::Kind,
        limits: &Limits,
    ) -> Result<Self, GitError> {
        file.rewind().map_err(host("read a pack"))?;
        let mut reader = BufReader::with_capacity(128 << 10, file);
        measure(&mut reader, kind, limits).map_err(|wrong| wrong.of(remote))?;
        reader.rewind().map_err(host("read a pack"))?;
        let broken = |error: &dyn std::fmt::Display| GitError::Pack {
            remote: remote.to_owned(),
            why: printable(error.to_string().as_bytes()),
        };
        let options = gix_pack::bundle::write::Options {
            alloc_limit_bytes: Some(usize::try_from(limits.object).unwrap_or(usize::MAX)),
            ..Default::default()
        };
        // gitoxide opens files by path; this one leads into the directory that is open here.
        let path = PathBuf::from(format!("/proc/self/fd/{}", room.as_raw_fd()));
        let written = gix_pack::Bundle::write_to_directory(
            &mut reader,
            Some(&path),
            &mut gix_utils::progress::Discard,
            &AtomicBool::new(false),
            None::<gix_object::find::Never>,
            kind,
            options,
        )
        .map_err(|error| broken(&error))?;
        let bundle = written.to_bundle().ok_or_else(|| broken(&"it was not written"))?;
        let bundle = bundle.map_err(|error| broken(&error))?;
        Ok(Self { bundle, remote: remote.to_owned(), kind })
    }

    /// Whether there is an object with this id in hexadecimal.
    pub(crate) fn has(&self, id: &str) -> bool {
        ObjectId::from_hex(id.as_bytes()).is_ok_and(|id| self.bundle.index.lookup(id).is_some())
    }

    /// An object; its content is what its id says.
    pub(crate) fn get(&self, id: &ObjectId) -> Result<(Kind, Vec<u8>), GitError> {
        if *id == ObjectId::empty_tree(self.kind) {
            return Ok((Kind::Tree, Vec::new()));
        }
        let mut content = Vec::new();
        let mut inflate = gix_zlib::Inflate::default();
        let found = self.bundle.find(id, &mut content, &mut inflate, &mut gix_pack::cache::Never);
        let found = found.map_err(|error| self.broken(printable(error.to_string().as_bytes())))?;
        let kind =
            found.map(|(data, _)| data.kind).ok_or_else(|| self.broken(format!("{id} is not in it")))?;
        Ok((kind, content))
    }

    /// An object that has to be of this kind.
    pub(crate) fn expect(&self, id: &ObjectId, kind: Kind) -> Result<Vec<u8>, GitError> {
        match self.get(id)? {
            (found, content) if found == kind => Ok(content),
            (found, _) => Err(self.broken(format!("{id} is a {found} and should be a {kind}"))),
        }
    }

    pub(crate) fn broken(&self, why: String) -> GitError {
        GitError::Pack { remote: self.remote.clone(), why }
    }
}
