//! A logical line to an [`Instruction`].
//!
//! One function per instruction, found through one table; nothing is expanded here.

use std::ops::Range;

use crate::duration;
use crate::error::{DockerfileError, nearest};
use crate::flags::{Flags, Shape, Table};
use crate::heredoc::{self, Heredoc};
use crate::instruction::{
    Command, Copy, CopyOperand, CopyVerb, Declaration, From, Healthcheck, Instruction, Kind, OnBuild, Pair,
    PairForm, Run, RunCommand, Timing, Word,
};
use crate::line::Logical;
use crate::span::Span;
use crate::words::{self, Json};

/// What a line is: FROM opens a stage, everything else stands in one.
pub(crate) enum Parsed {
    From(From),
    Instruction(Instruction),
}

// The arguments of one instruction on their way to a `Kind`.
struct Arguments<'a> {
    line: &'a Logical,
    // Uppercase, for messages.
    name: &'static str,
    flags: Vec<Word>,
    // What follows the flags.
    rest: Range<usize>,
    escape: char,
    heredocs: Vec<Heredoc>,
    span: Span,
}

type Read = fn(Arguments<'_>) -> Result<Kind, DockerfileError>;

const FROM: &str = "FROM";

// Every instruction but FROM.
const INSTRUCTIONS: [(&str, Read); 17] = [
    ("ADD", |a| copy(a, CopyVerb::Add)),
    ("ARG", arg),
    ("CMD", |a| a.no_flags().and_then(|a| a.command()).map(Kind::Cmd)),
    ("COPY", |a| copy(a, CopyVerb::Copy)),
    ("ENTRYPOINT", |a| a.no_flags().and_then(|a| a.command()).map(Kind::Entrypoint)),
    ("ENV", |a| pairs(a).map(Kind::Env)),
    ("EXPOSE", expose),
    ("HEALTHCHECK", healthcheck),
    ("LABEL", |a| pairs(a).map(Kind::Label)),
    ("MAINTAINER", |a| a.no_flags().and_then(|a| a.single()).map(|w| Kind::Maintainer(w.text))),
    ("ONBUILD", onbuild),
    ("RUN", run),
    ("SHELL", shell),
    ("STOPSIGNAL", |a| a.no_flags().and_then(|a| a.single()).map(Kind::StopSignal)),
    ("USER", |a| a.no_flags().and_then(|a| a.single()).map(Kind::User)),
    ("VOLUME", volume),
    ("WORKDIR", |a| a.no_flags().and_then(|a| a.single()).map(Kind::Workdir)),
];

/// Reads one instruction; `heredocs` are those its line opens.
pub(crate) fn instruction(
    line: &Logical,
    escape: char,
    heredocs: Vec<Heredoc>,
) -> Result<Parsed, DockerfileError> {
    let text = line.text();
    let (keyword, rest) = words::keyword(text);
    let written = &text[keyword.clone()];
    let upper = written.to_ascii_uppercase();
    let (flags, rest) = words::flags(text, rest, escape);
    let flags = flags.into_iter().map(|f| Word { span: line.span(f.range), text: f.text }).collect();
    let arguments = |name| Arguments { line, name, flags, rest, escape, heredocs, span: line.whole() };
    if upper == FROM {
        return from(arguments(FROM)).map(Parsed::From);
    }
    let Some((name, read)) = INSTRUCTIONS.iter().find(|(name, _)| *name == upper) else {
        return Err(unknown(written, line.span(keyword)));
    };
    let kind = read(arguments(name))?;
    Ok(Parsed::Instruction(Instruction {
        span: line.whole(),
        keyword: written.to_owned(),
        text: text[words::trimmed(text, 0..text.len())].to_owned(),
        comments: Vec::new(),
        kind,
    }))
}

fn unknown(written: &str, span: Span) -> DockerfileError {
    let known = INSTRUCTIONS.iter().map(|(name, _)| *name).chain([FROM]);
    // A word of a broken script can be as long as a line.
    let found: String = written.chars().take(60).collect();
    let nearest = nearest(&found, known);
    DockerfileError::Unknown { span, what: "instruction".to_owned(), found, nearest }
}

/// Whether heredocs are looked for: in RUN, COPY and ADD and in triggers of them, but not in their JSON forms.
pub(crate) fn may_open_heredocs(text: &str, escape: char) -> bool {
    let (keyword, rest) = words::keyword(text);
    match text[keyword].to_ascii_uppercase().as_str() {
        "ONBUILD" => {
            let rest = &text[rest];
            // Only one level: ONBUILD ONBUILD is refused anyway.
            let nested = rest.get(..7).is_some_and(|k| k.eq_ignore_ascii_case("ONBUILD"));
            !nested && may_open_heredocs(rest, escape)
        }
        "RUN" | "COPY" | "ADD" => {
            let (_, rest) = words::flags(text, rest, escape);
            !matches!(words::json(&text[rest]), Json::Strings(_))
        }
        _ => false,
    }
}

impl Arguments<'_> {
    fn text(&self) -> &str {
        &self.line.text()[self.rest.clone()]
    }

    fn error(&self, message: impl Into<String>, expected: impl Into<String>) -> DockerfileError {
        DockerfileError::expected(self.span, message, expected)
    }

    fn word(&self, word: words::Word) -> Word {
        Word { span: self.line.span(word.range), text: word.text }
    }

    fn flags(&mut self, table: Table) -> Result<Flags, DockerfileError> {
        Flags::new(std::mem::take(&mut self.flags), table, self.name)
    }

    fn no_flags(mut self) -> Result<Self, DockerfileError> {
        self.flags(&[])?;
        Ok(self)
    }

    // The whole rest as one word.
    fn single(&self) -> Result<Word, DockerfileError> {
        if self.rest.is_empty() {
            let name = self.name;
            return Err(self.error(format!("{name} has no argument"), format!("{name} VALUE")));
        }
        Ok(Word { text: self.text().to_owned(), span: self.line.span(self.rest.clone()) })
    }

    fn command(&self) -> Result<Command, DockerfileError> {
        self.command_in(self.rest.clone())
    }

    fn command_in(&self, range: Range<usize>) -> Result<Command, DockerfileError> {
        let text = &self.line.text()[range.clone()];
        match words::json(text) {
            Json::Strings(strings) => Ok(Command::Exec(strings)),
            Json::NotStrings => Err(self.not_strings(range)),
            Json::No => Ok(Command::Shell(text.to_owned())),
        }
    }

    fn not_strings(&self, range: Range<usize>) -> DockerfileError {
        let span = self.line.span(range);
        DockerfileError::expected(span, "the JSON array has elements that are not strings", "strings only")
    }

    // A JSON array of strings, or words; a word of an array has the span of the array.
    fn list(&self) -> Result<Vec<Word>, DockerfileError> {
        match words::json(self.text()) {
            Json::Strings(strings) => {
                let span = self.line.span(self.rest.clone());
                Ok(strings.into_iter().map(|text| Word { text, span }).collect())
            }
            Json::NotStrings => Err(self.not_strings(self.rest.clone())),
            Json::No => Ok(self.plain()),
        }
    }

    fn plain(&self) -> Vec<Word> {
        let words = words::plain_words(self.line.text(), self.rest.clone());
        words.into_iter().map(|w| self.word(w)).collect()
    }

    fn quoted(&self) -> Vec<Word> {
        let words = words::quoted_words(self.line.text(), self.rest.clone(), self.escape);
        words.into_iter().map(|w| self.word(w)).collect()
    }

    fn not_empty<T>(&self, list: Vec<T>) -> Result<Vec<T>, DockerfileError> {
        if list.is_empty() {
            let name = self.name;
            return Err(
                self.error(format!("{name} has no argument"), format!("{name} with at least one argument"))
            );
        }
        Ok(list)
    }
}

