//! The instructions of a Dockerfile as they are written: nothing is expanded, nothing is resolved.
//!
//! Each has the span of its whole text, and each word that can be wrong later (when it is expanded, when a stage is looked up) its
//! own. Flags of the language that are not built yet are kept, so that `plan` can refuse them where they matter.

use crate::directive::Directives;
use crate::heredoc::Heredoc;
use crate::span::Span;

/// A parsed Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// The parser directives.
    pub directives: Directives,
    /// ARG instructions before the first FROM.
    pub globals: Vec<Instruction>,
    /// At least one.
    pub stages: Vec<StageSource>,
    /// Where instructions end that have blank lines inside their continuations: allowed, and a lint finding.
    pub empty_continuations: Vec<Span>,
}

/// A FROM with the instructions up to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageSource {
    /// The FROM line.
    pub span: Span,
    /// Its text.
    pub text: String,
    /// The comments above it, without `#`.
    pub comments: Vec<String>,
    /// FROM's arguments.
    pub from: From,
    /// In order.
    pub instructions: Vec<Instruction>,
}

/// A word and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// As written, with quotes and `$`.
    pub text: String,
    /// Its place.
    pub span: Span,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// From its keyword to the end of its text, heredocs not included.
    pub span: Span,
    /// The keyword as written (`run`).
    pub keyword: String,
    /// The whole text with continuations joined, without heredocs.
    pub text: String,
    /// The comments above it, without `#`.
    pub comments: Vec<String>,
    /// What it is.
    pub kind: Kind,
}

/// The kinds of instructions, with their arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ARG NAME[=value]..`
    Arg(Vec<Declaration>),
    /// `ENV NAME=value..` or `ENV NAME value`
    Env(Vec<Pair>),
    /// `LABEL key=value..`
    Label(Vec<Pair>),
    /// `RUN`
    Run(Run),
    /// `COPY` and `ADD`
    Copy(Box<Copy>),
    /// `WORKDIR path`
    Workdir(Word),
    /// `USER name[:group]`
    User(Word),
    /// `SHELL ["program", "argument"..]`
    Shell(Vec<String>),
    /// `CMD`
    Cmd(Command),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `EXPOSE port[-port][/protocol]..`
    Expose(Vec<Word>),
    /// `VOLUME path..`
    Volume(Vec<Word>),
    /// `STOPSIGNAL signal`
    StopSignal(Word),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `ONBUILD instruction`
    OnBuild(OnBuild),
    /// `MAINTAINER text`
    Maintainer(String),
}

/// `FROM [--platform=..] base [AS name]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// An image, a stage or `scratch`; may hold variables.
    pub base: Word,
    /// Lowercase.
    pub name: Option<Word>,
    /// `AS` and the name as they are written.
    pub written: Option<(String, String)>,
    /// `--platform`; may hold variables.
    pub platform: Option<Word>,
}

/// One name of an ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// The name; never empty.
    pub name: String,
    /// The default.
    pub value: Option<String>,
    /// The place of the word.
    pub span: Span,
}

/// One `name=value` of ENV or LABEL; both sides may hold variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Left of the `=`; never empty.
    pub name: String,
    /// Right of it.
    pub value: String,
    /// The place of the word.
    pub span: Span,
    /// Which form it has.
    pub form: PairForm,
}

/// The two forms of ENV and LABEL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairForm {
    /// `NAME=value`
    Equals,
    /// `NAME value`: the legacy form, one pair per instruction.
    Blank,
}

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `["program", "argument"]`
    Exec(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

/// RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What runs.
    pub command: RunCommand,
    /// `--mount`, `--network`, `--security`, `--device` with their values.
    pub flags: Vec<Flag>,
}

/// What a RUN runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunCommand {
    /// `["program", "argument"]`; never empty.
    Exec(Vec<String>),
    /// A line for the shell.
    Shell(String),
    /// `<<EOF` alone: the content is the script, for the shell or, with `#!`, for its interpreter.
    Script(Heredoc),
    /// A line for the shell in which heredocs stand; the shell reads them.
    Heredocs {
        /// The line.
        line: String,
        /// In the order of the line.
        heredocs: Vec<Heredoc>,
    },
}

/// A flag that stands for a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Without `--`.
    pub name: String,
    /// After the `=`; empty where there is none.
    pub value: String,
    /// Its place.
    pub span: Span,
}

/// COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Which of the two.
    pub verb: CopyVerb,
    /// In order of the line.
    pub sources: Vec<CopyOperand>,
    /// The last word.
    pub dest: Word,
    /// `--from`
    pub from: Option<Word>,
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// `--link`, `--parents`, `--exclude`, `--checksum`, `--keep-git-dir`, `--unpack` where they ask for something; a
    /// boolean flag that is false is not here.
    pub flags: Vec<Flag>,
}

/// Which instruction a [`Copy`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyVerb {
    /// COPY
    Copy,
    /// ADD
    Add,
}

/// One source of a COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyOperand {
    /// A path, a glob, a URL.
    Path(Word),
    /// A file that stands in the Dockerfile.
    Heredoc(Heredoc),
}

/// HEALTHCHECK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// `NONE`: turns an inherited one off.
    None,
    /// `CMD`.
    Command {
        /// The check.
        command: Command,
        /// Durations in nanoseconds, 0 where not given.
        timing: Timing,
    },
}

/// The flags of HEALTHCHECK: nanoseconds, 0 where not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// `--interval`
    pub interval: i64,
    /// `--timeout`
    pub timeout: i64,
    /// `--start-period`
    pub start_period: i64,
    /// `--start-interval`
    pub start_interval: i64,
    /// `--retries`: a count.
    pub retries: i64,
}

/// ONBUILD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnBuild {
    /// What the image configuration keeps: the trigger's text with its heredocs.
    pub expression: String,
}
