//! The oracle of what a command does: the same command under root's chroot, in a copy of the base's tree.

use crate::command::{self, Outcome, command};
use crate::workspace::{Scratch, is_root};
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};

/// A throwaway copy of a root directory.
#[derive(Debug)]
pub struct Chroot {
    scratch: Scratch,
}

impl Chroot {
    /// Copies `rootfs` with everything that root sees of it.
    pub fn copy_of(rootfs: &Path) -> Result<Self> {
        ensure!(is_root(), "the oracle is a chroot, which needs root");
        let scratch = Scratch::new("chroot")?;
        let mut copy = command("cp", ["-a"]);
        copy.arg(rootfs).arg(scratch.path().join("rootfs"));
        command::run(copy)?.success()?;
        Ok(Self { scratch })
    }

    /// The copy's root directory.
    pub fn path(&self) -> PathBuf {
        self.scratch.path().join("rootfs")
    }

    /// Runs `/bin/sh -c script` in it as root, with /proc, /dev and the machine's name service, in its own mount and
    /// pid namespaces: nothing stays mounted or running.
    pub fn run(&self, script: &str) -> Result<Outcome> {
        let setup = "set -e; mount -t proc proc \"$1/proc\"; mount --rbind /dev \"$1/dev\"; mount -t sysfs -o ro sysfs \"$1/sys\"; \
                     for f in resolv.conf hosts; do ! test -e \"$1/etc/$f\" || mount --bind /etc/$f \"$1/etc/$f\"; done; \
                     exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root chroot \"$1\" /bin/sh -c \"$2\"";
        let mut run =
            command("unshare", ["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", setup, "sh"]);
        run.arg(self.path()).arg(script);
        command::run(run)
    }
}
