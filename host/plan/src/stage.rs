//! One stage's instructions to steps: expanded against the variables in scope, with what each does to the configuration.
//!
//! The order of things inside one instruction is BuildKit's: all of its words see the variables as they were before it.

use std::collections::BTreeMap;

use wbuild_dockerfile::{
    Command, Declaration, DockerfileError, Expander, Healthcheck, IgnoreFile, Instruction, Kind, Pair,
    PairForm, Span, Variables, Word, clean,
};
use wbuild_oci::Execution;

use crate::budget::Budget;
use crate::copy::copy;
use crate::environment::{Declared, ImageEnv, Scope, split};
use crate::graph::{Globals, Node, Seed, Source, syntax};
use crate::history::{duration, plain_list, quoted_list};
use crate::lint::{
    EXPOSE_INVALID_FORMAT, EXPOSE_PROTO_CASING, JSON_ARGS_RECOMMENDED, LEGACY_KEY_VALUE_FORMAT, Linter,
    MULTIPLE_INSTRUCTIONS_DISALLOWED, Place, SECRETS_USED_IN_ARG_OR_ENV, WORKDIR_RELATIVE_PATH, is_secret,
};
use crate::mount::RunNetwork;
use crate::run::run;
use crate::step::{
    Action, Copy, CopyDest, CopyFrom, CopyKind, CopySource, DestShape, History, LayerKind, Link, Stage,
    StageId, Step, Workdir,
};
use crate::title::{Title, Titles};
use crate::value;

/// `PATH` where an image has none, as in BuildKit.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The system whose images have other defaults.
pub(crate) const WINDOWS: &str = "windows";

/// What is the same for all stages of a build.
pub(crate) struct Setting<'a> {
    pub(crate) escape: char,
    pub(crate) globals: &'a Globals,
    pub(crate) build_args: &'a BTreeMap<String, String>,
    /// `StageId`s by number in the Dockerfile.
    pub(crate) ids: &'a BTreeMap<usize, StageId>,
    /// Proxy arguments of the build, ready for a step.
    pub(crate) proxies: &'a [(String, String)],
    /// The network of a RUN that does not name one.
    pub(crate) network: RunNetwork,
    pub(crate) lint: &'a Linter,
    /// What is hidden in the build context.
    pub(crate) ignore: &'a IgnoreFile,
}

/// What a stage leaves to those that start from it, beside what [`Stage`] says.
#[derive(Clone, Default)]
pub(crate) struct Inheritance {
    scope: Scope,
    declared: Declared,
    workdir: WorkdirIn,
}

/// Whether a WORKDIR of this Dockerfile applies.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum WorkdirIn {
    #[default]
    Base,
    Dockerfile,
}

/// A stage under construction.
pub(crate) struct Builder<'a> {
    pub(crate) setting: &'a Setting<'a>,
    pub(crate) node: &'a Node<'a>,
    pub(crate) config: Execution,
    pub(crate) env: ImageEnv,
    pub(crate) scope: Scope,
    pub(crate) declared: Declared,
    pub(crate) epoch: Option<i64>,
    pub(crate) titles: Titles,
    author: Option<String>,
    cmd: CmdIn,
    workdir: WorkdirIn,
    /// The instruction that is planned.
    pub(crate) place: Place<'a>,
    /// Instructions of which the last one counts, with where the last one stands.
    once: BTreeMap<&'static str, Place<'a>>,
    pub(crate) budget: &'a mut Budget,
}

// ENTRYPOINT resets an inherited CMD, but not one of the same stage.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CmdIn {
    Base,
    ThisStage,
}

/// What an instruction came to.
pub(crate) struct Done {
    pub(crate) title: Title,
    pub(crate) action: Action,
    pub(crate) history: Option<History>,
}

impl Done {
    fn config(builder: &Builder<'_>, instruction: &Instruction, created_by: String) -> Self {
        Self {
            title: builder.titles.plain(&instruction.text),
            action: Action::Config,
            history: Some(History { created_by, layer: LayerKind::Empty }),
        }
    }
}

