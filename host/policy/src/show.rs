//! A policy as one text: every rule of every file with its origin.

use std::fmt::Write as _;

use crate::file::{self, Item, List, Mode};
use crate::load::Loaded;
use crate::rules::Ruleset;

impl Ruleset {
    /// The names of the files, those that are extended first.
    #[must_use]
    pub fn file_names(&self) -> Vec<String> {
        self.files.iter().map(|loaded| loaded.source.name.clone()).collect()
    }

    /// What a policy's digest is of: a line with the mode, and for each file, those that are extended first, a line with the length of its text
    /// and the text. The names of the files are no part of it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mode = if self.mode() == Mode::Enforce { "enforce" } else { "audit" };
        let mut bytes = format!("wbuild policy v1 {mode}\n").into_bytes();
        for loaded in &self.files {
            bytes.extend_from_slice(format!("{}\n", loaded.source.text.len()).as_bytes());
            bytes.extend_from_slice(loaded.source.text.as_bytes());
        }
        bytes
    }

    /// The effective rules as TOML-like lines, each with the file and line it comes from. All of them hold at once.
    #[must_use]
    pub fn effective(&self) -> String {
        let mode = if self.mode() == Mode::Enforce { "enforce" } else { "audit" };
        let mut out = format!(
            "# every rule below holds; a thing is allowed where none of them denies it\nmode = \"{mode}\"\n"
        );
        for loaded in &self.files {
            let mut shown = Shown { loaded, lines: Vec::new() };
            shown.file();
            // Writing to a String cannot fail.
            let _ = write!(out, "\n# {}\n", loaded.source.name);
            let width =
                shown.lines.iter().filter(|(_, from)| from.is_some()).map(|(text, _)| text.len()).max();
            let width = width.unwrap_or_default().min(72);
            for (text, from) in &shown.lines {
                let _ = match from {
                    None => writeln!(out, "{text}"),
                    Some(line) => writeln!(out, "{text:width$}  # {}:{line}", loaded.source.name),
                };
            }
        }
        out
    }
}

struct Shown<'a> {
    loaded: &'a Loaded,
    /// A line, and where it comes from.
    lines: Vec<(String, Option<u32>)>,
}

impl Shown<'_> {
    fn heading(&mut self, text: &str) {
        self.lines.push((text.to_owned(), None));
    }

    fn list(&mut self, key: &str, list: &List) {
        for item in list {
            self.line(format!("{key} += [{:?}]", item.value), item);
        }
    }

    fn line<T>(&mut self, text: String, item: &Item<T>) {
        self.lines.push((text, Some(self.loaded.line(&item.span))));
    }

    /// A list that closes: shown even where it is empty.
    fn closing(&mut self, key: &str, list: Option<&Item<List>>) {
        let Some(list) = list else { return };
        self.line(format!("{key} = []"), list);
        self.list(key, &list.value);
    }

    fn file(&mut self) {
        let file = &self.loaded.file;
        self.sources(&file.sources);
        if let Some(section) = &file.dockerfile {
            self.heading("[dockerfile]");
            self.list("deny", &section.deny);
            self.list("deny_run_flags", &section.deny_run_flags);
            if let Some(item) = &section.final_user {
                self.line("final_user = \"non-root\"".to_owned(), item);
            }
            self.list("require_labels", &section.require_labels);
        }
        for step in &file.step {
            self.step(step);
        }
        if let Some(section) = &file.output {
            self.heading("[output]");
            self.list("push", &section.push);
            self.list("deny_tags", &section.deny_tags);
            if let Some(item) = &section.max_layers {
                self.line(format!("max_layers = {}", item.value), item);
            }
            if let Some(item) = &section.max_bytes {
                self.line(format!("max_bytes = {:?}", item.value), item);
            }
        }
        if let Some(section) = &file.host {
            self.heading("[host]");
            self.list("require", &section.require);
            if let Some(item) = &section.degrade {
                self.line(format!("degrade = \"{}\"", format!("{:?}", item.value).to_lowercase()), item);
            }
        }
    }

    fn sources(&mut self, sources: &file::Sources) {
        if let Some(section) = &sources.images {
            self.heading("[sources.images]");
            self.list("allow", &section.allow);
            self.list("deny", &section.deny);
            for item in &section.require {
                self.line("require += [\"digest\"]".to_owned(), item);
            }
        }
        if let Some(section) = &sources.http {
            self.heading("[sources.http]");
            self.list("allow", &section.allow);
            for item in &section.require {
                self.line(format!("require += [\"{}\"]", format!("{:?}", item.value).to_lowercase()), item);
            }
        }
        if let Some(section) = &sources.git {
            self.heading("[sources.git]");
            self.list("allow", &section.allow);
            for item in &section.require {
                self.line("require += [\"commit\"]".to_owned(), item);
            }
        }
    }

    fn step(&mut self, step: &file::Step) {
        self.heading("[[step]]");
        let matching = &step.matching;
        let instruction = matching.instruction.as_ref().map(|item| &item.value);
        let fields = [
            ("stage", &matching.stage.as_ref()),
            ("instruction", &instruction),
            ("command", &matching.command.as_ref()),
        ];
        let given: Vec<String> = fields
            .iter()
            .filter_map(|(name, value)| value.map(|value| format!("{name} = {value:?}")))
            .collect();
        if !given.is_empty() {
            self.heading(&format!("match = {{ {} }}", given.join(", ")));
        }
        for (key, item) in [("exec.native", &step.exec.native), ("net.default", &step.net.default)] {
            if let Some(item) = item {
                self.line(format!("{key} = \"{}\"", format!("{:?}", item.value).to_lowercase()), item);
            }
        }
        self.closing("exec.allow", step.exec.allow.as_ref());
        self.list("exec.deny", &step.exec.deny);
        self.list("fs.read.deny", &step.fs.read.deny);
        self.closing("fs.write.allow", step.fs.write.allow.as_ref());
        self.list("fs.write.deny", &step.fs.write.deny);
        let limits = &step.limits;
        let texts = [
            ("wall", &limits.wall),
            ("cpu", &limits.cpu),
            ("memory", &limits.memory),
            ("write", &limits.write),
            ("log", &limits.log),
        ];
        for (key, item) in texts {
            if let Some(item) = item {
                self.line(format!("limits.{key} = {:?}", item.value), item);
            }
        }
        for (key, item) in [("processes", &limits.processes), ("files", &limits.files)] {
            if let Some(item) = item {
                self.line(format!("limits.{key} = {}", item.value), item);
            }
        }
    }
}
