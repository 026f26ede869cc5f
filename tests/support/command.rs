//! Commands with a deadline, their output, and errors that show both.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing that the tests start runs longer.
const DEADLINE: Duration = Duration::from_secs(20 * 60);

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub shown: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output as text; invalid UTF-8 is replaced.
    pub stdout: String,
    /// Standard error as text; invalid UTF-8 is replaced.
    pub stderr: String,
    /// From start to end.
    pub wall: Duration,
}

impl Outcome {
    /// The outcome itself when the exit code is 0; an error with all that was printed otherwise.
    pub fn success(self) -> Result<Self> {
        self.code(0)
    }

    /// The outcome itself when the exit code is `expected`; an error with all that was printed otherwise.
    pub fn code(self, expected: i32) -> Result<Self> {
        if self.status.code() != Some(expected) {
            bail!(
                "{} ended with {}, not with {expected}\n--- standard output\n{}\n--- standard error\n{}",
                self.shown,
                self.status,
                self.stdout.trim_end(),
                self.stderr.trim_end()
            );
        }
        Ok(self)
    }

    /// Both outputs, standard output first.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A command with these arguments and no standard input.
pub fn command<I, S>(program: impl AsRef<OsStr>, arguments: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end and keeps what it printed; past the deadline it is killed and that is an error.
pub fn run(mut command: Command) -> Result<Outcome> {
    let shown = show(&command);
    let start = Instant::now();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let status = wait(&mut child, &shown)?;
    let wall = start.elapsed();
    let text = |reader: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
    };
    Ok(Outcome { shown, status, stdout: text(stdout), stderr: text(stderr), wall })
}

/// Runs a command that must succeed and returns its standard output.
pub fn output<I, S>(program: impl AsRef<OsStr>, arguments: I) -> Result<String>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    Ok(run(command(program, arguments))?.success()?.stdout)
}

/// The command line as one would type it, without quoting.
pub fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

fn wait(child: &mut Child, shown: &str) -> Result<ExitStatus> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().with_context(|| format!("cannot wait for {shown}"))? {
            return Ok(status);
        }
        if start.elapsed() > DEADLINE {
            child.kill().with_context(|| format!("cannot kill {shown}"))?;
            child.wait().with_context(|| format!("cannot wait for {shown}"))?;
            bail!("{shown} did not end within {DEADLINE:?} and was killed");
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is still shown; the exit status tells the rest.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}
