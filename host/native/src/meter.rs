//! Holds a step to the limits of its policy: time, memory, processes, what it writes.
//!
//! The kernel counts none of these for a tree of processes without cgroups, so they are measured a few times a second, and a step
//! that is over a limit is ended whole. What happens between two looks is the overshoot: a single file's size and each process's
//! descriptors are held by the kernel itself (RLIMIT_FSIZE, RLIMIT_NOFILE).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use wbuild_monitor::{
    Limit as Rlimit, LimitedResource, PolicyLimit as Limit, PolicyLimits as Limits, ReachedLimit,
};

/// How often processes are looked at.
const EVERY: Duration = Duration::from_millis(100);
/// A look takes at most one part in so many of the time.
const SHARE: u32 = 20;

/// A measurement that is going on.
#[derive(Default)]
pub(crate) struct Meter {
    over: Arc<AtomicBool>,
    found: Arc<Mutex<Option<ReachedLimit>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What is measured, and what follows.
pub(crate) struct Measured {
    pub(crate) limits: Limits,
    /// Every process of the step descends from it.
    pub(crate) reaper: Pid,
    /// Bytes by which the step's files have grown, counted no further than its argument.
    pub(crate) growth: Box<dyn Fn(u64) -> u64 + Send>,
    /// Ends the step.
    pub(crate) end: Box<dyn FnOnce() + Send>,
}

impl Meter {
    /// Measures until [`Meter::stop`].
    ///
    /// # Errors
    /// No thread can be made.
    pub(crate) fn start(measured: Measured) -> std::io::Result<Self> {
        let mut meter = Self::default();
        if measured.limits.is_empty() {
            return Ok(meter);
        }
        let (over, found) = (Arc::clone(&meter.over), Arc::clone(&meter.found));
        let run = move || {
            let began = Instant::now();
            while !over.load(Ordering::SeqCst) {
                let look = Instant::now();
                if let Some(reached) = measured.reached(began.elapsed()) {
                    *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(reached);
                    return (measured.end)();
                }
                std::thread::park_timeout(measured.pause(began.elapsed(), look.elapsed()));
            }
        };
        meter.thread = Some(std::thread::Builder::new().name("meter".into()).spawn(run)?);
        Ok(meter)
    }

    /// Ends the measurement; what was reached, `growth` looked at once more: a step may write much and end at once.
    pub(crate) fn stop(self, limits: &Limits, growth: &dyn Fn(u64) -> u64) -> Option<ReachedLimit> {
        let at_last = || {
            let most = limits.write?;
            let measured = growth(most);
            (measured > most).then_some(ReachedLimit { limit: Limit::Write, measured })
        };
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread {
            thread.thread().unpark();
            // A panic of the thread is a defect that its own message tells of.
            let _ended = thread.join();
        }
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take().or_else(at_last)
    }
}

impl Measured {
    fn reached(&self, elapsed: Duration) -> Option<ReachedLimit> {
        let over = |limit: Limit, measured: u64| {
            self.limits.of(limit).filter(|most| measured > *most).map(|_| ReachedLimit { limit, measured })
        };
        let wall = over(Limit::Wall, u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        wall.or_else(|| {
            let asked = [Limit::Cpu, Limit::Memory, Limit::Processes];
            if asked.iter().all(|limit| self.limits.of(*limit).is_none()) {
                return None;
            }
            let usage = Usage::of(self.reaper);
            over(Limit::Processes, usage.processes)
                .or_else(|| over(Limit::Memory, usage.memory))
                .or_else(|| over(Limit::Cpu, usage.cpu))
        })
        .or_else(|| self.limits.write.and_then(|most| over(Limit::Write, (self.growth)(most))))
    }

    /// Until the next look: rarely enough not to cost, soon enough for the wall clock.
    fn pause(&self, elapsed: Duration, look: Duration) -> Duration {
        let pause = EVERY.max(look * SHARE);
        match self.limits.wall {
            Some(most) => {
                pause.min(Duration::from_millis(most).saturating_sub(elapsed) + Duration::from_millis(1))
            }
            None => pause,
        }
    }
}

/// A file may be this much larger than all that may be written, so that the measurement sees who went over.
const MARGIN: u64 = 1 << 20;

/// Adds to `held` the limits that the kernel holds itself; the smaller of two counts, and no limit is above what this process has.
pub(crate) fn hold(held: &mut Vec<Rlimit>, limits: &Limits) {
    let write = limits.write.map(|most| most.saturating_add(MARGIN));
    for (resource, most) in [(LimitedResource::Nofile, limits.files), (LimitedResource::Fsize, write)] {
        let Some(most) = most else { continue };
        let own = rustix::process::getrlimit(crate::guest::resource_of(resource)).maximum;
        let most = own.map_or(most, |own| own.min(most));
        match held.iter_mut().find(|limit| limit.resource == resource) {
            Some(limit) => {
                limit.soft = Some(limit.soft.map_or(most, |soft| soft.min(most)));
                limit.hard = Some(limit.hard.map_or(most, |hard| hard.min(most)));
            }
            None => held.push(Rlimit { resource, soft: Some(most), hard: Some(most) }),
        }
    }
}

/// What the processes of a step use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    processes: u64,
    /// Bytes: private memory, and what is mapped of shared memory.
    memory: u64,
    /// Milliseconds, those of processes that were waited for counted.
    cpu: u64,
}

impl Usage {
    /// Of all that descend from `reaper`; nothing where /proc cannot be read, which is a failure of the broker first.
    fn of(reaper: Pid) -> Self {
        let Ok(parents) = wbuild_sys::process::parents() else { return Self::default() };
        let reaper = reaper.as_raw_nonzero().get();
        let mut known = HashMap::from([(reaper, true)]);
        let mut usage = Self::default();
        for pid in parents.keys() {
            if !descends(*pid, &parents, &mut known) || *pid == reaper {
                continue;
            }
            let Some(own) = Self::of_process(*pid) else { continue };
            usage.processes += own.processes;
            usage.memory += own.memory;
            usage.cpu += own.cpu;
        }
        // Orphans end with the reaper.
        usage.cpu += read(reaper, "stat").and_then(|text| ticks(&text, &[15, 16])).unwrap_or_default();
        usage
    }