fn from(mut a: Arguments<'_>) -> Result<From, DockerfileError> {
    let flags = a.flags(&[("platform", Shape::Value)])?;
    let mut words = a.plain().into_iter();
    let form = "FROM [--platform=PLATFORM] IMAGE [AS NAME]";
    let (base, keyword, name, more) = (words.next(), words.next(), words.next(), words.next());
    let (base, name, written) = match (base, keyword, name, more) {
        (Some(base), None, None, None) => (base, None, None),
        (Some(base), Some(keyword), Some(name), None) if keyword.text.eq_ignore_ascii_case("as") => {
            let written = (keyword.text, name.text.clone());
            (base, Some(stage_name(name)?), Some(written))
        }
        _ => return Err(a.error("FROM requires either one or three arguments", form)),
    };
    Ok(From { base, name, written, platform: flags.value("platform") })
}

fn stage_name(word: Word) -> Result<Word, DockerfileError> {
    let name = word.text.to_lowercase();
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    if !valid {
        return Err(DockerfileError::expected(
            word.span,
            format!("invalid name for a build stage: {:?}", word.text),
            "a letter, then letters, digits, - _ or .",
        ));
    }
    Ok(Word { text: name, span: word.span })
}

fn arg(a: Arguments<'_>) -> Result<Kind, DockerfileError> {
    let a = a.no_flags()?;
    let declare = |word: Word| {
        let (name, value) = match word.text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word.text, None),
        };
        if name.is_empty() {
            return Err(DockerfileError::expected(word.span, "an ARG without a name", "ARG NAME[=VALUE]"));
        }
        Ok(Declaration { name, value, span: word.span })
    };
    let declarations = a.quoted().into_iter().map(declare).collect::<Result<Vec<_>, _>>()?;
    a.not_empty(declarations).map(Kind::Arg)
}

