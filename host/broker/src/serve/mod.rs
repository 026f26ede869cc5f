//! Receives notifications and answers them: dispatch by the table, exactly one answer each.
//!
//! Invariant: every notification is answered once; a handler that panics or breaks answers EIO and ends the step. No
//! handler runs after [`Broker::close`] returned, so the tree can be read.
//! Several receivers wait at the same time: a signal that reaches a guest before its notification is received would
//! end its call with EINTR.

mod answer;
mod blocking;
mod tally;
mod tasks;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use rustix::io::Errno;
use wbuild_monitor::{Broken, Fault};
use wbuild_sys::notify::{Listener, Notice};

use crate::call::{Call, Handler, Reply};
use crate::calls::socket;
use crate::step::Step;
use crate::table::{self, Action, Row};
use answer::Answer;
use blocking::Watch;
pub use tally::Accounting;
use tally::Tally;
use tasks::Tasks;

/// How many threads wait for notifications.
pub const RECEIVERS: usize = 4;

/// The broker of one step.
pub struct Broker {
    listener: Listener,
    /// Handlers run while they hold it shared; gone once the broker is closed.
    step: RwLock<Option<Step>>,
    rows: Vec<Option<&'static Row>>,
    tasks: Tasks,
    watch: Watch,
    tally: Option<Tally>,
    blocking: Blocking,
    broken: Mutex<Option<Broken>>,
    on_broken: Box<dyn Fn() + Send + Sync>,
}

/// How a broker answers.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Whether calls are counted.
    pub accounting: Accounting,
    /// Where calls that may block wait.
    pub blocking: Blocking,
}

/// Who answers a call that may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// A thread of its own.
    OwnThread,
    /// Whoever received it: enough of them and nobody receives any more. For the control of an attack.
    Receiver,
}

/// What is left when a broker is closed.
pub struct Closed {
    /// The step, for its tree to be read; `None` at a second call.
    pub step: Option<Step>,
    /// Why it could not go on, if so.
    pub broken: Option<Broken>,
}

impl Broker {
    /// A broker that answers `listener` for `step`. `on_broken` is called once, from any thread, when the step cannot
    /// go on; it should end it.
    pub fn new(
        listener: Listener,
        step: Step,
        manner: Manner,
        on_broken: Box<dyn Fn() + Send + Sync>,
    ) -> Arc<Self> {
        // Linux 6.6; on older kernels every call costs a wake-up across processors.
        if let Err(errno) = listener.wake_synchronously() {
            tracing::debug!(%errno, "no same-CPU wake-ups");
        }
        let mut rows = Vec::new();
        for row in table::all() {
            if let Some(number) = row.numbers.here().map(|number| number as usize) {
                rows.resize(rows.len().max(number + 1), None);
                rows[number] = Some(row);
            }
        }
        let (tasks, watch, tally) =
            (Tasks::default(), Watch::default(), Tally::new(manner.accounting, rows.len()));
        let step = RwLock::new(Some(step));
        let (blocking, broken) = (manner.blocking, Mutex::new(None));
        Arc::new(Self { listener, step, rows, tasks, watch, tally, blocking, broken, on_broken })
    }

