//! inotify_init and inotify_add_watch: the broker makes the instance and adds the watches, the guest reads it natively.
//!
//! A path is resolved by the monitor and watched through our own descriptor of what it led to. The guest's descriptor
//! is told from others by a mark on its open file description (wbuild_sys::mark), which survives dup, fork, exec and
//! being sent; so the broker's copy of the same description is found whatever number it has.
//!
//! Copies are kept until no process of the step holds the instance: the kernel allows few instances to a user.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use wbuild_monitor::{Broken, Fault, LastLink, Outcome};

use super::frame::{AT_FDCWD, EmptyPath, Frame};
use crate::call::{Call, FdFlags, Reply};
use crate::step::Step;

/// `IN_DONT_FOLLOW` of linux/inotify.h.
const DONT_FOLLOW: u32 = 0x0200_0000;
/// How many instances are kept before it is looked who still has them.
const FEW: usize = 16;

/// The inotify instances of a step.
#[derive(Debug)]
pub struct Watches {
    next: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    instances: HashMap<u64, Instance>,
    /// With this many, the closed ones are looked for.
    look_at: usize,
}

#[derive(Debug)]
struct Instance {
    /// Our copy of the guest's description.
    fd: Arc<OwnedFd>,
    /// The notification that is answered with it.
    asked: u64,
}

impl Default for Watches {
    fn default() -> Self {
        // Marks of two steps differ: an instance of one is nothing to the other, should it ever get there.
        let first = u64::from(rustix::process::getpid().as_raw_nonzero().get().unsigned_abs()) << 32;
        Self {
            next: AtomicU64::new(first),
            kept: Mutex::new(Kept { instances: HashMap::new(), look_at: FEW }),
        }
    }
}

impl Watches {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new instance; a copy of it is kept.
    fn make(&self, flags: CreateFlags, asked: u64) -> Result<OwnedFd, Errno> {
        let instance = inotify::init(flags | CreateFlags::CLOEXEC)?;
        let mark = self.next.fetch_add(1, Ordering::Relaxed);
        wbuild_sys::mark::set(instance.as_fd(), mark)?;
        let fd = Arc::new(rustix::io::fcntl_dupfd_cloexec(&instance, 0)?);
        self.kept().instances.insert(mark, Instance { fd, asked });
        Ok(instance)
    }

    fn find(&self, mark: u64) -> Option<Arc<OwnedFd>> {
        self.kept().instances.get(&mark).map(|instance| Arc::clone(&instance.fd))
    }

    /// True if it is time to look for closed instances.
    fn are_many(&self) -> bool {
        let kept = self.kept();
        kept.instances.len() >= kept.look_at
    }

    /// The marks of instances that have reached their guests: those whose notification `stands` no more.
    fn installed(&self, stands: impl Fn(u64) -> bool) -> HashSet<u64> {
        let kept = self.kept();
        kept.instances.iter().filter(|(_, instance)| !stands(instance.asked)).map(|(mark, _)| *mark).collect()
    }

    /// Drops those of `installed` that are not among `held`.
    fn drop_closed(&self, installed: &HashSet<u64>, held: &HashSet<u64>) {
        let mut kept = self.kept();
        kept.instances.retain(|mark, _| held.contains(mark) || !installed.contains(mark));
        kept.look_at = FEW.max(kept.instances.len() * 2);
    }
}

/// inotify_init().
///
/// # Errors
/// EMFILE at the user's limit of instances.
pub(crate) fn init(call: &mut Call<'_>) -> Result<Reply, Fault> {
    make(call, 0)
}

/// inotify_init1(flags).
///
/// # Errors
/// EINVAL for unknown flags; EMFILE at the user's limit of instances.
pub(crate) fn init1(call: &mut Call<'_>) -> Result<Reply, Fault> {
    make(call, call.uint(0))
}

fn make(call: &Call<'_>, flags: u32) -> Result<Reply, Fault> {
    let create = CreateFlags::from_bits(flags).ok_or(Errno::INVAL)?;
    let step = call.step();
    let asked = call.notice().id;
    step.lingering.end();
    if step.watches.are_many() {
        drop_closed(call)?;
    }
    let made = match step.watches.make(create, asked) {
        Err(Errno::MFILE) => {
            drop_closed(call)?;
            step.watches.make(create, asked)?
        }
        other => other?,
    };
    Ok(Reply::Fd(made, FdFlags::from_open_flags(u64::from(flags))))
}

