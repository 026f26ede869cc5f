//! `cargo xtask soak workloads`: Debian packages whose scripts and programs ask much of a sandbox, each installed and used by a RUN step in the
//! restricted pod, and judged by what it did.
//!
//! Downloads go through apt only. A workload that fails is shown with the end of its output, and the rest goes on.

use crate::setup::{self, For};
use anyhow::{Result, bail};
use std::time::Instant;
use wbuild_tests::base;
use wbuild_tests::project::{Journal, Project, pod};

/// One workload.
struct Workload {
    name: &'static str,
    /// What apt installs.
    packages: &'static str,
    /// A line of the shell that succeeds only if the packages did what they are for.
    check: &'static str,
}

const fn workload(name: &'static str, packages: &'static str, check: &'static str) -> Workload {
    Workload { name, packages, check }
}

const WORKLOADS: &[Workload] = &[
    workload(
        "openssh",
        "openssh-server",
        "mkdir -p /run/sshd && sshd -t && ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub && getent passwd sshd",
    ),
    workload(
        "sudo",
        "sudo",
        "useradd -m u && echo 'u ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/u && chmod 440 /etc/sudoers.d/u && visudo -c && test $(su u -c 'sudo -n id -u') = 0",
    ),
    workload(
        "dbus",
        "dbus",
        "test $(dbus-run-session -- dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames | grep -c org.freedesktop.DBus) -ge 1",
    ),
    workload(
        "systemd",
        "systemd systemd-sysv",
        "systemctl --root=/ enable systemd-networkd && systemd-analyze --version && systemd-tmpfiles --create --prefix=/run/lock && getent group systemd-journal",
    ),
    workload("man-db", "man-db less", "mandb -q && whatis mandb | grep -q mandb"),
    workload(
        "postgresql",
        "postgresql",
        "pg_ctlcluster $(ls /usr/lib/postgresql) main start && su postgres -c \"psql -c 'create table t as select 42 as n'\" && su postgres -c 'psql -tAc \"select n from t\"' | grep -qx 42 && pg_ctlcluster $(ls /usr/lib/postgresql) main stop",
    ),
    workload(
        "redis",
        "redis-server",
        "redis-server --port 0 --unixsocket /tmp/r.sock --daemonize yes && sleep 1 && redis-cli -s /tmp/r.sock set k v && test $(redis-cli -s /tmp/r.sock get k) = v && redis-cli -s /tmp/r.sock shutdown nosave",
    ),
    workload(
        "mariadb",
        "mariadb-server",
        "(mariadbd-safe --skip-networking & ) && for i in $(seq 60); do mariadb-admin ping 2>/dev/null && break; sleep 1; done && mariadb -e 'create database d; create table d.t(n int); insert into d.t values (42); select n from d.t' | grep -qx 42 && mariadb-admin shutdown",
    ),
    workload(
        "apache2",
        "apache2",
        "apache2ctl configtest && a2enmod rewrite && test -L /etc/apache2/mods-enabled/rewrite.load",
    ),
    // On a port that every host gives: see README.md on those below 1024.
    workload(
        "nginx",
        "nginx curl",
        "sed -i 's/80 default_server/8080 default_server/' /etc/nginx/sites-enabled/default && nginx -t && nginx && curl -sf http://127.0.0.1:8080/ | grep -q nginx && nginx -s stop",
    ),
    workload("fonts", "fonts-dejavu-core fontconfig", "fc-cache -f && fc-list | grep -q DejaVuSans.ttf"),
    workload("jre", "default-jre-headless", "java -version && test -n \"$(ls /etc/ssl/certs/java/cacerts)\""),
    workload("ruby", "ruby", "test $(ruby -e 'puts (1..10).sum') = 55 && gem list --local"),
    workload("php", "php-cli", "test $(php -r 'echo array_sum(range(1,10));') = 55"),
    workload(
        "go",
        "golang-go",
        "mkdir /g && cd /g && printf 'package main\\nimport \"fmt\"\\nfunc main() { fmt.Println(6*7) }\\n' > m.go && test $(go run m.go) = 42",
    ),
    workload(
        "rust",
        "rustc",
        "cd /tmp && echo 'fn main() { println!(\"{}\", 6*7) }' > m.rs && rustc m.rs && test $(./m) = 42",
    ),
    workload(
        "locales",
        "locales",
        "sed -i 's/^# de_DE.UTF-8/de_DE.UTF-8/' /etc/locale.gen && locale-gen && locale -a | grep -qi de_DE.utf8",
    ),
    workload(
        "tzdata",
        "tzdata",
        "ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime && dpkg-reconfigure tzdata && test $(TZ=Asia/Tokyo date +%z) = +0900",
    ),
    workload(
        "cron",
        "cron",
        "echo '* * * * * true' | crontab - && crontab -l | grep -q true && stat -c %G /var/spool/cron/crontabs/root | grep -q crontab",
    ),
    workload("exim", "exim4-daemon-light", "update-exim4.conf && exim4 -bV && getent passwd Debian-exim"),
    workload(
        "imagemagick",
        "imagemagick",
        "convert -size 8x8 xc:red /tmp/r.png && test \"$(identify -format %wx%h /tmp/r.png)\" = 8x8",
    ),
    workload(
        "ffmpeg",
        "ffmpeg",
        "ffmpeg -v error -f lavfi -i testsrc=d=1 /tmp/t.mkv && ffprobe -v error -show_entries format=duration -of csv=p=0 /tmp/t.mkv | grep -q ^1",
    ),
    workload(
        "adduser",
        "adduser",
        "adduser --system --group svc && adduser --disabled-password --gecos '' joe && test $(stat -c %U /home/joe) = joe",
    ),
    workload(
        "setcap",
        "libcap2-bin",
        "cp /bin/true /tmp/t && setcap cap_net_bind_service+ep /tmp/t && getcap /tmp/t | grep -q cap_net_bind_service",
    ),
    workload(
        "fakeroot",
        "fakeroot",
        "useradd -m u && su u -c 'fakeroot sh -c \"touch /tmp/f && chown 5:6 /tmp/f && stat -c %u:%g /tmp/f\"' | grep -qx 5:6",
    ),
    workload(
        "ccache",
        "ccache gcc libc6-dev",
        "cd /tmp && echo 'int main(){return 0;}' > m.c && ccache gcc -c m.c && ccache gcc -c m.c && ccache -s | grep -i hit",
    ),
    workload(
        "python venv",
        "python3-venv",
        "python3 -m venv /v && test $(/v/bin/python -c 'import sys; print(sys.prefix)') = /v",
    ),
    workload("maven", "maven", "mvn -v | grep -q Maven"),
    workload("R", "r-base-core", "Rscript -e 'cat(sum(1:10))' | grep -qx 55"),
    workload(
        "dpkg-buildpackage",
        "build-essential dpkg-dev debhelper fakeroot",
        "sed 's/^deb /deb-src /' /etc/apt/sources.list > /etc/apt/sources.list.d/s.list && apt-get update && cd /tmp && apt-get source hello && cd hello-* && apt-get build-dep -y . && dpkg-buildpackage -b -us -uc && dpkg -i ../hello_*.deb && hello",
    ),
    workload(
        "debootstrap",
        "debootstrap",
        "! debootstrap --variant=minbase stable /d > /tmp/out 2>&1 && cat /tmp/out",
    ),
];

