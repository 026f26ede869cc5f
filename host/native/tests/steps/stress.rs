//! The stress programs of sandbox.md, natively and then under the broker.

use std::process::Command;

use crate::bench::{As, Bench, compiled};

/// Rounds in the ordinary run; `cargo xtask soak` sets STRESS_ROUNDS.
fn rounds() -> String {
    std::env::var("STRESS_ROUNDS").unwrap_or_else(|_| "150".into())
}

fn holds(name: &str) {
    let native = tempfile::tempdir().unwrap();
    let output =
        Command::new(compiled("stress")).args([name, &rounds()]).current_dir(native.path()).output().unwrap();
    assert!(output.status.success(), "natively: {output:?}");
    for user in [As::Tester, As::User] {
        let ran = Bench::new(user).sh(&format!("cd /tmp && exec stress {name} {}", rounds()));
        assert_eq!(ran.code, 0, "{user:?} {ran:?}");
    }
}

#[test]
fn a_file_can_be_executed_once_it_is_closed() {
    holds("write_close_exec");
}

#[test]
fn a_lock_is_free_once_its_file_is_closed() {
    holds("flocks");
}

#[test]
fn chdir_and_umask_of_two_threads_lose_nothing() {
    holds("chdir_against_umask");
}

#[test]
fn a_failed_exec_leaves_no_trace() {
    holds("exec_too_big");
}

#[test]
fn a_hundred_thousand_arguments_arrive() {
    holds("many_arguments");
}

#[test]
fn eight_threads_spawn_at_once() {
    holds("threads_spawn");
}

#[test]
fn vfork_and_exec_survive_a_rain_of_signals() {
    holds("spawn_in_a_signal_storm");
}

#[test]
fn threads_that_are_not_leaders_execute() {
    holds("thread_execs");
}

#[test]
fn system_v_objects_work_and_keep_to_their_step() {
    holds("system_v");
    // Two steps use the same key, which natively would be one object.
    let benches = [Bench::new(As::Tester), Bench::new(As::Tester)];
    let mut steps: Vec<_> =
        benches.iter().map(|bench| bench.step_command(&["stress", "system_v"]).spawn().unwrap()).collect();
    for step in &mut steps {
        assert!(step.wait().unwrap().success());
    }
}

#[test]
fn steps_run_where_process_vm_is_refused() {
    holds("spawned_reads");
    let bench = Bench::new(As::User);
    let wrapper = compiled("without_vm");
    for name in ["spawned_reads", "thread_execs", "chdir_against_umask"] {
        let line = format!("cd /tmp && exec stress {name} 30");
        let step = bench.step_command(&["sh", "-c", &line]);
        let words = std::iter::once(step.get_program()).chain(step.get_args());
        let output = Command::new(&wrapper).args(words).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
    }
}
