//! Which fences of a step stand: all of them, always, but for the controls of the attacks in tests/escape.
//!
//! Invariant: only a program that links this crate and fills in [`crate::NativeEngine::fences`] can take one down: no argument, variable or
//! file that wbuild reads does. `wbuild_step`, which is never installed, is that program.

use serde::{Deserialize, Serialize};
use wbuild_broker::filter::Fate;
use wbuild_broker::table::{self, Action, Row};

/// One fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fence {
    /// The filter's row of this call: down, the kernel runs it unseen.
    Call(String),
    /// What the filter answers to the calls of other architectures.
    Architectures,
    /// The Landlock domains of supervisor, reaper and guest.
    Landlock,
    /// Supervisor and reaper cannot be looked into by processes of the same user.
    Hidden,
    /// What the kernel executed is compared with what it was pointed at.
    Executed,
    /// Calls that may block are answered on threads of their own.
    Jobs,
    /// The reaper kills what is left when the first process has ended.
    End,
}

/// The fences that are down; [`Fences::default`] is none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Fences {
    down: Vec<Fence>,
}

/// A name that is no fence and no call.
#[derive(Debug, thiserror::Error)]
#[error("{name} is no fence: landlock, hidden, executed, jobs, end, architectures, or the name of a call")]
pub struct NoSuchFence {
    name: String,
}

impl Fences {
    /// All but these: `landlock`, `hidden`, `executed`, `jobs`, `end`, `architectures`, and calls by their names, separated by commas.
    ///
    /// # Errors
    /// A name that the table does not hold.
    pub fn without(names: &str) -> Result<Self, NoSuchFence> {
        let fence = |name: &str| match name {
            "landlock" => Ok(Fence::Landlock),
            "hidden" => Ok(Fence::Hidden),
            "executed" => Ok(Fence::Executed),
            "jobs" => Ok(Fence::Jobs),
            "end" => Ok(Fence::End),
            "architectures" => Ok(Fence::Architectures),
            _ if table::all().any(|row| row.name == name) => Ok(Fence::Call(name.to_owned())),
            _ => Err(NoSuchFence { name: name.to_owned() }),
        };
        let names = names.split(',').filter(|name| !name.is_empty());
        Ok(Self { down: names.map(fence).collect::<Result<_, _>>()? })
    }

    /// Whether it stands.
    pub(crate) fn stands(&self, fence: &Fence) -> bool {
        !self.down.contains(fence)
    }

    /// What the filter makes of a row, or of foreign architectures.
    pub(crate) fn fate(&self, row: Option<&Row>) -> Fate {
        let down = self.down.iter().any(|fence| match (fence, row) {
            (Fence::Call(name), Some(row)) => {
                row.name == name && !matches!(row.action, Action::Native if row.cases.is_empty())
            }
            (Fence::Architectures, None) => true,
            _ => false,
        });
        if down { Fate::Native } else { Fate::AsTheTableSays }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fence_stands_unless_it_is_named() {
        let (all, some) = (Fences::default(), Fences::without("landlock,mount").unwrap());
        for row in table::all() {
            assert_eq!(all.fate(Some(row)), Fate::AsTheTableSays);
            assert_eq!(some.fate(Some(row)) == Fate::Native, row.name == "mount", "{}", row.name);
        }
        assert!(all.stands(&Fence::Landlock) && some.stands(&Fence::Hidden));
        assert!(!some.stands(&Fence::Landlock) && some.fate(None) == Fate::AsTheTableSays);
        assert!(Fences::without("open,no_such_call").is_err());
    }
}
