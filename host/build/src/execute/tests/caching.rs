//! Whole builds again and again: what runs, what does not, and that nobody sees the difference in the result.

use super::*;

impl Bench {
    /// How many steps have run in all.
    fn ran(&self) -> usize {
        self.engine.ran.lock().unwrap().len()
    }

    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.0.lock().unwrap())
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.dir.path().join("context").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

const TWO_STAGES: &str = "FROM scratch AS a\nCOPY src /src\nRUN one\nWORKDIR /w\nFROM scratch\nCOPY --from=a /src /out/\nRUN two\n";

#[test]
fn a_build_again_runs_nothing_and_gives_the_same_image() {
    let bench = Bench::new();
    bench.write("src/f", "x");
    let first = bench.build(TWO_STAGES);
    assert_eq!(bench.ran(), 2);
    bench.lines();
    let second = bench.build(TWO_STAGES);
    assert_eq!(bench.ran(), 2);
    assert_eq!((first.manifest, first.config), (second.manifest, second.config));
    let lines = bench.lines();
    assert_eq!(lines.iter().filter(|line| *line == "Cached").count(), 5, "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("unpack")), "no tree is made: {lines:?}");
    bench.nothing_is_left();
}

#[test]
fn a_build_from_the_cache_reads_no_layer() {
    let bench = Bench::new();
    bench.write("src/f", "x");
    let first = bench.build(TWO_STAGES);
    // Layers that cannot be read, of the right size.
    for layer in bench.manifest(&first).layers {
        let path = bench.dir.path().join("store/blobs/sha256").join(layer.digest.hex());
        std::fs::write(path, vec![b'#'; usize::try_from(layer.size).unwrap()]).unwrap();
    }
    let second = bench.build(TWO_STAGES);
    assert_eq!(first.manifest, second.manifest);
}

#[test]
fn the_image_is_that_of_a_build_without_cache() {
    let bench = Bench::new();
    for (content, line) in [("x", "RUN two"), ("y", "RUN two"), ("y", "RUN three")] {
        bench.write("src/f", content);
        let dockerfile = TWO_STAGES.replace("RUN two", line);
        let cached = bench.build(&dockerfile);
        let fresh = Bench::new();
        fresh.write("src/f", content);
        assert_eq!(cached.manifest, fresh.build(&dockerfile).manifest, "{content} {line}");
    }
}

#[test]
fn a_change_runs_what_comes_after_it() {
    let bench = Bench::new();
    bench.write("f", "x");
    bench.build("FROM scratch\nRUN one\nCOPY f /\nRUN two\n");
    bench.write("f", "y");
    bench.build("FROM scratch\nRUN one\nCOPY f /\nRUN two\n");
    assert_eq!(bench.ran(), 3, "only `two` has another tree below it");
}

#[test]
fn a_step_that_makes_the_same_layer_again_lets_the_next_be_found() {
    let bench = Bench::new();
    // The scripted step makes a directory named after its last argument only.
    let dockerfile =
        |arg: &str| format!("FROM scratch\nRUN [\"{arg}\", \"same\"]\nRUN two\nRUN [\"{arg}\", \"last\"]\n");
    bench.build(&dockerfile("sh"));
    bench.lines();
    let changed = bench.build(&dockerfile("bash"));
    assert_eq!(bench.ran(), 3 + 2);
    let lines = bench.lines();
    assert_eq!(lines.iter().filter(|line| *line == "Cached").count(), 1, "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with("unpack what the cache had")), "{lines:?}");
    assert_eq!(bench.layers(&changed).len(), 3);
    let fresh = Bench::new();
    assert_eq!(changed.manifest, fresh.build(&dockerfile("bash")).manifest);
}

#[test]
fn a_stage_that_is_built_anew_with_the_same_files_changes_no_copy_of_them() {
    let bench = Bench::new();
    let dockerfile = |line: &str| {
        format!(
            "FROM scratch AS a\nCOPY <<EOF /f\nx\nEOF\nRUN {line}\nFROM scratch\nCOPY --from=a /f /f\nRUN two\n"
        )
    };
    bench.build(&dockerfile("one"));
    bench.lines();
    bench.build(&dockerfile("other"));
    assert_eq!(bench.ran(), 3, "one, two, other");
    assert_eq!(bench.lines().iter().filter(|line| *line == "Cached").count(), 3);
    // The third time the copy is found without its source's tree.
    bench.build(&dockerfile("other"));
    assert!(!bench.lines().iter().any(|line| line.contains("unpack")));
}

#[test]
fn a_missing_layer_is_made_again() {
    let bench = Bench::new();
    let built = bench.build("FROM scratch\nRUN one\nRUN two\n");
    let lost = bench.manifest(&built).layers[0].digest;
    std::fs::remove_file(bench.dir.path().join("store/blobs/sha256").join(lost.hex())).unwrap();
    let again = bench.build("FROM scratch\nRUN one\nRUN two\n");
    assert_eq!(built.manifest, again.manifest);
    assert_eq!(bench.ran(), 3);
    assert_eq!(bench.layers(&again).len(), 2);
}

#[test]
fn without_cache_everything_runs_and_is_remembered() {
    let mut bench = Bench::new();
    bench.build("FROM scratch AS a\nRUN one\nFROM a\nRUN two\n");
    bench.no_cache = NoCache::Everywhere;
    bench.build("FROM scratch AS a\nRUN one\nFROM a\nRUN two\n");
    assert_eq!(bench.ran(), 4);
    bench.no_cache = NoCache::Stages(["a".to_owned(), "nobody".to_owned()].into());
    bench.lines();
    bench.build("FROM scratch AS a\nRUN one\nFROM a\nRUN two\n");
    assert_eq!(bench.ran(), 5, "`two` finds the layer that `one` made again");
    assert!(bench.lines().iter().any(|line| line.contains("no stage of this name")));
    bench.no_cache = NoCache::Nowhere;
    bench.build("FROM scratch AS a\nRUN one\nFROM a\nRUN two\n");
    assert_eq!(bench.ran(), 5);
}

#[test]
fn a_failed_step_is_not_remembered() {
    let bench = Bench::new();
    for ran in [2, 3] {
        bench.build_with("FROM scratch\nRUN one\nRUN exit 7\n", Vec::new()).unwrap_err();
        assert_eq!(bench.ran(), ran);
    }
}

#[test]
fn another_epoch_is_another_step() {
    let mut bench = Bench::new();
    bench.build("FROM scratch\nRUN one\nWORKDIR /w\n");
    bench.epoch = EpochRule::Fixed(20_000);
    let built = bench.build("FROM scratch\nRUN one\nWORKDIR /w\n");
    assert_eq!(bench.ran(), 2);
    assert_eq!(bench.layers(&built)[1], [("/w".to_owned(), 19_002)]);
}

#[test]
fn independent_stages_run_at_the_same_time() {
    let bench = Bench::new();
    // Each waits until the other has begun.
    let dockerfile = "FROM scratch AS a\nRUN meet\nFROM scratch AS b\nWORKDIR /b\nRUN meet\nFROM scratch\nCOPY --from=a / /a\nCOPY --from=b / /b\n";
    let built = bench.build(dockerfile);
    assert_eq!(bench.layers(&built).len(), 2);
    bench.nothing_is_left();
}

#[test]
fn the_same_step_of_two_stages_runs_once() {
    let bench = Bench::new();
    bench.build("FROM scratch AS a\nRUN one\nRUN a\nFROM scratch AS b\nRUN one\nRUN b\nFROM scratch\nCOPY --from=a / /a\nCOPY --from=b / /b\n");
    assert_eq!(bench.ran(), 3);
}

#[test]
fn the_first_failure_ends_the_other_stages() {
    let bench = Bench::new();
    let dockerfile = "FROM scratch AS a\nRUN wait\nFROM scratch AS b\nRUN exit 7\nFROM scratch\nCOPY --from=a / /a\nCOPY --from=b / /b\n";
    let failed = bench.build_with(dockerfile, Vec::new()).unwrap_err();
    assert!(matches!(failed, BuildError::Step { exit: Exit::Code(7), .. }), "{failed}");
    bench.nothing_is_left();
}

#[test]
fn a_miss_says_what_changed() {
    let bench = Bench::new();
    let dockerfile = "FROM scratch\nCOPY src /src\nRUN one\n";
    bench.write("src/f", "x");
    bench.build(dockerfile);
    let notes = |bench: &Bench| -> Vec<String> {
        bench.lines().into_iter().filter(|line| line.starts_with("note not cached")).collect()
    };
    assert!(notes(&bench).is_empty(), "a first build has nothing to compare with");
    bench.write("src/f", "y");
    bench.build(dockerfile);
    let told = notes(&bench);
    assert_eq!(told.len(), 2, "{told:?}");
    for (line, begin) in told.iter().zip(["/src/f changed, ", "the layers below it changed"]) {
        assert!(line.starts_with(&format!("note not cached: {begin}")), "{line}");
        assert!(line.contains(", since the build of 20"), "{line}");
    }
    let last = crate::cache::LastBuild::read(&bench.store).unwrap().unwrap();
    let reason = &last.decisions[0].reasons[0];
    assert!(reason.starts_with("/src/f changed, ") && reason.contains(".. to "), "{reason}");
    bench.build(dockerfile);
    let last = crate::cache::LastBuild::read(&bench.store).unwrap().unwrap();
    assert!(last.decisions.iter().all(|decision| decision.cached));
}
