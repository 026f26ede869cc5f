//! What a build tells while it runs, as data: only `cli` makes text of it.
//!
//! A build is a set of vertices: resolving an image, a step, an export. Events of one vertex come in order; events of
//! different vertices mix.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wbuild_monitor::{OutputSink, Stream};
use wbuild_plan::Span;

use crate::kept::Made;

/// Takes the events of a build; called from several threads.
pub trait Progress: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event<'_>);
}

/// Names one vertex of a build, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vertex(pub u32);

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Work on a vertex begins.
    Started {
        /// Which.
        vertex: Vertex,
        /// What it is: `[build 3/7] RUN make`.
        name: &'a str,
    },
    /// A step's process printed something.
    Output {
        /// Which.
        vertex: Vertex,
        /// Where to.
        stream: Stream,
        /// What, as it came.
        bytes: &'a [u8],
        /// Since the vertex began.
        elapsed: Duration,
    },
    /// Something to know, one line.
    Note {
        /// What it concerns.
        vertex: Vertex,
        /// The line.
        text: &'a str,
    },
    /// Something in the Dockerfile to look at though the build goes on.
    Warning {
        /// Where; `None` where no line is meant.
        span: Option<Span>,
        /// A sentence fragment.
        message: &'a str,
    },
    /// Work on a vertex ended.
    Finished {
        /// Which.
        vertex: Vertex,
        /// How.
        outcome: Outcome,
        /// How long it took.
        elapsed: Duration,
    },
}

/// How work on a vertex ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It was done before: the cache has it.
    Cached,
    /// It failed; the build's error says why.
    Failed,
    /// Something else failed, or the user interrupted.
    Cancelled,
}

/// Hands out vertices.
#[derive(Clone)]
pub(crate) struct Reporter {
    progress: Arc<dyn Progress>,
    next: Arc<AtomicU32>,
}

impl Reporter {
    pub(crate) fn new(progress: Arc<dyn Progress>) -> Self {
        Self { progress, next: Arc::new(AtomicU32::new(1)) }
    }

    pub(crate) fn warn(&self, span: Option<Span>, message: &str) {
        self.progress.event(Event::Warning { span, message });
    }

    /// Begins a vertex.
    pub(crate) fn start(&self, name: &str) -> Running {
        let vertex = Vertex(self.next.fetch_add(1, Ordering::Relaxed));
        self.progress.event(Event::Started { vertex, name });
        Running {
            progress: Arc::clone(&self.progress),
            vertex,
            began: Instant::now(),
            outcome: Outcome::Failed,
            tail: Mutex::default(),
        }
    }
}

/// A vertex at work; it ends as failed unless it is told otherwise.
pub(crate) struct Running {
    progress: Arc<dyn Progress>,
    vertex: Vertex,
    began: Instant,
    outcome: Outcome,
    tail: Mutex<Tail>,
}

impl Running {
    pub(crate) fn note(&self, text: &str) {
        self.progress.event(Event::Note { vertex: self.vertex, text });
    }

    pub(crate) fn done(mut self) {
        self.outcome = Outcome::Done;
    }

    /// Layers are in a tree now.
    pub(crate) fn unpacked(self, made: Made) {
        match made {
            Made::Unpacked => self.done(),
            Made::Taken => self.cached(),
        }
    }

    pub(crate) fn cached(mut self) {
        self.outcome = Outcome::Cached;
    }

    pub(crate) fn cancelled(mut self) {
        self.outcome = Outcome::Cancelled;
    }

    /// The last lines that a step printed, oldest first.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).lines()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.progress.event(Event::Finished {
            vertex: self.vertex,
            outcome: self.outcome,
            elapsed: self.began.elapsed(),
        });
    }
}

impl OutputSink for Running {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
        let elapsed = self.began.elapsed();
        self.progress.event(Event::Output { vertex: self.vertex, stream, bytes, elapsed });
    }
}

/// The end of a step's output, so that an error can repeat it.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    const LINES: usize = 20;
    const BYTES: usize = 8 << 10;

    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(Self::BYTES)..]);
        // Trimmed rarely, so that a chatty step costs one copy per several kilobytes.
        if self.0.len() > 4 * Self::BYTES {
            self.0.drain(..self.0.len() - Self::BYTES);
        }
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<&str> = text.trim_end_matches('\n').split('\n').collect();
        let from = lines.len().saturating_sub(Self::LINES);
        let shown =
            |line: &&str| line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default().to_owned();
        if text.is_empty() { Vec::new() } else { lines[from..].iter().map(shown).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines_of_long_output() {
        let mut tail = Tail::default();
        for n in 0..10_000 {
            tail.push(format!("line {n}\n").as_bytes());
        }
        assert!(tail.0.len() <= 4 * Tail::BYTES);
        let lines = tail.lines();
        assert_eq!(lines.len(), Tail::LINES);
        assert_eq!(lines.last().unwrap(), "line 9999");
        assert!(Tail::default().lines().is_empty());
    }

    #[test]
    fn the_tail_shows_what_a_terminal_would_after_carriage_returns() {
        let mut tail = Tail::default();
        tail.push(b"10%\r50%\r100%\r\nunfinished");
        assert_eq!(tail.lines(), ["100%", "unfinished"]);
    }

    #[test]
    fn a_vertex_that_is_dropped_has_failed() {
        #[derive(Default)]
        struct Seen(Mutex<Vec<Outcome>>);
        impl Progress for Seen {
            fn event(&self, event: Event<'_>) {
                if let Event::Finished { outcome, .. } = event {
                    self.0.lock().unwrap().push(outcome);
                }
            }
        }
        let seen = Arc::new(Seen::default());
        let reporter = Reporter::new(seen.clone());
        drop(reporter.start("a"));
        reporter.start("b").done();
        reporter.start("c").cancelled();
        assert_eq!(*seen.0.lock().unwrap(), [Outcome::Failed, Outcome::Done, Outcome::Cancelled]);
    }
}
