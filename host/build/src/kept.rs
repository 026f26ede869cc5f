//! Trees of layers, unpacked once for many builds.
//!
//! The first build that unpacks layers keeps the tree, frozen, and works in one that shares its files; a later one takes the tree of as
//! many layers as one was kept of, and unpacks the rest. A kept tree that does not look as it was left is discarded. Builds under a
//! policy have no part in this: a guest that broke out of the broker could write to files that it shares with others.

use rustix::fs::statvfs;
use wbuild_oci::{Descriptor, Digest};
use wbuild_rootfs::Likeness;
use wbuild_store::{KeptTree, Removal};

use crate::error::BuildError;
use crate::image::chain_id;
use crate::parked::ParkedTree;
use crate::request::{TreeSharing, Wiring};

/// The most that kept trees take, in bytes, and the part of the volume.
const MOST_BYTES: u64 = 20 << 30;
const PART_OF_VOLUME: u64 = 5;
/// What has to be free beside what the tree occupies for it to be kept.
const LEFT_FREE: u64 = 1 << 30;

/// Whether something had to be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// It had.
    Unpacked,
    /// All of it lay there.
    Taken,
}

/// A tree of `layers`, lowest first, in which the caller may change what it likes.
pub(crate) fn tree_of(
    wiring: &Wiring,
    layers: &[(Descriptor, Digest)],
    name: &str,
) -> Result<(ParkedTree, Made), BuildError> {
    if layers.is_empty() || wiring.trees == TreeSharing::WithinBuild {
        return Ok((ParkedTree::unpack(wiring, layers, name)?, Made::Unpacked));
    }
    let mut whole = match longest(wiring, layers, name)? {
        Some(tree) if !tree.lacks(layers) => return Ok((tree, Made::Taken)),
        Some(mut tree) => {
            tree.extend(wiring, layers, name)?;
            tree
        }
        None => ParkedTree::unpack(wiring, layers, name)?,
    };
    let Some((linked, likeness)) = whole.link(wiring, name)? else { return Ok((whole, Made::Unpacked)) };
    let key = key(layers);
    if make_room(wiring, &key, likeness)? {
        whole.keep(wiring, &key, likeness)?;
    } else {
        whole.remove()?;
    }
    Ok((linked, Made::Unpacked))
}

/// A tree made from the kept one of as many of the lowest layers as possible.
fn longest(
    wiring: &Wiring,
    layers: &[(Descriptor, Digest)],
    name: &str,
) -> Result<Option<ParkedTree>, BuildError> {
    for count in (1..=layers.len()).rev() {
        let lowest = &layers[..count];
        if let Some(kept) = wiring.store.kept_tree(&key(lowest))?
            && let Some(tree) = taken(wiring, kept, count, name)?
        {
            return Ok(Some(tree));
        }
    }
    Ok(None)
}

/// A tree made from a kept one, unless that is not what it was.
fn taken(
    wiring: &Wiring,
    kept: KeptTree,
    holds: usize,
    name: &str,
) -> Result<Option<ParkedTree>, BuildError> {
    let from = wiring.store_path.join(kept.path()).join("root");
    // Whatever is wrong with it, its layers are there to be unpacked: what fails for another reason fails there, too.
    if let Ok(Some((tree, likeness))) = ParkedTree::shared(wiring, &from, holds, name)
        && likeness.digest == kept.likeness
    {
        return Ok(Some(tree));
    }
    kept.discard()?;
    Ok(None)
}

/// Removes the kept trees that were not used for longest until there is room for one more; `false` where there is none.
fn make_room(wiring: &Wiring, key: &Digest, likeness: Likeness) -> Result<bool, BuildError> {
    let volume = statvfs(&wiring.store_path).map_err(|error| BuildError::Host {
        action: "ask for the free space of",
        path: wiring.store_path.clone(),
        source: error.into(),
    })?;
    let most = MOST_BYTES.min(volume.f_blocks * volume.f_frsize / PART_OF_VOLUME);
    if likeness.bytes > most || volume.f_bavail * volume.f_frsize < likeness.bytes + LEFT_FREE {
        return Ok(false);
    }
    let kept = wiring.store.kept_trees()?;
    let mut total: u64 = kept.iter().map(|tree| tree.bytes).sum();
    for tree in kept.iter().filter(|tree| tree.key != *key) {
        if total + likeness.bytes <= most {
            return Ok(true);
        }
        if wiring.store.remove_kept(&tree.key)? == Removal::Removed {
            total -= tree.bytes;
        }
    }
    Ok(total + likeness.bytes <= most)
}

/// What a tree is kept under: the content of its layers, whose files these are, and how rootfs writes them down.
fn key(layers: &[(Descriptor, Digest)]) -> Digest {
    let chain = chain_id(layers.iter().map(|(_, diff_id)| *diff_id));
    let owner = rustix::process::geteuid().as_raw();
    Digest::of(format!("tree 1 {chain} {owner}").as_bytes())
}
