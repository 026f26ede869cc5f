//! Evidence: what a step did, as data: the programs it executed, the files it read, the addresses it connected to.
//!
//! It is gathered where calls are answered, in the supervisor, so nothing that a guest writes or prints can put a line in or take one out; and it
//! is bounded: past the most that is kept of a kind, only the number of the rest is. What is denied stands in `audit`, and what was written is the
//! step's changeset. A file of a view (/proc, /dev) is no file of the step's and is not listed.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, Statx};
use serde::{Deserialize, Serialize};
use wbuild_layer::{Digest, Hasher};
use wbuild_rootfs::{InodeKey, S_IFMT, S_IFREG, stat_fd};

use crate::{Errno, Fault, Monitor};

/// So many different programs of a step are kept.
const MOST_PROGRAMS: usize = 2_000;
/// So many different files that a step read are kept.
const MOST_FILES: usize = 100_000;
/// So many bytes of paths are kept.
const MOST_PATHS: usize = 16 << 20;
/// So many different addresses are kept.
const MOST_CONTACTS: usize = 1_000;
/// Nothing larger is hashed while a guest waits.
const LARGEST: u64 = 1 << 30;

/// How much of what a step does is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EvidenceDetail {
    /// Denials and limits alone, which are recorded in any case.
    #[default]
    Off,
    /// Programs with their digests, addresses, and how many files were read.
    Counts,
    /// The paths of the files, too.
    Paths,
    /// And the digests of what was read.
    Digests,
}

/// What a step did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Each different program once.
    pub programs: Vec<ExecutedProgram>,
    /// Executions that are not in the list.
    pub unlisted_programs: u64,
    /// How many different files were read, each state of one counted once.
    pub files_read: u64,
    /// The files, where their paths are asked for.
    pub reads: Vec<FileRead>,
    /// True if there were more files than are counted.
    pub reads_overflow: bool,
    /// Each different address once.
    pub contacts: Vec<Contact>,
    /// Connections that are not in the list.
    pub unlisted_contacts: u64,
}

/// A program that was executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutedProgram {
    /// The canonical guest path.
    pub path: Vec<u8>,
    /// Of the content at that moment; `None` for one that is too large or could not be read.
    pub digest: Option<Digest>,
    /// How often.
    pub count: u64,
}

/// A file that was opened for reading.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileRead {
    /// The canonical guest path.
    pub path: Vec<u8>,
    /// Of the content when it was opened, where that is asked for.
    pub digest: Option<Digest>,
}

/// An address that the step connected to, or tried to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The address and port that the process gave.
    pub address: SocketAddr,
    /// How often.
    pub count: u64,
}

/// One state of a file: whoever changes its content changes the time of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Version {
    inode: InodeKey,
    size: u64,
    changed: (i64, u32),
}

impl Version {
    fn of(stat: &Statx) -> Self {
        let changed = (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec);
        Self { inode: InodeKey::of(stat), size: stat.stx_size, changed }
    }
}

#[derive(Debug, Default)]
struct Inner {
    programs: BTreeMap<(Vec<u8>, Option<Digest>), u64>,
    unlisted_programs: u64,
    digests: HashMap<Version, Option<Digest>>,
    read: HashMap<Version, ()>,
    reads: Vec<FileRead>,
    path_bytes: usize,
    reads_overflow: bool,
    contacts: BTreeMap<SocketAddr, u64>,
    unlisted_contacts: u64,
}

/// Where a step's evidence is gathered. The lock is held for no call into the kernel.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    detail: EvidenceDetail,
    inner: Mutex<Inner>,
}

impl Recorder {
    pub(crate) fn new(detail: EvidenceDetail) -> Self {
        Self { detail, inner: Mutex::default() }
    }

