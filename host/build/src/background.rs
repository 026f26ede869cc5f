//! Work that the next step need not wait for: syncing a layer to disk, removing a tree.
//!
//! Nothing is forgotten: whoever needs the result waits, from any thread, and dropping waits for all of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use wbuild_store::StoreError;

/// Threads at work for a build.
#[derive(Debug, Default)]
pub(crate) struct Background(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The numbers of what is at work.
    running: BTreeSet<u64>,
    next: u64,
    /// The first one that nobody was told of.
    failure: Option<StoreError>,
    panics: u32,
}

/// More than this many at once only queue up at the disk.
const MOST: usize = 4;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State>,
        condition: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'a, State> {
        self.changed.wait_while(state, condition).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that a piece of work has ended, however it did.
struct Ending {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.running.remove(&self.number);
        state.panics += u32::from(std::thread::panicking());
        self.shared.changed.notify_all();
    }
}

impl Background {
    /// Starts `work`; waits first where much is going on already.
    pub(crate) fn start(
        &self,
        work: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let mut state = self.0.wait_while(self.0.lock(), |state| state.running.len() >= MOST);
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        let number = state.next;
        state.next += 1;
        state.running.insert(number);
        drop(state);
        let ending = Ending { shared: Arc::clone(&self.0), number };
        std::thread::spawn(move || {
            if let Err(failure) = work() {
                ending.shared.lock().failure.get_or_insert(failure);
            }
            drop(ending);
        });
        Ok(())
    }

    /// Waits for everything that was started before; answers the first failure.
    pub(crate) fn wait(&self) -> Result<(), StoreError> {
        let state = self.0.lock();
        let until = state.next;
        let mut state =
            self.0.wait_while(state, |state| state.running.first().is_some_and(|oldest| *oldest < until));
        assert_eq!(state.panics, 0, "work in the background panicked");
        state.failure.take().map_or(Ok(()), Err)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Whoever drops it with work in hand reports another failure already.
        drop(self.0.wait_while(self.0.lock(), |state| !state.running.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn everything_is_waited_for_and_a_failure_told() {
        let done = Arc::new(AtomicUsize::new(0));
        let background = Background::default();
        for n in 0..10_u64 {
            let done = Arc::clone(&done);
            let work = move || {
                std::thread::sleep(Duration::from_millis(5));
                done.fetch_add(1, Ordering::SeqCst);
                if n == 9 { Err(StoreError::TooLarge { limit: n }) } else { Ok(()) }
            };
            background.start(work).unwrap();
        }
        assert!(matches!(background.wait(), Err(StoreError::TooLarge { limit: 9 })));
        assert_eq!(done.load(Ordering::SeqCst), 10);
        background.wait().unwrap();
    }

    #[test]
    fn every_thread_that_waits_waits_to_the_end() {
        let done = Arc::new(AtomicUsize::new(0));
        let background = Background::default();
        let seen = Arc::clone(&done);
        let work = move || {
            std::thread::sleep(Duration::from_millis(50));
            seen.store(1, Ordering::SeqCst);
            Ok(())
        };
        background.start(work).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    background.wait().unwrap();
                    assert_eq!(done.load(Ordering::SeqCst), 1);
                });
            }
        });
    }

    #[test]
    fn dropping_waits() {
        let done = Arc::new(AtomicUsize::new(0));
        let background = Background::default();
        let seen = Arc::clone(&done);
        background
            .start(move || {
                std::thread::sleep(Duration::from_millis(20));
                seen.store(1, Ordering::SeqCst);
                Ok(())
            })
            .unwrap();
        drop(background);
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }
}
