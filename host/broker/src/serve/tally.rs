//! How often each call was answered and how long that took, for whoever makes it faster.
//!
//! Invariant: nothing is counted unless it was asked for. Times are from a notification's receipt to its answer, on whatever
//! processor, so they hold waits for locks and for the guest to take a descriptor. A job that may block counts until it is started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::table::Row;

/// Whether the calls of a step are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accounting {
    /// They are.
    Counted,
    /// They are not.
    Off,
}

/// The counts of one step, by number.
pub(super) struct Tally {
    calls: Vec<Count>,
}

#[derive(Default)]
struct Count {
    answers: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Tally {
    /// For numbers below `numbers`; `None` if nothing is to be counted.
    pub(super) fn new(accounting: Accounting, numbers: usize) -> Option<Self> {
        let calls = || (0..numbers).map(|_| Count::default()).collect();
        (accounting == Accounting::Counted).then(|| Self { calls: calls() })
    }

    /// One more answer to `number`, begun at `since`.
    pub(super) fn add(&self, number: u32, since: Instant) {
        let Some(count) = self.calls.get(number as usize) else { return };
        count.answers.fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        count.nanoseconds.fetch_add(took, Ordering::Relaxed);
    }

    /// `broker: notifications=N cpu_us=N: openat 12 x 3.4 us, ..`, the costliest first; `cpu_us` is all of this process until now.
    pub(super) fn report(&self, rows: &[Option<&'static Row>]) -> String {
        let mut counts: Vec<(u64, u64, &str)> = Vec::new();
        for (count, row) in self.calls.iter().zip(rows) {
            let (answers, time) =
                (count.answers.load(Ordering::Relaxed), count.nanoseconds.load(Ordering::Relaxed));
            if answers > 0 {
                counts.push((time, answers, row.map_or("?", |row| row.name)));
            }
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let total: u64 = counts.iter().map(|(_, answers, _)| answers).sum();
        let each = |(time, answers, name): &(u64, u64, &str)| {
            format!("{name} {answers} x {}.{} us", time / answers / 1000, time / answers % 1000 / 100)
        };
        let list: Vec<String> = counts.iter().map(each).collect();
        format!("broker: notifications={total} cpu_us={}: {}", cpu().as_micros(), list.join(", "))
    }
}

/// The processor time this process has used.
fn cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told_the_costliest_first() {
        let rows: Vec<_> = crate::table::all().take(3).map(Some).collect();
        let tally = Tally::new(Accounting::Counted, rows.len()).unwrap();
        let now = Instant::now();
        tally.add(1, now);
        for number in [2, 2, 9] {
            tally.add(number, now - Duration::from_secs(1));
        }
        let report = tally.report(&rows);
        let (head, list) = report.split_once(": ").unwrap().1.split_once(": ").unwrap();
        assert!(head.starts_with("notifications=3 cpu_us="), "{report}");
        let first = format!("{} 2 x 100", rows[2].unwrap().name);
        assert!(list.starts_with(&first), "{report}");
        assert!(list.contains(&format!("{} 1 x ", rows[1].unwrap().name)), "{report}");
        assert!(Tally::new(Accounting::Off, 3).is_none());
    }
}
