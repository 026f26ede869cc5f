//! Work that the next step need not wait for: syncing a layer to disk, removing a tree.
//!
//! Nothing is forgotten: whoever needs the result waits, and dropping waits for all of it.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use wbuild_store::StoreError;

type Work = JoinHandle<Result<(), StoreError>>;

/// Threads at work for a build.
#[derive(Debug, Default)]
pub(crate) struct Background(Mutex<Vec<Work>>);

/// More than this many at once only queue up at the disk.
const MOST: usize = 4;

impl Background {
    /// Starts `work`; waits first where much is going on already.
    pub(crate) fn start(
        &self,
        work: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let oldest = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (all.len() >= MOST).then(|| all.remove(0))
        };
        oldest.map_or(Ok(()), finish)?;
        let started = std::thread::spawn(work);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(started);
        Ok(())
    }

    /// Waits for everything that was started; answers the first failure.
    pub(crate) fn wait(&self) -> Result<(), StoreError> {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        all.into_iter().map(finish).fold(Ok(()), Result::and)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Whoever drops it with work in hand reports another failure already.
        drop(self.wait());
    }
}

fn finish(work: Work) -> Result<(), StoreError> {
    work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn everything_is_waited_for_and_the_first_failure_told() {
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
