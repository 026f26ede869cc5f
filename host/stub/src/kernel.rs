//! The few system calls the stub makes, with the errors it cannot survive ending the process.
//!
//! The stub makes no path call but the one that asks for its plan; everything else is by descriptor.

use crate::arch::{self, syscall};
use crate::plan::PLAN_DIRFD;

pub const PROT_NONE: usize = 0;
pub const PROT_READ: usize = 1;
pub const PROT_WRITE: usize = 2;
pub const PROT_EXEC: usize = 4;
pub const MAP_PRIVATE: usize = 2;
pub const MAP_FIXED: usize = 0x10;
pub const MAP_ANONYMOUS: usize = 0x20;
pub const MAP_FIXED_NOREPLACE: usize = 0x10_0000;
const O_CLOEXEC: usize = 0o2_000_000;
const ERRNO_LIMIT: isize = -4096;

/// The exit code of a program that could not be started, as shells have it.
const CANNOT_START: usize = 127;

/// Says on standard error why the program cannot start and ends the process.
pub fn fail(reason: &[u8]) -> ! {
    for part in [b"wbuild: cannot start the program: ".as_slice(), reason, b"\n"] {
        // SAFETY: the bytes are readable for their length; a failed write changes nothing.
        unsafe { syscall(arch::SYS_WRITE, [2, part.as_ptr() as usize, part.len(), 0, 0, 0]) };
    }
    loop {
        // SAFETY: ends the process.
        unsafe { syscall(arch::SYS_EXIT_GROUP, [CANNOT_START, 0, 0, 0, 0, 0]) };
    }
}

/// Asks the broker for the plan of this exec; its descriptor.
pub fn open_plan() -> usize {
    let empty = b"\0";
    // SAFETY: the path is NUL-terminated.
    let fd = unsafe {
        syscall(arch::SYS_OPENAT, [PLAN_DIRFD as isize as usize, empty.as_ptr() as usize, O_CLOEXEC, 0, 0, 0])
    };
    if fd < 0 {
        fail(b"the sandbox has no plan for it");
    }
    fd.unsigned_abs()
}

/// Names the thread, as the kernel's exec does with the last component of the file name: it saw the stub's, or a number.
///
/// # Safety
/// `path` must be NUL-terminated.
pub unsafe fn set_name(path: *const u8) {
    const PR_SET_NAME: usize = 15;
    let (mut name, mut at) = (path, path);
    // SAFETY: each byte up to the NUL is readable; the kernel reads no more than sixteen from the last component.
    unsafe {
        while *at != 0 {
            at = at.wrapping_add(1);
            if *at.wrapping_sub(1) == b'/' {
                name = at;
            }
        }
        syscall(arch::SYS_PRCTL, [PR_SET_NAME, name as usize, 0, 0, 0, 0]);
    }
}

/// Closes a descriptor of the plan.
pub fn close(fd: usize) {
    // SAFETY: closing has no memory effect; the descriptor is the stub's own.
    unsafe { syscall(arch::SYS_CLOSE, [fd, 0, 0, 0, 0, 0]) };
}

/// Reads exactly `length` bytes at `offset` into `to`.
///
/// # Safety
/// `length` bytes at `to` must be writable.
pub unsafe fn read_at(fd: usize, to: *mut u8, length: usize, offset: usize) {
    let mut done = 0;
    while done < length {
        // SAFETY: the rest of the caller's range.
        let got = unsafe {
            syscall(
                arch::SYS_PREAD64,
                [fd, to.wrapping_add(done) as usize, length - done, offset + done, 0, 0],
            )
        };
        if got <= 0 {
            fail(b"its file is truncated or unreadable");
        }
        done += got.unsigned_abs();
    }
}

/// Maps memory; the address.
///
/// # Safety
/// With MAP_FIXED nothing in use may stand in the range.
pub unsafe fn map(
    address: usize,
    length: usize,
    protection: usize,
    flags: usize,
    fd: usize,
    offset: usize,
) -> usize {
    // SAFETY: the caller vouches for fixed mappings; others touch nothing that exists.
    let mapped = unsafe { syscall(arch::SYS_MMAP, [address, length, protection, flags, fd, offset]) };
    if mapped < 0 && mapped > ERRNO_LIMIT {
        fail(b"its memory cannot be mapped");
    }
    let mapped = mapped as usize;
    if flags & MAP_FIXED_NOREPLACE != 0 && mapped != address {
        fail(b"its fixed address is taken");
    }
    mapped
}

/// Gives memory back.
///
/// # Safety
/// Nothing may use the range any more.
pub unsafe fn unmap(address: usize, length: usize) {
    // SAFETY: the caller vouches for it.
    unsafe { syscall(arch::SYS_MUNMAP, [address, length, 0, 0, 0, 0]) };
}

/// Executes `path`; returns only by ending the process.
///
/// # Safety
/// The path must be NUL-terminated, the vectors NULL-terminated.
pub unsafe fn execve(path: *const u8, argv: *const usize, envp: *const usize) -> ! {
    // SAFETY: the caller vouches for the pointers.
    unsafe { syscall(arch::SYS_EXECVE, [path as usize, argv as usize, envp as usize, 0, 0, 0]) };
    fail(b"the interpreter of its #! line cannot be executed")
}