/// Runs those whose name contains `name`, or all, and prints their table.
pub(crate) fn run(name: Option<&str>) -> Result<()> {
    setup::require(&[For::Compiling, For::Tests])?;
    let base = base::debian()?;
    let (mut ran, mut failed) = (0, 0);
    for workload in WORKLOADS.iter().filter(|workload| name.is_none_or(|name| workload.name.contains(name))) {
        let Workload { name, packages, check } = workload;
        let text = format!(
            "FROM base\nENV DEBIAN_FRONTEND=noninteractive\nRUN apt-get update && apt-get install -y --no-install-recommends {packages}\nRUN {check}\n"
        );
        let start = Instant::now();
        let attempt = Project::new(&base, &text)?.journal(Journal::Trusted).try_build(pod()?, &[])?;
        let seconds = start.elapsed().as_secs();
        ran += 1;
        match attempt.outcome.success() {
            Ok(_) => println!("{name} | passed | {seconds} s"),
            Err(error) => {
                failed += 1;
                let shown = format!("{error:#}");
                let end: Vec<&str> = shown.lines().rev().take(30).collect();
                println!("{name} | FAILED | {seconds} s");
                for line in end.iter().rev() {
                    println!("    {line}");
                }
            }
        }
    }
    println!("{} passed, {failed} failed", ran - failed);
    if failed > 0 || ran == 0 {
        bail!("{failed} of {ran} workloads failed");
    }
    Ok(())
}
