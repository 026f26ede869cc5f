//! What every operation on a name checks about the directory it is in.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::Statx;
use wbuild_layer::RootPath;
use wbuild_rootfs::raw::Fresh;
use wbuild_rootfs::{InodeKey, stat_at};

use crate::dac::{NewKind, Want, inherit, may, may_take_from};
use crate::resolve::{Home, Node, Place, Slash};
use crate::{Errno, Fault, Monitor, Subject};

/// A proper name in a directory, with where that lies.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) place: Place,
    pub(super) home: Home,
}

impl Spot {
    pub(super) fn name(&self) -> Result<&CStr, Errno> {
        self.place.name([Errno::INVAL; 3])
    }

    pub(super) fn dir(&self) -> &Node {
        &self.place.dir
    }

    /// What stands there now.
    pub(super) fn stat(&self) -> Result<Option<Statx>, Errno> {
        match stat_at(self.dir().fd.as_fd(), self.name()?) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl Monitor {
    /// The path of a spot in the tree, if anybody learns from it.
    pub(super) fn path_of_spot(&self, spot: &Spot) -> Option<RootPath> {
        self.observer()?;
        let Home::Tree(dir) = &spot.home else { return None };
        dir.join(spot.name().ok()?.to_bytes()).ok()
    }

    /// Tells that what stands at a path is the step's own doing from now on.
    pub(super) fn note_own(&self, path: Option<RootPath>) {
        if let (Some(observer), Some(path)) = (self.observer(), path) {
            observer.is_own(&path);
        }
    }

    /// Where a place lies; `otherwise` are the answers for `.`, `..` and the root.
    pub(super) fn spot(&self, place: Place, otherwise: [Errno; 3]) -> Result<Spot, Errno> {
        place.name(otherwise)?;
        // A directory that is removed already: nothing can be made or found in it.
        if place.dir.stat.stx_nlink == 0 {
            return Err(Errno::NOENT);
        }
        let home = self.home_of(&place.dir).map_err(|_| Errno::ACCESS)?;
        Ok(Spot { place, home })
    }

    /// Checks that something may be made at a spot. Linux answers EEXIST before it looks at permissions, and a trailing slash on
    /// something new is for directories alone.
    pub(super) fn may_make(&self, subject: &Subject<'_>, spot: &Spot, kind: NewKind) -> Result<(), Fault> {
        let allowed =
            spot.home.writable().and_then(|()| may(subject.credentials, &self.seen(spot.dir()), Want::NAMES));
        let slash = spot.place.slash == Slash::Trailing && kind == NewKind::Other;
        if (allowed.is_err() || slash) && spot.stat()?.is_some() {
            return Err(Errno::EXIST.into());
        }
        if slash {
            return Err(Errno::NOENT.into());
        }
        Ok(allowed?)
    }

    /// Owner and mode of something new; `mode` is what was asked, before the umask.
    pub(super) fn fresh(&self, subject: &Subject<'_>, dir: &Node, mode: u32, kind: NewKind) -> Fresh {
        let asked = mode & !(subject.umask & 0o777);
        let (gid, mode) = inherit(subject.credentials, &self.seen(dir), asked, kind);
        Fresh { uid: subject.credentials.uid.fs, gid, mode }
    }

    /// Checks that the name of `victim` at a spot may be taken away: write permission on the directory and its sticky bit.
    pub(super) fn may_take(&self, subject: &Subject<'_>, spot: &Spot, victim: &Statx) -> Result<(), Errno> {
        let dir = self.seen(spot.dir());
        may(subject.credentials, &dir, Want::NAMES)?;
        let mut seen = *victim;
        self.root().show(&mut seen);
        may_take_from(subject.credentials, &dir, &seen)
    }

    /// EBUSY where a graft or a view stands.
    pub(super) fn not_busy(&self, victim: &Statx) -> Result<(), Errno> {
        if self.is_placeholder(&InodeKey::of(victim)) { Err(Errno::BUSY) } else { Ok(()) }
    }
}
