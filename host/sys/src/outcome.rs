//! Turns a raw system call's return value into a `Result`.

use rustix::io::Errno;

/// `-1` with errno set becomes `Err`, anything else the value.
pub(crate) fn outcome(returned: libc::c_long) -> Result<libc::c_long, Errno> {
    if returned == -1 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        Err(Errno::from_raw_os_error(errno))
    } else {
        Ok(returned)
    }
}
