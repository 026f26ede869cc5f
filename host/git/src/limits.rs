//! How much a server may make wbuild hold or do.
//!
//! A small pack can stand for any amount of data: deltas copy what they are based on as often as they like. So the sizes that it
//! declares are added up before any of it is decoded, and what decoding holds in memory at once is bounded, too.

/// Bounds of one checkout, submodules included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of one pack.
    pub pack: u64,
    /// The objects of one pack.
    pub objects: u64,
    /// The bytes of one object, or of one delta.
    pub object: u64,
    /// The bytes that the objects of one pack stand for together.
    pub expanded: u64,
    /// The bytes of an object and of all that it is made from by deltas.
    pub chain: u64,
    /// How many deltas may be put on one another.
    pub depth: u64,
    /// The files and directories that are written.
    pub entries: u64,
    /// The bytes of the files that are written.
    pub written: u64,
    /// Repositories within repositories.
    pub nesting: u64,
    /// Submodules in all.
    pub submodules: u64,
    /// The bytes of what a server says of its references.
    pub references: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            pack: 16 * GIB,
            objects: 8 << 20,
            object: GIB,
            expanded: 128 * GIB,
            chain: 2 * GIB,
            depth: 4096,
            entries: 4 << 20,
            written: 64 * GIB,
            nesting: 16,
            submodules: 1024,
            references: 64 << 20,
        }
    }
}
