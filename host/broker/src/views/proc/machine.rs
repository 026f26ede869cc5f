//! Files of /proc about the machine: an allow-list of what programs look at, read-only.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use wbuild_monitor::{Fault, ViewKind, ViewNode};

use crate::views::listing::Shown;
use crate::views::{Caller, components, node_of, open_listed, real_open, synthetic, writes};

/// Files at the top. Not here: what container engines mask (kcore, keys, timer_list, sched_debug, interrupts,
/// latency_stats), and what tells of devices, modules or locks of others.
const FILES: [&[u8]; 17] = [
    b"cgroups",
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
    b"stat",
    b"swaps",
    b"uptime",
    b"version",
    b"vmstat",
    b"cmdline",
];

/// Directories with everything in them that can be read without privilege.
const TREES: [&[u8]; 3] = [b"sys", b"sysvipc", b"pressure"];

/// Parts of /proc/sys that are not about a build.
const HIDDEN_SYS: [&[u8]; 3] = [b"debug", b"dev", b"sunrpc"];

const HOSTNAME: &[u8] = b"sys/kernel/hostname";
const DOMAINNAME: &[u8] = b"sys/kernel/domainname";

/// True if `rest` is shown, should it exist.
pub(super) fn allows(rest: &[u8]) -> bool {
    match components(rest).as_slice() {
        [file] if FILES.contains(file) => true,
        [b"sys", part, ..] if HIDDEN_SYS.contains(part) => false,
        [tree, ..] => TREES.contains(tree),
        [] => false,
    }
}

pub(super) fn node(caller: &Caller<'_>, path: &[u8]) -> Result<ViewNode, Fault> {
    node_of(caller.views().proc.as_fd(), path)
}

pub(super) fn open(caller: &Caller<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Fault> {
    if writes(flags) {
        let is_sysctl = path.starts_with(b"sys/");
        return Err(if is_sysctl { Errno::ROFS } else { Errno::ACCESS }.into());
    }
    if flags.contains(OFlags::PATH) {
        return real_open(caller.views().proc.as_fd(), path, flags);
    }
    match path {
        HOSTNAME => synthetic::file("hostname", format!("{}\n", caller.views().hostname).as_bytes(), flags),
        DOMAINNAME => synthetic::file("domainname", b"(none)\n", flags),
        // The host's boot parameters can hold its addresses and names; nothing in a build needs them.
        b"cmdline" => synthetic::file("cmdline", b"\n", flags),
        b"sys" => {
            let shows = |name: &[u8]| !HIDDEN_SYS.contains(&name);
            open_listed(caller, (ViewKind::Proc, path), caller.views().proc.as_fd(), &shows, flags)
        }
        _ => real_open(caller.views().proc.as_fd(), path, flags),
    }
}

/// The names at the top that exist on this machine.
pub(super) fn root_names(caller: &Caller<'_>) -> BTreeMap<Vec<u8>, Shown> {
    let shown = |name: &[u8]| match node(caller, name) {
        Ok(ViewNode::Directory) => Some((name.to_vec(), Shown::Directory)),
        Ok(_) => Some((name.to_vec(), Shown::File)),
        Err(_) => None,
    };
    FILES.iter().chain(&TREES).filter_map(|name| shown(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::allows;

    #[test]
    fn what_engines_mask_is_on_no_list() {
        for masked in [
            "kcore",
            "keys",
            "timer_list",
            "sched_debug",
            "interrupts",
            "latency_stats",
            "acpi",
            "scsi",
            "asound",
        ] {
            assert!(!allows(masked.as_bytes()), "{masked}");
        }
        for other in [
            "kallsyms",
            "kmsg",
            "sysrq-trigger",
            "locks",
            "modules",
            "slabinfo",
            "",
            "cpuinfo/x",
            "sys/debug/x",
        ] {
            assert!(!allows(other.as_bytes()), "{other}");
        }
        for shown in ["cpuinfo", "meminfo", "sys/kernel/osrelease", "sys/vm/overcommit_memory", "sys"] {
            assert!(allows(shown.as_bytes()), "{shown}");
        }
    }
}
