//! Jobs that may block: each has its own thread, and a watch interrupts it when its guest has a signal to take.
//!
//! Invariant: a job holds the step, so the tree is not read before it ended; a guest that died ends
//! its job within a tick. Threads are not pooled: jobs wait for each other (both ends of a FIFO), so any bound
//! on their number is a deadlock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;
use wbuild_monitor::{Broken, Fault};
use wbuild_sys::notify::{Listener, Notice};

use super::answer::Deferred;
use super::{Broker, Continues};
use crate::call::{Call, Job};
use crate::task::Task;

/// How often the watch looks.
const TICK: Duration = Duration::from_millis(20);
/// Jobs make system calls; they need little stack.
const STACK: usize = 256 * 1024;

/// The jobs that may be blocked now.
#[derive(Default)]
pub(super) struct Watch {
    jobs: Mutex<Vec<Watched>>,
}

struct Watched {
    notification: u64,
    task: Arc<Task>,
    thread: Pid,
}

impl Watch {
    /// Interrupts the threads of jobs whose guests are gone or have a signal to take; ends with the last guest.
    pub(super) fn run(&self, listener: &Listener) {
        while !listener.is_hung_up() || !self.lock().is_empty() {
            std::thread::sleep(TICK);
            for job in self.lock().iter() {
                if !listener.is_valid(job.notification) || job.task.has_signal_to_take() {
                    // The job may be between two calls: the next tick interrupts it again.
                    let _gone = wbuild_sys::process::interrupt_thread(job.thread);
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Watched>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, notification: u64, task: Arc<Task>) {
        self.lock().push(Watched { notification, task, thread: rustix::thread::gettid() });
    }

    fn leave(&self, notification: u64) {
        self.lock().retain(|job| job.notification != notification);
    }
}

impl Broker {
    /// Runs `job` on a thread of its own.
    pub(super) fn start_job(
        self: &Arc<Self>,
        debt: Deferred,
        notice: Notice,
        task: Arc<Task>,
        job: Job,
        name: &'static str,
    ) {
        let broker = Arc::clone(self);
        let run = move || broker.run_job(debt, notice, &task, job, name);
        let started = std::thread::Builder::new().name("job".into()).stack_size(STACK).spawn(run);
        if let Err(error) = started {
            tracing::warn!(%error, "no thread for a call that may block");
            // The debt went with the closure, which was dropped: answer for it.
            Deferred::of(notice.id).resume(&self.listener).errno(Errno::AGAIN);
        }
    }

    pub(super) fn run_job(
        &self,
        debt: Deferred,
        notice: Notice,
        task: &Arc<Task>,
        job: Job,
        name: &'static str,
    ) {
        let answer = debt.resume(&self.listener);
        let step = self.step.read().unwrap_or_else(PoisonError::into_inner);
        let Some(step) = step.as_ref() else { return };
        self.watch.enter(notice.id, Arc::clone(task));
        let mut call = Call::new(notice, task, step, &self.listener);
        let outcome = catch_unwind(AssertUnwindSafe(|| job(&mut call)));
        self.watch.leave(notice.id);
        match outcome {
            Ok(Err(Fault::Errno(Errno::INTR))) => answer.restart(),
            Ok(outcome) => self.finish(step, answer, outcome, Continues::Never, name),
            Err(_) => self.fail(answer, Broken::because(format!("the job of {name} panicked"))),
        }
    }
}