/// inotify_add_watch(fd, path, mask).
///
/// # Errors
/// EINVAL for what is no inotify instance; what the monitor says of the path; ENOSPC at the user's limit of watches.
pub(crate) fn add_watch(call: &mut Call<'_>) -> Result<Reply, Fault> {
    let frame = Frame::of(call)?;
    let mask = call.uint(2);
    let info = frame.task.descriptor_info(call.int(0))?;
    let instance = wbuild_sys::mark::find(&info).and_then(|mark| frame.step.watches.find(mark));
    let instance = instance.ok_or(Errno::INVAL)?;
    let last = if mask & DONT_FOLLOW == 0 { LastLink::Follow } else { LastLink::NoFollow };
    let aim = frame.aim(AT_FDCWD, call.path(1)?, last, EmptyPath::Refused)?;
    let watched = match frame.ask_about(&aim, |monitor, subject, target| monitor.watch(subject, target))? {
        Outcome::Done(fd) => fd,
        Outcome::View(place) => frame.views().open(&place, OFlags::PATH)?,
        // A pipe or a socket by way of /proc/self/fd: nothing ever happens to its name.
        Outcome::Object(_) => return Err(Errno::ACCESS.into()),
    };
    // Through our own descriptor the last link is one to follow, whatever the guest's own was.
    let flags = WatchFlags::from_bits_retain(mask & !DONT_FOLLOW);
    let path = format!("/proc/self/fd/{}", watched.as_raw_fd());
    Ok(Reply::Value(inotify::add_watch(&*instance, path, flags)?.into()))
}

/// Drops the instances that no process holds any more. What is installed is found out first: later than that it is held
/// or closed.
fn drop_closed(call: &Call<'_>) -> Result<(), Fault> {
    let watches = &call.step().watches;
    let installed = watches.installed(|id| call.listener().is_valid(id));
    watches.drop_closed(&installed, &held(call.step())?);
    Ok(())
}

/// The marks of all instances that some process of the step holds.
fn held(step: &Step) -> Result<HashSet<u64>, Fault> {
    let unreadable = |errno| Broken::new("cannot list the step's processes", errno);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::openat(CWD, "/proc", flags, Mode::empty()).map_err(unreadable)?;
    let mut marks = HashSet::new();
    for entry in rustix::fs::Dir::new(proc).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let pid = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|pid| step.identities.of(*pid).is_ok()) {
            // A process that ends meanwhile holds nothing.
            let _gone = held_by(pid, &mut marks);
        }
    }
    Ok(marks)
}

fn held_by(pid: Pid, marks: &mut HashSet<u64>) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, format!("/proc/{}/fd", pid.as_raw_pid()), flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let name = entry?.file_name().to_owned();
        let Ok(link) = rustix::fs::readlinkat(&directory, &name, Vec::new()) else { continue };
        if link.to_bytes() != b"anon_inode:inotify" {
            continue;
        }
        let path = format!("../fdinfo/{}", name.to_string_lossy());
        let file = rustix::fs::openat(&directory, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = [0; 1024];
        let length = rustix::io::read(&file, &mut text)?;
        marks.extend(wbuild_sys::mark::find(&text[..length]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_found_by_any_copy_until_nobody_holds_it() {
        let watches = Watches::default();
        let instance = watches.make(CreateFlags::empty(), 1).unwrap();
        let copy = rustix::io::dup(&instance).unwrap();
        let mut held = HashSet::new();
        held_by(rustix::process::getpid(), &mut held).unwrap();
        let path = format!("/proc/self/fdinfo/{}", copy.as_raw_fd());
        let file = rustix::fs::openat(CWD, path, OFlags::RDONLY, Mode::empty()).unwrap();
        let mut text = [0; 1024];
        let length = rustix::io::read(&file, &mut text).unwrap();
        let mark = wbuild_sys::mark::find(&text[..length]).unwrap();
        assert!(held.contains(&mark));
        let ours = watches.find(mark).unwrap();
        let watch = inotify::add_watch(&*ours, "/proc/self", WatchFlags::OPEN).unwrap();
        assert_eq!(inotify::remove_watch(&instance, watch), Ok(()), "both are one description");

        let installed = watches.installed(|_| false);
        watches.drop_closed(&installed, &held);
        assert!(watches.find(mark).is_some());
        watches.drop_closed(&installed, &HashSet::new());
        assert!(watches.find(mark).is_none());
    }

    #[test]
    fn an_instance_on_its_way_stays_though_nobody_holds_it_yet() {
        let watches = Watches::default();
        for asked in 0..FEW as u64 {
            drop(watches.make(CreateFlags::NONBLOCK, asked).unwrap());
        }
        assert!(watches.are_many());
        let installed = watches.installed(|asked| asked == 3);
        watches.drop_closed(&installed, &HashSet::new());
        assert_eq!(watches.kept().instances.len(), 1);
        assert!(!watches.are_many());
    }
}
