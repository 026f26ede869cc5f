//! RUN: what is executed, with what in its environment, and what the history says of it.

use wbuild_dockerfile::{
    DockerfileError, Flag, Heredoc, Instruction, Run as Source, RunCommand, Variables, clean,
};

use crate::globals::EPOCH;
use crate::graph::syntax;
use crate::mount::{RunMount, RunNetwork};
use crate::stage::{Builder, Done};
use crate::step::{Action, History, LayerKind, Run, RunFile};

pub(crate) mod mounts;

/// Plans a RUN.
pub(crate) fn run(
    builder: &mut Builder<'_>,
    instruction: &Instruction,
    source: &Source,
) -> Result<Done, DockerfileError> {
    let (mounts, network) = flags(builder, &source.flags)?;
    let mut files = Vec::new();
    let mut summary = None;
    let argv = match &source.command {
        RunCommand::Exec(words) => words.clone(),
        RunCommand::Shell(line) => builder.in_shell(line.clone()),
        RunCommand::Script(heredoc) => {
            summary = Some(&heredoc.content);
            builder.in_shell(script(instruction, heredoc, &mut files)?)
        }
        RunCommand::Heredocs { line, heredocs } => builder.in_shell(with_bodies(line, heredocs)),
    };
    let title = builder.titles.run(builder.setting.escape, &instruction.text, summary, &builder.scope);
    let created_by = format!("RUN {} # buildkit", history(builder, &argv));
    let env = environment(builder);
    builder.budget.spend_list(env.iter().chain(&argv), instruction.span)?;
    let run = Run {
        argv,
        env,
        cwd: clean(&format!("/{}", builder.config.working_dir)),
        user: builder.config.user.clone(),
        files,
        mounts,
        network,
    };
    let history = Some(History { created_by, layer: LayerKind::Layer });
    Ok(Done { title, action: Action::Run(run), history })
}

// The line that a shell gets for `RUN <<EOF`: the content, or the file it was written to.
fn script(
    instruction: &Instruction,
    heredoc: &Heredoc,
    files: &mut Vec<RunFile>,
) -> Result<String, DockerfileError> {
    let content = heredoc.text();
    if !content.starts_with("#!") {
        return Ok(content);
    }
    let name = heredoc.name.clone();
    if name.contains('/') || name == "." || name == ".." {
        return Err(syntax(
            instruction.span,
            format!("the heredoc {name:?} cannot be a file"),
            Some("a plain name"),
        ));
    }
    let path = format!("{}/{name}", Run::FILES_DIR);
    files.push(RunFile { name, content });
    Ok(path)
}

// The shell reads the heredocs itself, from the text that follows the line.
fn with_bodies(line: &str, heredocs: &[Heredoc]) -> String {
    let mut text = line.to_owned();
    for heredoc in heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    text
}

fn flags(builder: &mut Builder<'_>, flags: &[Flag]) -> Result<(Vec<RunMount>, RunNetwork), DockerfileError> {
    let mut all = Vec::new();
    let mut agents = 0;
    let mut network = builder.setting.network;
    for flag in flags {
        let refused = match flag.name.as_str() {
            "mount" => {
                all.push(mounts::mount(builder, flag, &mut agents)?);
                continue;
            }
            "network" => match builder.expand(&flag.value, flag.span)?.as_str() {
                "default" => continue,
                "none" => {
                    network = RunNetwork::None;
                    continue;
                }
                "host" => {
                    "--network=default, which has the network that wbuild itself has; there is no other host to reach"
                }
                _ => "--network=default, --network=none",
            },
            "security" if builder.expand(&flag.value, flag.span)? == "sandbox" => continue,
            "security" => "--security=sandbox; wbuild has no privilege that it could give to a step",
            _ => "RUN without a device; wbuild has no privilege that it could give to a step",
        };
        return Err(DockerfileError::Unsupported {
            span: flag.span,
            feature: format!("RUN --{}={}", flag.name, flag.value),
            supported: refused.to_owned(),
        });
    }
    Ok((all, network))
}

// `|2 A=1 B=2 ` before the command where ARGs are in scope.
fn history(builder: &Builder<'_>, argv: &[String]) -> String {
    let mut words = Vec::new();
    let names = builder.declared.names();
    if !names.is_empty() {
        words.push(format!("|{}", names.len()));
    }
    let declared = names.iter();
    words.extend(declared.map(|name| format!("{name}={}", builder.declared_value(name))));
    words.extend(argv.iter().cloned());
    words.join(" ")
}

fn environment(builder: &Builder<'_>) -> Vec<String> {
    let mut scope = builder.scope.clone();
    for (name, value) in builder.setting.proxies {
        scope.set(name, value);
    }
    if let (Some(epoch), None) = (builder.epoch, scope.get(EPOCH)) {
        scope.set(EPOCH, &epoch.to_string());
    }
    scope.list()
}

/// What a progress line shows of a script: its first line.
pub(crate) fn summary(content: &str) -> String {
    let mut lines = content.trim().lines();
    let first = lines.next().unwrap_or_default().to_owned();
    if lines.next().is_some() { first + "..." } else { first }
}
