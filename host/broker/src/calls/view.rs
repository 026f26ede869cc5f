//! Changes that a guest wants to make in /proc, /dev or /sys: there are none to make.
//!
//! What would change nothing succeeds, as it does for root in a container; anything else gets the errno that such
//! a file system gives.

use rustix::io::Errno;
use wbuild_monitor::{Fault, ViewKind, ViewPath};

use super::frame::Frame;

/// A new name.
pub(super) fn refuse_new(frame: &Frame<'_>, place: &ViewPath) -> Fault {
    if frame.views().stat(place).is_ok() {
        return Errno::EXIST.into();
    }
    match place.kind {
        ViewKind::Proc => Errno::NOENT.into(),
        ViewKind::Dev | ViewKind::Sys => Errno::PERM.into(),
    }
}

/// A name that is to go away.
pub(super) fn refuse_removal(frame: &Frame<'_>, place: &ViewPath) -> Fault {
    // What stands on its own file system in every container.
    let in_dev = place.kind == ViewKind::Dev && matches!(place.rest.as_slice(), b"shm" | b"pts");
    if place.rest.is_empty() || in_dev {
        return Errno::BUSY.into();
    }
    match frame.views().stat(place) {
        Ok(_) => Errno::PERM.into(),
        Err(fault) => fault,
    }
}

/// Attributes that are to change.
pub(super) fn refuse_attributes(place: &ViewPath) -> Fault {
    match place.kind {
        ViewKind::Sys => Errno::ROFS.into(),
        ViewKind::Proc | ViewKind::Dev => Errno::PERM.into(),
    }
}