    /// Starts the receivers; they end with the last guest process.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        for _ in 0..RECEIVERS {
            let broker = Arc::clone(self);
            std::thread::Builder::new().name("receiver".into()).spawn(move || broker.receive())?;
        }
        let broker = Arc::clone(self);
        std::thread::Builder::new().name("watch".into()).spawn(move || broker.watch.run(&broker.listener))?;
        Ok(())
    }

    /// Looks at the step while it runs; `None` once the broker is closed.
    pub fn look<T>(&self, look: impl FnOnce(&Step) -> T) -> Option<T> {
        self.step.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }

    /// What was counted until now; `None` unless counting was asked for.
    #[must_use]
    pub fn tally(&self) -> Option<String> {
        self.tally.as_ref().map(|tally| tally.report(&self.rows))
    }

    /// Waits until no handler runs, lets none run any more and gives the step back.
    pub fn close(&self) -> Closed {
        let step = self.step.write().unwrap_or_else(PoisonError::into_inner).take();
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        Closed { step, broken }
    }

    fn receive(self: Arc<Self>) {
        loop {
            match self.listener.receive() {
                Ok(notice) => match &self.tally {
                    None => self.serve(&notice),
                    Some(tally) => {
                        let since = Instant::now();
                        self.serve(&notice);
                        tally.add(notice.nr, since);
                    }
                },
                Err(Errno::INTR) => {}
                // The guest went away between its trap and our call; or all of them are gone, which newer
                // kernels answer the same way.
                Err(Errno::NOENT) if !self.listener.is_hung_up() => {}
                Err(_) => return,
            }
        }
    }

    /// Serves one notification.
    fn serve(self: &Arc<Self>, notice: &Notice) {
        let answer = Answer::new(&self.listener, notice.id);
        let step = self.step.read().unwrap_or_else(PoisonError::into_inner);
        let Some(step) = step.as_ref() else { return };
        let row = self.rows.get(notice.nr as usize).copied().flatten();
        let action = row.map(|row| row.action_for(&notice.args, step.exec.cookie()));
        let (handler, continues) = match action {
            Some(Action::Broker(handler)) => (handler, Continues::Never),
            Some(Action::Continuing(handler)) => (handler, Continues::Allowed),
            // Only where the step's policy says who may have one; what the row refuses it refuses there, too.
            Some(Action::Native) if row.is_some_and(|row| row.asks_for_the_internet(&notice.args)) => {
                (socket::internet as Handler, Continues::Allowed)
            }
            Some(Action::Deny { errno, .. })
                if row.is_some_and(|row| row.asks_for_the_internet(&notice.args)) =>
            {
                return answer.errno(errno);
            }
            // The filter is made from the same rows, so it does not ask about these.
            Some(Action::Native | Action::Deny { .. }) | None => return answer.errno(Errno::NOSYS),
        };
        let task = match self.tasks.of(notice, &self.listener) {
            Ok(task) => task,
            Err(errno) => return answer.errno(errno),
        };
        let mut call = Call::new(*notice, &task, step, &self.listener);
        let outcome = catch_unwind(AssertUnwindSafe(|| handler(&mut call)));
        let name = row.map_or("?", |row| row.name);
        match outcome {
            Ok(Ok(Reply::Blocking(job))) if self.blocking == Blocking::Receiver => {
                self.run_job(answer.defer(), *notice, &task, job, name);
            }
            Ok(Ok(Reply::Blocking(job))) => {
                self.start_job(answer.defer(), *notice, Arc::clone(&task), job, name)
            }
            Ok(outcome) => self.finish(step, answer, outcome, continues, name),
            Err(_) => self.fail(answer, Broken::because(format!("the handler of {name} panicked"))),
        }
    }

    /// Gives the answer a handler came to.
    fn finish(
        &self,
        step: &Step,
        answer: Answer<'_>,
        outcome: Result<Reply, Fault>,
        continues: Continues,
        name: &str,
    ) {
        match outcome {
            Ok(Reply::Value(value)) => answer.value(value),
            Ok(Reply::Fd(fd, flags)) => answer.descriptor(fd, flags, &step.lingering),
            Ok(Reply::FdClosedFirst(fd, flags)) => answer.descriptor_closed_first(fd, flags),
            Ok(Reply::Answered) => answer.already_given(),
            Ok(Reply::Continue) if continues == Continues::Allowed => answer.go_on(),
            Ok(Reply::Continue | Reply::Blocking(_)) => {
                self.fail(answer, Broken::because(format!("{name} answered what its row does not allow")));
            }
            Err(Fault::Errno(errno)) => answer.errno(errno),
            Err(Fault::Broken(broken)) => self.fail(answer, broken),
        }
    }

    /// Ends the step: the guest gets EIO, the first reason is kept.
    fn fail(&self, answer: Answer<'_>, broken: Broken) {
        tracing::error!(%broken, "the sandbox broke");
        drop(answer);
        let mut first = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            *first = Some(broken);
            (self.on_broken)();
        }
    }
}

/// Whether a row may let the kernel run its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Continues {
    Allowed,
    Never,
}
