//! `wbuild doctor`.

use std::io::Write;
use std::path::PathBuf;

use wbuild_policy::Degrade;

use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::location;
use crate::out::stdout_failure;
use crate::terminal::{Paint, Style};

/// Show what this host offers and what is missing for building
///
/// Each line is one thing a build needs or profits from. Exits with 8 if something it cannot do without is missing.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Directory of the store, as for `wbuild build`
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// What this policy requires of the host, too
    #[arg(long, value_name = "FILE|NAME")]
    policy: Option<String>,
}

/// How a finding is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Works without it, less well.
    Weak,
    /// Nothing works without it.
    Missing,
}

struct Line {
    verdict: Verdict,
    what: String,
    found: String,
    meaning: String,
}

/// Probes the host and prints one line for each thing.
///
/// # Errors
/// Exit 8 if something needed is missing; standard output cannot be written.
pub(crate) fn run(args: &DoctorArgs, environment: &Environment) -> Result<(), Failure> {
    let mut lines = mechanisms();
    lines.extend(place(args, environment));
    if let Some(policy) = &args.policy {
        lines.extend(required(policy)?);
    }
    let paint = Paint::for_stdout(environment);
    let mut out = std::io::stdout().lock();
    for line in &lines {
        let mark = match line.verdict {
            Verdict::Good => paint.of(Style::Good, "ok     "),
            Verdict::Weak => paint.of(Style::Warning, "weak   "),
            Verdict::Missing => paint.of(Style::Error, "missing"),
        };
        writeln!(out, "{mark}  {:<28} {}", line.what, line.found).map_err(stdout_failure)?;
        if line.verdict != Verdict::Good {
            writeln!(out, "         {}", paint.of(Style::Faint, &line.meaning)).map_err(stdout_failure)?;
        }
    }
    let missing: Vec<&str> =
        lines.iter().filter(|line| line.verdict == Verdict::Missing).map(|line| line.what.as_str()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Host, format!("this host lacks what a build needs: {}", missing.join(", "))))
}

/// What a policy requires, and what enforces the rest of it.
fn required(policy: &str) -> Result<Vec<Line>, Failure> {
    let rules = crate::policy::load(policy)?;
    let missing = crate::policy::missing(&rules);
    let mut lines: Vec<Line> = missing
        .into_iter()
        .map(|(text, degrade)| Line {
            verdict: if degrade == Degrade::Fail { Verdict::Missing } else { Verdict::Weak },
            what: format!("policy {policy}"),
            found: "requires what is not here".to_owned(),
            meaning: text,
        })
        .collect();
    if lines.is_empty() {
        lines.push(Line {
            verdict: Verdict::Good,
            what: format!("policy {policy}"),
            found: "every rule can be enforced here (docs/policy.md: by what)".to_owned(),
            meaning: String::new(),
        });
    }
    Ok(lines)
}

/// What the kernel offers for running steps.
fn mechanisms() -> Vec<Line> {
    wbuild_sys::probe::all().into_iter().map(Line::from).collect()
}

impl From<wbuild_sys::probe::Finding> for Line {
    fn from(finding: wbuild_sys::probe::Finding) -> Self {
        use wbuild_sys::probe;
        let verdict = match finding.verdict {
            probe::Verdict::Good => Verdict::Good,
            probe::Verdict::Weak => Verdict::Weak,
            probe::Verdict::Missing => Verdict::Missing,
        };
        Self {
            verdict,
            what: finding.mechanism.to_owned(),
            found: finding.found,
            meaning: finding.meaning.to_owned(),
        }
    }
}

/// The store's place and its room.
fn place(args: &DoctorArgs, environment: &Environment) -> Vec<Line> {
    let path = match location::find(args.root.as_deref(), environment) {
        Ok(path) => path,
        Err(failure) => {
            return vec![Line {
                verdict: Verdict::Missing,
                what: "store".to_owned(),
                found: failure.message.clone(),
                meaning: failure.causes.join("; "),
            }];
        }
    };
    let mut lines = vec![Line {
        verdict: Verdict::Good,
        what: "store".to_owned(),
        found: path.display().to_string(),
        meaning: String::new(),
    }];
    if let Ok(stat) = rustix::fs::statvfs(&path) {
        if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC) {
            lines.push(Line {
                verdict: Verdict::Missing,
                what: "programs in the store".to_owned(),
                found: "mounted noexec".to_owned(),
                meaning:
                    "steps execute programs from trees in the store: choose a volume without noexec by --root"
                        .to_owned(),
            });
        }
        let free = stat.f_bavail.saturating_mul(stat.f_frsize) / (1 << 20);
        let verdict = if free < 2048 { Verdict::Weak } else { Verdict::Good };
        lines.push(Line {
            verdict,
            what: "disk".to_owned(),
            found: format!("{free} MiB free"),
            meaning: "a tree needs as much as the unpacked image, a layer as much as it compresses to"
                .to_owned(),
        });
    }
    lines
}
