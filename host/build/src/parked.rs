//! A stage's tree on disk while nobody has it open: made from layers or from another tree, brought up to date, handed on, removed.
//!
//! A tree from which another was linked is frozen: from then on it may be read and linked, and nothing else.

use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use wbuild_layer::Expected;
use wbuild_monitor::JournalCheck;
use wbuild_oci::{Descriptor, Digest};
use wbuild_rootfs::{Layer, Likeness, Sharing};
use wbuild_store::{StoreError, Tree as Home};

use crate::error::BuildError;
use crate::request::Wiring;
use crate::tree::Tree;

/// A tree on disk that nobody has open.
pub(crate) struct ParkedTree {
    home: Home,
    path: PathBuf,
    /// How many step directories were made beside it.
    scratches: u32,
    /// How many of the image's layers are in it.
    pub(crate) holds: usize,
    standing: Standing,
}

/// Whether a tree may still change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It may.
    Alone,
    /// Other trees share its inodes: it stays as it is.
    Frozen,
}

impl ParkedTree {
    /// Unpacks `layers`, lowest first, into a new tree.
    pub(crate) fn unpack(
        wiring: &Wiring,
        layers: &[(Descriptor, Digest)],
        name: &str,
    ) -> Result<Self, BuildError> {
        let home = wiring.store.tree()?;
        let path = wiring.store_path.join(home.path()).join("root");
        let mut blobs = layers.iter().map(|layer| blob(wiring, layer));
        let made = Tree::make(&path, &mut blobs);
        if wiring.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        made.map_err(|source| BuildError::Tree { name: name.to_owned(), source: Box::new(source) })?;
        Ok(Self { home, path, scratches: 0, holds: layers.len(), standing: Standing::Alone })
    }

    /// A new tree with the same files, by hard links or reflinks; `None` where the volume has neither. If there is one, this
    /// one is not changed any more.
    pub(crate) fn link(
        &mut self,
        wiring: &Wiring,
        name: &str,
    ) -> Result<Option<(Self, Likeness)>, BuildError> {
        let made = Self::shared(wiring, &self.path, self.holds, name)?;
        if made.is_some() {
            self.standing = Standing::Frozen;
        }
        Ok(made)
    }

    /// A new tree with the files of the one in `from`, which holds this many layers and which nobody changes any more; with what that
    /// one looked like.
    pub(crate) fn shared(
        wiring: &Wiring,
        from: &Path,
        holds: usize,
        name: &str,
    ) -> Result<Option<(Self, Likeness)>, BuildError> {
        for how in [Sharing::Inodes, Sharing::Blocks] {
            let home = wiring.store.tree()?;
            let path = wiring.store_path.join(home.path()).join("root");
            match Tree::share(&path, from, how) {
                Ok(likeness) => {
                    let tree = Self { home, path, scratches: 0, holds, standing: Standing::Alone };
                    return Ok(Some((tree, likeness)));
                }
                Err(error) if error.is_unable_to_share() => {}
                Err(source) => {
                    return Err(BuildError::Tree { name: name.to_owned(), source: Box::new(source) });
                }
            }
        }
        Ok(None)
    }

    /// Whether another tree was linked from it: then it may be read and linked, and nothing else.
    pub(crate) fn is_frozen(&self) -> bool {
        self.standing == Standing::Frozen
    }

    /// Unpacks those of `layers`, an image's, that the tree does not hold yet.
    pub(crate) fn extend(
        &mut self,
        wiring: &Wiring,
        layers: &[(Descriptor, Digest)],
        name: &str,
    ) -> Result<(), BuildError> {
        let more = layers.get(self.holds..).unwrap_or_default();
        let made = Tree::extend(&self.path, &mut more.iter().map(|layer| blob(wiring, layer)));
        if wiring.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        made.map_err(|source| BuildError::Tree { name: name.to_owned(), source: Box::new(source) })?;
        self.holds = layers.len();
        Ok(())
    }

    /// Whether some of `layers`, an image's, are not in it.
    pub(crate) fn lacks(&self, layers: &[(Descriptor, Digest)]) -> bool {
        self.holds < layers.len()
    }

    /// Opens the tree for reading.
    pub(crate) fn open(&self, place: &str) -> Result<Tree, BuildError> {
        self.open_checked(place, JournalCheck::Off)
    }

    /// Opens the tree for one instruction that writes.
    pub(crate) fn open_checked(&self, place: &str, check: JournalCheck) -> Result<Tree, BuildError> {
        Tree::open(&self.path, place, check)
            .map_err(|error| BuildError::Tree { name: place.to_owned(), source: Box::new(error.into()) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the tree, from which one was linked, for later builds.
    pub(crate) fn keep(self, wiring: &Wiring, key: &Digest, likeness: Likeness) -> Result<(), StoreError> {
        self.home.keep(&wiring.store, key, likeness.digest, likeness.bytes)
    }

    /// Removes the tree.
    pub(crate) fn remove(self) -> Result<(), StoreError> {
        self.home.remove()
    }

    /// Removes what [`Self::scratch`] made.
    pub(crate) fn remove_scratch(&self, name: &str) -> io::Result<()> {
        self.home.dir().remove_dir_all(name)
    }

    /// A new empty directory for one step.
    pub(crate) fn scratch(&mut self) -> Result<(Dir, PathBuf, String), BuildError> {
        self.scratches += 1;
        let name = format!("step-{}", self.scratches);
        let path = self.path.with_file_name(&name);
        let host = |source| BuildError::Host { action: "make", path: path.clone(), source };
        let dir =
            self.home.dir().create_dir(&name).and_then(|()| self.home.dir().open_dir(&name)).map_err(host)?;
        Ok((dir, path, name))
    }
}

/// Opens a layer for unpacking.
fn blob(wiring: &Wiring, (layer, diff_id): &(Descriptor, Digest)) -> io::Result<Layer> {
    if wiring.cancel.is_cancelled() {
        return Err(io::ErrorKind::Interrupted.into());
    }
    let blob = wiring.store.blob(&layer.digest).map_err(io::Error::other)?.into_std();
    let expected = Expected { digest: layer.digest, size: layer.size, diff_id: Some(*diff_id) };
    Ok(Layer { blob: Box::new(blob), expected })
}
