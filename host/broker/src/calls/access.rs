//! access, faccessat, faccessat2: man 2 access.

use rustix::io::Errno;
use wbuild_monitor::{AccessAs, Fault, GuestPath, Outcome};

use super::frame::{AT_FDCWD, EmptyPath, Frame, at_flag, no_follow};
use crate::call::{Call, Reply};

/// `R_OK | W_OK | X_OK`; 0 asks whether the file is there.
const MODES: u32 = 7;

/// access(path, mode).
///
/// # Errors
/// What the guest gets.
pub fn access(call: &mut Call<'_>) -> Result<Reply, Fault> {
    family(call, AT_FDCWD, 0, call.uint(1), 0)
}

/// faccessat(dirfd, path, mode); the raw call has no flags.
///
/// # Errors
/// What the guest gets.
pub fn faccessat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    family(call, call.int(0), 1, call.uint(2), 0)
}

/// faccessat2(dirfd, path, mode, flags).
///
/// # Errors
/// What the guest gets.
pub fn faccessat2(call: &mut Call<'_>) -> Result<Reply, Fault> {
    family(call, call.int(0), 1, call.uint(2), call.uint(3))
}

fn family(call: &Call<'_>, dirfd: i32, path: usize, mode: u32, flags: u32) -> Result<Reply, Fault> {
    let known = at_flag::EACCESS | at_flag::SYMLINK_NOFOLLOW | at_flag::EMPTY_PATH;
    if mode & !MODES != 0 || flags & !known != 0 {
        return Err(Errno::INVAL.into());
    }
    let who = if flags & at_flag::EACCESS == 0 { AccessAs::Real } else { AccessAs::Effective };
    let path: GuestPath = call.path(path)?;
    let frame = Frame::of(call)?;
    let aim = frame.aim(dirfd, path, no_follow(flags), EmptyPath::from_flags(flags))?;
    match frame.ask_about(&aim, |monitor, subject, target| monitor.access(subject, target, mode, who))? {
        Outcome::View(place) => frame.views().access(&place, mode)?,
        // What a guest holds open it may use.
        Outcome::Done(()) | Outcome::Object(_) => {}
    }
    Ok(Reply::Value(0))
}
