//! Records that travel between a step's tree and another captured tree that is grafted into it.
//!
//! A graft's inodes are looked up in the records of the step's own tree, so the other tree lends its records for the length of the
//! step, and where it can be written it gets them back changed. Two steps may have the same tree grafted at the same time: what
//! comes back is what this step changed, laid over what the other step has persisted meanwhile.

use wbuild_layer::Timestamp;

use crate::RootError;
use crate::record::{GraftId, InodeKey, Record, Scope};
use crate::root::Root;

/// What a tree has lent.
#[derive(Debug)]
pub struct Lent {
    graft: GraftId,
    records: Vec<(InodeKey, Timestamp, Record)>,
}

impl Root {
    /// Takes over the records of `other`, which is grafted here as `graft`. An inode that both trees have names of has the same record in both.
    pub fn borrow_records(&self, other: &Root, graft: GraftId) -> Lent {
        let mut records = other.records().persistent();
        records.retain(|(key, birth, _)| !self.records().has(*key, *birth));
        for (key, birth, record) in &records {
            self.records().restore(*key, *birth, Record { scope: Scope::Graft(graft), ..record.clone() });
        }
        Lent { graft, records }
    }

    /// Gives the records of a graft back to `other`, which was opened anew, and persists them there. Every guest process is gone by now.
    ///
    /// # Errors
    /// The host's.
    pub fn return_records(&self, other: &Root, lent: Lent) -> Result<(), RootError> {
        let now = self.records().named(Scope::Graft(lent.graft));
        for (key, birth, _) in &lent.records {
            if now.binary_search_by_key(key, |(key, ..)| *key).is_err() {
                other.records().forget(*key, *birth);
            }
        }
        for (key, birth, record) in now {
            other.records().restore(key, birth, Record { scope: Scope::Tree, ..record });
        }
        // The index is for journals, and nothing keeps one of this tree.
        other.links().clear();
        other.persist()
    }
}
