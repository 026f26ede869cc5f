//! Which files of /proc, /dev and /sys a step may read and still depend on nothing but its tree.
//!
//! Three classes. What tells of the step's own processes, of the moment or of chance (as invisible as the clock), and devices, count as
//! nothing. What tells of the kernel, the processors and the host name stands in the keys of steps (`build` hashes it into the weak key). All
//! else is a taint. Looking at attributes and listing is nothing in any class.

use crate::{ViewKind, ViewPath};

/// Names at the top of /proc that count as nothing, or stand in the key.
const PROC: [&[u8]; 22] = [
    b"self",
    b"thread-self",
    b"mounts",
    b"cgroups",
    b"cmdline",
    b"consoles",
    b"cpuinfo",
    b"crypto",
    b"devices",
    b"execdomains",
    b"filesystems",
    b"loadavg",
    b"meminfo",
    b"misc",
    b"partitions",
    b"pressure",
    b"stat",
    b"swaps",
    b"uptime",
    b"version",
    b"vmstat",
    b"net",
];

/// Beneath /proc/sys: who the kernel is stands in the key, the rest is chance or a size that programs take for a hint.
const SYSCTL: [&[u8]; 14] = [
    b"kernel/osrelease",
    b"kernel/ostype",
    b"kernel/version",
    b"kernel/hostname",
    b"kernel/domainname",
    b"kernel/random",
    b"kernel/cap_last_cap",
    b"kernel/ngroups_max",
    b"kernel/pid_max",
    b"kernel/threads-max",
    b"kernel/seccomp",
    b"vm/overcommit_memory",
    b"vm/max_map_count",
    b"fs",
];

/// Beneath /sys: processors stand in the key; memory and limits are of the moment.
const SYS: [&[u8]; 4] = [b"devices/system/cpu", b"devices/system/node", b"fs/cgroup", b"kernel/mm"];

/// Whether reading this file makes a step depend on more than its tree and its key.
pub(super) fn taints(place: &ViewPath) -> bool {
    let rest = place.rest.as_slice();
    match place.kind {
        ViewKind::Dev => false,
        ViewKind::Sys => !rest.is_empty() && !SYS.iter().any(|known| is_at_or_beneath(rest, known)),
        ViewKind::Proc => {
            let first = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
            if rest.is_empty() || first.iter().all(u8::is_ascii_digit) || PROC.contains(&first) {
                return false;
            }
            match rest.strip_prefix(b"sys/") {
                Some(name) => !SYSCTL.iter().any(|known| is_at_or_beneath(name, known)),
                None => rest != b"sys",
            }
        }
    }
}

fn is_at_or_beneath(path: &[u8], known: &[u8]) -> bool {
    path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_the_machine_taints() {
        let at = |kind, rest: &str| taints(&ViewPath { kind, rest: rest.into() });
        for plain in
            ["", "self/status", "12/fd", "cpuinfo", "sys", "sys/kernel/osrelease", "sys/kernel/random/uuid"]
        {
            assert!(!at(ViewKind::Proc, plain), "{plain}");
        }
        for tainting in
            ["sysvipc/shm", "sys/kernel/shmmax", "sys/kernel/osreleases", "sys/net/core/somaxconn", "selfish"]
        {
            assert!(at(ViewKind::Proc, tainting), "{tainting}");
        }
        assert!(!at(ViewKind::Sys, "devices/system/cpu/online"));
        assert!(at(ViewKind::Sys, "class/net"));
        assert!(!at(ViewKind::Dev, "urandom"));
    }
}
