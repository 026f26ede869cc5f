//! Another task's memory, by one trait with two implementations: `process_vm_*` and /proc/TID/mem.
//!
//! Invariant: an address that is not the guest's answers EFAULT, never a fault of ours.
//! Permission to reach the task is the kernel's ptrace check; nothing here widens it.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::outcome::outcome;

/// The memory of one task.
pub trait GuestMemory: Send + Sync {
    /// Reads up to `buffer.len()` bytes at `address`; returns how many were readable from there on.
    ///
    /// # Errors
    /// EFAULT where not even the first byte is readable; ESRCH when the task is gone.
    fn read_some(&self, address: u64, buffer: &mut [u8]) -> Result<usize, Errno>;

    /// Writes up to `bytes.len()` bytes at `address`; returns how many were writable from there on.
    ///
    /// # Errors
    /// EFAULT where not even the first byte is writable; ESRCH when the task is gone.
    fn write_some(&self, address: u64, bytes: &[u8]) -> Result<usize, Errno>;

    /// Fills `buffer` from `address`.
    ///
    /// # Errors
    /// EFAULT where not all of it is readable; ESRCH when the task is gone.
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < buffer.len() {
            let from = address.checked_add(done as u64).ok_or(Errno::FAULT)?;
            match self.read_some(from, &mut buffer[done..])? {
                0 => return Err(Errno::FAULT),
                some => done += some,
            }
        }
        Ok(())
    }

    /// Writes all of `bytes` at `address`.
    ///
    /// # Errors
    /// EFAULT where not all of it is writable; ESRCH when the task is gone.
    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < bytes.len() {
            let to = address.checked_add(done as u64).ok_or(Errno::FAULT)?;
            match self.write_some(to, &bytes[done..])? {
                0 => return Err(Errno::FAULT),
                some => done += some,
            }
        }
        Ok(())
    }

    /// Reads a NUL-terminated string at `address`, without its NUL; `None` if `limit` bytes hold no NUL.
    /// Reads page by page, so a string that ends just before an unmapped page is found.
    ///
    /// # Errors
    /// EFAULT where memory ends before the NUL; ESRCH when the task is gone.
    fn read_string(&self, address: u64, limit: usize) -> Result<Option<Vec<u8>>, Errno> {
        const PAGE: u64 = 4096;
        let mut string = Vec::new();
        // Most paths are short: the first read is small, so that little is copied for nothing.
        let mut chunk = 256;
        while string.len() < limit {
            let from = address.checked_add(string.len() as u64).ok_or(Errno::FAULT)?;
            let to_page_end = usize::try_from(PAGE - from % PAGE).map_err(|_| Errno::FAULT)?;
            let wanted = chunk.min(to_page_end).min(limit - string.len());
            let start = string.len();
            string.resize(start + wanted, 0);
            let got = self.read_some(from, &mut string[start..])?;
            if got == 0 {
                return Err(Errno::FAULT);
            }
            string.truncate(start + got);
            if let Some(end) = string[start..].iter().position(|byte| *byte == 0) {
                string.truncate(start + end);
                return Ok(Some(string));
            }
            chunk = 4096;
        }
        Ok(None)
    }
}

/// Memory through `process_vm_readv` and `process_vm_writev`.
#[derive(Clone, Copy, Debug)]
pub struct ProcessVm {
    tid: u32,
}

impl ProcessVm {
    /// The memory of the thread `tid`.
    #[must_use]
    pub fn new(tid: u32) -> Self {
        Self { tid }
    }
}

/// A guest address as a pointer; it is never dereferenced in this process.
fn remote(address: u64) -> Result<*mut libc::c_void, Errno> {
    Ok(std::ptr::without_provenance_mut(usize::try_from(address).map_err(|_| Errno::FAULT)?))
}

impl GuestMemory for ProcessVm {
    fn read_some(&self, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let guest = libc::iovec { iov_base: remote(address)?, iov_len: buffer.len() };
        // SAFETY: `local` covers exactly `buffer`, which is borrowed mutably for the call; `guest` is an address
        // in another process that the kernel checks; both lists have one element.
        let read = unsafe {
            libc::process_vm_readv(self.tid.cast_signed(), &raw const local, 1, &raw const guest, 1, 0)
        };
        usize::try_from(outcome(read as libc::c_long)?).map_err(|_| Errno::IO)
    }

    fn write_some(&self, address: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let guest = libc::iovec { iov_base: remote(address)?, iov_len: bytes.len() };
        // SAFETY: `local` covers exactly `bytes`, which the call only reads; `guest` is an address in another
        // process that the kernel checks; both lists have one element.
        let wrote = unsafe {
            libc::process_vm_writev(self.tid.cast_signed(), &raw const local, 1, &raw const guest, 1, 0)
        };
        usize::try_from(outcome(wrote as libc::c_long)?).map_err(|_| Errno::IO)
    }
}

/// Memory through an open /proc/TID/mem: for hosts that deny `process_vm_*` and allow ptrace (containerd 1.6).
/// The descriptor stands for the address space at its opening: the owner opens it again for each call of the task.
#[derive(Debug)]
pub struct ProcMem {
    file: OwnedFd,
}

impl ProcMem {
    /// Takes an open /proc/TID/mem.
    #[must_use]
    pub fn new(file: OwnedFd) -> Self {
        Self { file }
    }
}

/// /proc/TID/mem answers EIO where process_vm_* answers EFAULT.
fn as_fault(errno: Errno) -> Errno {
    if errno == Errno::IO { Errno::FAULT } else { errno }
}

impl GuestMemory for ProcMem {
    fn read_some(&self, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::pread(&self.file, buffer, address).map_err(as_fault)
    }

    fn write_some(&self, address: u64, bytes: &[u8]) -> Result<usize, Errno> {
        rustix::io::pwrite(&self.file, bytes, address).map_err(as_fault)
    }
}
