//! utime, utimes, futimesat, utimensat: man 2 utime, man 2 utimensat.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;
use wbuild_monitor::{Fault, LastLink, Outcome, ViewKind};

use super::frame::{AT_FDCWD, Aim, EmptyPath, Frame, at_flag, no_follow};
use super::{done, layout, object, view};
use crate::call::{Call, Reply};

/// utime(path, times): seconds.
///
/// # Errors
/// What the guest gets.
pub fn utime(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let times = match call.arg(1) {
        0 => NOW,
        address => {
            let [access, modification] = layout::words(&call.read_array::<16>(address)?);
            Timestamps { last_access: spec(access, 0), last_modification: spec(modification, 0) }
        }
    };
    let path = call.path(0)?;
    let frame = Frame::of(call)?;
    let aim = frame.aim(AT_FDCWD, path, LastLink::Follow, EmptyPath::Refused)?;
    set(&frame, &aim, &times)
}

/// utimes(path, times): microseconds.
///
/// # Errors
/// What the guest gets.
pub fn utimes(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let times = microseconds(call, call.arg(1))?;
    let path = call.path(0)?;
    let frame = Frame::of(call)?;
    let aim = frame.aim(AT_FDCWD, path, LastLink::Follow, EmptyPath::Refused)?;
    set(&frame, &aim, &times)
}

/// futimesat(dirfd, path, times): microseconds; a null path is the descriptor itself.
///
/// # Errors
/// What the guest gets.
pub fn futimesat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let times = microseconds(call, call.arg(2))?;
    let frame = Frame::of(call)?;
    let aim = aim_at(call, &frame, 0)?;
    set(&frame, &aim, &times)
}

/// utimensat(dirfd, path, times, flags): nanoseconds; a null path is the descriptor itself.
///
/// # Errors
/// What the guest gets.
pub fn utimensat(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let flags = call.uint(3);
    let times = match call.arg(2) {
        0 => NOW,
        address => nanoseconds(layout::words(&call.read_array::<32>(address)?))?,
    };
    let omitted = |time: &Timespec| time.tv_nsec == UTIME_OMIT;
    // Linux does not even look at the path then.
    if omitted(&times.last_access) && omitted(&times.last_modification) {
        return Ok(done(()));
    }
    if flags & !(at_flag::SYMLINK_NOFOLLOW | at_flag::EMPTY_PATH) != 0 {
        return Err(Errno::INVAL.into());
    }
    let frame = Frame::of(call)?;
    let aim = aim_at(call, &frame, flags)?;
    set(&frame, &aim, &times)
}

const NOW: Timestamps = Timestamps { last_access: spec(0, UTIME_NOW), last_modification: spec(0, UTIME_NOW) };

const fn spec(tv_sec: i64, tv_nsec: rustix::fs::Nsecs) -> Timespec {
    Timespec { tv_sec, tv_nsec }
}

fn microseconds(call: &Call<'_>, address: u64) -> Result<Timestamps, Fault> {
    if address == 0 {
        return Ok(NOW);
    }
    Ok(from_microseconds(layout::words(&call.read_array::<32>(address)?))?)
}

fn from_microseconds(words: [i64; 4]) -> Result<Timestamps, Errno> {
    let [access, access_part, modification, modification_part] = words;
    let part = |part: i64| if (0..1_000_000).contains(&part) { Ok(part * 1000) } else { Err(Errno::INVAL) };
    Ok(Timestamps {
        last_access: spec(access, part(access_part)?),
        last_modification: spec(modification, part(modification_part)?),
    })
}

fn nanoseconds(words: [i64; 4]) -> Result<Timestamps, Errno> {
    let [access, access_part, modification, modification_part] = words;
    let valid = |part: i64| (0..1_000_000_000).contains(&part) || part == UTIME_NOW || part == UTIME_OMIT;
    if !valid(access_part) || !valid(modification_part) {
        return Err(Errno::INVAL);
    }
    Ok(Timestamps {
        last_access: spec(access, access_part),
        last_modification: spec(modification, modification_part),
    })
}

fn aim_at(call: &Call<'_>, frame: &Frame<'_>, flags: u32) -> Result<Aim, Fault> {
    let dirfd = call.int(0);
    if call.arg(1) == 0 && dirfd != AT_FDCWD {
        return if flags == 0 { frame.aim_open_fd(dirfd) } else { Err(Errno::INVAL.into()) };
    }
    frame.aim(dirfd, call.path(1)?, no_follow(flags), EmptyPath::from_flags(flags))
}

fn set(frame: &Frame<'_>, aim: &Aim, times: &Timestamps) -> Result<Reply, Fault> {
    match frame.ask_about(aim, |monitor, subject, target| monitor.set_times(subject, target, times))? {
        Outcome::Done(()) => {}
        // touch /dev/null
        Outcome::View(place) if place.kind == ViewKind::Dev => drop(frame.views().stat(&place)?),
        Outcome::View(place) => return Err(view::refuse_attributes(&place)),
        // As with /dev/null by its name: it succeeds, and the host's device keeps its times.
        Outcome::Object(fd) if !object::may_change(&fd)? => {}
        Outcome::Object(fd) => {
            rustix::fs::utimensat(CWD, object::path(fd.as_fd()), times, AtFlags::empty())?;
        }
    }
    Ok(done(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_are_within_a_second() {
        let times = from_microseconds([7, 999_999, -3, 0]).unwrap();
        assert_eq!((times.last_access.tv_sec, times.last_access.tv_nsec), (7, 999_999_000));
        assert_eq!((times.last_modification.tv_sec, times.last_modification.tv_nsec), (-3, 0));
        assert_eq!(from_microseconds([0, 1_000_000, 0, 0]).err(), Some(Errno::INVAL));
        assert_eq!(from_microseconds([0, 0, 0, -1]).err(), Some(Errno::INVAL));
    }

    #[test]
    fn nanoseconds_may_be_words() {
        assert!(nanoseconds([0, UTIME_NOW, 0, UTIME_OMIT]).is_ok());
        assert_eq!(nanoseconds([0, 1_000_000_000, 0, 0]).err(), Some(Errno::INVAL));
        assert_eq!(nanoseconds([0, 0, 0, -1]).err(), Some(Errno::INVAL));
    }
}
