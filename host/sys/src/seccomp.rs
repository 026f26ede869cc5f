//! Installing a seccomp filter on the calling thread.
//!
//! The program comes from the broker's table; this module only hands it to the kernel.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::notify::Listener;
use crate::outcome::outcome;

/// One instruction of classic BPF: (code, jt, jf, k).
pub type RawInstruction = (u16, u8, u8, u32);

/// Installs `program` on the calling thread, for good and for all its children, and gives its listener. The thread
/// must have no_new_privs. Asks for `WAIT_KILLABLE_RECV` (Linux 5.19) and does without it on older kernels.
///
/// # Errors
/// EBUSY when another filter of this process already has a listener; EINVAL for a program the kernel rejects.
pub fn install(program: &[RawInstruction]) -> Result<Listener, Errno> {
    let filter: Vec<libc::sock_filter> =
        program.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let wanted = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let fd = match set_filter(&filter, wanted) {
        Err(Errno::INVAL) => set_filter(&filter, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER),
        other => other,
    }?;
    Ok(Listener::new(fd))
}

fn set_filter(filter: &[libc::sock_filter], flags: libc::c_ulong) -> Result<OwnedFd, Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: `program` names exactly the borrowed instructions; the kernel copies them and keeps no pointer.
    let fd =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    let fd = i32::try_from(outcome(fd)?).map_err(|_| Errno::BADF)?;
    // SAFETY: with NEW_LISTENER the kernel returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
