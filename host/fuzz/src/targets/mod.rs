//! What is read, and what has to hold of it.

mod dockerfile;
mod documents;
mod ignore;
mod layer;
mod program;

/// One reader under damage.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// The inputs to begin with.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// What the format is made of.
    pub(crate) words: &'static [&'static [u8]],
    /// Makes an input that was changed pass checks that would hide what lies behind them.
    pub(crate) repair: fn(&mut Vec<u8>),
    /// Reads it; panics on what must not be. The text is the outcome's shape.
    pub(crate) read: fn(&[u8]) -> String,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    dockerfile::TARGET,
    ignore::TARGET,
    layer::TARGET,
    documents::MANIFEST,
    documents::INDEX,
    documents::CONFIG,
    documents::REFERENCE,
    documents::CREDENTIALS,
    documents::POLICY,
    program::TARGET,
];

/// For formats without checksums.
fn as_it_is(_: &mut Vec<u8>) {}

#[cfg(test)]
mod tests {
    use super::TARGETS;
    use std::time::Duration;

    #[test]
    fn a_short_run_of_every_target_finds_nothing() {
        for target in TARGETS {
            let report = crate::run(target, Duration::from_millis(1500));
            let report = report.unwrap_or_else(|finding| panic!("{}: {finding}", target.name));
            assert!(report.inputs > 50 && report.shapes > 2, "{}: {report}", target.name);
        }
    }
}
