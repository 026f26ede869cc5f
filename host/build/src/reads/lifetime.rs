//! How long a run of a step is believed: `# wbuild: cache=12h` above a RUN.
//!
//! Without it, a step that used the network is believed for as long as `--cache-network-ttl` says; where that says nothing, for a week where it is
//! found by what it read, and for ever by its key, as with every builder. With it, the step runs again when its last run is older, by
//! whatever key it is found and whether it used the network or not.

use std::time::Duration;

use wbuild_monitor::NetworkUse;
use wbuild_plan::Span;

use crate::error::BuildError;

/// What a step that used the network and is found by what it read is believed for where nothing is said.
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Nothing is said.
    Unsaid,
    /// So long.
    For(Duration),
}

impl Lifetime {
    /// What the comments right above an instruction say.
    ///
    /// # Errors
    /// [`BuildError::Lifetime`] for what is no duration.
    pub(crate) fn of(dockerfile: &[u8], span: Span) -> Result<Self, BuildError> {
        let lines: Vec<&[u8]> = dockerfile.split(|byte| *byte == b'\n').collect();
        let above = usize::try_from(span.start.line).unwrap_or(1).saturating_sub(1).min(lines.len());
        for line in lines[..above].iter().rev() {
            let line = String::from_utf8_lossy(line);
            let Some(comment) = line.trim().strip_prefix('#') else { break };
            let Some(said) = comment.trim().strip_prefix("wbuild:") else { continue };
            let Some(text) = said.trim().strip_prefix("cache=") else { continue };
            let duration = lifetime(text.trim())
                .ok_or_else(|| BuildError::Lifetime { span, text: text.trim().to_owned() })?;
            return Ok(Self::For(duration));
        }
        Ok(Self::Unsaid)
    }

    /// Whether a run of this age still counts; `ttl` is what `--cache-network-ttl` says.
    pub(crate) fn holds(
        self,
        by: FoundBy,
        network: NetworkUse,
        age: Duration,
        ttl: Option<Duration>,
    ) -> bool {
        match (self, network, ttl) {
            (Self::For(most), ..) => age < most,
            (Self::Unsaid, NetworkUse::Used, Some(ttl)) => age < ttl,
            (Self::Unsaid, NetworkUse::Used, None) => by == FoundBy::Key || age < WEEK,
            (Self::Unsaid, NetworkUse::None, _) => true,
        }
    }
}

/// How a run was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundBy {
    /// By the step's own key.
    Key,
    /// By what it read.
    Reads,
}

/// `90s`, `30m`, `12h`, `7d`, `2w`.
#[must_use]
pub fn lifetime(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let size = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
    Some(Duration::from_secs(count.checked_mul(size)?))
}

#[cfg(test)]
mod tests {
    use wbuild_plan::Position;

    use super::*;

    fn at(text: &str, line: u32) -> Result<Lifetime, BuildError> {
        let position = |line| Position { line, column: 1 };
        Lifetime::of(text.as_bytes(), Span { start: position(line), end: position(line) })
    }

    #[test]
    fn the_comments_right_above_count() {
        let text = "FROM x\n# wbuild: cache=12h\n# why\nRUN a\nRUN b\n#wbuild:cache=0s\nRUN c\n# wbuild: cache=soon\nRUN d\n";
        assert_eq!(at(text, 4).unwrap(), Lifetime::For(Duration::from_secs(12 * 3600)));
        assert_eq!(at(text, 5).unwrap(), Lifetime::Unsaid);
        assert_eq!(at(text, 7).unwrap(), Lifetime::For(Duration::ZERO));
        assert!(at(text, 9).unwrap_err().to_string().contains("soon"));
    }

    #[test]
    fn the_network_makes_a_difference_where_nothing_is_said() {
        let (day, month) = (Duration::from_secs(86_400), Duration::from_secs(30 * 86_400));
        let unsaid = |by, network, age, ttl| Lifetime::Unsaid.holds(by, network, age, ttl);
        let (key, reads) = (FoundBy::Key, FoundBy::Reads);
        assert!(unsaid(reads, NetworkUse::Used, day, None));
        assert!(!unsaid(reads, NetworkUse::Used, month, None));
        assert!(unsaid(key, NetworkUse::Used, month, None), "as every builder has it");
        for by in [key, reads] {
            assert!(unsaid(by, NetworkUse::Used, day, Some(month)));
            assert!(!unsaid(by, NetworkUse::Used, month, Some(day)));
            assert!(unsaid(by, NetworkUse::None, month, Some(day)));
            let minute = Lifetime::For(Duration::from_secs(60));
            assert!(!minute.holds(by, NetworkUse::None, day, None));
            assert!(!minute.holds(by, NetworkUse::None, day, Some(month)), "what a line says counts for it");
        }
        assert!(!Lifetime::For(Duration::ZERO).holds(key, NetworkUse::None, Duration::ZERO, None));
    }
}
