//! The first guest process, from its fork to its exec.
//!
//! Invariant: after the filter is installed only native rows of the table are used until the broker runs (a test names
//! them); nothing but descriptors 0 to 2 survives the exec. The exec itself goes through the broker like any other.

use std::convert::Infallible;
use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use wbuild_monitor::{Limit, LimitedResource, Process};

use crate::confine::{self, Places};
use crate::fences::Fences;
use crate::wire::{self, Boot, Stage};

/// What the first guest process is made of.
pub(crate) struct Embryo<'a> {
    pub(crate) process: &'a Process,
    pub(crate) limits: &'a [Limit],
    pub(crate) places: &'a Places,
    pub(crate) program: &'a [wbuild_sys::seccomp::RawInstruction],
    pub(crate) stdout: &'a OwnedFd,
    pub(crate) stderr: &'a OwnedFd,
    /// To the supervisor; closes on exec.
    pub(crate) boot: &'a UnixStream,
    pub(crate) fences: &'a Fences,
}

/// Becomes the guest, or tells why not and exits.
pub(crate) fn run(embryo: &Embryo<'_>) -> ! {
    let message = match become_guest(embryo) {
        Ok(never) => match never {},
        Err(failed) => failed,
    };
    // Nobody to tell is the supervisor's death: then the step is over anyway.
    let _told = wire::send(embryo.boot, &message, &[]);
    wbuild_sys::process::exit_now(127)
}

fn become_guest(embryo: &Embryo<'_>) -> Result<Infallible, Boot> {
    let failed = |stage| move |errno: Errno| Boot::Failed { stage, errno: errno.raw_os_error() };
    prepare(embryo).map_err(failed(Stage::Process))?;
    limit(embryo.limits).map_err(failed(Stage::Limits))?;
    confine::guest(embryo.places, embryo.fences).map_err(failed(Stage::Landlock))?;
    let listener = wbuild_sys::seccomp::install(embryo.program).map_err(failed(Stage::Filter))?;
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let lost = |_| Boot::Failed { stage: Stage::Filter, errno: Errno::PIPE.raw_os_error() };
    wire::send(embryo.boot, &Boot::Listening { pid }, &[listener.as_fd()]).map_err(lost)?;
    drop(listener);
    // The supervisor says go once receivers wait and the identity stands.
    let mut boot = embryo.boot;
    boot.read_exact(&mut [0]).map_err(lost)?;
    Err(Boot::ExecFailed { errno: execute(embryo.process).raw_os_error() })
}

/// What an ordinary process would find: its own session, default signals, standard descriptors.
fn prepare(embryo: &Embryo<'_>) -> Result<(), Errno> {
    // Forked from a process that is not: else the broker may not read it.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    // When memory runs out a guest goes before wbuild. Best effort: a pod may have it at the maximum already.
    let _unchanged = raise_oom_score();
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    rustix::process::setsid()?;
    wbuild_sys::process::reset_signals()?;
    rustix::process::fchdir(&embryo.places.tree)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(embryo.stdout)?;
    rustix::stdio::dup2_stderr(embryo.stderr)
}

/// Sets the limits of the step, which its processes inherit.
fn limit(limits: &[Limit]) -> Result<(), Errno> {
    for Limit { resource, soft, hard } in limits {
        let wanted = Rlimit { current: *soft, maximum: *hard };
        rustix::process::setrlimit(resource_of(*resource), wanted)?;
    }
    Ok(())
}

pub(crate) fn resource_of(resource: LimitedResource) -> Resource {
    match resource {
        LimitedResource::As => Resource::As,
        LimitedResource::Core => Resource::Core,
        LimitedResource::Cpu => Resource::Cpu,
        LimitedResource::Data => Resource::Data,
        LimitedResource::Fsize => Resource::Fsize,
        LimitedResource::Memlock => Resource::Memlock,
        LimitedResource::Msgqueue => Resource::Msgqueue,
        LimitedResource::Nice => Resource::Nice,
        LimitedResource::Nofile => Resource::Nofile,
        LimitedResource::Nproc => Resource::Nproc,
        LimitedResource::Rss => Resource::Rss,
        LimitedResource::Rtprio => Resource::Rtprio,
        LimitedResource::Rttime => Resource::Rttime,
        LimitedResource::Sigpending => Resource::Sigpending,
        LimitedResource::Stack => Resource::Stack,
    }
}

fn raise_oom_score() -> Result<(), Errno> {
    let file = rustix::fs::open("/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, b"1000").map(drop)
}

/// execvp(3) without its shell: the errno of the best failure.
fn execute(process: &Process) -> Errno {
    let strings =
        |list: &[Vec<u8>]| list.iter().map(|text| CString::new(text.clone())).collect::<Result<Vec<_>, _>>();
    let (Ok(argv), Ok(envp)) = (strings(&process.argv), strings(&process.env)) else { return Errno::INVAL };
    let Some(name) = process.argv.first() else { return Errno::NOENT };
    let mut best = Errno::NOENT;
    for candidate in candidates(name, &process.env) {
        let Ok(path) = CString::new(candidate) else { continue };
        match wbuild_sys::process::execve(&path, &argv, &envp) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => best = Errno::ACCESS,
            other => return other,
        }
    }
    best
}

/// Where a program may be, in order: itself if it has a slash, else in each directory of `PATH`.
fn candidates(name: &[u8], env: &[Vec<u8>]) -> Vec<Vec<u8>> {
    const DEFAULT: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    if name.contains(&b'/') {
        return vec![name.to_vec()];
    }
    let path = env.iter().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or(DEFAULT);
    let join = |directory: &[u8]| {
        let directory = if directory.is_empty() { b"." } else { directory };
        [directory, b"/", name].concat()
    };
    path.split(|byte| *byte == b':').map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_up_in_path_unless_they_hold_a_slash() {
        let env = vec![b"A=b".to_vec(), b"PATH=/x::/y".to_vec()];
        assert_eq!(candidates(b"sh", &env), [b"/x/sh".to_vec(), b"./sh".to_vec(), b"/y/sh".to_vec()]);
        assert_eq!(candidates(b"./sh", &env), [b"./sh".to_vec()]);
        assert_eq!(candidates(b"sh", &[])[0], b"/usr/local/sbin/sh");
    }

    /// Between filter and first exec nobody answers: a trapped call would wait for ever.
    #[test]
    fn what_runs_before_the_broker_is_native() {
        use wbuild_broker::table::{Action, all};
        for name in [
            "sendmsg",
            "write",
            "read",
            "recvfrom",
            "recvmsg",
            "close",
            "getpid",
            "exit_group",
            "mmap",
            "munmap",
            "brk",
        ] {
            let row = all().find(|row| row.name == name).unwrap();
            assert!(matches!(row.action, Action::Native) && row.cases.is_empty(), "{name}");
        }
    }
}
