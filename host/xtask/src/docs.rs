//! `cargo xtask docs`: the pages that list a table, made from the code; `cargo xtask test` checks that they are current.

use crate::process::{self, workspace};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::process::Command;
use wbuild_broker::table::{self, Action, Case, Condition, Test};

/// Writes every page.
pub(crate) fn write() -> Result<()> {
    std::fs::create_dir_all(workspace().join("docs")).context("docs")?;
    for (name, text) in pages()? {
        std::fs::write(workspace().join(name), text).context(name)?;
    }
    Ok(())
}

/// An error that names the first page that is not what the code says.
pub(crate) fn check() -> Result<()> {
    for (name, text) in pages()? {
        if std::fs::read_to_string(workspace().join(name)).unwrap_or_default() != text {
            bail!("{name} is not current: `cargo xtask docs` writes it");
        }
    }
    Ok(())
}

fn pages() -> Result<[(&'static str, String); 2]> {
    Ok([("docs/syscalls.md", syscalls()), ("docs/cli.md", cli()?)])
}

fn syscalls() -> String {
    let mut page = String::from(
        "# System calls of a step\n\nWritten by `cargo xtask docs` from the table in `host/broker/src/table`, from which the filter and the \
         dispatch are derived too.\nA number that is not here answers ENOSYS, and so does every call of a foreign architecture. *kernel*: it runs \
         as it is.\n*broker*: it is answered by the broker in the view of the step. *broker, then kernel*: the broker looks at it first.\n\n\
         | call | x86_64 | arm64 | answered by | but |\n|---|--:|--:|---|---|\n",
    );
    let mut rows: Vec<_> = table::all().collect();
    rows.sort_by_key(|row| row.name);
    for row in rows {
        let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let cases: Vec<String> = row.cases.iter().map(case).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} |",
            row.name,
            number(row.numbers.x86_64),
            number(row.numbers.aarch64),
            action(row.action),
            cases.join("; ")
        );
    }
    page
}

fn action(action: Action) -> String {
    match action {
        Action::Native => "kernel".to_owned(),
        Action::Broker(_) => "broker".to_owned(),
        Action::Continuing(_) => "broker, then kernel".to_owned(),
        Action::Deny { errno, reason } => format!("{}: {reason}", name_of(errno.raw_os_error())),
    }
}

/// The kernel's name of the errnos that the table answers.
fn name_of(errno: i32) -> String {
    let names = [
        (1, "EPERM"),
        (13, "EACCES"),
        (14, "EFAULT"),
        (16, "EBUSY"),
        (22, "EINVAL"),
        (25, "ENOTTY"),
        (38, "ENOSYS"),
        (92, "ENOPROTOOPT"),
        (93, "EPROTONOSUPPORT"),
        (95, "EOPNOTSUPP"),
        (97, "EAFNOSUPPORT"),
    ];
    let found = names.iter().find(|(number, _)| *number == errno);
    found.map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).to_owned())
}

fn case(case: &Case) -> String {
    let when: Vec<String> = case.when.iter().map(condition).collect();
    format!("{} where {}", action(case.then), when.join(" and "))
}

fn condition(condition: &Condition) -> String {
    let argument = format!("argument {}", condition.arg + 1);
    match condition.test {
        Test::Int { mask: u32::MAX, value } => format!("{argument} is {value:#x}"),
        Test::Int { mask, value } => format!("{argument} & {mask:#x} is {value:#x}"),
        Test::IntAny { mask } => format!("{argument} has a bit of {mask:#x}"),
        Test::IntAmong(values) => {
            let values: Vec<String> = values.iter().map(|value| format!("{value:#x}")).collect();
            format!("{argument} is one of {}", values.join(" "))
        }
        Test::Cookie => format!("{argument} is the step's own"),
    }
}

fn cli() -> Result<String> {
    let artifacts = wbuild_tests::workspace::built()?;
    let mut page =
        String::from("# The command line\n\nWritten by `cargo xtask docs` from `wbuild COMMAND --help`.\n");
    for name in [
        "build", "push", "pull", "warm", "inspect", "index", "verify", "cache", "why", "policy", "doctor",
        "version",
    ] {
        let mut help = Command::new(&artifacts.wbuild);
        help.args([name, "--help"]).env_clear().env("COLUMNS", "100");
        writeln!(page, "\n## wbuild {name}\n\n```\n{}\n```", process::output(help)?.trim_end())?;
    }
    Ok(page)
}
