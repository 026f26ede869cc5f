//! /sys: the kernel's own, read-only, without what container engines hide.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, Statx};
use rustix::io::Errno;
use wbuild_monitor::{Fault, ViewKind, ViewNode};

use super::{Caller, node_of, open_listed, real_open, real_stat, writes};

/// What container engines mask (moby's default spec), and what names the host's block devices.
const HIDDEN: [&[u8]; 4] = [b"firmware", b"devices/virtual/powercap", b"kernel/debug", b"kernel/tracing"];

fn visible(rest: &[u8]) -> Result<&[u8], Errno> {
    let beneath =
        |hidden: &[u8]| rest.strip_prefix(hidden).is_some_and(|more| more.is_empty() || more[0] == b'/');
    if HIDDEN.iter().any(|hidden| beneath(hidden)) { Err(Errno::NOENT) } else { Ok(rest) }
}

/// The name of `path` in `directory`, where it stands there.
fn name_in<'a>(directory: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let split = path.iter().rposition(|byte| *byte == b'/');
    let (parent, name) = split.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
    (parent == directory).then_some(name)
}

fn root<'a>(caller: &Caller<'a>) -> Result<BorrowedFd<'a>, Errno> {
    caller.views().sys.as_ref().map(AsFd::as_fd).ok_or(Errno::NOENT)
}

pub(super) fn node(caller: &Caller<'_>, rest: &[u8]) -> Result<ViewNode, Fault> {
    node_of(root(caller)?, visible(rest)?)
}

pub(super) fn open(caller: &Caller<'_>, rest: &[u8], flags: OFlags) -> Result<OwnedFd, Fault> {
    if writes(flags) {
        return Err(Errno::ROFS.into());
    }
    let (root, rest) = (root(caller)?, visible(rest)?);
    // A directory that holds something hidden is listed without it.
    let hidden = || HIDDEN.iter().filter_map(|path| name_in(rest, path));
    if flags.contains(OFlags::PATH) || hidden().next().is_none() {
        return real_open(root, rest, flags);
    }
    let shows = |name: &[u8]| !hidden().any(|hidden| hidden == name);
    open_listed(caller, (ViewKind::Sys, rest), root, &shows, flags)
}

pub(super) fn stat(caller: &Caller<'_>, rest: &[u8]) -> Result<Statx, Fault> {
    Ok(real_stat(root(caller)?, visible(rest)?)?)
}
