//! Nothing outlives a step, however it ends.

use std::io::Read;
use std::process::Stdio;
use std::sync::Mutex;

use wbuild_monitor::{
    Cancel, Engine, EngineError, JournalCheck, MtimeRule, OutputSink, Policy, Process, StepSpec, Stream,
};
use wbuild_native::NativeEngine;

use crate::bench::{As, BOTH, Bench, STEP, alive};

#[test]
fn what_runs_in_the_background_is_killed_at_the_end() {
    for user in BOTH {
        let marker = format!("4242{}{}", std::process::id(), user as u8);
        let ran = Bench::new(user).sh(&format!("sleep {marker} & (sleep {marker} &) ; exit 3"));
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.stderr.contains("were still there at the end and were killed"), "{ran:?}");
        assert_eq!(alive(&marker), 0, "{user:?}");
    }
}

#[test]
fn a_killed_supervisor_takes_the_step_along() {
    for user in BOTH {
        let bench = Bench::new(user);
        let marker = format!("4343{}{}", std::process::id(), user as u8);
        let mut step = bench
            .step_command(&[
                "sh",
                "-c",
                &format!("sleep {marker} & sleep {marker} & echo up; sleep {marker}"),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        step.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        // The first process of the tree with this argument is the supervisor.
        let tree = bench.file("").parent().unwrap().to_owned();
        let supervisors = supervisors_of(step.id());
        assert_eq!(supervisors.len(), 1, "{}", tree.display());
        rustix::process::kill_process(supervisors[0], rustix::process::Signal::KILL).unwrap();
        let output = step.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("ended without an answer"), "{output:?}");
        assert_eq!(alive(&marker), 0, "{user:?}");
    }
}

/// Supervisors among the descendants of `ancestor`: the reaper, forked from one, is its child and not counted.
fn supervisors_of(ancestor: u32) -> Vec<rustix::process::Pid> {
    let parents = wbuild_sys::process::parents().unwrap();
    let is_supervisor = |pid: i32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).nth(1) == Some(b"__supervisor"))
    };
    let descends = |mut pid: i32| {
        while let Some(parent) = parents.get(&pid) {
            if *parent == ancestor.cast_signed() {
                return true;
            }
            pid = *parent;
        }
        false
    };
    parents
        .iter()
        .filter(|(pid, parent)| is_supervisor(**pid) && !is_supervisor(**parent) && descends(**pid))
        .filter_map(|(pid, _)| rustix::process::Pid::from_raw(*pid))
        .collect()
}

/// Cancels a step at its first output.
struct CancelAtOutput {
    cancel: Cancel,
    seen: Mutex<Vec<u8>>,
}

impl OutputSink for CancelAtOutput {
    fn write(&self, _stream: Stream, bytes: &[u8]) {
        self.seen.lock().unwrap().extend_from_slice(bytes);
        self.cancel.cancel();
    }
}

#[test]
fn a_fork_storm_ends_when_it_is_cancelled() {
    let bench = Bench::new(As::Tester);
    let scratch = bench.file("../../scratch/own");
    std::fs::create_dir(&scratch).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&scratch, Some(wbuild_native::SCRATCH_ID), Some(wbuild_native::SCRATCH_ID))
            .unwrap();
    }
    let marker = format!("storm-{}", std::process::id());
    let spec = StepSpec {
        name: "storm".into(),
        tree: bench.file("..").canonicalize().unwrap(),
        scratch: scratch.canonicalize().unwrap(),
        process: Process {
            argv: [
                b"/bin/stress".to_vec(),
                b"fork_storm".to_vec(),
                b"1".to_vec(),
                marker.clone().into_bytes(),
            ]
            .to_vec(),
            env: vec![],
            cwd: b"/".to_vec(),
            uid: 0,
            gid: 0,
            groups: vec![],
            hostname: "wbuild".into(),
        },
        mounts: vec![],
        tool: Default::default(),
        resources: Default::default(),
        mtimes: MtimeRule::Keep,
        policy: Policy::default(),
        journal_check: JournalCheck::Off,
        evidence: Default::default(),
        observing: Default::default(),
    };
    let engine = NativeEngine { exe: STEP.into(), ..NativeEngine::default() };
    let sink = CancelAtOutput { cancel: Cancel::default(), seen: Mutex::default() };
    let result = engine.run(&spec, &sink, &sink.cancel);
    assert!(matches!(result, Err(EngineError::Cancelled)), "{result:?}");
    assert_eq!(&*sink.seen.lock().unwrap(), b"storm\n");
    assert_eq!(alive(&marker), 0);
}
