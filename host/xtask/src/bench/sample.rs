//! One measurement, many of them, and the table that shows their medians and spread.

use anyhow::{Context, Result};
use wbuild_tests::command::Outcome;

/// What `tests/guests/measure.c` printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    wall_us: u64,
    cpu_us: u64,
    peak_kib: u64,
}

impl Sample {
    /// The last line of measurements in what a command printed; the command must have succeeded.
    pub(super) fn of(outcome: Outcome) -> Result<Self> {
        let outcome = outcome.success()?;
        let text = outcome.text();
        let line =
            text.lines().rev().find_map(|line| line.split_once("measure: ").map(|(_, rest)| rest.to_owned()));
        let line = line.with_context(|| format!("{} printed no measurement:\n{text}", outcome.shown))?;
        let field = |name: &str| -> Result<u64> {
            let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            word.and_then(|word| word.parse().ok()).with_context(|| format!("no {name} in {line}"))
        };
        Ok(Self { wall_us: field("wall_us=")?, cpu_us: field("cpu_us=")?, peak_kib: field("peak_kib=")? })
    }

    /// Its wall time.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn seconds(&self) -> f64 {
        self.wall_us as f64 / 1e6
    }

    /// A part of a command's time, of which nothing else is known.
    pub(super) fn wall(wall_us: u64) -> Self {
        Self { wall_us, cpu_us: 0, peak_kib: 0 }
    }
}

/// The samples of one contestant in one case.
pub(super) struct Series {
    pub(super) contestant: &'static str,
    pub(super) samples: Vec<Sample>,
}

impl Series {
    pub(super) fn new(contestant: &'static str) -> Self {
        Self { contestant, samples: Vec::new() }
    }
}

/// The table of one case; the first contestant is the one that the others are compared with.
pub(super) fn print(case: &str, all: &[Series]) {
    println!("\n### {case}\n");
    println!(
        "| | wall s, median (min-max) | CPU s, median (min-max) | largest process MiB | wall, first = 1 |"
    );
    println!("|---|--:|--:|--:|--:|");
    let first = all.first().map_or(0.0, |series| spread(series, |sample| sample.wall_us).1);
    for series in all.iter().filter(|series| !series.samples.is_empty()) {
        let wall = spread(series, |sample| sample.wall_us);
        let cpu = spread(series, |sample| sample.cpu_us);
        let peak = spread(series, |sample| sample.peak_kib).2 * 1e6 / 1024.0;
        let shown = |(least, middle, most): (f64, f64, f64)| format!("{middle:.2} ({least:.2}-{most:.2})");
        let known = peak > 0.0;
        println!(
            "| {} | {} | {} | {} | {:.2} |",
            series.contestant,
            shown(wall),
            if known { shown(cpu) } else { "-".to_owned() },
            if known { format!("{peak:.0}") } else { "-".to_owned() },
            wall.1 / first
        );
    }
}

/// Smallest, median and largest of a field, in millions of its unit.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn spread(series: &Series, field: impl Fn(&Sample) -> u64) -> (f64, f64, f64) {
    let mut values: Vec<u64> = series.samples.iter().map(field).collect();
    values.sort_unstable();
    let at = |index: usize| values.get(index).map_or(0.0, |value| *value as f64 / 1e6);
    let middle = values.len() / 2;
    let median = if values.len().is_multiple_of(2) {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    } else {
        at(middle)
    };
    (at(0), median, at(values.len().saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle() {
        let sample = |wall_us| Sample { wall_us, cpu_us: 0, peak_kib: 0 };
        let series =
            Series { contestant: "x", samples: [5_000_000, 1_000_000, 3_000_000].map(sample).to_vec() };
        assert_eq!(spread(&series, |sample| sample.wall_us), (1.0, 3.0, 5.0));
        let series = Series { contestant: "x", samples: [1_000_000, 2_000_000].map(sample).to_vec() };
        assert_eq!(spread(&series, |sample| sample.wall_us).1, 1.5);
    }
}
