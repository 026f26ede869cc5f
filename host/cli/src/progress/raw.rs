//! Progress as `docker buildx build --progress rawjson` has it: BuildKit's SolveStatus, a JSON document a line.
//!
//! Each line has some of `vertexes`, `logs`, `statuses` and `warnings`. A vertex is named by a digest, as BuildKit names it; the digest
//! is that of the vertex's number and name, and the same in every line of one build.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wbuild_build::{Event, Outcome, Progress, Stream, Vertex};
use wbuild_oci::{Digest, Time};

use crate::build::Source;

/// Writes events as JSON lines.
pub(super) struct Raw<W: Write + Send>(Mutex<State<W>>);

struct State<W> {
    out: W,
    source: Source,
    running: BTreeMap<Vertex, Running>,
}

struct Running {
    digest: Digest,
    name: String,
    started: String,
}

impl<W: Write + Send> Raw<W> {
    pub(super) fn new(out: W, source: Source) -> Self {
        Self(Mutex::new(State { out, source, running: BTreeMap::new() }))
    }
}

/// The wall clock, as Go writes it.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_unix_nanos(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
        .to_string()
}

impl<W: Write + Send> Progress for Raw<W> {
    fn event(&self, event: Event<'_>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = state.line(event) else { return };
        // A closed standard error must not end the build.
        drop(writeln!(state.out, "{line}").and_then(|()| state.out.flush()));
    }
}

impl<W> State<W> {
    fn line(&mut self, event: Event<'_>) -> Option<Value> {
        Some(match event {
            Event::Started { vertex, name } => {
                let digest = Digest::of(format!("{} {name}", vertex.0).as_bytes());
                let running = Running { digest, name: name.to_owned(), started: now() };
                let line = json!({ "vertexes": [{ "digest": digest.to_string(), "name": name, "started": running.started }] });
                self.running.insert(vertex, running);
                line
            }
            Event::Output { vertex, stream, bytes, .. } => {
                let stream = match stream {
                    Stream::Stdout => 1,
                    Stream::Stderr => 2,
                };
                let data = STANDARD.encode(bytes);
                let vertex = self.running.get(&vertex)?.digest.to_string();
                json!({ "logs": [{ "vertex": vertex, "stream": stream, "data": data, "timestamp": now() }] })
            }
            Event::Note { vertex, text } => {
                let vertex = self.running.get(&vertex)?.digest.to_string();
                let at = now();
                json!({ "statuses": [{ "id": text, "vertex": vertex, "name": text, "total": 0, "current": 0,
                    "timestamp": at, "started": at, "completed": at }] })
            }
            Event::Warning { span, message } => {
                let mut warning = json!({ "level": 1, "short": STANDARD.encode(message) });
                if let Some(span) = span {
                    warning["sourceInfo"] = json!({ "filename": self.source.name });
                    warning["range"] = json!([{
                        "start": { "line": span.start.line, "character": span.start.column.saturating_sub(1) },
                        "end": { "line": span.end.line, "character": span.end.column.saturating_sub(1) },
                    }]);
                }
                json!({ "warnings": [warning] })
            }
            Event::Finished { vertex, outcome, .. } => {
                let Running { digest, name, started } = self.running.remove(&vertex)?;
                let mut done = json!({ "digest": digest.to_string(), "name": name, "started": started, "completed": now() });
                match outcome {
                    Outcome::Done => {}
                    Outcome::Cached => done["cached"] = true.into(),
                    Outcome::Failed => done["error"] = "failed".into(),
                    Outcome::Cancelled => done["error"] = "context canceled".into(),
                }
                json!({ "vertexes": [done] })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_line_is_a_document_of_buildkits_shape() {
        let raw = Raw::new(Vec::new(), Source { name: "Dockerfile".into(), text: Vec::new() });
        let one = Vertex(1);
        let elapsed = Duration::from_millis(5);
        for event in [
            Event::Started { vertex: one, name: "[1/2] RUN make" },
            Event::Output { vertex: one, stream: Stream::Stderr, bytes: b"a\xffb", elapsed },
            Event::Warning { span: Some(wbuild_dockerfile::Span::on_line(3, 1, 4)), message: "no" },
            Event::Finished { vertex: one, outcome: Outcome::Cached, elapsed },
        ] {
            raw.event(event);
        }
        let text = String::from_utf8(raw.0.into_inner().unwrap().out).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        let digest = &lines[0]["vertexes"][0]["digest"];
        assert!(digest.as_str().unwrap().parse::<Digest>().is_ok());
        assert_eq!(lines[1]["logs"][0]["vertex"], *digest);
        assert_eq!(lines[1]["logs"][0]["stream"], 2);
        assert_eq!(lines[1]["logs"][0]["data"], STANDARD.encode(b"a\xffb"));
        assert_eq!(lines[2]["warnings"][0]["range"][0]["start"]["line"], 3);
        assert_eq!(lines[3]["vertexes"][0]["cached"], true);
        assert_eq!(lines[3]["vertexes"][0]["started"], lines[0]["vertexes"][0]["started"]);
        assert!(lines[3]["vertexes"][0]["completed"].as_str().unwrap().ends_with('Z'));
    }
}
