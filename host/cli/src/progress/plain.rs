//! Progress as lines, in the form of buildx's plain mode: `#7 0.532 text`.
//!
//! Nothing is rewritten, so that it can go to a file. An empty line stands before each vertex that takes the word.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use wbuild_build::{Event, Outcome, Progress, Vertex};

use super::Lines;
use crate::build::Source;

/// Writes events as lines.
pub(super) struct Plain<W: Write + Send>(Mutex<State<W>>);

struct State<W> {
    out: W,
    source: Source,
    /// Who spoke last.
    last: Option<Vertex>,
    names: BTreeMap<Vertex, String>,
    /// Unfinished lines.
    lines: BTreeMap<Vertex, (Lines, Duration)>,
}

impl<W: Write + Send> Plain<W> {
    pub(super) fn new(out: W, source: Source) -> Self {
        Self(Mutex::new(State { out, source, last: None, names: BTreeMap::new(), lines: BTreeMap::new() }))
    }
}

impl<W: Write + Send> Progress for Plain<W> {
    fn event(&self, event: Event<'_>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Started { vertex, name } => {
                state.names.insert(vertex, name.to_owned());
                state.say(vertex, "");
            }
            Event::Output { vertex, bytes, elapsed, .. } => {
                let (mut lines, _) = state.lines.remove(&vertex).unwrap_or_default();
                lines.push(bytes, |line| state.say(vertex, &format!("{:.3} {line}", elapsed.as_secs_f64())));
                state.lines.insert(vertex, (lines, elapsed));
            }
            Event::Note { vertex, text } => state.say(vertex, text),
            Event::Warning { span, message } => {
                let line = super::warning(&state.source, span, message);
                drop(writeln!(state.out, "{line}"));
            }
            Event::Finished { vertex, outcome, elapsed } => {
                if let Some((mut lines, at)) = state.lines.remove(&vertex) {
                    lines.finish(|line| state.say(vertex, &format!("{:.3} {line}", at.as_secs_f64())));
                }
                let seconds = elapsed.as_secs_f64();
                match outcome {
                    Outcome::Done => state.say(vertex, &format!("DONE {seconds:.1}s")),
                    Outcome::Cached => state.say(vertex, "CACHED"),
                    Outcome::Failed => state.say(vertex, &format!("ERROR {seconds:.1}s")),
                    Outcome::Cancelled => state.say(vertex, "CANCELED"),
                }
                state.names.remove(&vertex);
                state.last = None;
            }
        }
    }
}

impl<W: Write> State<W> {
    /// One line of a vertex; when another spoke before, its name comes first, as the only line where `text` is empty.
    fn say(&mut self, vertex: Vertex, text: &str) {
        let mut block = String::new();
        if self.last != Some(vertex) {
            if self.last.is_some() {
                block.push('\n');
            }
            let name = self.names.get(&vertex).map_or("", String::as_str);
            block.push_str(&format!("#{} {name}\n", vertex.0));
            self.last = Some(vertex);
        }
        if !text.is_empty() {
            block.push_str(&format!("#{} {text}\n", vertex.0));
        }
        if text.starts_with("DONE") || text.starts_with("ERROR") || matches!(text, "CANCELED" | "CACHED") {
            block.push('\n');
        }
        // A closed standard error must not end the build.
        drop(self.out.write_all(block.as_bytes()).and_then(|()| self.out.flush()));
    }
}

#[cfg(test)]
mod tests {
    use wbuild_build::Vertex;

    use super::*;

    #[test]
    fn reads_like_buildx() {
        let plain = Plain::new(Vec::new(), Source { name: "Dockerfile".into(), text: Vec::new() });
        let (one, two) = (Vertex(1), Vertex(2));
        let at = Duration::from_millis;
        let out = |vertex, text: &'static str, ms| Event::Output {
            vertex,
            stream: wbuild_build::Stream::Stdout,
            bytes: text.as_bytes(),
            elapsed: at(ms),
        };
        for event in [
            Event::Started { vertex: one, name: "[1/2] RUN make" },
            out(one, "cc a.c\ncc b", 532),
            Event::Started { vertex: two, name: "[other 1/1] RUN true" },
            out(one, ".c\n", 700),
            Event::Note { vertex: two, text: "a note" },
            Event::Finished { vertex: two, outcome: Outcome::Done, elapsed: at(1240) },
            Event::Finished { vertex: one, outcome: Outcome::Failed, elapsed: at(2000) },
        ] {
            plain.event(event);
        }
        let text = String::from_utf8(plain.0.into_inner().unwrap().out).unwrap();
        assert_eq!(
            text,
            "#1 [1/2] RUN make\n#1 0.532 cc a.c\n\n#2 [other 1/1] RUN true\n\n#1 [1/2] RUN make\n#1 0.700 cc b.c\n\n\
             #2 [other 1/1] RUN true\n#2 a note\n#2 DONE 1.2s\n\n#1 [1/2] RUN make\n#1 ERROR 2.0s\n\n"
        );
    }
}
