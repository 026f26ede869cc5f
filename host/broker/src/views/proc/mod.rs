//! /proc: the step's own processes, an allow-list of files about the machine, and nothing of anybody else.
//!
//! Files that would tell host paths, host ids or the sandbox's own bookkeeping are made up (`rewritten`); the rest is
//! the kernel's, opened beneath the descriptor of a process whose tag was checked.

mod machine;
mod process;
mod rewritten;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, Statx};
use rustix::io::Errno;
use rustix::process::Pid;
use wbuild_monitor::{Fault, ViewKind, ViewNode};

use super::listing::Shown;
use super::{Caller, components, real_stat};
use process::Process;

/// What a place in /proc is.
enum Place<'a> {
    Root,
    /// `self`, `thread-self`, `mounts`, `net`.
    Link(Vec<u8>),
    /// Something about the machine: the path beneath /proc.
    Machine(&'a [u8]),
    /// Something of one process: what stands beneath its directory.
    Process(Process, &'a [u8]),
}

fn place<'a>(caller: &Caller<'_>, rest: &'a [u8]) -> Result<Place<'a>, Fault> {
    let parts = components(rest);
    let Some(first) = parts.first() else { return Ok(Place::Root) };
    if let Some(pid) = process_number(first) {
        let beneath = rest.get(first.len() + 1..).unwrap_or_default();
        return Ok(Place::Process(Process::find(caller, pid)?, beneath));
    }
    let text = match (*first, parts.len()) {
        (b"self", 1) => Some(format!("{}", caller.task.tgid())),
        (b"thread-self", 1) => Some(format!("{}/task/{}", caller.task.tgid(), caller.task.tid())),
        (b"mounts" | b"net", 1) => Some(format!("self/{}", String::from_utf8_lossy(first))),
        _ => None,
    };
    match text {
        Some(text) => Ok(Place::Link(text.into_bytes())),
        None if machine::allows(rest) => Ok(Place::Machine(rest)),
        None => Err(Errno::NOENT.into()),
    }
}

fn process_number(name: &[u8]) -> Option<Pid> {
    let text = std::str::from_utf8(name).ok()?;
    // A negative number is no process, and `Pid` refuses it by a panic.
    let number: i32 = text.parse().ok().filter(|number: &i32| *number > 0 && number.to_string() == text)?;
    Pid::from_raw(number)
}

pub(super) fn node(caller: &Caller<'_>, rest: &[u8]) -> Result<ViewNode, Fault> {
    match place(caller, rest)? {
        Place::Root => Ok(ViewNode::Directory),
        Place::Link(text) => Ok(ViewNode::Link(text)),
        Place::Machine(path) => machine::node(caller, path),
        Place::Process(process, beneath) => process.node(caller, beneath),
    }
}

pub(super) fn open(caller: &Caller<'_>, rest: &[u8], flags: OFlags) -> Result<OwnedFd, Fault> {
    match place(caller, rest)? {
        Place::Root => caller.views().listings.open(ViewKind::Proc, rest, root_names(caller)?, flags),
        Place::Link(_) => Err(Errno::LOOP.into()),
        Place::Machine(path) => machine::open(caller, path, flags),
        Place::Process(process, beneath) => process.open(caller, beneath, flags),
    }
}

pub(super) fn stat(caller: &Caller<'_>, rest: &[u8]) -> Result<Statx, Fault> {
    let proc = caller.views().proc.as_fd();
    match place(caller, rest)? {
        Place::Root => Ok(real_stat(proc, b"")?),
        // `self` is a link of the same shape whoever looks.
        Place::Link(_) => Ok(real_stat(proc, rest)?),
        Place::Machine(path) => Ok(real_stat(proc, path)?),
        Place::Process(process, beneath) => process.stat(beneath),
    }
}

/// The step's processes, and what is shown of the machine.
fn root_names(caller: &Caller<'_>) -> Result<BTreeMap<Vec<u8>, Shown>, Fault> {
    let mut names = machine::root_names(caller);
    for link in ["self", "thread-self", "mounts", "net"] {
        names.insert(link.as_bytes().to_vec(), Shown::Link);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(&caller.views().proc, ".", flags, Mode::empty())?;
    for entry in rustix::fs::Dir::new(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if process_number(&name).is_some_and(|pid| caller.step.identities.of(pid).is_ok()) {
            names.insert(name, Shown::Directory);
        }
    }
    Ok(names)
}

/// Reads a file of procfs whole.
pub(super) fn read_whole(directory: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<u8>, Fault> {
    let file = super::real_open(directory, path, OFlags::RDONLY)?;
    let mut content = Vec::with_capacity(4096);
    let mut chunk = [0_u8; 16384];
    loop {
        match rustix::io::read(&file, &mut chunk)? {
            0 => return Ok(content),
            some => content.extend_from_slice(&chunk[..some]),
        }
    }
}
