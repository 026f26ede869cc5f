//! wasi:filesystem over the process's own calls, which the broker answers.
//!
//! The types of descriptors are those of wasmtime's bindings; behind their numbers stand our own, of which the bindings know nothing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode as Code;
use wasmtime_wasi::p2::bindings::sync::filesystem::types;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, IoError};

use super::streams::{FileStream, Position, read_at, write_at};
use super::{Host, Shared};
use crate::directory;
use crate::names::{Cwd, Directory, Purpose};
use crate::p1::table::{Listed, open_given};
use crate::p1::timespec;

/// What is behind a descriptor.
enum Node {
    File(Arc<OwnedFd>),
    Directory(Directory),
}

/// What is left of a listing.
struct Listing(std::vec::IntoIter<Listed>);

/// The files of a component.
pub(crate) struct Files<'a> {
    table: &'a mut ResourceTable,
    clock: Shared,
}

struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = Files<'a>;
}

fn files(host: &mut Host) -> Files<'_> {
    Files { table: &mut host.table, clock: host.clock.clone() }
}

/// Links wasi:filesystem.
///
/// # Errors
/// A name that stands twice.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    types::add_to_linker::<Host, HasFiles>(linker, files)?;
    preopens::add_to_linker::<Host, HasFiles>(linker, files)
}

type Descriptor = Resource<types::Descriptor>;

fn error(errno: Errno) -> FsError {
    std::io::Error::from(errno).into()
}

impl Files<'_> {
    fn node(&self, descriptor: &Descriptor) -> FsResult<&Node> {
        Ok(self.table.get(&Resource::<Node>::new_borrow(descriptor.rep()))?)
    }

    fn file(&self, descriptor: &Descriptor) -> FsResult<&Arc<OwnedFd>> {
        match self.node(descriptor)? {
            Node::File(file) => Ok(file),
            Node::Directory(_) => Err(Code::BadDescriptor.into()),
        }
    }

    fn directory(&self, descriptor: &Descriptor) -> FsResult<&Directory> {
        match self.node(descriptor)? {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(Code::NotDirectory.into()),
        }
    }

    /// Asks about what is behind a descriptor.
    fn ask<T>(
        &self,
        descriptor: &Descriptor,
        ask: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> FsResult<T> {
        match self.node(descriptor)? {
            Node::File(file) => ask(file.as_fd()),
            Node::Directory(Directory::Opened(directory)) => ask(directory.as_fd()),
            Node::Directory(Directory::Given(_)) => ask(open_given().map_err(error)?.as_fd()),
        }
        .map_err(error)
    }

    /// Acts on a name in a directory.
    fn act<T>(
        &self,
        descriptor: &Descriptor,
        path: &str,
        purpose: Purpose,
        act: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> FsResult<T> {
        let (at, path) = self.directory(descriptor)?.place(path.as_bytes(), purpose).map_err(error)?;
        act(at, &path).map_err(error)
    }

    fn push(&mut self, node: Node) -> FsResult<Descriptor> {
        let made = self.table.push(node)?;
        Ok(Resource::new_own(made.rep()))
    }

    fn times(&self, accessed: types::NewTimestamp, modified: types::NewTimestamp) -> Timestamps {
        let one = |time| match time {
            types::NewTimestamp::NoChange => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            types::NewTimestamp::Now => timespec(self.clock.with(|clock| clock.wall())),
            types::NewTimestamp::Timestamp(time) => timespec(Duration::new(time.seconds, 0))
                .checked_add(timespec(Duration::from_nanos(time.nanoseconds.into())))
                .unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }),
        };
        Timestamps { last_access: one(accessed), last_modification: one(modified) }
    }
}

fn kind(kind: FileType) -> types::DescriptorType {
    match kind {
        FileType::BlockDevice => types::DescriptorType::BlockDevice,
        FileType::CharacterDevice => types::DescriptorType::CharacterDevice,
        FileType::Directory => types::DescriptorType::Directory,
        FileType::Fifo => types::DescriptorType::Fifo,
        FileType::Symlink => types::DescriptorType::SymbolicLink,
        FileType::RegularFile => types::DescriptorType::RegularFile,
        FileType::Socket => types::DescriptorType::Socket,
        FileType::Unknown => types::DescriptorType::Unknown,
    }
}