fn pairs(a: Arguments<'_>) -> Result<Vec<Pair>, DockerfileError> {
    let a = a.no_flags()?;
    let name = a.name;
    let words = a.not_empty(a.quoted())?;
    if !words[0].text.contains('=') {
        let text = a.text();
        let Some(cut) = text.find(words::is_blank) else {
            return Err(a.error(format!("{name} must have two arguments"), format!("{name} NAME=VALUE")));
        };
        let value = text[cut..].trim_start_matches(words::is_blank).to_owned();
        let span = a.line.span(a.rest.clone());
        return Ok(vec![Pair { name: text[..cut].to_owned(), value, span, form: PairForm::Blank }]);
    }
    let pair = |word: Word| match word.text.split_once('=') {
        Some(("", _)) => {
            Err(DockerfileError::expected(word.span, format!("{name} without a name"), "NAME=VALUE"))
        }
        Some((key, value)) => Ok(Pair {
            name: key.to_owned(),
            value: value.to_owned(),
            span: word.span,
            form: PairForm::Equals,
        }),
        None => {
            let message = format!("no = in {:?}", word.text);
            Err(DockerfileError::expected(word.span, message, "NAME=VALUE; quote values with spaces"))
        }
    };
    words.into_iter().map(pair).collect()
}

fn run(mut a: Arguments<'_>) -> Result<Kind, DockerfileError> {
    const FLAGS: Table = &[
        ("mount", Shape::Values),
        ("network", Shape::Value),
        ("security", Shape::Value),
        ("device", Shape::Values),
    ];
    let flags = a.flags(FLAGS)?.rest(&[]);
    let command = match a.command()? {
        Command::Exec(words) if words.is_empty() => {
            return Err(a.error("RUN with an empty list", "RUN [\"program\", \"argument\", ..]"));
        }
        Command::Exec(words) => RunCommand::Exec(words),
        Command::Shell(line) if a.heredocs.is_empty() => RunCommand::Shell(line),
        Command::Shell(line) => match (heredoc::opening(&line), a.heredocs.as_slice()) {
            (Some(_), [heredoc]) => RunCommand::Script(heredoc.clone()),
            _ => RunCommand::Heredocs { line, heredocs: a.heredocs },
        },
    };
    Ok(Kind::Run(Run { command, flags }))
}