    pub(crate) fn is_off(&self) -> bool {
        self.detail == EvidenceDetail::Off
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digest of what `fd` (open for reading) is open on, hashed once for each state of it.
    fn digest(&self, fd: BorrowedFd<'_>, stat: &Statx) -> Option<Digest> {
        let version = Version::of(stat);
        if let Some(known) = self.lock().digests.get(&version) {
            return *known;
        }
        let digest = hash(fd, stat.stx_size);
        let mut inner = self.lock();
        if inner.digests.len() < MOST_FILES {
            inner.digests.insert(version, digest);
        }
        digest
    }

    pub(crate) fn executed(&self, fd: BorrowedFd<'_>, path: &[u8], stat: &Statx) {
        if self.is_off() {
            return;
        }
        let digest = self.digest(fd, stat);
        let mut inner = self.lock();
        let full = inner.programs.len() >= MOST_PROGRAMS;
        match inner.programs.get_mut(&(path.to_vec(), digest)) {
            Some(count) => *count += 1,
            None if full => inner.unlisted_programs += 1,
            None => {
                inner.programs.insert((path.to_vec(), digest), 1);
            }
        }
    }

    pub(crate) fn contacted(&self, address: SocketAddr) {
        if self.is_off() {
            return;
        }
        let mut inner = self.lock();
        let full = inner.contacts.len() >= MOST_CONTACTS;
        match inner.contacts.get_mut(&address) {
            Some(count) => *count += 1,
            None if full => inner.unlisted_contacts += 1,
            None => {
                inner.contacts.insert(address, 1);
            }
        }
    }

    /// True if this state of a file was not read before.
    fn is_new(&self, version: Version) -> bool {
        let mut inner = self.lock();
        if inner.read.contains_key(&version) {
            return false;
        }
        if inner.read.len() >= MOST_FILES {
            inner.reads_overflow = true;
            return false;
        }
        inner.read.insert(version, ());
        true
    }

    pub(crate) fn evidence(&self) -> Option<Evidence> {
        if self.is_off() {
            return None;
        }
        let inner = self.lock();
        let programs = inner.programs.iter().map(|((path, digest), count)| ExecutedProgram {
            path: path.clone(),
            digest: *digest,
            count: *count,
        });
        let mut reads = inner.reads.clone();
        reads.sort();
        reads.dedup();
        let contact = |(address, count): (&SocketAddr, &u64)| Contact { address: *address, count: *count };
        Some(Evidence {
            programs: programs.collect(),
            unlisted_programs: inner.unlisted_programs,
            files_read: inner.read.len() as u64,
            reads,
            reads_overflow: inner.reads_overflow,
            contacts: inner.contacts.iter().map(contact).collect(),
            unlisted_contacts: inner.unlisted_contacts,
        })
    }
}

impl Monitor {
    /// Notes that a guest opened a file for reading; nothing else than a regular file is noted.
    ///
    /// # Errors
    /// [`Fault::Broken`] if procfs does not answer.
    pub(crate) fn note_read(&self, fd: BorrowedFd<'_>) -> Result<(), Fault> {
        let recorder = self.recorder();
        if recorder.is_off() {
            return Ok(());
        }
        let stat = stat_fd(fd)?;
        if u32::from(stat.stx_mode) & S_IFMT != S_IFREG || !recorder.is_new(Version::of(&stat)) {
            return Ok(());
        }
        if recorder.detail < EvidenceDetail::Paths {
            return Ok(());
        }
        let path = self.path_of(fd)?.unwrap_or_default();
        let digest = match recorder.detail {
            EvidenceDetail::Digests => recorder.digest(fd, &stat),
            _ => None,
        };
        let mut inner = recorder.lock();
        if inner.path_bytes + path.len() > MOST_PATHS {
            inner.reads_overflow = true;
        } else {
            inner.path_bytes += path.len();
            inner.reads.push(FileRead { path, digest });
        }
        Ok(())
    }

    /// Notes an address that a process connects to. The kernel reads it again: a process that changes it meanwhile is noted with the first.
    pub fn note_contact(&self, address: SocketAddr) {
        self.recorder().contacted(address);
    }

    /// True if somebody wants to know what a step does.
    #[must_use]
    pub fn gathers_evidence(&self) -> bool {
        !self.recorder().is_off()
    }

    /// What the step did so far; `None` where nobody asked.
    #[must_use]
    pub fn evidence(&self) -> Option<Evidence> {
        self.recorder().evidence()
    }
}

/// The digest of a file's content; `None` where it is too large, or cannot be read.
fn hash(fd: BorrowedFd<'_>, size: u64) -> Option<Digest> {
    if size > LARGEST {
        return None;
    }
    let again;
    // What is open for execution or as O_PATH only is opened anew.
    let fd = match rustix::io::pread(fd, &mut [0; 1], 0) {
        Ok(_) => fd,
        Err(Errno::BADF) => {
            use std::os::fd::AsRawFd;
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            again = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
            again.as_fd()
        }
        Err(_) => return None,
    };
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 17];
    let mut at = 0;
    loop {
        match rustix::io::pread(fd, &mut buffer, at) {
            Ok(0) => return Some(hasher.finish()),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                at += read as u64;
                // It grew while it was read: who appends for ever is not followed.
                if at > LARGEST {
                    return None;
                }
            }
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_programs_and_addresses_is_counted_and_not_kept() {
        let recorder = Recorder::new(EvidenceDetail::Counts);
        let file = tempfile::tempfile().unwrap();
        let stat = stat_fd(file.as_fd()).unwrap();
        for n in 0..MOST_PROGRAMS + 7 {
            recorder.executed(file.as_fd(), format!("/tmp/{n}").as_bytes(), &stat);
        }
        recorder.executed(file.as_fd(), b"/tmp/1", &stat);
        for port in 0..u16::try_from(MOST_CONTACTS).unwrap() + 3 {
            recorder.contacted(SocketAddr::from(([192, 0, 2, 1], port)));
        }
        let evidence = recorder.evidence().unwrap();
        assert_eq!((evidence.programs.len(), evidence.unlisted_programs), (MOST_PROGRAMS, 7));
        assert_eq!((evidence.contacts.len(), evidence.unlisted_contacts), (MOST_CONTACTS, 3));
        let program = evidence.programs.iter().find(|program| program.path == b"/tmp/1").unwrap();
        assert_eq!((program.count, program.digest), (2, Some(Digest::of(b""))));
    }

    #[test]
    fn a_state_of_a_file_is_hashed_as_it_was() {
        use std::io::Write;
        let recorder = Recorder::new(EvidenceDetail::Digests);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one").unwrap();
        let digest = |file: &std::fs::File| recorder.digest(file.as_fd(), &stat_fd(file.as_fd()).unwrap());
        assert_eq!(digest(&file), Some(Digest::of(b"one")));
        file.write_all(b" two").unwrap();
        assert_eq!(digest(&file), Some(Digest::of(b"one two")));
        assert!(Recorder::default().evidence().is_none());
    }
}
