//! What is shown of a process of the step: /proc/PID and /proc/PID/task/TID.
//!
//! Invariant: `directory` was opened before the tag was checked, and everything is opened beneath it. Should the
//! process die and its number be given away, lookups beneath the descriptor answer ESRCH or ENOENT.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, Statx};
use rustix::io::Errno;
use rustix::process::Pid;
use wbuild_monitor::{Fault, ViewNode};

use super::rewritten;
use crate::identity::{Cwd, State};
use crate::views::{Caller, components, node_of, real_open, real_stat, writes};

/// A process or thread of the step.
pub(super) struct Process {
    pid: Pid,
    directory: OwnedFd,
    state: Arc<State>,
}

/// What a name beneath a process's directory is.
enum Leaf<'a> {
    /// The kernel's own file or directory, read-only.
    Kernel,
    /// The same, and the process itself may write it.
    OwnWritable,
    /// Only for the process itself.
    Memory,
    /// A file the broker makes up.
    Rewritten(rewritten::File),
    /// `fd/N`.
    Descriptor(i32),
    Executable,
    WorkingDirectory,
    Root,
    /// Shown, but not for a process without CAP_CHECKPOINT_RESTORE, as in every container.
    Closed,
    /// `task/TID/..`: the same again for a thread.
    Thread(Pid, &'a [u8]),
}

/// Files and directories that are the kernel's own and tell nothing of the host.
const KERNEL: [&[u8]; 33] = [
    b"arch_status",
    b"attr",
    b"auxv",
    b"cmdline",
    b"cpu_resctrl_groups",
    b"cpuset",
    b"environ",
    b"fd",
    b"fdinfo",
    b"io",
    b"loginuid",
    b"ns",
    b"net",
    b"oom_score",
    b"pagemap",
    b"personality",
    b"sched",
    b"schedstat",
    b"sessionid",
    b"smaps_rollup",
    b"stat",
    b"statm",
    b"syscall",
    b"task",
    b"timens_offsets",
    b"timers",
    b"wchan",
    b"children",
    b"ksm_stat",
    b"ksm_merging_pages",
    b"stack",
    b"patch_state",
    b"projid_map",
];

/// What a process may tell the kernel about itself.
const OWN_WRITABLE: [&[u8]; 7] = [
    b"comm",
    b"oom_score_adj",
    b"oom_adj",
    b"coredump_filter",
    b"timerslack_ns",
    b"clear_refs",
    b"autogroup",
];

fn leaf(beneath: &[u8]) -> Result<Leaf<'_>, Errno> {
    let parts = components(beneath);
    let parse = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse::<i32>().ok());
    Ok(match parts.as_slice() {
        [] => Leaf::Kernel,
        [b"exe"] => Leaf::Executable,
        [b"cwd"] => Leaf::WorkingDirectory,
        [b"root"] => Leaf::Root,
        [b"mem"] => Leaf::Memory,
        [b"map_files"] => Leaf::Closed,
        [b"fd", number] => Leaf::Descriptor(parse(number).filter(|fd| *fd >= 0).ok_or(Errno::NOENT)?),
        [b"task", thread, ..] => {
            let tid = parse(thread).filter(|tid| *tid > 0).and_then(Pid::from_raw).ok_or(Errno::NOENT)?;
            let start = b"task/".len() + thread.len() + 1;
            Leaf::Thread(tid, beneath.get(start..).unwrap_or_default())
        }
        [name] if OWN_WRITABLE.contains(name) => Leaf::OwnWritable,
        [name] if KERNEL.contains(name) => Leaf::Kernel,
        [name] => Leaf::Rewritten(rewritten::File::named(name).ok_or(Errno::NOENT)?),
        [b"net" | b"fdinfo" | b"attr" | b"ns", ..] => Leaf::Kernel,
        _ => return Err(Errno::NOENT),
    })
}

impl Process {
    /// The process or thread `pid`, if it belongs to the caller's step.
    pub(super) fn find(caller: &Caller<'_>, pid: Pid) -> Result<Self, Fault> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let name = pid.as_raw_nonzero().to_string();
        let directory = rustix::fs::openat(&caller.views().proc, name, flags, Mode::empty())?;
        let state = caller.step.identities.of(pid).map_err(|_| Errno::NOENT)?;
        Ok(Self { pid, directory, state })
    }

    /// A thread of this process.
    fn thread(&self, caller: &Caller<'_>, tid: Pid) -> Result<Self, Fault> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let name = format!("task/{}", tid.as_raw_nonzero());
        let directory = rustix::fs::openat(&self.directory, name, flags, Mode::empty())?;
        let state = caller.step.identities.of(tid).map_err(|_| Errno::NOENT)?;
        Ok(Self { pid: tid, directory, state })
    }

    fn is_caller(&self, caller: &Caller<'_>) -> bool {
        let pid = self.pid.as_raw_nonzero().get().unsigned_abs();
        pid == caller.task.tgid() || pid == caller.task.tid()
    }

