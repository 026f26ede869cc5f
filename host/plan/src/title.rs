//! The names of steps as a progress display shows them: `[build 3/7] RUN make`.

use wbuild_dockerfile::Expander;

use crate::environment::Scope;
use crate::run::summary;

/// The two names of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Title {
    /// With variables expanded.
    pub(crate) shown: String,
    /// As the Dockerfile has it.
    pub(crate) written: String,
}

/// Names the steps of one stage, counting them.
#[derive(Clone, Debug)]
pub(crate) struct Titles {
    // Empty where the Dockerfile has one stage only.
    stage: String,
    total: usize,
    done: usize,
    prefix: &'static str,
}

impl Titles {
    /// For a stage with `total` steps that are shown.
    pub(crate) fn new(stage: String, total: usize) -> Self {
        Self { stage, total, done: 0, prefix: "" }
    }

    /// The base image of the stage.
    pub(crate) fn from(&mut self, image: &str) -> Title {
        let text = format!("FROM {image}");
        self.numbered(&text, &text)
    }

    /// From here on, steps are triggers.
    pub(crate) fn onbuild(&mut self) {
        self.prefix = "ONBUILD ";
    }

    /// From here on, steps are the stage's own.
    pub(crate) fn own(&mut self) {
        self.prefix = "";
    }

    /// An instruction that only changes the configuration: not numbered.
    pub(crate) fn plain(&self, text: &str) -> Title {
        let text = format!("{}{}", self.prefix, upper(text));
        Title { shown: text.clone(), written: text }
    }

    /// A COPY, ADD or WORKDIR; variables are shown expanded.
    pub(crate) fn step(&mut self, escape: char, text: &str, scope: &Scope) -> Title {
        let shown = Expander::words(escape).expand(text, scope).map_or_else(|_| text.to_owned(), |e| e.text);
        self.numbered(&upper(&shown), &upper(text))
    }

    /// A RUN; variables that are set are shown expanded, and a script by its first line.
    pub(crate) fn run(&mut self, escape: char, text: &str, script: Option<&String>, scope: &Scope) -> Title {
        let text = match script {
            Some(content) => format!("{text} ({})", summary(content)),
            None => text.to_owned(),
        };
        let shown = Expander::display(escape).expand(&text, scope).map_or_else(|_| text.clone(), |e| e.text);
        self.numbered(&upper(&shown), &upper(&text))
    }

    fn numbered(&mut self, shown: &str, written: &str) -> Title {
        self.done += 1;
        let width = self.total.to_string().len();
        let stage = if self.stage.is_empty() { String::new() } else { format!("{} ", self.stage) };
        let place = format!("[{stage}{:width$}/{}] {}", self.done, self.total, self.prefix);
        Title { shown: format!("{place}{shown}"), written: format!("{place}{written}") }
    }
}

// The keyword in capitals.
fn upper(text: &str) -> String {
    match text.split_once(' ') {
        Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
        None => text.to_uppercase(),
    }
}
