//! The clocks a module sees: the machine's, or a frozen one.
//!
//! A frozen wall clock always says the same second. The monotonic clock beside it goes on by a microsecond with each
//! reading, so that a module that waits for time to pass sees it pass, in the same way in every run.

use std::time::Duration;

use rustix::time::ClockId;

/// A reading moves the frozen monotonic clock on by this many nanoseconds.
const STEP: u64 = 1000;

/// The clocks of one module.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    /// The machine's.
    Real,
    /// The same in every run.
    Frozen {
        /// What the wall clock says, in seconds since 1970.
        wall: u64,
        /// What the monotonic clock says next, in nanoseconds.
        monotonic: u64,
    },
}

impl Clock {
    /// The wall clock, since 1970.
    pub(crate) fn wall(&self) -> Duration {
        match self {
            Self::Real => read(ClockId::Realtime),
            Self::Frozen { wall, .. } => Duration::from_secs(*wall),
        }
    }

    /// The monotonic clock, in nanoseconds.
    pub(crate) fn monotonic(&mut self) -> u64 {
        match self {
            Self::Real => nanoseconds(read(ClockId::Monotonic)),
            Self::Frozen { monotonic, .. } => {
                *monotonic = monotonic.saturating_add(STEP);
                *monotonic
            }
        }
    }

    /// Time that was waited for has passed.
    pub(crate) fn pass(&mut self, waited: Duration) {
        if let Self::Frozen { monotonic, .. } = self {
            *monotonic = monotonic.saturating_add(nanoseconds(waited));
        }
    }
}

/// As WASI counts time; the end of a count is in the year 2554.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn read(clock: ClockId) -> Duration {
    let now = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_clock_reads_the_same_in_every_run() {
        let read = || {
            let mut clock = Clock::Frozen { wall: 1_700_000_000, monotonic: 0 };
            let first = (clock.wall(), clock.monotonic(), clock.monotonic());
            clock.pass(Duration::from_secs(2));
            (first, clock.monotonic())
        };
        assert_eq!(read(), read());
        let ((wall, first, second), later) = read();
        assert_eq!(wall.as_secs(), 1_700_000_000);
        assert!(first < second && second + 2_000_000_000 < later + 1);
    }
}
