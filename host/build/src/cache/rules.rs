//! What a caller asks of the cache beyond on and off: how long the network is believed, and how many hits are put to the proof.
//!
//! Plain values; who decides by them is `reads`.

use std::time::Duration;

/// How far the cache is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheRules {
    /// How long a step that used the network counts, by whatever key it is found. Without it, a week where it is found by what it
    /// read, and for ever by its key.
    pub network_ttl: Option<Duration>,
    /// Of a hundred steps that are found by what they read, so many run all the same, and what they make is compared.
    pub verify_percent: u8,
    /// Whether steps are found by what they read, and what they read is recorded.
    pub read_sets: ReadSets,
}

/// Whether steps are found by what they read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadSets {
    /// They are.
    #[default]
    Used,
    /// By their keys alone, as with other builders.
    Off,
}
