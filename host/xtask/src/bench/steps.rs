//! `cargo xtask bench steps`: one step's commands in the pod, in root's chroot, and under PRoot where it runs.
//!
//! All three start from the same tree: Debian with gcc, make, and the packages that are installed again already downloaded. The
//! wall time is that of the commands themselves, taken inside by the same program; CPU is the commands' own, without the broker's.

use super::Rounds;
use super::sample::{self, Sample, Series};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use wbuild_tests::base::{self, Base};
use wbuild_tests::command::{self, Outcome, command};
use wbuild_tests::oracle::Chroot;
use wbuild_tests::project::{Journal, Project, pod};
use wbuild_tests::{guest, workspace};

pub(super) const PACKAGES: &str = "base-files bash bsdutils coreutils debianutils diffutils e2fsprogs findutils grep gzip hostname \
                        libc-bin login mount ncurses-bin passwd perl-base sed sysvinit-utils tar";
/// The uid that PRoot runs with.
const USER: &str = "12345";

pub(super) fn run(rounds: &Rounds) -> Result<()> {
    let base = prepared()?;
    let rootfs = base.rootfs.as_deref().context("the prepared base has a tree")?;
    let cases = [
        (
            "apt-get --reinstall install of 20 packages, offline",
            format!("apt-get install --reinstall --no-download -y {PACKAGES}"),
        ),
        ("make of a C project of 60 files", "make -C /project clean && make -C /project -j2".to_owned()),
    ];
    for (name, script) in cases.iter().filter(|(name, _)| rounds.selects(name)) {
        let mut all = ["root in a chroot", "wbuild, restricted pod", "PRoot as a user"].map(Series::new);
        let mut proot_runs = true;
        for _ in 0..rounds.rounds {
            let chroot = Chroot::copy_of(rootfs)?;
            written()?;
            all[0].samples.push(Sample::of(chroot.run(&format!("/measure sh -c '{script}'"))?)?);
            all[1].samples.push(Sample::of(in_the_pod(&base, script)?)?);
            if proot_runs {
                match Sample::of(under_proot(rootfs, script)?) {
                    Ok(sample) => all[2].samples.push(sample),
                    Err(error) => {
                        println!("PRoot does not run: {error:#}");
                        proot_runs = false;
                    }
                }
            }
            eprintln!("{name}: {:?}", all.each_ref().map(|series| series.samples.last()));
        }
        sample::print(name, &all);
    }
    Ok(())
}

/// The tree that all start from, with `/measure` and `/project` in it; kept in the cache.
pub(super) fn prepared() -> Result<Base> {
    kept("bench-steps", &base::debian()?, |chroot| {
        let script = format!(
            "apt-get update && apt-get install -y --no-install-recommends gcc make libc6-dev && \
             apt-get install --reinstall --download-only -y {PACKAGES}"
        );
        chroot.run(&script)?.success()?;
        project(&chroot.path().join("project"))?;
        fs::copy(guest::program("measure")?, chroot.path().join("measure"))?;
        Ok(())
    })
}

/// A base that `make` made of a copy of `from`'s tree, in the cache under `name`.
pub(crate) fn kept(name: &str, from: &Base, make: impl FnOnce(&Chroot) -> Result<()>) -> Result<Base> {
    let dir = workspace::cache(name)?;
    let base = Base { layout: dir.join("layout"), tag: "latest", rootfs: Some(dir.join("rootfs")) };
    let _lock = workspace::lock(name)?;
    if dir.exists() {
        return Ok(base);
    }
    let chroot = Chroot::copy_of(from.rootfs.as_deref().context("a base without its tree")?)?;
    make(&chroot)?;
    let making = dir.with_extension("new");
    if making.exists() {
        fs::remove_dir_all(&making)?;
    }
    fs::create_dir(&making)?;
    base::pack(&chroot.path(), &making.join("layout"), base.tag, &[])?;
    let mut copy = command("cp", ["-a"]);
    copy.arg(chroot.path()).arg(making.join("rootfs"));
    command::run(copy)?.success()?;
    fs::rename(&making, &dir)?;
    Ok(base)
}

/// Sixty files of C with the headers that a program of its size includes.
fn project(dir: &Path) -> Result<()> {
    fs::create_dir(dir)?;
    let mut objects = String::new();
    for number in 0..60 {
        let mut text = String::from(
            "#include <errno.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n",
        );
        for function in 0..20 {
            writeln!(
                text,
                "int f{number}_{function}(const char *s, int n)\n{{\n    char b[256];\n    int t = 0;\n    snprintf(b, sizeof b, \"%s-%d\", s, n);\n    \
                 for (size_t i = 0; i < strlen(b); i++)\n        t += b[i] * {function};\n    return errno ? t : t + {number};\n}}"
            )?;
        }
        fs::write(dir.join(format!("f{number}.c")), text)?;
        write!(objects, " f{number}.o")?;
    }
    fs::write(
        dir.join("main.c"),
        "int f0_0(const char *, int);\nint main(void) { return f0_0(\"x\", 1) != 0; }\n",
    )?;
    let makefile = format!(
        "CFLAGS = -O2\nprogram: main.o{objects}\n\t$(CC) -o $@ $^\nclean:\n\trm -f program *.o\n.PHONY: clean\n"
    );
    fs::write(dir.join("Makefile"), makefile)?;
    Ok(())
}

/// Nothing of the copy is left to be written: dpkg's fsync would wait for it.
pub(super) fn written() -> Result<()> {
    command::output("sync", [""; 0]).map(|_| ())
}

fn in_the_pod(base: &Base, script: &str) -> Result<Outcome> {
    let project =
        Project::new(base, &format!("FROM base\nRUN /measure sh -c '{script}'\n"))?.journal(Journal::Trusted);
    Ok(project.try_build(pod()?, &[])?.outcome)
}

pub(super) fn under_proot(rootfs: &Path, script: &str) -> Result<Outcome> {
    let copy = Chroot::copy_of(rootfs)?;
    let mut chown = command("chown", ["-R", USER]);
    chown.arg(copy.path());
    command::run(chown)?.success()?;
    written()?;
    let mut run = command(
        "setpriv",
        ["--clear-groups", "--reuid", USER, "--regid", USER, "proot", "-0", "-b", "/proc", "-b", "/dev"],
    );
    run.arg("-r").arg(copy.path()).args(["/measure", "sh", "-c", script]).current_dir("/").env_clear();
    run.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
    command::run(run)
}
