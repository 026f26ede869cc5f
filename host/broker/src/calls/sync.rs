//! fsync, fdatasync, sync_file_range, sync and syncfs: man 2 fsync, man 2 sync.
//!
//! A step's tree is scratch: when the machine stops in the middle of a step, the whole step is lost, whatever had reached the disk. So
//! writing the tree back is not waited for, and what is read of it afterwards comes from the same page cache. What outlives the
//! step (caches and other mounts) is synced by the kernel, and so is everything on a filesystem that only says at a sync that a
//! write failed. Guest memory is not looked at.

use std::os::fd::AsFd;

use rustix::io::Errno;
use wbuild_monitor::Fault;

use crate::call::{Call, Reply};

/// `SYNC_FILE_RANGE_*` of linux/fs.h.
const RANGE_FLAGS: u32 = 7;

/// fsync(fd), fdatasync(fd).
///
/// # Errors
/// EBADF.
pub fn fsync(call: &mut Call<'_>) -> Result<Reply, Fault> {
    if of_the_tree(call)? { Ok(Reply::Value(0)) } else { Ok(Reply::Continue) }
}

/// sync_file_range(fd, offset, length, flags).
///
/// # Errors
/// EBADF.
pub fn sync_file_range(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let (offset, length) = (call.arg(1).cast_signed(), call.arg(2).cast_signed());
    let valid = offset >= 0 && length >= 0 && offset.checked_add(length).is_some();
    // The kernel has the errors of its arguments.
    if valid && call.uint(3) & !RANGE_FLAGS == 0 && of_the_tree(call)? {
        return Ok(Reply::Value(0));
    }
    Ok(Reply::Continue)
}

/// syncfs(fd).
///
/// # Errors
/// EBADF.
pub fn syncfs(call: &mut Call<'_>) -> Result<Reply, Fault> {
    if call.step().views.shows_mounts() { Ok(Reply::Continue) } else { fsync(call) }
}

/// sync().
///
/// # Errors
/// None.
pub fn sync(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let scratch = call.step().monitor.is_scratch_alone() && !call.step().views.shows_mounts();
    if scratch { Ok(Reply::Value(0)) } else { Ok(Reply::Continue) }
}

/// True if the first argument is open on a file or directory of the tree.
fn of_the_tree(call: &Call<'_>) -> Result<bool, Errno> {
    match call.task().descriptor(call.int(0)) {
        // A guest's O_PATH descriptor.
        Ok(fd) if call.step().handles.real(fd.as_fd())?.is_some() => Err(Errno::BADF),
        Ok(fd) => Ok(call.step().monitor.is_scratch(fd.as_fd())),
        Err(Fault::Errno(errno)) => Err(errno),
        // The kernel can answer it all the same.
        Err(Fault::Broken(_)) => Ok(false),
    }
}
