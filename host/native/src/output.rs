//! Watches a running step from wbuild's side: its output, its result, its end.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use wbuild_monitor::{Cancel, OutputSink, Stream};

use crate::wire::{self, Outcome};

/// How often a cancellation is looked for.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
const BUFFER: usize = 64 * 1024;

/// wbuild's ends of a step.
pub(crate) struct Watched {
    pub(crate) control: UnixStream,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    /// Its end says that no process of the step is left.
    pub(crate) lifeline: OwnedFd,
    /// The most bytes the step may print.
    pub(crate) most: Option<u64>,
    /// Bytes it has printed.
    pub(crate) printed: u64,
}

/// How the watch ended.
pub(crate) enum Seen {
    /// What the supervisor answered; `None` if it died without an answer.
    Answer(Option<Outcome>),
    /// The step is to be ended.
    Cancelled,
    /// It printed more than it may, this many bytes.
    Flooded(u64),
}

impl Watched {
    /// Hands the output on until the supervisor has answered or the step is cancelled.
    pub(crate) fn watch(&mut self, output: &dyn OutputSink, cancel: &Cancel) -> std::io::Result<Seen> {
        let mut buffer = vec![0; BUFFER];
        loop {
            if cancel.is_cancelled() {
                return Ok(Seen::Cancelled);
            }
            let ready = {
                let mut polled: Vec<PollFd<'_>> = [self.stdout.as_ref(), self.stderr.as_ref()]
                    .into_iter()
                    .flatten()
                    .map(|fd| PollFd::new(fd, PollFlags::IN))
                    .collect();
                polled.push(PollFd::new(&self.control, PollFlags::IN));
                match rustix::event::poll(&mut polled, Some(&TICK)) {
                    Ok(_) => polled.pop().is_some_and(|control| !control.revents().is_empty()),
                    Err(Errno::INTR) => continue,
                    Err(errno) => return Err(errno.into()),
                }
            };
            self.drain(output, &mut buffer)?;
            if self.floods() {
                return Ok(Seen::Flooded(self.printed));
            }
            if ready {
                let answer = wire::receive::<Outcome>(&self.control)?.map(|(outcome, _)| outcome);
                // Whatever the guest wrote before its end is in the pipes by now.
                self.drain(output, &mut buffer)?;
                return Ok(if self.floods() { Seen::Flooded(self.printed) } else { Seen::Answer(answer) });
            }
        }
    }

    fn floods(&self) -> bool {
        self.most.is_some_and(|most| self.printed > most)
    }

    /// Reads what there is without waiting.
    fn drain(&mut self, output: &dyn OutputSink, buffer: &mut [u8]) -> std::io::Result<()> {
        for (pipe, stream) in [(&mut self.stdout, Stream::Stdout), (&mut self.stderr, Stream::Stderr)] {
            while let Some(fd) = pipe {
                // What never stops is left to the caller.
                if self.most.is_some_and(|most| self.printed > most) {
                    return Ok(());
                }
                match rustix::io::read(&*fd, &mut *buffer) {
                    Ok(0) => *pipe = None,
                    Ok(length) => {
                        self.printed += length as u64;
                        output.write(stream, &buffer[..length]);
                    }
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(())
    }

    /// Waits until no process of the step is left.
    pub(crate) fn wait_for_the_end(&self) -> std::io::Result<()> {
        loop {
            match rustix::io::read(&self.lifeline, &mut [0_u8; 1]) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
