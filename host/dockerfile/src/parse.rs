//! Text to a [`Dockerfile`]: directives, logical lines, heredocs, stages.

use crate::directive::{Reader, Taken};
use crate::error::DockerfileError;
use crate::heredoc;
use crate::instruction::{Dockerfile, Instruction, StageSource};
use crate::line::{Lines, Logical, Physical, continued};
use crate::read::{self, Parsed};
use crate::span::Span;
use crate::words;

/// Parses a Dockerfile.
///
/// # Errors
/// Text that BuildKit refuses, text in the language's form that means nothing, and a file without a FROM; the first such place.
pub fn parse(text: &[u8]) -> Result<Dockerfile, DockerfileError> {
    let mut lines = Lines::new(text)?;
    let mut head = Reader::new();
    let mut globals = Vec::new();
    let mut stages: Vec<StageSource> = Vec::new();
    let mut empty_continuations = Vec::new();
    let mut comments = Vec::new();
    while let Some(first) = lines.next()? {
        if head.take(&first)? == Taken::Other && first.is_comment() {
            // A bare # cuts what stands above from what stands below.
            match first.content().trim_start().trim_start_matches('#').trim() {
                "" => comments.clear(),
                comment => comments.push(comment.to_owned()),
            }
        }
        let escape = head.directives.escape;
        let Some(line) = logical(first, &mut lines, escape, &mut empty_continuations)? else { continue };
        let (parsed, text) = instruction(&line, &mut lines, escape)?;
        let comments = std::mem::take(&mut comments);
        match parsed {
            Parsed::From(from) => {
                let span = line.whole();
                stages.push(StageSource { span, text, comments, from, instructions: Vec::new() });
            }
            Parsed::Instruction(instruction) => match stages.last_mut() {
                Some(stage) => stage.instructions.push(Instruction { comments, ..instruction }),
                None if matches!(instruction.kind, crate::instruction::Kind::Arg(_)) => {
                    globals.push(Instruction { comments, ..instruction });
                }
                None => {
                    let message = format!("{} before the first FROM", instruction.keyword.to_uppercase());
                    return Err(DockerfileError::expected(instruction.span, message, "FROM or ARG first"));
                }
            },
        }
    }
    if stages.is_empty() {
        let message = if globals.is_empty() { "the Dockerfile has no instructions" } else { "no FROM" };
        let span = Span::on_line(lines.number().max(1), 1, 2);
        return Err(DockerfileError::expected(span, message, "FROM image"));
    }
    Ok(Dockerfile { directives: head.directives, globals, stages, empty_continuations })
}

/// Parses the text of one ONBUILD trigger, as an image configuration keeps it.
///
/// # Errors
/// What [`parse`] refuses, more than one instruction, and instructions that cannot be triggers. All spans are `place`, the FROM
/// line that fires the trigger.
pub fn parse_trigger(text: &str, place: Span) -> Result<Instruction, DockerfileError> {
    trigger(text, place).map_err(|e| e.at(place))
}

fn trigger(text: &str, place: Span) -> Result<Instruction, DockerfileError> {
    let single = || {
        let message = format!("the ONBUILD trigger {text:?} is not a single instruction");
        DockerfileError::syntax(place, message)
    };
    let mut lines = Lines::of_trigger(text, place)?;
    let mut found = None;
    while let Some(first) = lines.next()? {
        let Some(line) = logical(first, &mut lines, '\\', &mut Vec::new())? else { continue };
        if found.is_some() {
            return Err(single());
        }
        let (parsed, _) = instruction(&line, &mut lines, '\\')?;
        let Parsed::Instruction(instruction) = parsed else { return Err(single()) };
        found = Some(instruction);
    }
    found.ok_or_else(single)
}

// Joins `first` with the lines that continue it; `None` for a blank line or a comment.
fn logical(
    first: Physical<'_>,
    lines: &mut Lines<'_>,
    escape: char,
    empty: &mut Vec<Span>,
) -> Result<Option<Logical>, DockerfileError> {
    let content = first.content();
    let start = content.len() - content.trim_start().len();
    let content = &content[start..];
    if content.is_empty() || content.starts_with('#') {
        return Ok(None);
    }
    let mut line = Logical::default();
    let mut open = push(&mut line, &first, start, escape);
    let (mut last, mut blank) = (first.span(), None);
    while open {
        let Some(next) = lines.next()? else { break };
        last = next.span();
        if next.is_comment() {
            continue;
        }
        if next.content().trim_start().is_empty() {
            blank = Some(());
            continue;
        }
        open = push(&mut line, &next, 0, escape);
    }
    empty.extend(blank.map(|()| last));
    if line.text().trim().is_empty() {
        return Err(DockerfileError::expected(first.span(), "an empty instruction", "an instruction"));
    }
    Ok(Some(line))
}

// Appends the physical line from `start` on; true where it continues.
fn push(line: &mut Logical, physical: &Physical<'_>, start: usize, escape: char) -> bool {
    let content = &physical.content()[start..];
    match continued(content, escape) {
        Some(cut) => {
            line.push(physical, start, cut);
            true
        }
        None => {
            line.push(physical, start, content);
            false
        }
    }
}

// One instruction with the heredocs that follow it; also its text.
fn instruction(
    line: &Logical,
    lines: &mut Lines<'_>,
    escape: char,
) -> Result<(Parsed, String), DockerfileError> {
    let mut heredocs = Vec::new();
    if read::may_open_heredocs(line.text(), escape) {
        for opening in heredoc::openings(line.text()) {
            heredocs.push(heredoc::read(opening, lines, line.whole())?);
        }
    }
    let text = line.text()[words::trimmed(line.text(), 0..line.text().len())].to_owned();
    Ok((read::instruction(line, escape, heredocs)?, text))
}

#[cfg(test)]
mod tests;