impl<'a> Builder<'a> {
    /// Starts from a base's configuration.
    pub(crate) fn new(
        setting: &'a Setting<'a>,
        node: &'a Node<'a>,
        base: (Execution, Inheritance, Option<String>),
        epoch: Option<i64>,
        titles: Titles,
        budget: &'a mut Budget,
    ) -> Result<Self, DockerfileError> {
        let (mut config, inherited, author) = base;
        // The configuration and the scope were copied from the base.
        let labels = config.labels.iter().flat_map(|(name, value)| [name, value]);
        let lists = [&config.env, &config.cmd, &config.entrypoint, &config.on_build];
        let sets = config.exposed_ports.iter().chain(&config.volumes);
        budget.spend_list(lists.into_iter().flatten().chain(labels).chain(sets), node.source.span)?;
        budget.spend(inherited.scope.size(), node.source.span)?;
        config.on_build.clear();
        if node.platform.os == WINDOWS {
            config.working_dir = config.working_dir.replace('\\', "/");
        }
        let mut env = ImageEnv::new(std::mem::take(&mut config.env));
        let mut scope = inherited.scope;
        // Windows has one of its own.
        if !env.has("PATH") && node.platform.os != WINDOWS {
            env.set("PATH", DEFAULT_PATH);
        }
        for entry in env.list() {
            let (name, value) = split(entry);
            scope.set(name, value);
        }
        Ok(Self {
            setting,
            node,
            config,
            env,
            scope,
            declared: inherited.declared,
            epoch,
            titles,
            author,
            cmd: CmdIn::Base,
            workdir: inherited.workdir,
            place: Place { span: node.source.span, comments: &node.source.comments },
            once: BTreeMap::new(),
            budget,
        })
    }

    /// Plans every instruction.
    pub(crate) fn steps(&mut self) -> Result<Vec<Step>, DockerfileError> {
        let mut steps = Vec::new();
        steps.extend(self.node.seed.as_ref().map(|seed| self.seed(seed)));
        for trigger in &self.node.triggers {
            self.titles.onbuild();
            steps.push(self.step(trigger)?);
        }
        self.titles.own();
        if self.node.body == crate::graph::Body::Instructions {
            for instruction in &self.node.source.instructions {
                steps.push(self.step(instruction)?);
            }
        }
        Ok(steps)
    }

    /// The step that brings in the directory a stage begins with.
    fn seed(&mut self, seed: &Seed) -> Step {
        let root = CopySource::Path { pattern: "/".to_owned(), written: "/".to_owned(), include: None };
        let action = Action::Copy(Copy {
            kind: CopyKind::Copy,
            from: CopyFrom::Named(seed.name.clone()),
            sources: vec![root],
            dest: CopyDest { path: "/".to_owned(), shape: DestShape::Directory },
            chown: None,
            chmod: None,
            exclude: Vec::new(),
            link: Link::Tree,
        });
        let history = History { created_by: format!("FROM {}", seed.name), layer: LayerKind::Layer };
        let Title { shown: name, written } = self.titles.from(&seed.name);
        Step { span: seed.span, name, written, action, history: Some(history) }
    }

    /// What the stage is after its last step.
    pub(crate) fn finish(mut self) -> (Execution, Inheritance, Option<String>) {
        self.config.env = self.env.list().to_vec();
        (
            self.config,
            Inheritance { scope: self.scope, declared: self.declared, workdir: self.workdir },
            self.author,
        )
    }

    /// Expands one word of an instruction.
    pub(crate) fn expand(&mut self, text: &str, span: Span) -> Result<String, DockerfileError> {
        self.expand_with(Expander::words(self.setting.escape), text, span).map(|e| e.text)
    }

    pub(crate) fn expand_with(
        &mut self,
        how: Expander,
        text: &str,
        span: Span,
    ) -> Result<wbuild_dockerfile::Expanded, DockerfileError> {
        let expanded = how.expand(text, &self.scope).map_err(|e| syntax(span, e.to_string(), None))?;
        self.budget.spend(expanded.text.len(), span)?;
        if !expanded.missing.is_empty() {
            let undeclared = expanded.missing.iter().filter(|name| !self.declared.has(name));
            self.setting.lint.undefined(self.place, undeclared, &self.scope.names());
        }
        Ok(expanded)
    }

