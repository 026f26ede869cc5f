//! The times a build writes.
//!
//! Step k of a stage writes files no later than the epoch less 1000 seconds plus k seconds: what a step made never looks as old
//! as what a later step copied, and steps added later change no earlier layer. An epoch within the first 1000 seconds
//! of 1970 counts from zero, because many programs cannot hold earlier times; the order between steps is kept.

use wbuild_layer::Timestamp;
use wbuild_monitor::MtimeRule;
use wbuild_oci::Time;

/// How far before the epoch the first step's files lie, in seconds.
const ROOM: i64 = 1000;

/// A stage's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    epoch: Option<i64>,
    now: i64,
}

/// Where the files of a step come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// COPY or ADD from a context, a heredoc or an archive: times on the host mean nothing.
    Context,
    /// A process, or another stage: times mean something as far as they are in the past.
    Build,
}

impl Times {
    /// `epoch` is the stage's; without one, times are the clock's, `now` being the build's begin.
    pub(crate) fn new(epoch: Option<i64>, now: i64) -> Self {
        Self { epoch, now }
    }

    /// The image's and its history's `created`.
    pub(crate) fn created(self) -> Time {
        Time::from_unix(self.epoch.unwrap_or(self.now))
    }

    /// What happens to the times of what step `k` (from 1) writes.
    pub(crate) fn rule(self, k: u32, writer: Writer) -> MtimeRule {
        let Some(epoch) = self.epoch else { return MtimeRule::Keep };
        let seconds = epoch.saturating_sub(ROOM).max(0).saturating_add(i64::from(k));
        let time = Timestamp { seconds, nanoseconds: 0 };
        match writer {
            Writer::Context => MtimeRule::SetTo(time),
            Writer::Build => MtimeRule::NoLaterThan(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(rule: MtimeRule) -> i64 {
        match rule {
            MtimeRule::SetTo(time) | MtimeRule::NoLaterThan(time) => time.seconds,
            MtimeRule::Keep => panic!("keeps"),
        }
    }

    #[test]
    fn later_steps_are_later_and_never_reach_the_epoch() {
        let times = Times::new(Some(1_700_000_000), 0);
        assert_eq!(seconds(times.rule(1, Writer::Build)), 1_699_999_001);
        assert!(seconds(times.rule(2, Writer::Context)) > seconds(times.rule(1, Writer::Build)));
        assert!(seconds(times.rule(999, Writer::Context)) < 1_700_000_000);
    }

    #[test]
    fn the_order_holds_at_the_epoch_zero() {
        let times = Times::new(Some(0), 77);
        assert_eq!(seconds(times.rule(1, Writer::Context)), 1);
        assert_eq!(seconds(times.rule(2, Writer::Build)), 2);
        assert_eq!(times.created().unix(), 0);
    }

    #[test]
    fn without_an_epoch_times_are_the_clocks() {
        let times = Times::new(None, 77);
        assert_eq!(times.rule(1, Writer::Context), MtimeRule::Keep);
        assert_eq!(times.created().unix(), 77);
    }
}