fn copy(mut a: Arguments<'_>, verb: CopyVerb) -> Result<Kind, DockerfileError> {
    const COPY: Table = &[
        ("from", Shape::Value),
        ("chown", Shape::Value),
        ("chmod", Shape::Value),
        ("link", Shape::Switch),
        ("parents", Shape::Switch),
        ("exclude", Shape::Values),
    ];
    const ADD: Table = &[
        ("chown", Shape::Value),
        ("chmod", Shape::Value),
        ("link", Shape::Switch),
        ("exclude", Shape::Values),
        ("checksum", Shape::Value),
        ("keep-git-dir", Shape::Switch),
        ("unpack", Shape::Switch),
    ];
    let flags = a.flags(if verb == CopyVerb::Copy { COPY } else { ADD })?;
    let name = a.name;
    let json = matches!(words::json(a.text()), Json::Strings(_));
    let mut words = a.list()?;
    let dest = words.pop().filter(|_| !words.is_empty()).ok_or_else(|| {
        a.error(format!("{name} needs a source and a destination"), format!("{name} SOURCE.. DESTINATION"))
    })?;
    let opening = |word: &Word| if json { None } else { heredoc::opening(&word.text) };
    if opening(&dest).is_some() {
        return Err(DockerfileError::syntax(dest.span, "a heredoc cannot be the destination"));
    }
    let operand = |word: Word| match opening(&word) {
        None => Ok(CopyOperand::Path(word)),
        // Where two heredocs have one name, the last content counts, as in BuildKit.
        Some(opening) => match a.heredocs.iter().rev().find(|h| h.name == opening.name) {
            Some(heredoc) => Ok(CopyOperand::Heredoc(heredoc.clone())),
            None => Err(DockerfileError::syntax(word.span, "this heredoc has no content")),
        },
    };
    let sources = words.into_iter().map(operand).collect::<Result<Vec<_>, _>>()?;
    let (from, chown, chmod) = (flags.value("from"), flags.value("chown"), flags.value("chmod"));
    let flags = flags.rest(&["from", "chown", "chmod"]);
    Ok(Kind::Copy(Box::new(Copy { verb, sources, dest, from, chown, chmod, flags })))
}

fn expose(a: Arguments<'_>) -> Result<Kind, DockerfileError> {
    let a = a.no_flags()?;
    let mut ports = a.not_empty(a.plain())?;
    // BuildKit sorts them, and the history shows it.
    ports.sort_by(|x, y| x.text.cmp(&y.text));
    Ok(Kind::Expose(ports))
}

fn volume(a: Arguments<'_>) -> Result<Kind, DockerfileError> {
    let a = a.no_flags()?;
    let trim = |word: Word| match word.text.trim() {
        "" => Err(DockerfileError::expected(word.span, "an empty VOLUME", "VOLUME PATH..")),
        text => Ok(Word { text: text.to_owned(), span: word.span }),
    };
    let volumes = a.list()?.into_iter().map(trim).collect::<Result<Vec<_>, _>>()?;
    a.not_empty(volumes).map(Kind::Volume)
}

fn shell(a: Arguments<'_>) -> Result<Kind, DockerfileError> {
    let a = a.no_flags()?;
    match a.command()? {
        Command::Exec(words) => a.not_empty(words).map(Kind::Shell),
        Command::Shell(_) => {
            Err(a.error("SHELL requires the JSON form", "SHELL [\"program\", \"argument\", ..]"))
        }
    }
}

