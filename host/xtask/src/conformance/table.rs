//! What the suites' scripts found: items with a verdict, and the table of them.
//!
//! A script whose words are not understood is an error, never an empty list: that would look like success.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Verdict {
    Pass,
    Fail,
    Skip,
}

/// One thing that was checked.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Item {
    /// `suite/name`.
    pub(crate) id: String,
    pub(crate) verdict: Verdict,
    /// Why it failed or was skipped.
    #[serde(default)]
    pub(crate) why: String,
}

/// All items.
#[derive(Debug, Default)]
pub(crate) struct Table {
    items: Vec<Item>,
}

impl Table {
    pub(crate) fn extend(&mut self, items: Vec<Item>) {
        self.items.extend(items);
    }

    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.items.iter().filter(|item| item.verdict == verdict).count()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut suites: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
        for item in &self.items {
            let suite = item.id.split_once('/').map_or("", |(suite, _)| suite);
            suites.entry(suite).or_default()[item.verdict as usize] += 1;
        }
        writeln!(f, "{:<16} {:>6} {:>6} {:>6}", "suite", "pass", "fail", "skip")?;
        for (suite, [pass, fail, skip]) in suites {
            writeln!(f, "{suite:<16} {pass:>6} {fail:>6} {skip:>6}")?;
        }
        for (verdict, word) in [(Verdict::Skip, "skipped"), (Verdict::Fail, "failed")] {
            for item in self.items.iter().filter(|item| item.verdict == verdict) {
                writeln!(f, "{word}: {}: {}", item.id, item.why)?;
            }
        }
        let [pass, fail, skip] =
            [Verdict::Pass, Verdict::Fail, Verdict::Skip].map(|verdict| self.count(verdict));
        write!(f, "{pass} passed, {fail} failed, {skip} skipped")
    }
}

/// The items of the report that compare.py writes.
pub(crate) fn of_report(json: &[u8]) -> Result<Vec<Item>> {
    serde_json::from_slice(json).context("the report of compare.py is not what is known here")
}

/// The items of a script that prints `FAIL what ..` lines and ends with `N passed, N failed, N skipped`. Items that passed have no line
/// of their own in every script: they are numbered.
pub(crate) fn of_lines(suite: &str, text: &str) -> Result<Vec<Item>> {
    let last = text
        .lines()
        .rev()
        .find(|line| line.ends_with(" skipped"))
        .context("it printed no last line with counts")?;
    let numbers: Vec<usize> = last.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    let [passed, failed, skipped] = numbers[..] else { anyhow::bail!("its last line is {last:?}") };
    let mut items: Vec<Item> = Vec::new();
    for line in text.lines() {
        let (verdict, rest) = match line.split_once(' ') {
            Some(("FAIL", rest)) => (Verdict::Fail, rest),
            Some(("SKIP", rest)) => (Verdict::Skip, rest),
            _ => continue,
        };
        items.push(Item { id: format!("{suite}/"), verdict, why: rest.to_owned() });
    }
    let shown = |verdict| items.iter().filter(|item| item.verdict == verdict).count();
    ensure!(shown(Verdict::Fail) == failed, "it counts {failed} failed and names {}", shown(Verdict::Fail));
    let unnamed = skipped.saturating_sub(shown(Verdict::Skip));
    let unnamed = (0..unnamed).map(|_| (Verdict::Skip, "needs what its list does not have"));
    for (verdict, why) in (0..passed).map(|_| (Verdict::Pass, "")).chain(unnamed) {
        items.push(Item { id: format!("{suite}/"), verdict, why: why.to_owned() });
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::{Table, Verdict, of_lines, of_report};

    #[test]
    fn the_table_counts_by_suite_and_names_what_failed() {
        let report = br#"[{"id": "a/one", "verdict": "PASS", "why": "", "seconds": 1.5},
            {"id": "a/two", "verdict": "FAIL", "why": "Env: want [] got [1]", "rc": 0},
            {"id": "b/three", "verdict": "SKIP", "why": "no reference"}]"#;
        let mut table = Table::default();
        table.extend(of_report(report).unwrap());
        table.extend(
            of_lines("lint", "FAIL 3 x want 1 got 2\nPASS 4\n2 passed, 1 failed, 0 skipped\n").unwrap(),
        );
        let text = table.to_string();
        let rows: Vec<String> =
            text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            rows,
            [
                "suite pass fail skip",
                "a 1 1 0",
                "b 0 0 1",
                "lint 2 1 0",
                "skipped: b/three: no reference",
                "failed: a/two: Env: want [] got [1]",
                "failed: lint/: 3 x want 1 got 2",
                "3 passed, 2 failed, 1 skipped",
            ]
        );
        assert_eq!(table.count(Verdict::Fail), 2);
    }

    #[test]
    fn a_script_that_died_is_no_success() {
        assert!(of_lines("validity", "Traceback (most recent call last):\n").is_err());
        assert!(of_lines("validity", "1 passed, 2 failed, 0 skipped\n").is_err());
        assert!(of_report(b"").is_err());
    }
}
