//! Files to a [`Ruleset`]: every value checked, every pattern compiled, every rule with its place.

use std::ops::Range;

use crate::access::{RuleId, Verdict};
use crate::error::PolicyError;
use crate::file::{self, Item, List, Mode};
use crate::glob::{PathPattern, TextPattern};
use crate::limits::{self, Limit, Limits};
use crate::load::{Loaded, closest};
use crate::rules::{Gate, Ruleset, StepClause, rule_of};
use crate::step::{Clause, Lists, RuleRef};

/// Compiles files into a [`Ruleset`]; each after those it extends.
struct Compiler {
    rules: Vec<RuleRef>,
}

impl Compiler {
    fn rule(&mut self, loaded: &Loaded, key: &str, value: &str, span: &Range<usize>) -> RuleId {
        self.rules.push(rule_of(loaded, key, value, span));
        RuleId(u32::try_from(self.rules.len() - 1).unwrap_or(u32::MAX))
    }

    fn paths(
        &mut self,
        loaded: &Loaded,
        key: &str,
        list: &List,
    ) -> Result<Vec<(RuleId, PathPattern)>, PolicyError> {
        list.iter()
            .map(|item| {
                Ok((self.rule(loaded, key, &item.value, &item.span), path(loaded, item, &item.value)?))
            })
            .collect()
    }

    fn texts(&mut self, loaded: &Loaded, key: &str, list: &List) -> Vec<(RuleId, TextPattern)> {
        let one = |item: &Item<String>| {
            (self.rule(loaded, key, &item.value, &item.span), TextPattern::new(&item.value))
        };
        list.iter().map(one).collect()
    }

    fn step(&mut self, loaded: &Loaded, step: &file::Step) -> Result<StepClause, PolicyError> {
        if let Some(item) =
            step.matching.instruction.as_ref().filter(|item| !item.value.eq_ignore_ascii_case("RUN"))
        {
            let message = format!("rules of a step are about what it runs; {:?} runs nothing", item.value);
            return Err(PolicyError::new(message, Some(loaded.place(&item.span)))
                .hint("instruction = \"RUN\", or leave it away"));
        }
        let mut denied = |item: &Option<Item<Verdict>>, key: &str| {
            let item = item.as_ref().filter(|item| item.value == Verdict::Deny)?;
            Some(self.rule(loaded, key, "deny", &item.span))
        };
        let native = denied(&step.exec.native, "exec.native");
        let internet = denied(&step.net.default, "net.default");
        let (programs, modules) = self.exec(loaded, &step.exec)?;
        let reads = Lists { allow: None, deny: self.paths(loaded, "fs.read.deny", &step.fs.read.deny)? };
        let allow = match &step.fs.write.allow {
            None => None,
            Some(list) => {
                let rule = self.rule(loaded, "fs.write.allow", "nothing else", &list.span);
                let patterns = list.value.iter().map(|item| path(loaded, item, &item.value));
                Some((rule, patterns.collect::<Result<_, _>>()?))
            }
        };
        let writes = Lists { allow, deny: self.paths(loaded, "fs.write.deny", &step.fs.write.deny)? };
        let (limits, limit_rules) = self.limits(loaded, &step.limits)?;
        let matching = &step.matching;
        Ok(StepClause {
            stage: matching.stage.as_deref().map(TextPattern::new),
            instruction: matching.instruction.as_ref().map(|item| item.value.clone()),
            command: matching.command.as_deref().map(TextPattern::new),
            clause: Clause { native, internet, programs, modules, reads, writes },
            limits,
            limit_rules,
        })
    }

    /// The lists about programs and about modules: a list of either closes both.
    fn exec(&mut self, loaded: &Loaded, exec: &file::Exec) -> Result<(Lists, Lists), PolicyError> {
        let (mut programs, mut modules) = (Lists::default(), Lists::default());
        if let Some(list) = &exec.allow {
            let rule = self.rule(loaded, "exec.allow", "nothing else", &list.span);
            let (mut native, mut wasm) = (Vec::new(), Vec::new());
            for item in &list.value {
                match item.value.strip_prefix("wasm:") {
                    Some(module) => wasm.push(path(loaded, item, module)?),
                    None => native.push(path(loaded, item, &item.value)?),
                }
            }
            programs.allow = Some((rule, native));
            modules.allow = Some((rule, wasm));
        }
        for item in &exec.deny {
            let rule = self.rule(loaded, "exec.deny", &item.value, &item.span);
            match item.value.strip_prefix("wasm:") {
                Some(module) => modules.deny.push((rule, path(loaded, item, module)?)),
                None => programs.deny.push((rule, path(loaded, item, &item.value)?)),
            }
        }
        Ok((programs, modules))
    }

