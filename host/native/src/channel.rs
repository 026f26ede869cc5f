//! wbuild's end of a component's channel: what a tool changes of its image.
//!
//! Invariant: the sender is hostile. A message is bounded before it is read, a change is checked before it is kept, a step's changes
//! are counted; each is answered, so that a tool that goes on knows it kept. A channel ends with its processes.

use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use wbuild_monitor::{ImageChange, LARGEST_CHANGE, MOST_CHANGES};

use crate::wire;

/// What the tools of a step changed, in order.
#[derive(Debug, Default)]
pub(crate) struct Changes(Mutex<Vec<ImageChange>>);

impl Changes {
    /// Takes the changes of one component until it is gone, or says what was never a change.
    pub(crate) fn take(&self, socket: &UnixStream) {
        while let Ok(Some((change, _))) = wire::receive_at_most::<ImageChange>(socket, LARGEST_CHANGE) {
            let answer = self.keep(change);
            if wire::send::<Result<(), String>>(socket, &answer, &[]).is_err() {
                return;
            }
        }
    }

    fn keep(&self, change: ImageChange) -> Result<(), String> {
        change.check()?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == MOST_CHANGES {
            return Err(format!("the step has changed its image {MOST_CHANGES} times already"));
        }
        kept.push(change);
        Ok(())
    }

    /// All of them, once no channel is open.
    pub(crate) fn into_list(self) -> Vec<ImageChange> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_checked_answered_and_bounded() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let changes = Changes::default();
        let env = |value: &str| ImageChange::Env("A".into(), value.into());
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| {
                changes.take(&ours);
                ours.shutdown(std::net::Shutdown::Both).unwrap();
            });
            let say = |change: &ImageChange| {
                wire::send(&theirs, change, &[]).unwrap();
                wire::receive::<Result<(), String>>(&theirs).unwrap().map(|(answer, _)| answer)
            };
            assert_eq!(say(&env("1")), Some(Ok(())));
            assert!(say(&ImageChange::Workdir("x".into())).unwrap().is_err());
            for _ in 1..MOST_CHANGES {
                assert_eq!(say(&env("2")), Some(Ok(())));
            }
            assert!(say(&env("3")).unwrap().is_err());
            // A message that is too long ends the channel.
            let sent = wire::send(&theirs, &env(&"x".repeat(LARGEST_CHANGE)), &[]);
            // The other end may be gone before all of it is written.
            assert!(sent.map_or_else(|error| error.kind() == std::io::ErrorKind::BrokenPipe, |()| true));
            taken.join().unwrap();
        });
        assert_eq!(changes.into_list().len(), MOST_CHANGES);
    }
}
