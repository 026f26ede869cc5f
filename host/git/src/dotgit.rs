//! `.git` of a checkout that keeps it: what git needs to say which commit this is, and that nothing is changed.
//!
//! It holds one commit with its files and no history, as BuildKit's fetch of depth 1 leaves it: HEAD detached, the branch or tag that was asked
//! for, the remote's URL. The pack is written here, without deltas, in the order of ids: its bytes depend on the commit alone, whatever a
//! server sent. No hooks, no logs; the repositories of submodules are not in it.

use std::collections::BTreeMap;
use std::io::{self, Seek, Write};

use cap_std::fs::Dir;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use gix_hash::ObjectId;
use gix_object::Kind;

use crate::error::{GitError, host};
use crate::limits::Limits;
use crate::pack::Objects;
use crate::tarball::Tarball;

/// A file of the checkout, for the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tracked {
    pub(crate) mode: u32,
    pub(crate) id: ObjectId,
}

/// What `.git` says.
pub(crate) struct DotGit<'a> {
    pub(crate) remote: &'a str,
    pub(crate) commit: ObjectId,
    /// The annotated tag.
    pub(crate) tag: Option<ObjectId>,
    /// The branch or tag, in full.
    pub(crate) reference: Option<&'a str>,
    /// Whether the commit has parents, which are not there.
    pub(crate) shallow: bool,
    /// Every object that is reached, each once.
    pub(crate) objects: &'a std::collections::BTreeSet<ObjectId>,
    /// The files by path.
    pub(crate) tracked: &'a BTreeMap<Vec<u8>, Tracked>,
}

