//! Progress on a terminal: finished vertices as lines, the running ones below with the end of their output.
//!
//! Only the block of running vertices is rewritten, at most ten times a second; its size follows the terminal's.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use wbuild_build::{Event, Outcome, Progress, Vertex};

use super::Lines;
use crate::build::Source;
use crate::terminal::{Paint, Style};

const TICK: Duration = Duration::from_millis(100);
/// Output lines shown under a running vertex.
const TAIL: usize = 5;

/// A live view of a build.
pub(super) struct Tty(Arc<Mutex<State>>);

struct State {
    paint: Paint,
    source: Source,
    running: BTreeMap<Vertex, Running>,
    /// Finished lines that are not written yet.
    finished: String,
    /// How many lines the block on the screen has.
    drawn: usize,
}

struct Running {
    name: String,
    began: Instant,
    lines: Lines,
    tail: VecDeque<String>,
}

impl Tty {
    pub(super) fn new(paint: Paint, source: Source) -> Self {
        let state = State { paint, source, running: BTreeMap::new(), finished: String::new(), drawn: 0 };
        let state = Arc::new(Mutex::new(state));
        let weak = Arc::downgrade(&state);
        // The thread ends with the view.
        std::thread::spawn(move || tick(&weak));
        Self(state)
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).draw();
    }
}

fn tick(state: &Weak<Mutex<State>>) {
    while let Some(state) = state.upgrade() {
        state.lock().unwrap_or_else(PoisonError::into_inner).draw();
        drop(state);
        std::thread::sleep(TICK);
    }
}

impl Progress for Tty {
    fn event(&self, event: Event<'_>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Started { vertex, name } => {
                let running = Running {
                    name: name.to_owned(),
                    began: Instant::now(),
                    lines: Lines::default(),
                    tail: VecDeque::new(),
                };
                state.running.insert(vertex, running);
            }
            Event::Output { vertex, bytes, .. } => {
                if let Some(running) = state.running.get_mut(&vertex) {
                    let tail = &mut running.tail;
                    running.lines.push(bytes, |line| {
                        tail.push_back(line.to_owned());
                        if tail.len() > TAIL {
                            tail.pop_front();
                        }
                    });
                }
            }
            Event::Note { vertex, text } => {
                let name = state.running.get(&vertex).map_or("", |running| running.name.as_str());
                let line = format!("{}\n", state.paint.of(Style::Faint, &format!("    {name}: {text}")));
                state.finished.push_str(&line);
            }
            Event::Warning { span, message } => {
                let line = super::warning(&state.source, span, message);
                let line = format!("{}\n", state.paint.of(Style::Warning, &line));
                state.finished.push_str(&line);
            }
            Event::Finished { vertex, outcome, elapsed } => {
                if let Some(running) = state.running.remove(&vertex) {
                    let line = finished(state.paint, &running.name, outcome, elapsed);
                    state.finished.push_str(&line);
                }
                if state.running.is_empty() {
                    state.draw();
                }
            }
        }
    }
}

fn finished(paint: Paint, name: &str, outcome: Outcome, elapsed: Duration) -> String {
    let mark = match outcome {
        Outcome::Done | Outcome::Cached => paint.of(Style::Good, " => "),
        Outcome::Failed => paint.of(Style::Error, " x> "),
        Outcome::Cancelled => paint.of(Style::Faint, " -> "),
    };
    let end = match outcome {
        Outcome::Cancelled => "CANCELED ",
        Outcome::Cached => "CACHED ",
        Outcome::Done | Outcome::Failed => "",
    };
    let time = paint.of(Style::Faint, &format!("{:>6}", format!("{:.1}s", elapsed.as_secs_f64())));
    format!("{mark}{time} {end}{name}\n")
}

impl State {
    fn draw(&mut self) {
        let (columns, rows) = size();
        let mut text = String::new();
        if self.drawn > 0 {
            // Up to the block's first line, then clear to the end of the screen.
            let _ = write!(text, "\u{1b}[{}A\u{1b}[0J", self.drawn);
        }
        text.push_str(&std::mem::take(&mut self.finished));
        let mut block: Vec<String> = Vec::new();
        for running in self.running.values() {
            let elapsed = format!("{:.1}s", running.began.elapsed().as_secs_f64());
            // The time stands first: a long name is cut.
            block.push(format!(" .. {elapsed:>6} {}", running.name));
            block.extend(running.tail.iter().map(|line| format!("      {line}")));
        }
        block.truncate(rows.saturating_sub(1).max(1));
        self.drawn = block.len();
        for line in block {
            // A line that wraps would break the count.
            let cut: String = line.replace('\t', " ").chars().take(columns.saturating_sub(1)).collect();
            text.push_str(&cut);
            text.push('\n');
        }
        if !text.is_empty() {
            let mut out = std::io::stderr().lock();
            drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
        }
    }
}

fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}
