//! The content-addressed store, in OCI image-layout form.
//!
//! ```text
//! oci-layout                the marker of a layout
//! index.json                empty: blobs are found by digest
//! blobs/sha256/<hex>        verified content; appears by rename after fsync, or not
//! ingest/<unique>           content on its way in, locked by the process that writes it
//! trees/<unique>/           captured trees, and <unique>.lock, locked by the process that lives in it
//! kept/<hex>/               captured trees that outlive their build, by key; see `kept`
//! leases/<unique>           locked by each process that has the store open: what it uses is not removed
//! records/<kind>/<hex>      small documents by key: cache entries, the names of images
//! ```
//!
//! Several processes may use one store at once: nothing visible is ever changed in place, every name is written by one
//! process, and what a killed process left is told from what a living one uses by its advisory lock. A record may
//! name a blob that is gone, so readers treat a missing blob as a miss. The store never reaches the network: [`Remote`]
//! is how `build` asks for that.
//!
//! Lock order: `trees/` (while leftovers are removed), then the lock of a tree or an ingest, which is only ever tried. The
//! destination of an export is locked while its index is rewritten, and only new files are locked meanwhile.

#![forbid(unsafe_code)]

mod blobs;
mod error;
mod export;
mod import;
mod ingest;
mod kept;
mod layout;
mod lease;
mod lent;
mod lock;
mod moment;
mod names;
mod record;
mod remote;
mod removal;
mod tree;
mod upkeep;

#[cfg(test)]
mod test_rooms;

pub use blobs::Store;
pub use error::{LayoutError, StoreError};
pub use export::{ArchiveForm, write_layout_dir, write_layout_tar};
pub use import::{import, import_blob, import_document, import_documents, import_whole};
pub use ingest::{Expected, Ingest};
pub use kept::{KeptInfo, KeptTree};
pub use layout::{LayoutSource, Pick};
pub use lent::Content;
pub use names::Named;
pub use remote::{
    Admit, BoxFuture, Downloaded, ErrorClass, GitFound, Image, Progress, Pushed, Remote, RemoteError, Silent,
    Transfer, TransferKind,
};
pub use removal::remove_tree;
pub use tree::Tree;
pub use upkeep::{Held, Removal, Soundness};
