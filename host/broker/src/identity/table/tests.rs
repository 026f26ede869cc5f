//! States of real processes: tags are read from and written to children that only sleep.

use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags};

use super::*;
use crate::identity::{Cwd, Identity, PlanId};

struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap())
    }

    fn thread(&self) -> Thread {
        let pid = Pid::from_child(&self.0);
        Thread { tid: pid, tgid: pid }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn open(path: &str) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn identities(step: u32) -> Identities {
    Identities::new(StepId::new(step), Carrier::choose().unwrap(), open("/proc"))
}

fn first() -> State {
    State::first(Identity::of_step(0, 0, vec![]), Arc::new(Cwd::of(open("/")).unwrap()))
}

fn adopt(identities: &Identities, child: &Sleeper) {
    let tag = identities.enter(first());
    identities.carrier().write(child.thread().tid, tag).unwrap();
}

#[test]
fn a_change_shows_and_equal_states_are_one() {
    let identities = identities(7);
    let (a, b) = (Sleeper::start(), Sleeper::start());
    adopt(&identities, &a);
    adopt(&identities, &b);
    assert_eq!(identities.len(), 1);
    for child in [&a, &b] {
        let old = identities
            .change(child.thread(), |s| Ok((State { umask: 0o077, ..s.clone() }, s.umask)))
            .unwrap();
        assert_eq!(old, 0o022);
    }
    assert_eq!(identities.len(), 2);
    let (a, b) = (identities.of(a.thread().tid).unwrap(), identities.of(b.thread().tid).unwrap());
    assert!(Arc::ptr_eq(&a, &b));
    assert_eq!(a.umask, 0o077);
}

#[test]
fn a_refused_change_changes_nothing() {
    let identities = identities(8);
    let child = Sleeper::start();
    adopt(&identities, &child);
    let refused = identities.change::<()>(child.thread(), |_| Err(Errno::PERM));
    assert!(matches!(refused, Err(ChangeError::Refused(Errno::PERM))));
    assert_eq!(*identities.of(child.thread().tid).unwrap(), first());
}

#[test]
fn strangers_have_no_state() {
    let (ours, theirs) = (identities(9), identities(10));
    let child = Sleeper::start();
    assert!(matches!(ours.of(child.thread().tid), Err(TagError::Foreign(_))));
    adopt(&theirs, &child);
    assert!(matches!(ours.of(child.thread().tid), Err(TagError::Foreign(_))));
}

#[test]
fn only_dead_states_are_collected() {
    let identities = identities(11);
    let child = Sleeper::start();
    adopt(&identities, &child);
    for mask in 0..0o777 {
        identities.change(child.thread(), |s| Ok((State { umask: mask, ..s.clone() }, ()))).unwrap();
    }
    identities.collect();
    identities.collect();
    assert_eq!(identities.len(), 1, "only the child's own state lives");
    assert_eq!(identities.of(child.thread().tid).unwrap().umask, 0o776);
    // A freed place is used again, and the tag still leads to the right state.
    let other = Sleeper::start();
    adopt(&identities, &other);
    assert_eq!(identities.of(other.thread().tid).unwrap().umask, 0o022);
    assert_eq!(identities.of(child.thread().tid).unwrap().umask, 0o776);
}

#[test]
fn threads_lose_no_change() {
    let identities = identities(12);
    let child = Sleeper::start();
    adopt(&identities, &child);
    let rounds = 1000;
    // One thread counts in the umask, the other in the plan: each must find the other's last value untouched.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=rounds {
                let next = |s: &State| {
                    assert_eq!(s.umask, if n == 1 { 0o022 } else { n - 1 });
                    Ok((State { umask: n, ..s.clone() }, ()))
                };
                identities.change(child.thread(), next).unwrap();
            }
        });
        scope.spawn(|| {
            for n in 1..=u64::from(rounds) {
                let next = |s: &State| {
                    assert_eq!(s.plan, PlanId(n - 1));
                    Ok((State { plan: PlanId(n), ..s.clone() }, ()))
                };
                identities.change(child.thread(), next).unwrap();
            }
        });
    });
    let last = identities.of(child.thread().tid).unwrap();
    assert_eq!((last.umask, last.plan), (rounds, PlanId(u64::from(rounds))));
}
