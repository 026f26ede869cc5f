//! What the processes of a step give up on the host: ids, capabilities, and by Landlock everything but their files.
//!
//! Invariant: each domain is entered before the process has threads or children, and the guest's is nested in the
//! reaper's, the reaper's in the supervisor's: the outer may signal and trace inwards, never outwards.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};
use wbuild_monitor::MountAccess;
use wbuild_sys::landlock::{self, Rights, Ruleset, Scopes};

use crate::fences::Fence::Landlock;
use crate::fences::Fences;
use crate::grafts::{Backing, Source};
use crate::wire::HostIdentity;

/// Becomes the scratch user where wbuild runs as root, and drops every capability in any case.
///
/// # Errors
/// Which step failed, and how.
pub(crate) fn drop_privileges(identity: HostIdentity) -> Result<(), (&'static str, Errno)> {
    let none = CapabilitySet::empty();
    for capability in CapabilitySet::all().iter() {
        // EINVAL: newer than this kernel. EPERM: without CAP_SETPCAP; then the set stays, and grants nothing under
        // no_new_privs.
        let _kept = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    if let HostIdentity::Scratch { uid, gid } = identity {
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::thread::set_thread_groups(&[]).map_err(|errno| ("drop supplementary groups", errno))?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(|errno| ("change the group id", errno))?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(|errno| ("change the user id", errno))?;
    }
    rustix::thread::clear_ambient_capability_set().map_err(|errno| ("clear ambient capabilities", errno))?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )
    .map_err(|errno| ("drop capabilities", errno))?;
    rustix::thread::set_no_new_privs(true).map_err(|errno| ("set no_new_privs", errno))
}

/// The host's files a step concerns, opened before anything is given up.
pub(crate) struct Places {
    /// The rootfs (`fs/`).
    pub(crate) tree: OwnedFd,
    /// The tree's own directory, where the records are written.
    pub(crate) store: OwnedFd,
    /// The step's scratch directory.
    pub(crate) scratch: OwnedFd,
    /// Sources of grafts.
    pub(crate) grafts: Vec<Source>,
    /// What stands at /dev/shm.
    pub(crate) shm: OwnedFd,
    /// Where the stub is planted in our own root.
    pub(crate) stubs: Vec<OwnedFd>,
    /// The program that runs wasm modules: this one. Open for reading.
    pub(crate) engine: OwnedFd,
}

/// What a supervisor's Landlock domain came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// Files and scopes as far as this ABI level goes.
    Landlock(u32),
    /// None: below ABI 2 every rename between directories would be refused.
    None,
}

const READ: Rights = Rights::READ_FILE.with(Rights::READ_DIR);
const RUN: Rights = READ.with(Rights::EXECUTE);

/// Puts the supervisor into its domain: the step's files, and what views are made of.
///
/// # Errors
/// The kernel's.
pub(crate) fn supervisor(places: &Places, fences: &Fences) -> Result<Fence, Errno> {
    let abi = landlock::abi();
    if abi < 2 || !fences.stands(&Landlock) {
        return Ok(Fence::None);
    }
    let mut rules = Ruleset::new(Scopes::ABSTRACT_SOCKETS_AND_SIGNALS)?;
    for whole in [&places.tree, &places.store, &places.scratch] {
        rules.allow(whole.as_fd(), Rights::ALL)?;
    }
    for graft in &places.grafts {
        match (&graft.backing, graft.access) {
            // Files without a name are under no domain.
            (Backing::Memory { .. }, _) => {}
            (Backing::Tree { dir, .. }, MountAccess::ReadWrite) => rules.allow(dir.as_fd(), Rights::ALL)?,
            (_, MountAccess::ReadWrite) => allow_any(&mut rules, &graft.fd, Rights::ALL)?,
            (_, MountAccess::ReadOnly) if graft.is_seat => allow_any(&mut rules, &graft.fd, Rights::ALL)?,
            (_, MountAccess::ReadOnly) => allow_any(&mut rules, &graft.fd, RUN)?,
        }
    }
    for stub in &places.stubs {
        rules.allow(stub.as_fd(), Rights::EXECUTE.with(Rights::READ_FILE))?;
    }
    rules.allow(places.engine.as_fd(), Rights::EXECUTE.with(Rights::READ_FILE))?;
    let devices = READ.with(Rights::WRITE_FILE).with(Rights::IOCTL_DEV);
    for (path, rights) in [("/proc", READ.with(Rights::WRITE_FILE)), ("/sys", READ), ("/dev", devices)] {
        // A pod may hide /sys; then there is nothing to allow.
        if let Ok(directory) = open_path(path) {
            rules.allow(directory.as_fd(), rights)?;
        }
    }
    rules.restrict_self()?;
    Ok(Fence::Landlock(abi))
}

/// Puts the reaper into its domain: its signals reach the guest's processes and nothing else.
///
/// # Errors
/// The kernel's; without scopes (ABI 6) there is nothing to do.
pub(crate) fn reaper(fences: &Fences) -> Result<SignalScope, Errno> {
    if landlock::abi() < 6 || !fences.stands(&Landlock) {
        return Ok(SignalScope::Everything);
    }
    Ruleset::scopes_only(Scopes::ABSTRACT_SOCKETS_AND_SIGNALS)?.restrict_self()?;
    Ok(SignalScope::Step)
}

/// How far the reaper's signals reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalScope {
    /// The processes of the step.
    Step,
    /// Everything of this user: `kill(-1)` must not be used.
    Everything,
}

/// Puts the guest into its domain: read and execute its files; no write anywhere, for writable descriptors come only from
/// the broker.
///
/// # Errors
/// The kernel's.
pub(crate) fn guest(places: &Places, fences: &Fences) -> Result<(), Errno> {
    if landlock::abi() < 2 || !fences.stands(&Landlock) {
        return Ok(());
    }
    let mut rules = Ruleset::new(Scopes::ABSTRACT_SOCKETS_AND_SIGNALS)?;
    rules.allow(places.tree.as_fd(), RUN)?;
    rules.allow(places.shm.as_fd(), RUN)?;
    for graft in places.grafts.iter().filter(|graft| !matches!(graft.backing, Backing::Memory { .. })) {
        allow_any(&mut rules, &graft.fd, RUN)?;
    }
    for stub in &places.stubs {
        rules.allow(stub.as_fd(), Rights::EXECUTE.with(Rights::READ_FILE))?;
    }
    rules.allow(places.engine.as_fd(), Rights::EXECUTE.with(Rights::READ_FILE))?;
    rules.restrict_self()
}

/// Allows `rights` on a directory, or what of them a file can have.
fn allow_any(rules: &mut Ruleset, at: &OwnedFd, rights: Rights) -> Result<(), Errno> {
    let is_directory = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(at)?.st_mode).is_dir();
    rules.allow(at.as_fd(), if is_directory { rights } else { rights.and(Rights::FILE) })
}

/// An `O_PATH` descriptor.
pub(crate) fn open_path(path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}
