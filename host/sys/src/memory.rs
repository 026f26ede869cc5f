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

/// /proc/TID/mem answers EIO where process_vm_* answers EFAULT, and EINVAL in the upper half of the address space.
fn as_fault(errno: Errno) -> Errno {
    if matches!(errno, Errno::IO | Errno::INVAL) { Errno::FAULT } else { errno }
}

impl GuestMemory for ProcMem {
    fn read_some(&self, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::pread(&self.file, buffer, address).map_err(as_fault)
    }

    fn write_some(&self, address: u64, bytes: &[u8]) -> Result<usize, Errno> {
        rustix::io::pwrite(&self.file, bytes, address).map_err(as_fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> [Box<dyn GuestMemory>; 2] {
        let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::open("/proc/self/mem", flags, rustix::fs::Mode::empty()).unwrap();
        [Box::new(ProcessVm::new(tid)), Box::new(ProcMem::new(file))]
    }

    /// The address of a page of `b'x'` behind which nothing is mapped.
    fn last_page() -> u64 {
        const PAGE: usize = 4096;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping anywhere.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), 2 * PAGE, protection, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        // SAFETY: the first page of the mapping just made.
        unsafe { std::ptr::write_bytes(at.cast::<u8>(), b'x', PAGE) };
        // SAFETY: the second page of the mapping just made, which nobody uses.
        assert_eq!(unsafe { libc::munmap(at.wrapping_byte_add(PAGE), PAGE) }, 0);
        at.addr() as u64
    }

    #[test]
    fn strings_end_at_their_nul_at_the_limit_or_in_a_fault() {
        let page = last_page();
        let text = std::ffi::CString::new(vec![b'y'; 5000]).unwrap();
        let at = text.as_ptr().addr() as u64;
        for memory in both() {
            assert_eq!(memory.read_string(at, 8192), Ok(Some(vec![b'y'; 5000])));
            assert_eq!(memory.read_string(at, 5001).unwrap().map(|text| text.len()), Some(5000));
            assert_eq!(memory.read_string(at, 5000), Ok(None));
            assert_eq!(memory.read_string(page, 8192), Err(Errno::FAULT));
            assert_eq!(memory.read_string(page, 4096), Ok(None));
            memory.write(page + 4095, &[0]).unwrap();
            assert_eq!(memory.read_string(page + 4090, 8192), Ok(Some(b"xxxxx".to_vec())));
            memory.write(page + 4095, b"x").unwrap();
        }
    }

    #[test]
    fn what_is_not_all_there_is_a_fault() {
        let page = last_page();
        for memory in both() {
            let mut two = [0; 2];
            assert_eq!(memory.read(page + 4094, &mut two), Ok(()));
            assert_eq!(memory.read(page + 4095, &mut two), Err(Errno::FAULT));
            assert_eq!(memory.write(page + 4095, b"zz"), Err(Errno::FAULT));
            assert_eq!(memory.read(1, &mut two), Err(Errno::FAULT));
            assert_eq!(memory.read(u64::MAX, &mut two), Err(Errno::FAULT));
        }
    }
}
