//! `wbuild policy`: look at a policy, try it, and learn what a code means. Nothing here runs a build.

mod file;
mod host;

use std::io::Write;
use std::path::{Path, PathBuf};

use wbuild_policy::{BUILT_IN, Cases, Code};

pub(crate) use file::{failure, load};
pub(crate) use host::{meets, missing};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::stdout_failure;

/// Look at a policy file, test it, explain a code
///
/// POLICY is a file, or one of the policies that wbuild holds: trusted, ci, untrusted, hermetic, wasm-only.
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print a policy
    Show {
        /// With what it extends, each rule with the file and line it comes from
        #[arg(long)]
        effective: bool,
        /// The policy
        policy: String,
    },
    /// Check that a policy is one; with -f, also what it says of a Dockerfile without building it
    Check {
        /// A Dockerfile
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// The policy
        policy: String,
    },
    /// Compare the decisions of policies with the expected ones of case files
    Test {
        /// Case files
        #[arg(required = true, value_name = "CASES")]
        cases: Vec<PathBuf>,
    },
    /// Print the digest of a policy, as audits and provenance hold it
    Digest {
        /// The digest in audit mode
        #[arg(long)]
        audit: bool,
        /// The policy
        policy: String,
    },
    /// Say what a code such as P0312 means, or list them all
    Explain {
        /// The code
        code: Option<String>,
    },
    /// Print the JSON schema of policy files, for editors
    Schema,
    /// List the policies that wbuild holds
    List,
}

/// Runs a subcommand.
///
/// # Errors
/// Exit 4 for a policy that is none, a Dockerfile it denies, and cases that are decided otherwise.
pub(crate) fn run(args: &PolicyArgs) -> Result<(), Failure> {
    match &args.command {
        Command::Show { effective: false, policy } => print(&file::text(policy)?.text),
        Command::Show { effective: true, policy } => print(&load(policy)?.effective()),
        Command::Check { file: None, policy } => {
            load(policy)?;
            print(&format!("{policy}: this is a policy\n"))
        }
        Command::Check { file: Some(dockerfile), policy } => check(policy, dockerfile),
        Command::Test { cases } => test(cases),
        Command::Digest { audit, policy } => {
            let mut rules = load(policy)?;
            if *audit {
                rules.set_mode(wbuild_policy::Mode::Audit);
            }
            print(&format!("{}\n", wbuild_build::policy_digest(&rules)))
        }
        Command::Explain { code } => explain(code.as_deref()),
        Command::Schema => {
            let text = serde_json::to_string_pretty(&wbuild_policy::schema())
                .map_err(|error| Failure::new(Exit::Internal, format!("cannot write the schema: {error}")))?;
            print(&format!("{text}\n"))
        }
        Command::List => {
            let lines = BUILT_IN.iter().map(|(name, text)| {
                let about = text.lines().next().unwrap_or_default().trim_start_matches("# ");
                format!("{name:<10}  {about}\n")
            });
            print(&lines.collect::<String>())
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(stdout_failure)
}

fn explain(code: Option<&str>) -> Result<(), Failure> {
    let Some(name) = code else {
        return print(
            &Code::ALL.iter().map(|(code, title, _)| format!("{code}  {title}\n")).collect::<String>(),
        );
    };
    let known = Code::named(name).and_then(|code| Code::ALL.iter().find(|(known, _, _)| *known == code));
    match known {
        Some((code, title, text)) => print(&format!("{code}: {title}\n\n{text}\n")),
        None => {
            Err(Failure::usage(format!("there is no code {name:?}"))
                .hint("`wbuild policy explain` lists them"))
        }
    }
}

fn test(files: &[PathBuf]) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for path in files {
        let source = file::read(path)?;
        let cases = Cases::parse(&source).map_err(|error| failure(&error))?;
        let set = file::load_from(&source.name, &cases.policy)?;
        let mismatches = cases.run(&set);
        let count = cases.count();
        print(&format!("{}: {} of {count} as expected\n", source.name, count - mismatches.len()))?;
        wrong.extend(
            mismatches
                .into_iter()
                .map(|wrong| format!("{}: {}: {}", source.name, wrong.what, wrong.difference)),
        );
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(Exit::Policy, format!("{} cases are decided otherwise", wrong.len()));
    failure.causes = wrong;
    Err(failure)
}

fn check(policy: &str, dockerfile: &Path) -> Result<(), Failure> {
    let set = load(policy)?;
    let text = file::read(dockerfile)?;
    let source = crate::build::Source { name: text.name, text: text.text.into_bytes() };
    let parsed = wbuild_dockerfile::parse(&source.text).map_err(|error| {
        Failure::from_error(Exit::Dockerfile, &error)
            .at(error.span().and_then(|span| crate::build::place(&source, span)))
    })?;
    let denied = wbuild_build::denied_by(&set, &parsed);
    if denied.is_empty() {
        return print(&format!("{policy} denies no line of {}\n", source.name));
    }
    Err(crate::build::denied_lines(&denied, &source))
}