    /// A command for the configuration: the shell form gets its shell.
    pub(crate) fn argv(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) => self.in_shell(line.clone()),
        }
    }

    pub(crate) fn in_shell(&self, line: String) -> Vec<String> {
        let shell = match self.config.shell.as_slice() {
            [] => vec!["/bin/sh".to_owned(), "-c".to_owned()],
            shell => shell.to_vec(),
        };
        shell.into_iter().chain([line]).collect()
    }

    /// `path` below the working directory, unless it is absolute; not cleaned where it is, as in BuildKit.
    pub(crate) fn absolute(&self, path: &str) -> String {
        let parent = match self.config.working_dir.as_str() {
            "" => "/",
            dir => dir,
        };
        match path {
            "" => clean(&format!("/{parent}")),
            path if path.starts_with('/') => path.to_owned(),
            path => clean(&format!("/{parent}/{path}")),
        }
    }

    /// What a `--from` means to a step.
    pub(crate) fn copy_from(&self, from: &Word) -> Result<CopyFrom, DockerfileError> {
        let source = self.node.copies.get(&(from.span, from.text.clone()));
        match source {
            Some(Source::Stage(number)) => self.setting.ids.get(number).copied().map(CopyFrom::Stage),
            Some(Source::Image(image)) => Some(CopyFrom::Image(image.clone())),
            Some(Source::Named(name)) => Some(CopyFrom::Named(name.clone())),
            None => None,
        }
        .ok_or_else(|| syntax(from.span, format!("--from={} is not resolved", from.text), None))
    }

    /// Of these instructions only the last one of a stage counts.
    fn once(&mut self, name: &'static str, written: &str) {
        if let Some(ignored) = self.once.insert(name, self.place) {
            let detail = format!(
                "Multiple {written} instructions should not be used in the same stage because only the last one will \
                 be used"
            );
            self.setting.lint.report(MULTIPLE_INSTRUCTIONS_DISALLOWED, ignored, detail);
        }
    }

    /// A signal reaches a program in a shell only through the shell.
    fn shell_form(&self, command: &Command, written: &str) {
        if matches!(command, Command::Shell(_)) && self.config.shell.is_empty() {
            let detail = format!(
                "JSON arguments recommended for {written} to prevent unintended behavior related to OS signals"
            );
            self.setting.lint.report(JSON_ARGS_RECOMMENDED, self.place, detail);
        }
    }

    fn legacy(&self, instruction: &Instruction, pairs: &[Pair]) {
        if pairs.iter().any(|pair| pair.form == PairForm::Blank) {
            let name = &instruction.keyword;
            let detail =
                format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
            self.setting.lint.report(LEGACY_KEY_VALUE_FORMAT, self.place, detail);
        }
    }

    fn secret(&self, instruction: &str, name: &str) {
        if is_secret(name) {
            let detail =
                format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})");
            self.setting.lint.report(SECRETS_USED_IN_ARG_OR_ENV, self.place, detail);
        }
    }

    fn step(&mut self, instruction: &'a Instruction) -> Result<Step, DockerfileError> {
        let span = instruction.span;
        self.place = instruction.into();
        let done = match &instruction.kind {
            Kind::Arg(declarations) => self.arg(instruction, declarations)?,
            Kind::Env(pairs) => self.env(instruction, pairs)?,
            Kind::Label(pairs) => self.label(instruction, pairs)?,
            Kind::Run(source) => run(self, instruction, source)?,
            Kind::Copy(source) => copy(self, instruction, source)?,
            Kind::Workdir(path) => self.workdir(instruction, path)?,
            Kind::User(user) => {
                self.config.user = self.expand(&user.text, user.span)?;
                let created_by = format!("USER {}", self.config.user);
                Done::config(self, instruction, created_by)
            }
            Kind::Shell(shell) => {
                self.config.shell.clone_from(shell);
                Done::config(self, instruction, format!("SHELL {}", plain_list(shell)))
            }
            Kind::Cmd(command) => {
                self.once("CMD", &instruction.keyword);
                self.shell_form(command, &instruction.keyword);
                self.config.cmd = self.argv(command);
                self.config.args_escaped = true;
                self.cmd = CmdIn::ThisStage;
                let created_by = format!("CMD {}", quoted_list(&self.config.cmd));
                Done::config(self, instruction, created_by)
            }
            Kind::Entrypoint(command) => {
                self.once("ENTRYPOINT", &instruction.keyword);
                self.shell_form(command, &instruction.keyword);
                self.config.entrypoint = self.argv(command);
                if self.cmd == CmdIn::Base {
                    self.config.cmd.clear();
                }
                let created_by = format!("ENTRYPOINT {}", quoted_list(&self.config.entrypoint));
                Done::config(self, instruction, created_by)
            }
            Kind::Expose(ports) => self.expose(instruction, ports)?,
            Kind::Volume(paths) => self.volume(instruction, paths)?,
            Kind::StopSignal(signal) => {
                let text = self.expand(&signal.text, signal.span)?;
                if !value::is_signal(&text) {
                    let message = format!("invalid signal {text:?}");
                    return Err(syntax(signal.span, message, Some("a number or a name such as SIGTERM")));
                }
                let created_by = format!("STOPSIGNAL {text}");
                self.config.stop_signal = text;
                Done::config(self, instruction, created_by)
            }
            Kind::Healthcheck(check) => {
                self.once("HEALTHCHECK", &instruction.keyword);
                self.healthcheck(instruction, check)
            }
            Kind::OnBuild(trigger) => {
                self.config.on_build.push(trigger.expression.clone());
                Done { title: self.titles.plain(&instruction.text), action: Action::Config, history: None }
            }
            Kind::Maintainer(author) => {
                self.author = Some(author.clone());
                Done::config(self, instruction, format!("MAINTAINER {author}"))
            }
        };
        self.budget.spend(size_of::<Step>() + done.title.shown.len() + done.title.written.len(), span)?;
        let created_by = done.history.as_ref().map_or(0, |h| h.created_by.len());
        self.budget.spend(created_by, span)?;
        let Title { shown: name, written } = done.title;
        Ok(Step { span, name, written, action: done.action, history: done.history })
    }

    fn arg(
        &mut self,
        instruction: &Instruction,
        declarations: &[Declaration],
    ) -> Result<Done, DockerfileError> {
        let mut created_by = "ARG".to_owned();
        for Declaration { name, value, span } in declarations {
            self.secret("ARG", name);
            let value = match (self.setting.build_args.get(name), value) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.expand(default, *span)?),
                (None, None) => self.setting.globals.get(name).cloned(),
            };
            created_by.push(' ');
            created_by.push_str(name);
            if let Some(value) = value {
                created_by.push('=');
                created_by.push_str(&value);
                self.scope.set(name, &value);
            }
            self.declared.add(name);
        }
        Ok(Done::config(self, instruction, created_by))
    }

    fn pairs(&mut self, pairs: &[Pair]) -> Result<Vec<(String, String)>, DockerfileError> {
        let expand =
            |pair: &Pair| Ok((self.expand(&pair.name, pair.span)?, self.expand(&pair.value, pair.span)?));
        pairs.iter().map(expand).collect()
    }

    fn env(&mut self, instruction: &Instruction, pairs: &[Pair]) -> Result<Done, DockerfileError> {
        self.legacy(instruction, pairs);
        let mut created_by = "ENV".to_owned();
        for ((name, value), pair) in self.pairs(pairs)?.into_iter().zip(pairs) {
            if name.is_empty() || name.contains('=') {
                let message = format!("{} expands to the invalid name {name:?}", pair.name);
                return Err(syntax(pair.span, message, Some("a name without =")));
            }
            self.secret("ENV", &name);
            created_by.push_str(&format!(" {name}={value}"));
            self.scope.set(&name, &value);
            self.env.set(&name, &value);
        }
        Ok(Done::config(self, instruction, created_by))
    }

    fn label(&mut self, instruction: &Instruction, pairs: &[Pair]) -> Result<Done, DockerfileError> {
        self.legacy(instruction, pairs);
        let mut created_by = "LABEL".to_owned();
        for (name, value) in self.pairs(pairs)? {
            created_by.push_str(&format!(" {name}={value}"));
            self.config.labels.insert(name, value);
        }
        Ok(Done::config(self, instruction, created_by))
    }

    fn workdir(&mut self, instruction: &Instruction, path: &Word) -> Result<Done, DockerfileError> {
        let text = self.expand(&path.text, path.span)?;
        if self.workdir == WorkdirIn::Base && !text.starts_with('/') {
            let detail =
                format!("Relative workdir {text:?} can have unexpected results if the base image changes");
            self.setting.lint.report(WORKDIR_RELATIVE_PATH, self.place, detail);
        }
        self.workdir = WorkdirIn::Dockerfile;
        let dir = self.absolute(&text);
        let path = clean(&dir);
        let created_by = format!("WORKDIR {dir}");
        self.config.working_dir = dir;
        if path == "/" {
            return Ok(Done::config(self, instruction, created_by));
        }
        let owner = self.config.user.clone();
        Ok(Done {
            title: self.titles.step(self.setting.escape, &instruction.text, &self.scope),
            action: Action::Workdir(Workdir { path, owner }),
            history: Some(History { created_by, layer: LayerKind::Layer }),
        })
    }

    fn expose(&mut self, instruction: &Instruction, ports: &[Word]) -> Result<Done, DockerfileError> {
        let mut all = Vec::new();
        for word in ports {
            let how = Expander::words(self.setting.escape);
            for port in self.expand_with(how, &word.text, word.span)?.words {
                let form = "PORT[-PORT][/tcp|/udp|/sctp]";
                self.port(&port);
                all.extend(value::ports(&port).map_err(|e| syntax(word.span, e, Some(form)))?);
            }
            self.budget.spend_list(&all, word.span)?;
        }
        self.config.exposed_ports.extend(all.iter().cloned());
        Ok(Done::config(self, instruction, format!("EXPOSE {}", plain_list(&all))))
    }

    fn port(&self, port: &str) {
        let (rest, protocol) = port.rsplit_once('/').unwrap_or((port, ""));
        if protocol != protocol.to_lowercase() {
            let detail = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
            self.setting.lint.report(EXPOSE_PROTO_CASING, self.place, detail);
        }
        if rest.contains(':') {
            let detail = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
            );
            self.setting.lint.report(EXPOSE_INVALID_FORMAT, self.place, detail);
        }
    }

    fn volume(&mut self, instruction: &Instruction, paths: &[Word]) -> Result<Done, DockerfileError> {
        let mut all = Vec::new();
        for word in paths {
            let path = self.expand(&word.text, word.span)?;
            if path.is_empty() {
                let message = format!("{} expands to nothing", word.text);
                return Err(syntax(word.span, message, Some("a path")));
            }
            all.push(path);
        }
        self.config.volumes.extend(all.iter().cloned());
        Ok(Done::config(self, instruction, format!("VOLUME {}", plain_list(&all))))
    }

    fn healthcheck(&mut self, instruction: &Instruction, check: &Healthcheck) -> Done {
        let check = match check {
            Healthcheck::None => {
                wbuild_oci::Healthcheck { test: vec!["NONE".to_owned()], ..Default::default() }
            }
            Healthcheck::Command { command, timing } => wbuild_oci::Healthcheck {
                test: match command {
                    Command::Exec(words) => {
                        std::iter::once("CMD").map(str::to_owned).chain(words.iter().cloned()).collect()
                    }
                    Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
                },
                interval: timing.interval,
                timeout: timing.timeout,
                start_period: timing.start_period,
                start_interval: timing.start_interval,
                retries: timing.retries,
            },
        };
        let created_by = format!(
            "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
            plain_list(&check.test),
            duration(check.interval),
            duration(check.timeout),
            duration(check.start_period),
            duration(check.start_interval),
            check.retries
        );
        self.config.healthcheck = Some(check);
        Done::config(self, instruction, created_by)
    }

    /// The value a declared ARG has now, as the history of a RUN shows it.
    pub(crate) fn declared_value(&self, name: &str) -> &str {
        self.scope.get(name).unwrap_or_default()
    }
}

/// The steps and the result of one stage; `make` turns them into a [`Stage`].
pub(crate) struct Planned {
    pub(crate) stage: Stage,
    pub(crate) inheritance: Inheritance,
}