    fn of_process(pid: i32) -> Option<Self> {
        let cpu = ticks(&read(pid, "stat")?, &[13, 14, 15, 16])?;
        let status = read(pid, "status").unwrap_or_default();
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
        };
        let memory = (kilobytes("RssAnon:") + kilobytes("RssShmem:")) * 1024;
        Some(Self { processes: 1, memory, cpu })
    }
}

/// True if the line of parents of `pid` leads to one that is known to.
fn descends(pid: i32, parents: &HashMap<i32, i32>, known: &mut HashMap<i32, bool>) -> bool {
    let mut line = Vec::new();
    let mut at = pid;
    let found = loop {
        if let Some(found) = known.get(&at) {
            break *found;
        }
        // No line of parents is longer than the list.
        if line.len() > parents.len() {
            break false;
        }
        line.push(at);
        match parents.get(&at) {
            Some(parent) => at = *parent,
            None => break false,
        }
    };
    for pid in line {
        known.insert(pid, found);
    }
    found
}

/// The sum of fields of /proc/PID/stat that count clock ticks, counted from 0, in milliseconds (USER_HZ is 100 on both architectures).
fn ticks(stat: &str, fields: &[usize]) -> Option<u64> {
    const MILLIS: u64 = 10;
    // Two fields stand before the closing bracket of the name, which may hold anything.
    let rest: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    fields
        .iter()
        .map(|field| rest.get(field - 2)?.parse::<u64>().ok())
        .sum::<Option<u64>>()
        .map(|sum| sum * MILLIS)
}

/// A small file of a process; `None` once it is gone.
fn read(pid: i32, name: &str) -> Option<String> {
    let path = format!("/proc/{pid}/{name}");
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut content = [0; 4096];
    let length = rustix::io::read(&file, &mut content).ok()?;
    Some(String::from_utf8_lossy(&content[..length]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_and_its_children_are_counted() {
        let own = Pid::from_raw(i32::try_from(std::process::id()).unwrap()).unwrap();
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "cat | cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while Usage::of(own).processes < 2 {
            assert!(Instant::now() < deadline, "{:?}", Usage::of(own));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(Usage::of(own).memory > 0);
        // Both end with their input.
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn the_smaller_of_two_limits_is_held() {
        let given = |soft, hard| Rlimit { resource: LimitedResource::Nofile, soft, hard };
        let limits = Limits { files: Some(64), ..Limits::default() };
        let held = |given: Option<Rlimit>| {
            let mut all: Vec<Rlimit> = given.into_iter().collect();
            hold(&mut all, &limits);
            (all.len(), all[0].soft, all[0].hard)
        };
        assert_eq!(held(None), (1, Some(64), Some(64)));
        assert_eq!(held(Some(given(Some(32), None))), (1, Some(32), Some(64)));
        assert_eq!(held(Some(given(Some(99), Some(99)))), (1, Some(64), Some(64)));
    }

    #[test]
    fn the_name_of_a_program_is_no_field() {
        let stat = "7 (a) 1 2 3) S 1 7 7 0 -1 0 0 0 0 0 11 12 13 14 20 0";
        assert_eq!(ticks(stat, &[13, 14, 15, 16]), Some(500));
        assert_eq!(ticks("7 (a", &[13]), None);
    }

    #[test]
    fn a_step_is_ended_once_for_the_limit_it_reached() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let own = Pid::from_raw(i32::try_from(std::process::id()).unwrap()).unwrap();
        let measured = |limits, end: Box<dyn FnOnce() + Send>| Measured {
            limits,
            reaper: own,
            growth: Box::new(|_| 7),
            end,
        };
        let limits = Limits { write: Some(6), wall: Some(3_600_000), ..Limits::default() };
        let meter = Meter::start(measured(limits, Box::new(move || sender.send(()).unwrap()))).unwrap();
        receiver.recv().unwrap();
        assert_eq!(meter.stop(&limits, &|_| 0), Some(ReachedLimit { limit: Limit::Write, measured: 7 }));
        let quiet = Limits { write: Some(7), ..Limits::default() };
        assert_eq!(
            Meter::start(measured(quiet, Box::new(|| unreachable!()))).unwrap().stop(&quiet, &|_| 7),
            None
        );
        let late = Meter::start(measured(quiet, Box::new(|| unreachable!()))).unwrap().stop(&quiet, &|_| 8);
        assert_eq!(late, Some(ReachedLimit { limit: Limit::Write, measured: 8 }));
        assert!(
            Meter::start(measured(Limits::default(), Box::new(|| unreachable!()))).unwrap().thread.is_none()
        );
    }
}
