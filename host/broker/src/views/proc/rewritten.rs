//! Files of /proc/PID that the broker makes up or corrects: ids, capabilities, mounts, limits, mapped paths.

use std::fmt::Write as _;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use wbuild_monitor::Fault;

use crate::identity::State;
use crate::views::{Caller, ShownMount, synthetic};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    Status,
    Limits,
    Mounts,
    MountInfo,
    MountStats,
    UidMap,
    SetGroups,
    Maps,
    DetailedMaps,
    NumaMaps,
    Cgroup,
}

impl File {
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"status" => Self::Status,
            b"limits" => Self::Limits,
            b"mounts" => Self::Mounts,
            b"mountinfo" => Self::MountInfo,
            b"mountstats" => Self::MountStats,
            b"uid_map" | b"gid_map" => Self::UidMap,
            b"setgroups" => Self::SetGroups,
            b"maps" => Self::Maps,
            b"smaps" => Self::DetailedMaps,
            b"numa_maps" => Self::NumaMaps,
            b"cgroup" => Self::Cgroup,
            _ => return None,
        })
    }

    /// Opens it for a process in `state` whose real directory is `directory`.
    pub(super) fn open(
        self,
        caller: &Caller<'_>,
        directory: BorrowedFd<'_>,
        state: &State,
        flags: OFlags,
    ) -> Result<OwnedFd, Fault> {
        let real = |name: &[u8]| super::read_whole(directory, name);
        let (name, content) = match self {
            Self::Status => ("status", status(&real(b"status")?, state)),
            Self::Limits => ("limits", limits(&real(b"limits")?, state)),
            Self::Mounts => ("mounts", mounts(caller.views().mounts(), MOUNTS, as_mounts)),
            Self::MountInfo => ("mountinfo", mounts(caller.views().mounts(), MOUNT_INFO, as_mount_info)),
            Self::MountStats => ("mountstats", mounts(caller.views().mounts(), MOUNT_STATS, as_mount_stats)),
            // The identity map of the initial user namespace, as `user_namespaces(7)` shows it.
            Self::UidMap => ("uid_map", b"         0          0 4294967295\n".to_vec()),
            Self::SetGroups => ("setgroups", b"allow\n".to_vec()),
            Self::Maps => ("maps", guest_paths(caller, &real(b"maps")?)?),
            Self::DetailedMaps => ("smaps", guest_paths(caller, &real(b"smaps")?)?),
            Self::NumaMaps => ("numa_maps", guest_paths(caller, &real(b"numa_maps")?)?),
            // As in a cgroup namespace of its own: the host's path names the pod.
            Self::Cgroup => ("cgroup", b"0::/\n".to_vec()),
        };
        synthetic::file(name, &content, flags)
    }
}

const MOUNTS: &str = "\
overlay / overlay rw,relatime 0 0
proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0
tmpfs /dev tmpfs rw,nosuid,size=65536k,mode=755 0 0
devpts /dev/pts devpts rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666 0 0
shm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime 0 0
sysfs /sys sysfs ro,nosuid,nodev,noexec,relatime 0 0
";

const MOUNT_INFO: &str = "\
100 99 0:100 / / rw,relatime - overlay overlay rw
101 100 0:101 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
102 100 0:102 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
103 102 0:103 / /dev/pts rw,nosuid,noexec,relatime - devpts devpts rw,gid=5,mode=620,ptmxmode=666
104 102 0:104 / /dev/shm rw,nosuid,nodev,noexec,relatime - tmpfs shm rw
105 100 0:105 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
";

const MOUNT_STATS: &str = "\
device overlay mounted on / with fstype overlay
device proc mounted on /proc with fstype proc
device tmpfs mounted on /dev with fstype tmpfs
device devpts mounted on /dev/pts with fstype devpts
device shm mounted on /dev/shm with fstype tmpfs
device sysfs mounted on /sys with fstype sysfs
";

/// What every step has, without what one of its own mounts covers, then its own.
fn mounts(own: &[ShownMount], base: &str, line: fn(usize, &ShownMount) -> String) -> Vec<u8> {
    let covered = |text: &&str| own.iter().any(|m| text.split(' ').any(|word| word == m.target));
    let mut out: String = base.lines().filter(|text| !covered(text)).flat_map(|text| [text, "\n"]).collect();
    for (index, mount) in own.iter().enumerate() {
        out.push_str(&line(index, mount));
    }
    out.into_bytes()
}

/// Blanks and backslashes of a path as the kernel writes them (seq_path).
fn escaped(path: &str) -> String {
    path.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011").replace('\n', "\\012")
}

fn as_mounts(_index: usize, mount: &ShownMount) -> String {
    format!("{kind} {} {kind} {} 0 0\n", escaped(&mount.target), mount.options, kind = mount.kind)
}

fn as_mount_info(index: usize, mount: &ShownMount) -> String {
    let (kind, number) = (mount.kind, 200 + index);
    format!("{number} 100 0:{number} / {} {} - {kind} {kind} rw\n", escaped(&mount.target), mount.options)
}

fn as_mount_stats(_index: usize, mount: &ShownMount) -> String {
    format!("device {kind} mounted on {} with fstype {kind}\n", escaped(&mount.target), kind = mount.kind)
}