#[cfg_attr(
    target_arch = "x86_64",
    expect(clippy::useless_conversion, reason = "it is 32 bits on other architectures")
)]
fn stat(stat: &Stat) -> types::DescriptorStat {
    let time = |seconds: i64, nanoseconds: u64| {
        let seconds = u64::try_from(seconds).ok()?;
        Some(types::Datetime { seconds, nanoseconds: u32::try_from(nanoseconds).ok()? })
    };
    types::DescriptorStat {
        type_: kind(FileType::from_raw_mode(stat.st_mode)),
        link_count: stat.st_nlink.into(),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        data_access_timestamp: time(stat.st_atime, stat.st_atime_nsec),
        data_modification_timestamp: time(stat.st_mtime, stat.st_mtime_nsec),
        status_change_timestamp: time(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// What tells one state of a file from another, as 128 bits; no secret.
fn hash(stat: &Stat) -> types::MetadataHashValue {
    let mix = |seed: u64| {
        [
            stat.st_dev,
            stat.st_ino,
            stat.st_size.cast_unsigned(),
            stat.st_mtime.cast_unsigned(),
            stat.st_mtime_nsec,
        ]
        .into_iter()
        .fold(seed, |hash, word| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
    };
    types::MetadataHashValue { lower: mix(1), upper: mix(2) }
}

fn follow(flags: types::PathFlags) -> AtFlags {
    if flags.contains(types::PathFlags::SYMLINK_FOLLOW) {
        AtFlags::empty()
    } else {
        AtFlags::SYMLINK_NOFOLLOW
    }
}

fn open_flags(path: types::PathFlags, open: types::OpenFlags, flags: types::DescriptorFlags) -> OFlags {
    let writes = flags.contains(types::DescriptorFlags::WRITE);
    let mut linux = OFlags::CLOEXEC | OFlags::NOCTTY;
    linux |= match (flags.contains(types::DescriptorFlags::READ), writes) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    for (asked, flag) in [
        (open.contains(types::OpenFlags::CREATE), OFlags::CREATE),
        (open.contains(types::OpenFlags::EXCLUSIVE), OFlags::EXCL),
        (open.contains(types::OpenFlags::DIRECTORY), OFlags::DIRECTORY),
        (open.contains(types::OpenFlags::TRUNCATE), OFlags::TRUNC),
        (flags.contains(types::DescriptorFlags::FILE_INTEGRITY_SYNC), OFlags::SYNC),
        (flags.contains(types::DescriptorFlags::DATA_INTEGRITY_SYNC), OFlags::DSYNC),
        (!path.contains(types::PathFlags::SYMLINK_FOLLOW), OFlags::NOFOLLOW),
    ] {
        if asked {
            linux |= flag;
        }
    }
    linux
}

impl preopens::Host for Files<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Descriptor, String)>> {
        let given = self.table.push(Node::Directory(Directory::Given(Cwd::of_process())))?;
        Ok(vec![(Resource::new_own(given.rep()), "/".to_owned())])
    }
}

impl types::Host for Files<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<types::ErrorCode> {
        Ok(error.downcast()?.into())
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<IoError>,
    ) -> wasmtime::Result<Option<types::ErrorCode>> {
        let error = self.table.get(&error)?;
        Ok(error.downcast_ref::<std::io::Error>().map(|error| Code::from(error).into()))
    }
}

impl types::HostDescriptor for Files<'_> {
    fn advise(&mut self, fd: Descriptor, _offset: u64, _length: u64, _advice: types::Advice) -> FsResult<()> {
        // Advice changes nothing that a component could see.
        self.file(&fd).map(drop)
    }

    fn sync_data(&mut self, fd: Descriptor) -> FsResult<()> {
        self.ask(&fd, |fd| rustix::fs::fdatasync(fd))
    }

    fn sync(&mut self, fd: Descriptor) -> FsResult<()> {
        self.ask(&fd, |fd| rustix::fs::fsync(fd))
    }

    fn get_flags(&mut self, fd: Descriptor) -> FsResult<types::DescriptorFlags> {
        let is_directory = matches!(self.node(&fd)?, Node::Directory(_));
        let flags = self.ask(&fd, |fd| rustix::fs::fcntl_getfl(fd))?;
        let mut told = match flags & OFlags::RWMODE {
            OFlags::WRONLY => types::DescriptorFlags::WRITE,
            OFlags::RDWR => types::DescriptorFlags::READ | types::DescriptorFlags::WRITE,
            _ => types::DescriptorFlags::READ,
        };
        if is_directory {
            told |= types::DescriptorFlags::MUTATE_DIRECTORY;
        }
        Ok(told)
    }

    fn get_type(&mut self, fd: Descriptor) -> FsResult<types::DescriptorType> {
        let stat = self.ask(&fd, |fd| rustix::fs::fstat(fd))?;
        Ok(kind(FileType::from_raw_mode(stat.st_mode)))
    }

    fn set_size(&mut self, fd: Descriptor, size: u64) -> FsResult<()> {
        rustix::fs::ftruncate(&**self.file(&fd)?, size).map_err(error)
    }

    fn set_times(
        &mut self,
        fd: Descriptor,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        let times = self.times(accessed, modified);
        self.ask(&fd, |fd| rustix::fs::futimens(fd, &times))
    }

    fn read(&mut self, fd: Descriptor, length: u64, offset: u64) -> FsResult<(Vec<u8>, bool)> {
        const MOST: u64 = 1 << 20;
        let mut bytes = vec![0; usize::try_from(length.min(MOST)).unwrap_or(0)];
        let read = read_at(self.file(&fd)?, &mut bytes, offset).map_err(error)?;
        bytes.truncate(read);
        Ok((bytes, read == 0 && length > 0))
    }

    fn write(&mut self, fd: Descriptor, bytes: Vec<u8>, offset: u64) -> FsResult<u64> {
        write_at(self.file(&fd)?, &bytes, offset).map(|written| written as u64).map_err(error)
    }

    fn read_via_stream(&mut self, fd: Descriptor, offset: u64) -> FsResult<Resource<DynInputStream>> {
        let file = match self.node(&fd)? {
            Node::File(file) => Arc::clone(file),
            Node::Directory(_) => return Err(Code::IsDirectory.into()),
        };
        let stream: DynInputStream = Box::new(FileStream { file, position: Position::At(offset) });
        Ok(self.table.push(stream)?)
    }

    fn write_via_stream(&mut self, fd: Descriptor, offset: u64) -> FsResult<Resource<DynOutputStream>> {
        let file = Arc::clone(self.file(&fd)?);
        let stream: DynOutputStream = Box::new(FileStream { file, position: Position::At(offset) });
        Ok(self.table.push(stream)?)
    }

    fn append_via_stream(&mut self, fd: Descriptor) -> FsResult<Resource<DynOutputStream>> {
        let file = Arc::clone(self.file(&fd)?);
        // The flag is of the open file, which only this component's descriptor of it has.
        let flags = rustix::fs::fcntl_getfl(&*file).map_err(error)?;
        rustix::fs::fcntl_setfl(&*file, flags | OFlags::APPEND).map_err(error)?;
        let stream: DynOutputStream = Box::new(FileStream { file, position: Position::End });
        Ok(self.table.push(stream)?)
    }

    fn read_directory(&mut self, fd: Descriptor) -> FsResult<Resource<types::DirectoryEntryStream>> {
        let mut listed = self.ask(&fd, |fd| directory::list(&fd))?;
        listed.retain(|entry| entry.name != b"." && entry.name != b"..");
        if matches!(self.node(&fd)?, Node::File(_)) {
            return Err(Code::NotDirectory.into());
        }
        let made = self.table.push(Listing(listed.into_iter()))?;
        Ok(Resource::new_own(made.rep()))
    }

    fn create_directory_at(&mut self, fd: Descriptor, path: String) -> FsResult<()> {
        self.act(&fd, &path, Purpose::Make, |at, path| {
            rustix::fs::mkdirat(at, path, Mode::from_raw_mode(0o777))
        })
    }

    fn stat(&mut self, fd: Descriptor) -> FsResult<types::DescriptorStat> {
        self.ask(&fd, |fd| rustix::fs::fstat(fd)).map(|found| stat(&found))
    }

    fn stat_at(
        &mut self,
        fd: Descriptor,
        flags: types::PathFlags,
        path: String,
    ) -> FsResult<types::DescriptorStat> {
        let found =
            self.act(&fd, &path, Purpose::Find, |at, path| rustix::fs::statat(at, path, follow(flags)))?;
        Ok(stat(&found))
    }

    fn set_times_at(
        &mut self,
        fd: Descriptor,
        flags: types::PathFlags,
        path: String,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        let times = self.times(accessed, modified);
        self.act(&fd, &path, Purpose::Find, |at, path| rustix::fs::utimensat(at, path, &times, follow(flags)))
    }

    fn link_at(
        &mut self,
        fd: Descriptor,
        flags: types::PathFlags,
        old: String,
        new_fd: Descriptor,
        new: String,
    ) -> FsResult<()> {
        let (new_at, new) = self.directory(&new_fd)?.place(new.as_bytes(), Purpose::Make).map_err(error)?;
        let flags = if flags.contains(types::PathFlags::SYMLINK_FOLLOW) {
            AtFlags::SYMLINK_FOLLOW
        } else {
            AtFlags::empty()
        };
        self.act(&fd, &old, Purpose::Find, |at, old| rustix::fs::linkat(at, old, new_at, new.as_ref(), flags))
    }

    fn open_at(
        &mut self,
        fd: Descriptor,
        path_flags: types::PathFlags,
        path: String,
        open: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FsResult<Descriptor> {
        let linux = open_flags(path_flags, open, flags);
        let purpose = if linux.contains(OFlags::CREATE) { Purpose::Make } else { Purpose::Find };
        let opened = self.act(&fd, &path, purpose, |at, path| {
            let mode = Mode::from_raw_mode(0o666);
            let open = |flags| rustix::io::retry_on_intr(|| rustix::fs::openat(at, path, flags, mode));
            // A directory is asked for with the right to change what is in it, which Linux does not call writing.
            match open(linux) {
                Err(Errno::ISDIR) if !linux.intersects(OFlags::CREATE | OFlags::TRUNC) => {
                    open((linux - OFlags::RWMODE) | OFlags::DIRECTORY)
                }
                opened => opened,
            }
        })?;
        let found = rustix::fs::fstat(&opened).map_err(error)?;
        let node = if FileType::from_raw_mode(found.st_mode).is_dir() {
            Node::Directory(Directory::Opened(opened))
        } else {
            Node::File(Arc::new(opened))
        };
        self.push(node)
    }

    fn readlink_at(&mut self, fd: Descriptor, path: String) -> FsResult<String> {
        let target =
            self.act(&fd, &path, Purpose::Find, |at, path| rustix::fs::readlinkat(at, path, Vec::new()))?;
        target.into_string().map_err(|_| Code::IllegalByteSequence.into())
    }

    fn remove_directory_at(&mut self, fd: Descriptor, path: String) -> FsResult<()> {
        self.act(&fd, &path, Purpose::Find, |at, path| rustix::fs::unlinkat(at, path, AtFlags::REMOVEDIR))
    }

    fn rename_at(&mut self, fd: Descriptor, old: String, new_fd: Descriptor, new: String) -> FsResult<()> {
        let (new_at, new) = self.directory(&new_fd)?.place(new.as_bytes(), Purpose::Make).map_err(error)?;
        self.act(&fd, &old, Purpose::Find, |at, old| rustix::fs::renameat(at, old, new_at, new.as_ref()))
    }

    fn symlink_at(&mut self, fd: Descriptor, target: String, path: String) -> FsResult<()> {
        self.act(&fd, &path, Purpose::Make, |at, path| rustix::fs::symlinkat(target.as_str(), at, path))
    }

    fn unlink_file_at(&mut self, fd: Descriptor, path: String) -> FsResult<()> {
        self.act(&fd, &path, Purpose::Find, |at, path| rustix::fs::unlinkat(at, path, AtFlags::empty()))
    }

    fn is_same_object(&mut self, one: Descriptor, other: Descriptor) -> wasmtime::Result<bool> {
        let identity = |fd: &Descriptor| {
            let found = self.ask(fd, |fd| rustix::fs::fstat(fd)).ok()?;
            Some((found.st_dev, found.st_ino))
        };
        let (one, other) = (identity(&one), identity(&other));
        Ok(one.is_some() && one == other)
    }

    fn metadata_hash(&mut self, fd: Descriptor) -> FsResult<types::MetadataHashValue> {
        self.ask(&fd, |fd| rustix::fs::fstat(fd)).map(|found| hash(&found))
    }

    fn metadata_hash_at(
        &mut self,
        fd: Descriptor,
        flags: types::PathFlags,
        path: String,
    ) -> FsResult<types::MetadataHashValue> {
        let found =
            self.act(&fd, &path, Purpose::Find, |at, path| rustix::fs::statat(at, path, follow(flags)))?;
        Ok(hash(&found))
    }

    fn drop(&mut self, fd: Descriptor) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Node>::new_own(fd.rep()))?;
        Ok(())
    }
}

impl types::HostDirectoryEntryStream for Files<'_> {
    fn read_directory_entry(
        &mut self,
        stream: Resource<types::DirectoryEntryStream>,
    ) -> FsResult<Option<types::DirectoryEntry>> {
        let listing = self.table.get_mut(&Resource::<Listing>::new_borrow(stream.rep()))?;
        let Some(entry) = listing.0.next() else { return Ok(None) };
        let name = String::from_utf8(entry.name).map_err(|_| FsError::from(Code::IllegalByteSequence))?;
        Ok(Some(types::DirectoryEntry { type_: kind(entry.kind), name }))
    }

    fn drop(&mut self, stream: Resource<types::DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Listing>::new_own(stream.rep()))?;
        Ok(())
    }
}