fn healthcheck(mut a: Arguments<'_>) -> Result<Kind, DockerfileError> {
    const FLAGS: Table = &[
        ("interval", Shape::Value),
        ("timeout", Shape::Value),
        ("start-period", Shape::Value),
        ("start-interval", Shape::Value),
        ("retries", Shape::Value),
    ];
    const FORM: &str = "HEALTHCHECK [FLAGS] CMD COMMAND, or HEALTHCHECK NONE";
    let flags = a.flags(FLAGS)?;
    let text = a.text();
    let cut = text.find(char::is_whitespace).unwrap_or(text.len());
    let rest = words::trimmed(a.line.text(), a.rest.start + cut..a.rest.end);
    match text[..cut].to_ascii_uppercase().as_str() {
        "NONE" if !rest.is_empty() => Err(a.error("HEALTHCHECK NONE takes no arguments", "HEALTHCHECK NONE")),
        // BuildKit drops flags of NONE without a word; nothing is accepted and ignored here.
        "NONE" => match flags.rest(&[]).first() {
            None => Ok(Kind::Healthcheck(Healthcheck::None)),
            Some(flag) => Err(DockerfileError::syntax(flag.span, "HEALTHCHECK NONE takes no flags")),
        },
        "CMD" => {
            let command = a.command_in(rest)?;
            if matches!(&command, Command::Exec(words) if words.is_empty())
                || command == Command::Shell(String::new())
            {
                return Err(a.error("HEALTHCHECK CMD without a command", FORM));
            }
            let timing = Timing {
                interval: time(&flags, "interval")?,
                timeout: time(&flags, "timeout")?,
                start_period: time(&flags, "start-period")?,
                start_interval: time(&flags, "start-interval")?,
                retries: retries(&flags)?,
            };
            Ok(Kind::Healthcheck(Healthcheck::Command { command, timing }))
        }
        _ => Err(a.error("HEALTHCHECK is neither CMD nor NONE", FORM)),
    }
}

fn time(flags: &Flags, name: &str) -> Result<i64, DockerfileError> {
    const MILLISECOND: i64 = 1_000_000;
    let Some(word) = flags.value(name).filter(|w| !w.text.is_empty()) else { return Ok(0) };
    let parsed = duration::parse(&word.text);
    parsed.filter(|n| *n == 0 || *n >= MILLISECOND).ok_or_else(|| {
        let message = format!("--{name} is not a duration: {:?}", word.text);
        DockerfileError::expected(word.span, message, "0 or at least 1ms, such as 30s or 1m30s")
    })
}

fn retries(flags: &Flags) -> Result<i64, DockerfileError> {
    let Some(word) = flags.value("retries").filter(|w| !w.text.is_empty()) else { return Ok(0) };
    word.text.parse::<i32>().ok().filter(|n| *n >= 0).map(i64::from).ok_or_else(|| {
        DockerfileError::expected(word.span, format!("--retries is not a count: {:?}", word.text), "a number")
    })
}

fn onbuild(a: Arguments<'_>) -> Result<Kind, DockerfileError> {
    let a = a.no_flags()?;
    let text = a.text().to_owned();
    let (keyword, _) = words::keyword(&text);
    let upper = text[keyword.clone()].to_ascii_uppercase();
    match upper.as_str() {
        "" => return Err(a.error("ONBUILD has no instruction", "ONBUILD INSTRUCTION ARGUMENTS")),
        "ONBUILD" | "FROM" | "MAINTAINER" => {
            return Err(
                a.error(format!("{upper} is not allowed as an ONBUILD trigger"), "another instruction")
            );
        }
        _ if INSTRUCTIONS.iter().all(|(name, _)| *name != upper) => {
            let start = a.rest.start + keyword.start;
            return Err(unknown(&text[keyword.clone()], a.line.span(start..start + keyword.len())));
        }
        _ => {}
    }
    let mut expression = text;
    for heredoc in &a.heredocs {
        expression.push('\n');
        expression.push_str(&heredoc.content);
        expression.push_str(&heredoc.name);
    }
    Ok(Kind::OnBuild(OnBuild { expression }))
}
