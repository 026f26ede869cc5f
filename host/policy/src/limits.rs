//! Limits of a step, and how durations and sizes are written.

use serde::{Deserialize, Serialize};

/// What bounds one step. The smallest of all clauses counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Milliseconds by the clock.
    pub wall: Option<u64>,
    /// Milliseconds of processor time, all processes together.
    pub cpu: Option<u64>,
    /// Bytes of memory, all processes together.
    pub memory: Option<u64>,
    /// Processes at one time.
    pub processes: Option<u64>,
    /// Open descriptors of each process.
    pub files: Option<u64>,
    /// Bytes written to files that are still there, all together; no single file may be larger.
    pub write: Option<u64>,
    /// Bytes of output.
    pub log: Option<u64>,
}

/// One of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// [`Limits::wall`]
    Wall,
    /// [`Limits::cpu`]
    Cpu,
    /// [`Limits::memory`]
    Memory,
    /// [`Limits::processes`]
    Processes,
    /// [`Limits::write`]
    Write,
    /// [`Limits::log`]
    Log,
}

impl Limit {
    /// The key in the policy file.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Wall => "limits.wall",
            Self::Cpu => "limits.cpu",
            Self::Memory => "limits.memory",
            Self::Processes => "limits.processes",
            Self::Write => "limits.write",
            Self::Log => "limits.log",
        }
    }

    /// A value of this limit as one writes it.
    #[must_use]
    pub fn show(self, value: u64) -> String {
        match self {
            Self::Wall | Self::Cpu => duration_text(value),
            Self::Memory | Self::Write | Self::Log => size_text(value),
            Self::Processes => value.to_string(),
        }
    }
}

impl Limits {
    /// True if nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The value of one limit.
    #[must_use]
    pub const fn of(&self, limit: Limit) -> Option<u64> {
        match limit {
            Limit::Wall => self.wall,
            Limit::Cpu => self.cpu,
            Limit::Memory => self.memory,
            Limit::Processes => self.processes,
            Limit::Write => self.write,
            Limit::Log => self.log,
        }
    }

    pub(crate) fn narrow(&mut self, other: &Self) {
        let smaller = |mine: &mut Option<u64>, theirs: Option<u64>| {
            *mine = match (*mine, theirs) {
                (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
                (mine, theirs) => mine.or(theirs),
            };
        };
        smaller(&mut self.wall, other.wall);
        smaller(&mut self.cpu, other.cpu);
        smaller(&mut self.memory, other.memory);
        smaller(&mut self.processes, other.processes);
        smaller(&mut self.files, other.files);
        smaller(&mut self.write, other.write);
        smaller(&mut self.log, other.log);
    }
}

/// `90s`, `10m`, `1h30m`, `250ms` to milliseconds.
pub(crate) fn duration(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    sum(text, UNITS)
        .ok_or_else(|| format!("{text:?} is not a duration such as \"90s\", \"10m\" or \"1h30m\""))
}

/// `512MiB`, `2GiB`, `100kB` to bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, u64)] = &[
        ("B", 1),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    sum(text, UNITS).ok_or_else(|| format!("{text:?} is not a size such as \"512MiB\" or \"2GiB\""))
}

/// Numbers each followed by a unit; at least one, none of them nothing.
fn sum(mut text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut total = 0_u64;
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, rest) = text.split_at(digits);
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(end);
        let factor = units.iter().find(|(name, _)| *name == unit)?.1;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        text = rest;
    }
    (total > 0).then_some(total)
}

fn duration_text(millis: u64) -> String {
    match millis {
        _ if !millis.is_multiple_of(1000) => format!("{millis}ms"),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ => format!("{}s", millis / 1000),
    }
}

fn size_text(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        let size = 1_u64 << shift;
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_and_shown() {
        assert_eq!(duration("1h30m"), Ok(5_400_000));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        assert_eq!(Limit::Wall.show(5_400_000), "90m");
        assert_eq!(Limit::Memory.show(512 << 20), "512MiB");
        for wrong in ["", "5", "m", "0s", "5x", "99999999999999999999h", "-5s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(size("5 MiB").is_err());
    }

    #[test]
    fn the_smaller_limit_counts() {
        let mut limits = Limits { wall: Some(5), memory: Some(9), ..Limits::default() };
        limits.narrow(&Limits { wall: Some(7), cpu: Some(1), memory: Some(3), ..Limits::default() });
        assert_eq!(limits, Limits { wall: Some(5), cpu: Some(1), memory: Some(3), ..Limits::default() });
    }
}
