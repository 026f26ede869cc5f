//! A build context made by a test, and the builds of it.

use crate::base::Base;
use crate::command::{self, Outcome, command};
use crate::image;
use crate::layout::Image;
use crate::pod::Pod;
use crate::session::{Caller, Session};
use crate::workspace::{self, Scratch};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A directory with a Dockerfile whose `FROM base` is the base image.
#[derive(Debug)]
pub struct Project {
    dir: PathBuf,
    base: Base,
    journal: Journal,
    _own: Scratch,
}

/// Whether wbuild compares the journal of each step with full walks of its tree, and fails where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// It does: the tests.
    Checked,
    /// It does not: users, and benches.
    Trusted,
}

impl Project {
    /// A context that holds only this Dockerfile.
    pub fn new(base: &Base, dockerfile: &str) -> Result<Self> {
        let own = Scratch::new("context")?;
        let project =
            Self { dir: own.path().to_path_buf(), base: base.clone(), journal: Journal::Checked, _own: own };
        project.file("Dockerfile", dockerfile)?;
        Ok(project)
    }

    /// A copy of `examples/NAME`, to which files may be added.
    pub fn example(base: &Base, name: &str) -> Result<Self> {
        let own = Scratch::new("context")?;
        let dir = own.path().join(name);
        let mut copy = command("cp", ["-r"]);
        copy.arg(workspace::root().join("examples").join(name)).arg(&dir);
        command::run(copy)?.success()?;
        Ok(Self { dir, base: base.clone(), journal: Journal::Checked, _own: own })
    }

    /// The same project, with or without the check.
    pub fn journal(mut self, journal: Journal) -> Self {
        self.journal = journal;
        self
    }

    /// The context's directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// One more file, readable by all.
    pub fn file(&self, name: &str, content: &str) -> Result<&Self> {
        let path = self.path().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content).with_context(|| path.display().to_string())?;
        Ok(self)
    }

    /// A copy of a program of the host, executable by all.
    pub fn program(&self, name: &str, source: &Path) -> Result<&Self> {
        let path = self.path().join(name);
        fs::copy(source, &path).with_context(|| source.display().to_string())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(self)
    }

    /// Builds it with more arguments and whatever result; the layout it may have written stays with the session.
    pub fn try_build(&self, caller: Caller, more: &[&str]) -> Result<Attempt> {
        let mut session = Session::new(caller)?;
        if self.journal == Journal::Checked {
            session.env("WBUILD_JOURNAL_CHECK", "1");
        }
        let layout = self.build_in(&mut session, more)?;
        Ok(Attempt { outcome: layout.1, layout: layout.0, session })
    }

    /// Builds it in a session that exists already, to a layout that does not.
    pub fn build_in(&self, session: &mut Session, more: &[&str]) -> Result<(PathBuf, Outcome)> {
        let context = session.share(self.path())?;
        let base = session.share(&self.base.layout)?;
        let name = format!("image-{}", session.number());
        let (host, out) = session.out(&name)?;
        let base = format!("base=oci-layout://{base}:{}", self.base.tag);
        let output = format!("type=oci,tar=false,dest={out}");
        let own = ["build", "--build-context", &base, "--build-arg", "BASE=base", "--output", &output];
        let arguments = [&own, more, &[&context]].concat();
        Ok((host, session.run(&arguments)?))
    }

    /// Builds it, which must succeed, and verifies the image.
    pub fn build(&self, caller: Caller) -> Result<Built> {
        let attempt = self.try_build(caller, &[])?;
        let outcome = attempt.outcome.success()?;
        Ok(Built { image: Image::verify(&attempt.layout)?, outcome, session: attempt.session })
    }
}

/// A build that may have failed.
#[derive(Debug)]
pub struct Attempt {
    /// How it ended.
    pub outcome: Outcome,
    /// Where the image is, if there is one.
    pub layout: PathBuf,
    /// The store.
    pub session: Session,
}

/// A build that succeeded.
#[derive(Debug)]
pub struct Built {
    /// The verified image.
    pub image: Image,
    /// What wbuild printed.
    pub outcome: Outcome,
    /// The store; the image lies in it.
    pub session: Session,
}

/// The restricted pod with the binary under test.
pub fn pod() -> Result<Caller> {
    Ok(Caller::Pod(Box::new(Pod::new(&image::pod_rootfs()?)?)))
}

/// The restricted pod with an image in which no stub is planted: dynamic programs are started by the stub as a loader.
pub fn pod_without_stubs() -> Result<(Caller, Scratch)> {
    let copy = Scratch::new("bare")?;
    let wbuild = copy.path().join("wbuild");
    fs::copy(image::pod_rootfs()?.join("wbuild"), &wbuild)?;
    fs::create_dir(copy.path().join("scratch"))?;
    Ok((Caller::Pod(Box::new(Pod::new(copy.path())?)), copy))
}

/// The restricted pod as OpenShift starts it: some uid that no passwd file knows, group 0, no `HOME`.
pub fn pod_of_a_random_user() -> Result<Caller> {
    let mut pod = Pod::new(&image::pod_rootfs()?)?;
    pod.user(1_000_670_000).without_home();
    Ok(Caller::Pod(Box::new(pod)))
}
