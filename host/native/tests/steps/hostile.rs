//! Guests that want their broker to crash, to hang or to run out of something: an honest process is answered all the same, and the step
//! ends as usual, with its journal right.
//!
//! Each is proven able to fail where a fence holds it: `jobs` down, calls that block are answered by receivers.

use wbuild_broker::table::{self, Action};

use crate::bench::{As, BOTH, Bench, Ran};

fn soak() -> bool {
    std::env::var("WBUILD_TEST_SCALE").is_ok_and(|scale| scale == "soak")
}

fn survives(bench: &Bench, arguments: &[&str]) {
    let ran = bench.step(&[&["hostile"], arguments].concat());
    assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
}

/// The calls that the broker answers or looks at, whatever their arguments, but for those that end or stop whoever makes them.
fn handled() -> Vec<String> {
    let asks = |action: &Action| matches!(action, Action::Broker(_) | Action::Continuing(_));
    let rows = table::all().filter(|row| asks(&row.action) || row.cases.iter().any(|case| asks(&case.then)));
    rows.filter_map(|row| row.numbers.here()).map(|number| number.to_string()).collect()
}

#[test]
fn sandbox_random_arguments_leave_the_broker_whole() {
    let numbers = handled();
    assert!(numbers.len() > 80, "{}", numbers.len());
    let (children, calls) = if soak() { ("2000", "3000") } else { ("32", "400") };
    // Told in a failure: the same seed makes the same calls.
    let seed = if soak() { std::process::id().to_string() } else { "7".to_owned() };
    for user in BOTH {
        let mut arguments = vec!["arguments", children, calls, &seed];
        arguments.extend(numbers.iter().map(String::as_str));
        survives(&Bench::new(user), &arguments);
    }
}

#[test]
fn sandbox_calls_that_block_hold_up_nobody_else() {
    for family in ["fifos", "backlog"] {
        survives(&Bench::new(As::User), &[family]);
    }
}

#[test]
fn sandbox_calls_that_block_would_hold_up_everybody_without_their_threads() {
    for family in ["fifos", "backlog"] {
        let bench = Bench::new(As::User);
        let output =
            bench.step_command(&["hostile", family, "64", "3"]).env("STEP_WITHOUT", "jobs").output().unwrap();
        let Ran { code, stderr, .. } = Ran::of(&output);
        assert_eq!(code, 1, "{family}: {stderr}");
        assert!(stderr.contains("an honest process is not answered"), "{family}: {stderr}");
    }
}

#[test]
fn sandbox_who_takes_everything_takes_it_from_nobody_else() {
    let most = if soak() { "200000" } else { "3000" };
    for family in ["handles", "directories", "storm"] {
        survives(&Bench::new(As::User), &[family, most]);
    }
}

/// Where a directory lies is remembered while none moves.
#[test]
fn sandbox_the_journal_is_right_while_directories_move() {
    for user in BOTH {
        survives(&Bench::new(user), &["moves", if soak() { "20000" } else { "600" }]);
    }
}

/// The broker keeps a descriptor for each handle of a guest: here it may have few.
#[test]
fn sandbox_a_broker_without_descriptors_refuses_and_recovers() {
    let bench = Bench::new(As::User);
    let step = bench.step_command(&["hostile", "handles", "3000"]);
    let words = ["--nofile=400:400", "--"].map(std::ffi::OsStr::new);
    let words = words.into_iter().chain(std::iter::once(step.get_program())).chain(step.get_args());
    let output = std::process::Command::new("prlimit").args(words).output().unwrap();
    assert!(output.status.success(), "{:?}", Ran::of(&output));
}

#[test]
fn sandbox_links_and_arguments_without_end_are_refused() {
    for family in ["links", "endless"] {
        survives(&Bench::new(As::User), &[family]);
    }
}
