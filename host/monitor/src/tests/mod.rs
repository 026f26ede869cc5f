//! Tests of the monitor. As root they run the userspace walk only; `unprivileged` runs all of them once more as an ordinary user, where the
//! kernel walks.

mod confined;
mod differential;
mod grafts;
mod observations;
mod permissions;
mod policy;
mod unprivileged;
mod views;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{OFlags, ResolveFlags, Statx};
use wbuild_policy::{Policy, Ruleset, Source, StepName};

use crate::{
    At, Base, Credentials, Cwd, Errno, Fault, GuestPath, JournalCheck, LastLink, Monitor, NoViews,
    OpenRequest, Opened, Outcome, Owner, Root, Subject, Views, Where,
};

/// A monitor over a fresh tree.
pub(super) struct World {
    pub(super) monitor: Monitor,
    pub(super) path: PathBuf,
    dir: tempfile::TempDir,
}

pub(super) fn root_user() -> Credentials {
    Credentials::builder()
}

pub(super) fn user(id: u32) -> Credentials {
    Credentials::initial(id, id, Vec::new())
}

pub(super) fn guest(text: &str) -> GuestPath {
    GuestPath::new(text).unwrap()
}

/// What a `[[step]]` with these rules allows.
pub(super) fn policy(rules: &str) -> Policy {
    let source = Source { name: "test.toml".into(), text: format!("[[step]]\n{rules}\n") };
    let set = Ruleset::load(source, &mut |_, _| Err("there is no other file".into())).unwrap();
    set.for_step(StepName { stage: "stage", instruction: "RUN", command: "true" })
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Policy::default(), |_| {})
    }

    pub(super) fn with(policy: Policy, prepare: impl FnOnce(&Root)) -> Self {
        rustix::process::umask(rustix::fs::Mode::empty());
        let dir = tempfile::tempdir_in(std::env::var_os("WBUILD_TEST_DIR").unwrap_or("/tmp".into())).unwrap();
        let path = dir.path().join("tree");
        let root = Root::create(&path, Owner::Caller).unwrap();
        prepare(&root);
        let monitor = Monitor::for_step(root, policy, JournalCheck::FullWalk).unwrap();
        Self { monitor, path, dir }
    }

    /// A directory beside the tree.
    pub(super) fn outside(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub(super) fn as_user<'a>(&'a self, credentials: &'a Credentials) -> User<'a> {
        User { world: self, credentials, umask: 0, views: &NoViews, cwd: None }
    }
}

/// Operations by path as one subject.
#[derive(Clone, Copy)]
pub(super) struct User<'a> {
    pub(super) world: &'a World,
    pub(super) credentials: &'a Credentials,
    pub(super) umask: u32,
    pub(super) views: &'a dyn Views,
    pub(super) cwd: Option<&'a OwnedFd>,
}

pub(super) fn done<T: std::fmt::Debug>(answer: Result<Outcome<T>, Fault>) -> Result<T, Errno> {
    match answer {
        Ok(Outcome::Done(value)) => Ok(value),
        Ok(other) => panic!("not done: {other:?}"),
        Err(fault) => Err(fault.errno().unwrap_or_else(|| panic!("{fault}"))),
    }
}