    fn limits(
        &mut self,
        loaded: &Loaded,
        given: &file::StepLimits,
    ) -> Result<(Limits, Vec<(Limit, RuleId)>), PolicyError> {
        type Reader = fn(&str) -> Result<u64, String>;
        type Text<'a> = (Limit, &'a Option<Item<String>>, &'a mut Option<u64>, Reader);
        let mut limits = Limits::default();
        let mut rules = Vec::new();
        let texts: [Text<'_>; 5] = [
            (Limit::Wall, &given.wall, &mut limits.wall, limits::duration),
            (Limit::Cpu, &given.cpu, &mut limits.cpu, limits::duration),
            (Limit::Memory, &given.memory, &mut limits.memory, limits::size),
            (Limit::Write, &given.write, &mut limits.write, limits::size),
            (Limit::Log, &given.log, &mut limits.log, limits::size),
        ];
        for (limit, item, value, read) in texts {
            let Some(item) = item else { continue };
            let at = |why| PolicyError::new(why, Some(loaded.place(&item.span)));
            *value = Some(read(&item.value).map_err(at)?);
            rules.push((limit, self.rule(loaded, limit.key(), &item.value, &item.span)));
        }
        for (item, value) in [(&given.processes, &mut limits.processes), (&given.files, &mut limits.files)] {
            let Some(item) = item else { continue };
            if item.value == 0 {
                let why = "a step needs at least one".to_owned();
                return Err(PolicyError::new(why, Some(loaded.place(&item.span))));
            }
            *value = Some(item.value);
        }
        if let Some(item) = &given.processes {
            let rule = self.rule(loaded, Limit::Processes.key(), &item.value.to_string(), &item.span);
            rules.push((Limit::Processes, rule));
        }
        Ok((limits, rules))
    }
}

fn path(loaded: &Loaded, item: &Item<String>, text: &str) -> Result<PathPattern, PolicyError> {
    PathPattern::new(text).map_err(|why| PolicyError::new(why, Some(loaded.place(&item.span))))
}

impl Ruleset {
    /// Checks and compiles files.
    pub(crate) fn of(files: Vec<Loaded>) -> Result<Self, PolicyError> {
        let mut compiler = Compiler { rules: Vec::new() };
        let (mut steps, mut images, mut pushes) = (Vec::new(), Vec::new(), Vec::new());
        for loaded in &files {
            check(loaded)?;
            for step in &loaded.file.step {
                steps.push(compiler.step(loaded, step)?);
            }
            if let Some(section) = &loaded.file.sources.images {
                let key = "sources.images.allow";
                let span = section.allow.first().map_or(0..0, |item| item.span.clone());
                images.push(Gate {
                    closed: compiler.rule(loaded, key, "nothing else", &span),
                    allow: section.allow.iter().map(|item| TextPattern::new(&item.value)).collect(),
                    deny: compiler.texts(loaded, "sources.images.deny", &section.deny),
                });
            }
            if let Some(section) = &loaded.file.output {
                let span = section.push.first().map_or(0..0, |item| item.span.clone());
                pushes.push(Gate {
                    closed: compiler.rule(loaded, "output.push", "nothing else", &span),
                    allow: section.push.iter().map(|item| TextPattern::new(&item.value)).collect(),
                    deny: compiler.texts(loaded, "output.deny_tags", &section.deny_tags),
                });
            }
        }
        let mode = mode(&files)?;
        let set = Self { mode, rules: compiler.rules, files, steps, images, pushes };
        set.narrows()?;
        Ok(set)
    }

