//! What the attacks are aimed at: a directory outside of every tree, open to everybody, and somebody who listens.
//!
//! Invariant: [`Victim::traces`] is empty as long as nobody looked anything up in order to change it, connected, or sent anything.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use wbuild_tests::command;
use wbuild_tests::workspace::Scratch;

/// See the module.
pub(super) struct Victim {
    dir: Scratch,
    listeners: Vec<UnixListener>,
    datagrams: Vec<UnixDatagram>,
    tcp: TcpListener,
    udp: UdpSocket,
    before: String,
}

impl Victim {
    /// A new one whose files belong to `owner`, the uid that guests have on the host.
    pub(super) fn new(prog: &Path, owner: u32) -> Self {
        let dir = Scratch::new("victim").unwrap();
        let path = dir.path();
        for (name, content) in
            [("secret", "secret of the host\n"), ("file", "file\n"), ("doomed", "doomed\n")]
        {
            fs::write(path.join(name), content).unwrap();
        }
        std::os::unix::fs::symlink("secret", path.join("link")).unwrap();
        for name in ["empty", "dir"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        fs::copy(prog, path.join("prog")).unwrap();
        let mark = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(path.join("file"), "user.mark", b"x", mark).unwrap();
        let abstract_name = |kind: &str| {
            let name = format!("{}-{kind}", path.file_name().unwrap().to_str().unwrap());
            SocketAddr::from_abstract_name(name).unwrap()
        };
        let listeners = vec![
            UnixListener::bind(path.join("sock")).unwrap(),
            UnixListener::bind_addr(&abstract_name("stream")).unwrap(),
        ];
        let datagrams = vec![
            UnixDatagram::bind(path.join("dgram")).unwrap(),
            UnixDatagram::bind_addr(&abstract_name("dgram")).unwrap(),
        ];
        listeners.iter().for_each(|listener| listener.set_nonblocking(true).unwrap());
        datagrams.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap().path();
            lchown(&entry, Some(owner), Some(owner)).unwrap();
            if !entry.is_symlink() {
                fs::set_permissions(&entry, fs::Permissions::from_mode(0o777)).unwrap();
            }
        }
        chown(path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        let before = fingerprint(path);
        Self { dir, listeners, datagrams, tcp, udp, before }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The port of loopback where somebody listens.
    pub(super) fn port(&self) -> u16 {
        self.tcp.local_addr().unwrap().port()
    }

    /// What was done to it, one line each; empty if nothing was. What outlived its step is removed.
    pub(super) fn traces(&self) -> Vec<String> {
        let mut traces = Vec::new();
        let after = fingerprint(self.path());
        if after != self.before {
            traces.push(format!("files changed:\n{}---\n{after}", self.before));
        }
        if self.listeners.iter().any(|listener| listener.accept().is_ok()) {
            traces.push("somebody connected".to_owned());
        }
        if self.datagrams.iter().any(|socket| socket.recv(&mut [0; 8]).is_ok()) {
            traces.push("somebody sent a datagram".to_owned());
        }
        if self.tcp.accept().is_ok() || self.udp.recv(&mut [0; 8]).is_ok() {
            traces.push("somebody used the network".to_owned());
        }
        traces.extend(self.survivors().into_iter().map(|pid| {
            let _gone = command::output("kill", ["-KILL", &pid]);
            format!("process {pid} is still there")
        }));
        traces.extend(self.objects());
        traces
    }

    /// Processes that took the end of this victim's path as their name.
    fn survivors(&self) -> Vec<String> {
        let path = self.path().to_str().unwrap();
        let name = &path[path.len() - 12..];
        let is_it =
            |dir: &PathBuf| fs::read_to_string(dir.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
        let dirs = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
        dirs.filter(is_it).map(|dir| dir.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    /// System V objects under the key that is made of this victim's path.
    fn objects(&self) -> Vec<String> {
        let path = self.path().to_str().unwrap().bytes();
        let sum = path.fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let key = sum & 0x00ff_ffff | 0x5700_0000;
        let mut left = Vec::new();
        for (kind, option) in [("shm", "-M"), ("sem", "-S"), ("msg", "-Q")] {
            let list = fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap();
            if list.lines().any(|line| line.split_whitespace().next() == Some(&key.to_string())) {
                command::output("ipcrm", [option, &format!("{key:#x}")]).unwrap();
                left.push(format!("a System V object ({kind}) is still there"));
            }
        }
        left
    }
}

/// Every name beneath `dir` with what a change of it moves; reading moves nothing of it.
fn fingerprint(dir: &Path) -> String {
    let mut names: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let mut text = String::new();
    for path in names.iter().map(PathBuf::as_path).chain([dir]) {
        let seen = match fs::symlink_metadata(path) {
            Ok(seen) => seen,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        writeln!(
            text,
            "{} {:o} {} {}.{:09} {}",
            path.display(),
            seen.mode(),
            seen.size(),
            seen.ctime(),
            seen.ctime_nsec(),
            seen.nlink()
        )
        .unwrap();
        if seen.is_dir() && path != dir {
            text.push_str(&fingerprint(path));
        }
    }
    text
}
