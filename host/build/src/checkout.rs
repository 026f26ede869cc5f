//! The git repositories that a build copies from: each is asked once which commit it is, and unpacked once.
//!
//! A checkout is a directory of the store that goes with the build. What came of looking is kept as data, for whoever writes down what a build
//! was made of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::fs::Dir;
use wbuild_dockerfile::IgnoreFile;
use wbuild_oci::{Digest, GitSource, GitTimes};
use wbuild_policy::Ruleset;
use wbuild_store::{GitFound, Store, Tree};

use crate::context::ContextFiles;
use crate::error::BuildError;
use crate::permission::SubmoduleGate;
use crate::request::GitMaterial;
use crate::unpack::{FileTimes, unpack_context};

/// The files of a commit.
pub(crate) struct Checkout {
    dir: Dir,
    /// Removed with this.
    _home: Tree,
}

impl Checkout {
    /// Unpacks the archive that a checkout is in the store.
    pub(crate) fn unpack(store: &Store, source: &GitSource, archive: Digest) -> Result<Self, BuildError> {
        let home = store.tree()?;
        let made = home.dir().create_dir("checkout").and_then(|()| home.dir().open_dir("checkout"));
        let dir = made.map_err(|source| BuildError::Host {
            action: "make a directory in",
            path: home.path().into(),
            source,
        })?;
        let times = match source.times {
            GitTimes::Commit => FileTimes::Kept,
            GitTimes::Checkout => FileTimes::Now,
        };
        let file = store.blob(&archive)?.into_std();
        unpack_context(file, &source.to_string(), &dir, times).map_err(|error| BuildError::Host {
            action: "unpack a git checkout into",
            path: home.path().into(),
            source: std::io::Error::other(error),
        })?;
        Ok(Self { dir, _home: home })
    }

    /// Its files; `place` is what messages call them.
    pub(crate) fn files<'a>(&'a self, ignore: &'a IgnoreFile, place: String) -> ContextFiles<'a> {
        ContextFiles::new(&self.dir, ignore, place)
    }
}

/// What is known of one repository; held by whoever is at it.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) found: Option<GitFound>,
    pub(crate) checkout: Option<Arc<Checkout>>,
}

/// The repositories of one build.
pub(crate) struct Gits {
    policy: Arc<Ruleset>,
    known: Mutex<BTreeMap<GitSource, Arc<Mutex<Known>>>>,
}

impl Gits {
    pub(crate) fn new(policy: &Arc<Ruleset>) -> Self {
        Self { policy: Arc::clone(policy), known: Mutex::default() }
    }

    /// What is known of a repository.
    pub(crate) fn turn(&self, source: &GitSource) -> Arc<Mutex<Known>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(source.clone()).or_default())
    }

    /// Who is asked about submodules.
    pub(crate) fn gate(&self) -> SubmoduleGate {
        SubmoduleGate::new(Arc::clone(&self.policy))
    }

    pub(crate) fn materials(&self) -> Vec<GitMaterial> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(source, known): (&GitSource, &Arc<Mutex<Known>>)| {
            let found = known.lock().unwrap_or_else(PoisonError::into_inner).found.clone()?;
            Some(GitMaterial { source: source.to_string(), commit: found.commit })
        };
        known.iter().filter_map(of).collect()
    }
}
