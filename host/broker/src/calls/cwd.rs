//! chdir, fchdir, getcwd, umask: what the kernel keeps in `fs_struct` and the broker in a process's state.

use std::sync::Arc;

use rustix::io::Errno;
use wbuild_monitor::{Broken, Fault, LastLink, Outcome, ViewNode, Views};

use super::done;
use super::frame::{AT_FDCWD, Aim, EmptyPath, Frame, change};
use crate::call::{Call, Reply};
use crate::identity::{Cwd, State};

/// chdir(path).
///
/// # Errors
/// What the guest gets.
pub fn chdir(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let path = call.path(0)?;
    let frame = Frame::of(call)?;
    let aim = frame.aim(AT_FDCWD, path, LastLink::Follow, EmptyPath::Refused)?;
    enter(call, &frame, &aim)
}

/// fchdir(fd).
///
/// # Errors
/// What the guest gets.
pub fn fchdir(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let frame = Frame::of(call)?;
    let aim = frame.aim_fd(call.int(0))?;
    enter(call, &frame, &aim)
}

fn enter(call: &Call<'_>, frame: &Frame<'_>, aim: &Aim) -> Result<Reply, Fault> {
    let found = frame.ask_about(aim, |monitor, subject, target| monitor.chdir(subject, target))?;
    let cwd = match found {
        Outcome::Done(fd) => Cwd::of(fd)?,
        Outcome::View(place) => match frame.views().node(&place)? {
            ViewNode::Directory => Cwd::View(place),
            _ => return Err(Errno::NOTDIR.into()),
        },
        Outcome::Object(_) => return Err(Errno::NOTDIR.into()),
    };
    let cwd = Arc::new(cwd);
    // The directory was found from the old one, which another thread may have left meanwhile: as on Linux, the last
    // chdir to come here wins, and nothing else of the state is touched.
    frame.change(call, |state| Ok((State { cwd, ..state.clone() }, ())))?;
    Ok(done(()))
}

/// getcwd(buffer, size).
///
/// # Errors
/// What the guest gets.
pub fn getcwd(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let frame = Frame::of(call)?;
    let mut path = match frame.state.cwd.as_ref() {
        Cwd::View(place) => place.to_guest_path(),
        Cwd::Dir(dir) => {
            // A removed directory has no path: not even one that ends in " (deleted)".
            if rustix::fs::fstat(dir.fd())?.st_nlink == 0 {
                return Err(Errno::NOENT.into());
            }
            let path = frame.step.monitor.path_of(dir.fd())?;
            path.ok_or_else(|| Broken::because("a working directory is nowhere in the tree"))?
        }
    };
    path.push(0);
    if path.len() as u64 > call.arg(1) {
        return Err(Errno::RANGE.into());
    }
    call.write(call.arg(0), &path)?;
    Ok(Reply::Value(path.len() as i64))
}

/// umask(mask).
///
/// # Errors
/// None that a guest sees.
pub fn umask(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let new = call.uint(0) & 0o777;
    let old = change(call, |state| Ok((State { umask: new, ..state.clone() }, state.umask)))?;
    Ok(Reply::Value(old.into()))
}
