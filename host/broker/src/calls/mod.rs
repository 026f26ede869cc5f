//! The handlers, one file per family.
//!
//! A spelling (open, openat, creat) only decodes its arguments; one function per family does the work. Guests' paths
//! and descriptors are translated in `frame`; what they lead to is the monitor's to find and to permit.

pub mod access;
pub mod cwd;
pub mod handle;
pub mod ids;
pub mod inotify;
pub mod limits;
pub mod links;
pub mod locks;
pub mod names;
pub mod open;
pub mod owner;
pub mod privilege;
pub mod scheduling;
pub mod size;
pub mod socket;
pub mod stat;
pub mod sync;
pub mod sysv;
pub mod times;
pub mod xattr;

pub(crate) mod frame;
mod layout;
mod object;
mod view;

use rustix::io::Errno;
use wbuild_monitor::Fault;

use crate::call::{Call, Reply};

/// The answer of calls that only succeed.
fn done((): ()) -> Reply {
    Reply::Value(0)
}

/// Reads an extensible structure of `N` 64-bit words that the guest gives with its size (`copy_struct_from_user`).
fn extensible<const N: usize>(call: &Call<'_>, address: u64, size: u64) -> Result<[u64; N], Fault> {
    /// The kernel's own bound.
    const PAGE: u64 = 4096;
    let known = N * 8;
    let size = usize::try_from(size).map_err(|_| Errno::TOOBIG)?;
    if size < known {
        return Err(Errno::INVAL.into());
    }
    if size as u64 > PAGE {
        return Err(Errno::TOOBIG.into());
    }
    let mut bytes = vec![0; size];
    call.read(address, &mut bytes)?;
    if bytes[known..].iter().any(|byte| *byte != 0) {
        return Err(Errno::TOOBIG.into());
    }
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    Ok(words)
}
