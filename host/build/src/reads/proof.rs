//! `--cache-verify`: a step that was found by what it read runs all the same, and what it makes is held against what was found.
//!
//! A difference fails the build, and what was known of the step's reads is forgotten. It is either a step that depends on what no builder sees
//! (the clock, random numbers, the network), or a defect of the recorder: nobody but a person can tell. Layers are compared by content, so
//! how they are compressed is no difference.

use wbuild_oci::Digest;
use wbuild_plan::Step;

use super::{Hit, READS};
use crate::cache::Made;
use crate::compare::{self, Difference, Place};
use crate::error::BuildError;
use crate::search::Search;
use crate::stage::StageRunner;

/// So many differences are told.
const SHOWN: usize = 5;

/// Whether a hit is one of the `percent` of all that are put to the proof; `salt` is another one in each build.
fn is_drawn(key: &Digest, salt: i64, percent: u8) -> bool {
    let drawn = Digest::of(format!("{key} {salt}").as_bytes());
    let [a, b, ..] = *drawn.as_bytes();
    u16::from_be_bytes([a, b]) % 100 < u16::from(percent)
}

impl StageRunner<'_> {
    /// Whether a step that was found by what it read is to run all the same.
    pub(crate) fn doubts(&self, search: &Search) -> bool {
        let percent = self.request.cache_rules.verify_percent;
        search.claims.first().is_some_and(|claim| is_drawn(&claim.key(), self.now, percent))
    }

    /// Compares what a step made with what was found.
    ///
    /// # Errors
    /// [`BuildError::CacheDiffers`].
    pub(crate) fn prove(
        &self,
        step: &Step,
        search: &Search,
        hit: &Hit,
        made: &Made,
    ) -> Result<(), BuildError> {
        let content = |made: &Made| made.layer.map(|layer| layer.diff_id);
        if content(made) == content(&hit.made) && made.image == hit.made.image {
            return Ok(());
        }
        // What this run left is on its way to the disk, its own read set with it.
        self.syncs.wait()?;
        if let Some(weak) = &search.weak {
            self.wiring.store.remove_record(READS, weak)?;
        }
        let differences = self.differences(&hit.made, made)?;
        Err(BuildError::CacheDiffers { name: step.name.clone(), span: step.span, differences })
    }

    fn differences(&self, found: &Made, made: &Made) -> Result<Vec<String>, BuildError> {
        let mut told = Vec::new();
        if found.image != made.image {
            told.push("what its tools changed of the image".to_owned());
        }
        match (found.layer, made.layer) {
            (Some(one), Some(other)) if one.diff_id != other.diff_id => {
                let mut all = Vec::new();
                // A layer that only a shared cache has is not fetched to be compared.
                if self.wiring.store.has(&one.digest)? {
                    let pair = |blob: wbuild_layer::Blob| (blob.descriptor(), blob.diff_id);
                    compare::layer(&self.wiring.store, 0, &pair(one), &pair(other), &mut all)?;
                }
                told.extend(all.iter().filter_map(told_of));
                if told.is_empty() {
                    told.push(format!("the layer was {}, is {}", one.diff_id, other.diff_id));
                }
            }
            (Some(_), None) => told.push("it made a layer, and makes none".to_owned()),
            (None, Some(_)) => told.push("it made no layer, and makes one".to_owned()),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let more = told.len().saturating_sub(SHOWN);
        told.truncate(SHOWN);
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        Ok(told)
    }
}

/// One path of a layer that differs; digests of the layers themselves say nothing.
fn told_of(difference: &Difference) -> Option<String> {
    let Place::Layer(_, Some(path)) = &difference.place else { return None };
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let (one, other) = (shown(&difference.one), shown(&difference.other));
    Some(format!("{path}: its {} was {one}, is {other}", difference.field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_drawn_as_were_asked_for() {
        let keys: Vec<Digest> = (0..2_000).map(|n: u32| Digest::of(&n.to_le_bytes())).collect();
        let drawn = |percent| keys.iter().filter(|key| is_drawn(key, 7, percent)).count();
        assert_eq!((drawn(0), drawn(100)), (0, 2_000));
        assert!((400..600).contains(&drawn(25)), "{}", drawn(25));
        assert!(keys.iter().any(|key| is_drawn(key, 7, 25) != is_drawn(key, 8, 25)), "others in each build");
    }
}