impl User<'_> {
    pub(super) fn subject(&self) -> Subject<'_> {
        let cwd = self.cwd.map_or(self.world.monitor.root_fd(), AsFd::as_fd);
        Subject { credentials: self.credentials, umask: self.umask, cwd: Cwd::Dir(cwd), views: self.views }
    }

    /// Calls an operation with a path from the working directory.
    pub(super) fn at<T>(
        &self,
        path: &str,
        act: impl FnOnce(&Monitor, &Subject<'_>, At<'_>) -> Result<Outcome<T>, Fault>,
    ) -> Result<Outcome<T>, Fault> {
        let path = guest(path);
        act(&self.world.monitor, &self.subject(), At { base: Base::Cwd, path: &path })
    }

    pub(super) fn on<T: std::fmt::Debug>(
        &self,
        path: &str,
        act: impl FnOnce(&Monitor, &Subject<'_>, Where<'_>) -> Result<Outcome<T>, Fault>,
    ) -> Result<T, Errno> {
        done(self.at(path, |m, s, at| act(m, s, Where::Path(at, LastLink::Follow))))
    }

    pub(super) fn on_link<T: std::fmt::Debug>(
        &self,
        path: &str,
        act: impl FnOnce(&Monitor, &Subject<'_>, Where<'_>) -> Result<Outcome<T>, Fault>,
    ) -> Result<T, Errno> {
        done(self.at(path, |m, s, at| act(m, s, Where::Path(at, LastLink::NoFollow))))
    }

    pub(super) fn open(&self, path: &str, flags: OFlags, mode: u32) -> Result<Opened, Errno> {
        self.open2(path, flags, mode, ResolveFlags::empty())
    }

    pub(super) fn open2(
        &self,
        path: &str,
        flags: OFlags,
        mode: u32,
        resolve: ResolveFlags,
    ) -> Result<Opened, Errno> {
        done(self.at(path, |m, s, at| m.open(s, at, &OpenRequest { flags, mode, resolve })))
    }

    pub(super) fn fd(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        match self.open(path, flags, 0o644)? {
            Opened::File(file) => Ok(file.fd),
            Opened::Path(fd) | Opened::Fifo(fd) => Ok(fd),
            Opened::Device(stat) => panic!("{path} is a device: {stat:?}"),
        }
    }

    pub(super) fn write(&self, path: &str, content: &[u8]) -> Result<(), Errno> {
        let fd = self.fd(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        assert_eq!(rustix::io::write(&fd, content)?, content.len());
        Ok(())
    }

    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>, Errno> {
        let fd = self.fd(path, OFlags::RDONLY)?;
        let mut content = vec![0; 4096];
        let read = rustix::io::read(&fd, &mut content)?;
        content.truncate(read);
        Ok(content)
    }

    pub(super) fn make_dir(&self, path: &str, mode: u32) -> Result<(), Errno> {
        done(self.at(path, |m, s, at| m.make_dir(s, at, mode)))
    }

    pub(super) fn remove_dir(&self, path: &str) -> Result<(), Errno> {
        done(self.at(path, Monitor::remove_dir))
    }

    pub(super) fn unlink(&self, path: &str) -> Result<(), Errno> {
        done(self.at(path, Monitor::unlink))
    }

    pub(super) fn symlink(&self, text: &str, path: &str) -> Result<(), Errno> {
        done(self.at(path, |m, s, at| m.symlink(s, text.as_bytes(), at)))
    }

    pub(super) fn link(&self, from: &str, to: &str, last: LastLink) -> Result<(), Errno> {
        let to = guest(to);
        let to = At { base: Base::Cwd, path: &to };
        done(self.at(from, |m, s, at| m.link(s, Where::Path(at, last), to)))
    }

    pub(super) fn rename(&self, from: &str, to: &str, flags: rustix::fs::RenameFlags) -> Result<(), Errno> {
        let to = guest(to);
        let to = At { base: Base::Cwd, path: &to };
        done(self.at(from, |m, s, at| m.rename(s, at, to, flags)))
    }

    pub(super) fn chmod(&self, path: &str, mode: u32) -> Result<(), Errno> {
        self.on(path, |m, s, w| m.chmod(s, w, mode))
    }

    pub(super) fn chown(&self, path: &str, uid: u32, gid: u32) -> Result<(), Errno> {
        self.on(path, |m, s, w| m.chown(s, w, Some(uid), Some(gid)))
    }

    pub(super) fn stat(&self, path: &str) -> Result<Statx, Errno> {
        self.on(path, Monitor::stat)
    }

    pub(super) fn mode(&self, path: &str) -> u32 {
        u32::from(self.stat(path).unwrap().stx_mode) & 0o7777
    }

    pub(super) fn chdir(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.on(path, Monitor::chdir)
    }

    pub(super) fn path_of(&self, path: &str) -> String {
        let fd = self.fd(path, OFlags::PATH).unwrap();
        String::from_utf8(self.world.monitor.path_of(fd.as_fd()).unwrap().unwrap()).unwrap()
    }
}

/// How often the random tests run what they run: once, or twenty times for `WBUILD_TEST_SCALE=soak`.
pub(super) fn rounds() -> u64 {
    if std::env::var("WBUILD_TEST_SCALE").as_deref() == Ok("soak") { 20 } else { 1 }
}