impl DotGit<'_> {
    /// Writes the directory's files.
    pub(crate) fn write(
        &self,
        from: &Objects,
        room: &Dir,
        limits: &Limits,
        into: &mut Tarball,
    ) -> Result<(), GitError> {
        let made = room.create_dir("kept").and_then(|()| room.open_dir("kept"));
        let room = made.map_err(host("make a directory for a pack"))?;
        let mut options = cap_std::fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let mut pack = room.open_with("pack", &options).map_err(host("write a pack"))?.into_std();
        self.pack(from, &mut pack)?;
        // Whole objects only: none is made from another.
        let limits = Limits { chain: u64::MAX, expanded: u64::MAX, objects: u64::MAX, ..*limits };
        Objects::index(
            self.remote,
            pack.try_clone().map_err(host("write a pack"))?,
            &room,
            from.kind,
            &limits,
        )?;
        for dir in ["", "/objects", "/objects/info", "/objects/pack", "/refs", "/refs/heads", "/refs/tags"] {
            into.directory(format!(".git{dir}").as_bytes())?;
        }
        let commit = self.commit.to_string();
        self.text(into, "HEAD", &format!("{commit}\n"))?;
        self.text(into, "config", &self.config(from.kind))?;
        if self.shallow {
            self.text(into, "shallow", &format!("{commit}\n"))?;
        }
        let named = self.tag.map_or(commit, |tag| tag.to_string());
        if let Some(reference) = self.reference.filter(|name| is_reference(name)) {
            self.text(into, "packed-refs", &format!("# pack-refs with: sorted\n{named} {reference}\n"))?;
        }
        let index = self.index(from.kind)?;
        into.file(b".git/index", 0o644, index.len() as u64, index.as_slice())?;
        let entries = room.entries().map_err(host("read a pack"))?;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(host("read a pack"))?.file_name().to_string_lossy().into_owned();
            if name.starts_with("pack-") && (name.ends_with(".pack") || name.ends_with(".idx")) {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let file = room.open(&name).map_err(host("read a pack"))?;
            let size = file.metadata().map_err(host("read a pack"))?.len();
            into.file(format!(".git/objects/pack/{name}").as_bytes(), 0o444, size, file)?;
        }
        Ok(())
    }

    fn text(&self, into: &mut Tarball, name: &str, text: &str) -> Result<(), GitError> {
        into.file(format!(".git/{name}").as_bytes(), 0o644, text.len() as u64, text.as_bytes())
    }

    fn config(&self, kind: gix_hash::Kind) -> String {
        let (version, extensions) = match kind {
            gix_hash::Kind::Sha256 => (1, "[extensions]\n\tobjectformat = sha256\n"),
            _ => (0, ""),
        };
        // A semicolon would begin a comment.
        let url =
            if self.remote.contains(';') { format!("\"{}\"", self.remote) } else { self.remote.to_owned() };
        format!(
            "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n\
             {extensions}[remote \"origin\"]\n\turl = {url}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
        )
    }

    /// All objects, whole.
    fn pack(&self, from: &Objects, file: &mut std::fs::File) -> Result<(), GitError> {
        let failed = host("write a pack");
        let mut out = Hashed { out: io::BufWriter::new(file), hasher: gix_hash::hasher(from.kind) };
        let count = u32::try_from(self.objects.len()).map_err(|error| failed(io::Error::other(error)))?;
        out.write_all(b"PACK\0\0\0\x02")
            .and_then(|()| out.write_all(&count.to_be_bytes()))
            .map_err(&failed)?;
        for id in self.objects {
            let (kind, content) = from.get(id)?;
            let number = match kind {
                Kind::Commit => 1,
                Kind::Tree => 2,
                Kind::Blob => 3,
                Kind::Tag => 4,
            };
            let mut size = content.len();
            let mut head = vec![(number << 4) | low(size, 4)];
            size >>= 4;
            while size > 0 {
                if let Some(last) = head.last_mut() {
                    *last |= 0x80;
                }
                head.push(low(size, 7));
                size >>= 7;
            }
            out.write_all(&head).map_err(&failed)?;
            let mut encoder = ZlibEncoder::new(&mut out, Compression::new(6));
            encoder.write_all(&content).and_then(|()| encoder.finish().map(drop)).map_err(&failed)?;
        }
        let Hashed { mut out, hasher } = out;
        let sum = hasher.try_finalize().map_err(|error| from.broken(error.to_string()))?;
        out.write_all(sum.as_slice()).and_then(|()| out.flush()).map_err(&failed)?;
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.rewind().map_err(failed)
    }

    /// The index of a checkout nobody has looked at yet (gitformat-index(5), version 2): git compares the files when it first does.
    fn index(&self, kind: gix_hash::Kind) -> Result<Vec<u8>, GitError> {
        let failed = host("write an index");
        let count = u32::try_from(self.tracked.len()).map_err(|error| failed(io::Error::other(error)))?;
        let mut out = b"DIRC\0\0\0\x02".to_vec();
        out.extend_from_slice(&count.to_be_bytes());
        for (path, Tracked { mode, id }) in self.tracked {
            let begin = out.len();
            // Times, device and inode: none is like it.
            out.extend_from_slice(&[0; 24]);
            out.extend_from_slice(&mode.to_be_bytes());
            // Owner and size.
            out.extend_from_slice(&[0; 12]);
            out.extend_from_slice(id.as_slice());
            let length = u16::try_from(path.len().min(0xfff)).unwrap_or(0xfff);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(path);
            let padding = 8 - (out.len() - begin) % 8;
            out.extend_from_slice(&[0; 8][..padding]);
        }
        let mut hasher = gix_hash::hasher(kind);
        hasher.update(&out);
        let sum = hasher.try_finalize().map_err(|error| failed(io::Error::other(error.to_string())))?;
        out.extend_from_slice(sum.as_slice());
        Ok(out)
    }
}

/// The lowest bits of a size.
fn low(size: usize, bits: u32) -> u8 {
    u8::try_from(size & ((1 << bits) - 1)).unwrap_or_default()
}

/// Whether a name may stand in `packed-refs`: a server said it.
fn is_reference(name: &str) -> bool {
    name.starts_with("refs/") && gix_validate::reference::name(name.into()).is_ok()
}

struct Hashed<W> {
    out: W,
    hasher: gix_hash::Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