    pub(super) fn node(&self, caller: &Caller<'_>, beneath: &[u8]) -> Result<ViewNode, Fault> {
        match leaf(beneath)? {
            Leaf::Kernel | Leaf::OwnWritable | Leaf::Memory | Leaf::Closed => {
                node_of(self.directory.as_fd(), beneath)
            }
            Leaf::Rewritten(_) => node_of(self.directory.as_fd(), beneath),
            Leaf::Descriptor(number) => self.descriptor(caller, number),
            Leaf::Executable => match caller.step.exec.exe(self.state.plan)? {
                Some(program) => Ok(ViewNode::Object(program)),
                None => Ok(ViewNode::Object(self.link("exe")?)),
            },
            Leaf::Root => Ok(ViewNode::Link(b"/".to_vec())),
            Leaf::WorkingDirectory => match &*self.state.cwd {
                Cwd::View(place) => Ok(ViewNode::Elsewhere(place.clone())),
                Cwd::Dir(_) => self.working_directory(),
            },
            Leaf::Thread(tid, beneath) => self.thread(caller, tid)?.node(caller, beneath),
        }
    }

    /// A copy of the virtual working directory's descriptor.
    fn working_directory(&self) -> Result<ViewNode, Fault> {
        match self.state.cwd.as_monitor() {
            wbuild_monitor::Cwd::Dir(fd) => Ok(ViewNode::Object(rustix::io::fcntl_dupfd_cloexec(fd, 0)?)),
            wbuild_monitor::Cwd::View(place) => Ok(ViewNode::Elsewhere(place.clone())),
        }
    }

    /// What the descriptor `number` of the process is open on.
    fn descriptor(&self, caller: &Caller<'_>, number: i32) -> Result<ViewNode, Fault> {
        let mut object = self.link(&format!("fd/{number}"))?;
        // What an `O_PATH` descriptor of a guest stands for.
        if let Some(real) = caller.step.handles.real(object.as_fd())? {
            object = rustix::io::fcntl_dupfd_cloexec(&*real, 0)?;
        }
        let place = caller.views().locate(object.as_fd())?;
        Ok(match place {
            Some(place) => ViewNode::Elsewhere(place),
            None => ViewNode::Object(object),
        })
    }

    /// Follows a magic link of the kernel's to an `O_PATH` descriptor: nothing is opened by that.
    fn link(&self, name: &str) -> Result<OwnedFd, Fault> {
        Ok(rustix::fs::openat(&self.directory, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
    }

    pub(super) fn open(&self, caller: &Caller<'_>, beneath: &[u8], flags: OFlags) -> Result<OwnedFd, Fault> {
        let directory = self.directory.as_fd();
        match leaf(beneath)? {
            Leaf::Thread(tid, beneath) => self.thread(caller, tid)?.open(caller, beneath, flags),
            Leaf::Closed => Err(Errno::PERM.into()),
            Leaf::Kernel | Leaf::Rewritten(_) if writes(flags) => Err(Errno::ACCESS.into()),
            Leaf::OwnWritable | Leaf::Memory if !self.is_caller(caller) && writes(flags) => {
                Err(Errno::ACCESS.into())
            }
            Leaf::Memory if !self.is_caller(caller) => Err(Errno::ACCESS.into()),
            Leaf::Kernel | Leaf::OwnWritable | Leaf::Memory => real_open(directory, beneath, flags),
            Leaf::Rewritten(_) if flags.contains(OFlags::PATH) => real_open(directory, beneath, flags),
            Leaf::Rewritten(file) => file.open(caller, directory, &self.state, flags),
            Leaf::Descriptor(_) | Leaf::Executable | Leaf::WorkingDirectory | Leaf::Root => {
                Err(Errno::LOOP.into())
            }
        }
    }

    pub(super) fn stat(&self, beneath: &[u8]) -> Result<Statx, Fault> {
        let mut stat = real_stat(self.directory.as_fd(), beneath)?;
        leaf(beneath)?;
        // Linux shows the effective ids of a process on its files, and root's where it hides them from others.
        let credentials = &self.state.identity.credentials;
        (stat.stx_uid, stat.stx_gid) = (credentials.uid.effective, credentials.gid.effective);
        Ok(stat)
    }
}

#[cfg(test)]
mod tests {
    use super::{Leaf, leaf};

    #[test]
    fn names_on_no_list_are_absent() {
        for absent in
            ["map_files/1-2", "root/etc", "cwd/x", "exe/x", "mem/x", "fd/x", "fd/-1", "fd/1/2", "task/x"]
        {
            assert!(leaf(absent.as_bytes()).is_err(), "{absent}");
        }
    }

    #[test]
    fn links_to_objects_are_never_kernel_files() {
        assert!(matches!(leaf(b"fd/3"), Ok(Leaf::Descriptor(3))));
        assert!(matches!(leaf(b"exe"), Ok(Leaf::Executable)));
        assert!(matches!(leaf(b"cwd"), Ok(Leaf::WorkingDirectory)));
        assert!(matches!(leaf(b"root"), Ok(Leaf::Root)));
        assert!(matches!(leaf(b"mem"), Ok(Leaf::Memory)));
        assert!(matches!(leaf(b"task/7/fd/3"), Ok(Leaf::Thread(_, b"fd/3"))));
        assert!(matches!(leaf(b"task/7"), Ok(Leaf::Thread(_, b""))));
    }
}