/// /proc/PID/status with the virtual ids, groups, capabilities and umask, and without our own filter and tracer.
fn status(real: &[u8], state: &State) -> Vec<u8> {
    let credentials = &state.identity.credentials;
    let mut out = String::with_capacity(real.len() + 64);
    for line in String::from_utf8_lossy(real).lines() {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        let (uid, gid, sets) = (credentials.uid, credentials.gid, credentials.capabilities);
        let four = |ids: wbuild_monitor::Ids| {
            format!("\t{}\t{}\t{}\t{}", ids.real, ids.effective, ids.saved, ids.fs)
        };
        let set = |bits: u64| format!("\t{bits:016x}");
        let shown = match key {
            "Umask" => format!("\t{:04o}", state.umask),
            "Uid" => four(uid),
            "Gid" => four(gid),
            "Groups" => groups(&credentials.groups),
            "TracerPid" | "Seccomp" | "Seccomp_filters" => "\t0".to_owned(),
            "NoNewPrivs" => format!("\t{}", u8::from(state.identity.no_new_privs)),
            "CapInh" => set(sets.inheritable.0),
            "CapPrm" => set(sets.permitted.0),
            "CapEff" => set(sets.effective.0),
            "CapBnd" => set(sets.bounding.0),
            "CapAmb" => set(sets.ambient.0),
            _ => value.to_owned(),
        };
        // Writing to a String does not fail.
        let _ = writeln!(out, "{key}:{shown}");
    }
    out.into_bytes()
}

/// A tab, the groups with a space between them, and a space, as fs/proc/array.c prints them.
fn groups(groups: &[u32]) -> String {
    let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
    format!("\t{} ", groups.join(" "))
}

/// /proc/PID/limits with the guest's own value where the tag lies.
fn limits(real: &[u8], state: &State) -> Vec<u8> {
    let show = |value: u64| {
        if value == wbuild_sys::limit::INFINITY { "unlimited".to_owned() } else { value.to_string() }
    };
    let mut out = String::with_capacity(real.len());
    for line in String::from_utf8_lossy(real).lines() {
        if line.starts_with("Max file locks") {
            let (soft, hard) = (show(state.locks.soft), show(state.locks.hard));
            let _ = writeln!(out, "{:<25} {soft:<20} {hard:<20} {:<10}", "Max file locks", "locks");
        } else {
            let _ = writeln!(out, "{line}");
        }
    }
    out.into_bytes()
}

/// Mapped files by their guest paths: what stands for a path of the tree or a graft is replaced.
fn guest_paths(caller: &Caller<'_>, real: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::with_capacity(real.len());
    for line in real.split_inclusive(|byte| *byte == b'\n') {
        let (text, end) = line.strip_suffix(b"\n").map_or((line, b"".as_slice()), |text| (text, b"\n"));
        // The path is the last field of a mapping's line, and may have spaces itself; in numa_maps it stands behind `file=`.
        let at = text.windows(2).position(|pair| matches!(pair, b" /" | b"=/")).map(|at| at + 1);
        let file_end = |at: usize| match text[at - 1] {
            b'=' => text[at..].iter().position(|byte| *byte == b' ').map_or(text.len(), |length| at + length),
            _ => text.len(),
        };
        let path = at.map(|at| at..file_end(at));
        match path.clone().and_then(|path| caller.step.monitor.path_of_host_path(&text[path]).transpose()) {
            Some(guest) => {
                let path = path.unwrap_or_default();
                out.extend_from_slice(&text[..path.start]);
                out.extend_from_slice(&guest?);
                out.extend_from_slice(&text[path.end..]);
            }
            None => out.extend_from_slice(text),
        }
        out.extend_from_slice(end);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wbuild_monitor::{ViewKind, ViewPath};

    use super::*;
    use crate::identity::{Cwd, Identity};

    fn state(uid: u32, gid: u32, groups: Vec<u32>) -> State {
        let cwd = Cwd::View(ViewPath { kind: ViewKind::Proc, rest: Vec::new() });
        State::first(Identity::of_step(uid, gid, groups), Arc::new(cwd))
    }

    #[test]
    fn status_shows_who_the_guest_believes_to_be() {
        let real = b"Name:\tsh\nUmask:\t0000\nTracerPid:\t9\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\n\
            Groups:\t1000 \nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t2\nCapEff:\t0000000000000000\nThreads:\t1\n";
        let shown = String::from_utf8(status(real, &state(0, 0, vec![0, 27]))).unwrap();
        let expected = "Name:\tsh\nUmask:\t0022\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n\
            Groups:\t0 27 \nNoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\nCapEff:\t00000000a80425fb\nThreads:\t1\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn limits_hide_the_tag() {
        let real = b"Limit                     Soft Limit           Hard Limit           Units     \n\
            Max file locks            5000000001           unlimited            locks     \n";
        let shown = String::from_utf8(limits(real, &state(0, 0, vec![]))).unwrap();
        assert!(
            shown
                .contains("Max file locks            unlimited            unlimited            locks     \n")
        );
        assert!(!shown.contains("5000000001"));
    }
}