    /// A file that says it allows what another one denies is a mistake: nothing it says could make it so.
    fn narrows(&self) -> Result<(), PolicyError> {
        for loaded in &self.files {
            let others = || self.files.iter().filter(|other| other.source.name != loaded.source.name);
            for step in loaded.file.step.iter().filter(|step| step.matching.is_everything()) {
                for (key, mine) in [("exec.native", &step.exec.native), ("net.default", &step.net.default)] {
                    let Some(mine) = mine.as_ref().filter(|item| item.value == Verdict::Allow) else {
                        continue;
                    };
                    let denies = |other: &&Loaded| {
                        let all = other.file.step.iter().filter(|step| step.matching.is_everything());
                        let mut theirs = all.filter_map(|step| {
                            if key == "exec.native" {
                                step.exec.native.as_ref()
                            } else {
                                step.net.default.as_ref()
                            }
                        });
                        theirs.any(|item| item.value == Verdict::Deny)
                    };
                    if let Some(other) = others().find(denies) {
                        return Err(widened(loaded, &mine.span, key, &other.source.name));
                    }
                }
            }
        }
        Ok(())
    }
}

impl file::Match {
    fn is_everything(&self) -> bool {
        self.stage.is_none() && self.command.is_none()
    }
}

fn widened(loaded: &Loaded, span: &Range<usize>, key: &str, other: &str) -> PolicyError {
    let message = format!("{key} cannot be widened: {other} denies it");
    PolicyError::new(message, Some(loaded.place(span)))
        .hint("extends may only narrow; extend a wider policy, or none")
}

/// What of one file needs no compiling.
fn check(loaded: &Loaded) -> Result<(), PolicyError> {
    let file = &loaded.file;
    let wrong = |item: &Item<String>, why: String| PolicyError::new(why, Some(loaded.place(&item.span)));
    if let Some(section) = &file.dockerfile {
        for item in &section.deny {
            if !INSTRUCTIONS.contains(&item.value.to_ascii_uppercase().as_str()) {
                let error = wrong(item, format!("{:?} is not an instruction", item.value));
                let known = closest(&item.value.to_ascii_uppercase(), INSTRUCTIONS.iter().copied());
                return Err(match known {
                    Some(known) => error.hint(format!("did you mean {known:?}?")),
                    None => error,
                });
            }
        }
        const FLAGS: &[&str] = &["mount", "network", "security", "device"];
        if let Some(item) = section.deny_run_flags.iter().find(|item| !FLAGS.contains(&item.value.as_str())) {
            return Err(wrong(item, format!("RUN has no flag {:?}", item.value))
                .hint(format!("flags are {}", FLAGS.join(", "))));
        }
    }
    if let Some(item) = file.output.as_ref().and_then(|output| output.max_bytes.as_ref()) {
        limits::size(&item.value).map_err(|why| wrong(item, why))?;
    }
    for item in file.host.iter().flat_map(|host| &host.require) {
        let level = item.value.strip_prefix("landlock>=").map(str::parse::<u32>);
        if item.value != "seccomp-notify" && !matches!(level, Some(Ok(_))) {
            return Err(wrong(item, format!("{:?} is not something a host can offer", item.value))
                .hint("\"landlock>=6\" (an ABI level) or \"seccomp-notify\""));
        }
    }
    Ok(())
}

const INSTRUCTIONS: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// The mode of all files: whoever enforces wins, and a file that would loosen another is wrong.
fn mode(files: &[Loaded]) -> Result<Mode, PolicyError> {
    let of = |loaded: &Loaded| loaded.file.mode.as_ref().map_or(Mode::Enforce, |item| item.value);
    let Some(strict) = files.iter().find(|loaded| of(loaded) == Mode::Enforce) else {
        return Ok(if files.is_empty() { Mode::Enforce } else { Mode::Audit });
    };
    let loose = files.iter().find_map(|loaded| {
        let item = loaded.file.mode.as_ref().filter(|item| item.value == Mode::Audit)?;
        Some((loaded, item))
    });
    match loose {
        None => Ok(Mode::Enforce),
        Some((loaded, item)) => {
            let message = format!("mode cannot be \"audit\": {} enforces", strict.source.name);
            Err(PolicyError::new(message, Some(loaded.place(&item.span)))
                .hint("the command line may say so: --policy-mode=audit"))
        }
    }
}
