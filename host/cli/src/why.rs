//! `wbuild why`: what the last build ran, and why.

use std::io::Write;
use std::path::PathBuf;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wbuild_build::{Decision, LastBuild};
use wbuild_store::Store;

use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::location;
use crate::out::stdout_failure;

/// Explain which steps the last build ran, and which changes made them run
#[derive(Debug, clap::Args)]
pub(crate) struct WhyArgs {
    /// Part of a step's name as the progress shows it, such as `3/7` or `RUN make` [default: every step]
    step: Option<String>,

    /// Directory of the store [default: $WBUILD_ROOT, /scratch, $XDG_CACHE_HOME/wbuild, $HOME/.cache/wbuild]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// Prints it.
///
/// # Errors
/// Exit 2 where no step is meant; exit 8 where the store fails.
pub(crate) fn run(args: &WhyArgs, environment: &Environment) -> Result<(), Failure> {
    let root = location::find(args.root.as_deref(), environment)?;
    let failed = |error: wbuild_store::StoreError| Failure::from_error(Exit::Host, &error);
    let dir = Dir::open_ambient_dir(&root, ambient_authority()).map_err(|error| {
        Failure::new(Exit::Host, format!("cannot open the store at {}: {error}", root.display()))
    })?;
    let store = Store::open(&dir).map_err(failed)?;
    let last = LastBuild::read(&store)
        .map_err(failed)?
        .ok_or_else(|| Failure::usage(format!("the store at {} knows of no build", root.display())))?;
    let wanted = args.step.as_deref().unwrap_or_default();
    let text: String =
        last.decisions.iter().filter(|decision| decision.step.contains(wanted)).map(explained).collect();
    if text.is_empty() && !wanted.is_empty() {
        let steps: Vec<&str> = last.decisions.iter().map(|decision| decision.step.as_str()).collect();
        return Err(Failure::usage(format!("the last build of {} has no step {wanted:?}", last.dockerfile))
            .hint(format!("its steps: {}", steps.join("; "))));
    }
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(stdout_failure)
}

fn explained(decision: &Decision) -> String {
    let Decision { step, cached, reasons, remarks } = decision;
    let mut text = format!("{step}\n");
    let how = if *cached { "cached" } else { "ran" };
    if *cached && reasons.is_empty() {
        text.push_str("    cached: nothing that it depends on has changed\n");
    } else if reasons.is_empty() {
        text.push_str("    ran: no earlier build of it is known\n");
    }
    for reason in reasons {
        text.push_str(&format!("    {how}: {reason}\n"));
    }
    for remark in remarks {
        text.push_str(&format!("    {remark}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_its_reasons() {
        let decision = |cached, reasons: &[&str]| Decision {
            step: "[1/2] RUN x".to_owned(),
            cached,
            reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
            remarks: Vec::new(),
        };
        assert!(explained(&decision(true, &[])).contains("cached: nothing"));
        assert!(explained(&decision(false, &[])).contains("no earlier build"));
        assert_eq!(
            explained(&decision(true, &["it read the same"])),
            "[1/2] RUN x\n    cached: it read the same\n"
        );
        assert_eq!(
            explained(&decision(false, &["f changed", "g is new"])),
            "[1/2] RUN x\n    ran: f changed\n    ran: g is new\n"
        );
        let remarks = vec!["found by its key alone".to_owned()];
        assert!(
            explained(&Decision { remarks, ..decision(false, &[]) })
                .ends_with("    found by its key alone\n")
        );
    }
}
