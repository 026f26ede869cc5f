//! Trees that one build unpacks and another finds.

use super::*;
use crate::request::TreeSharing;

const UNPACK: &str = "start [stage-0] unpack the base";

/// A bench whose registry has an image with the files /base and /other, and where these lie.
fn bench() -> (Bench, Bench) {
    let origin = Bench::new();
    let built = origin.build("FROM scratch\nCOPY <<EOF /base\nx\nEOF\nCOPY <<EOF /other\ny\nEOF\n");
    let image = Image {
        descriptor: built.manifest.clone(),
        manifest: origin.manifest(&built),
        config: origin.config(&built),
    };
    let mut bench = Bench::new();
    bench.registry = Arc::new(Registry(Some((origin.store.clone(), image))));
    bench.no_cache = NoCache::Everywhere;
    (bench, origin)
}

impl Bench {
    /// What became of unpacking the base.
    fn unpacked(&self) -> String {
        let seen = std::mem::take(&mut *self.seen.0.lock().unwrap());
        let at = seen.iter().position(|line| line == UNPACK).expect("it unpacks");
        seen[at..].iter().find(|line| !line.starts_with("note") && *line != UNPACK).unwrap().clone()
    }

    /// A file of the one tree that is kept.
    fn kept(&self, path: &str) -> std::path::PathBuf {
        let trees = self.store.kept_trees().unwrap();
        assert_eq!(trees.len(), 1);
        let kept = self.store.kept_tree(&trees[0].key).unwrap().unwrap();
        self.dir.path().join("store").join(kept.path()).join("root/fs").join(path)
    }
}

const CHANGES: &str = "FROM example/base\nCOPY <<EOF /base\nz\nEOF\nRUN one\n";

#[test]
fn a_base_is_unpacked_once_and_stays_as_it_was() {
    let (bench, _origin) = bench();
    let first = bench.build(CHANGES);
    assert_eq!(bench.unpacked(), "Done");
    assert_eq!(std::fs::read_to_string(bench.kept("base")).unwrap(), "x\n");
    let second = bench.build(CHANGES);
    assert_eq!(bench.unpacked(), "Cached");
    assert_eq!(std::fs::read_to_string(bench.kept("base")).unwrap(), "x\n");
    assert_eq!(first.manifest, second.manifest);
    bench.nothing_is_left();
}

#[test]
fn a_kept_tree_that_somebody_changed_is_not_used() {
    let (bench, _origin) = bench();
    let expected = bench.build("FROM example/base\nRUN one\nCOPY --from=example/base / /copy\n");
    let spoil: [&dyn Fn(); 4] = [
        &|| std::fs::remove_file(bench.kept("other")).unwrap(),
        &|| std::fs::write(bench.kept("other"), "Y\n").unwrap(),
        &|| std::fs::write(bench.kept("more"), "").unwrap(),
        &|| std::fs::remove_file(bench.kept("../records")).unwrap(),
    ];
    for spoil in spoil {
        spoil();
        let built = bench.build("FROM example/base\nRUN one\nCOPY --from=example/base / /copy\n");
        assert_eq!(bench.unpacked(), "Done");
        assert_eq!(built.manifest, expected.manifest);
    }
}

#[test]
fn more_layers_are_unpacked_onto_the_tree_of_fewer() {
    let (mut bench, _origin) = bench();
    bench.no_cache = NoCache::Nowhere;
    bench.build("FROM example/base\nRUN one\n");
    bench.build("FROM example/base\nRUN one\nRUN two\n");
    assert_eq!(bench.store.kept_trees().unwrap().len(), 2);
    bench.seen.0.lock().unwrap().clear();
    bench.build("FROM example/base\nRUN one\nRUN three\n");
    assert_eq!(bench.unpacked(), "Cached");
}

#[test]
fn a_build_that_is_not_trusted_shares_nothing_with_others() {
    let (bench, _origin) = bench();
    let (request, mut wiring) = bench.request(CHANGES, Vec::new());
    wiring.trees = TreeSharing::WithinBuild;
    build(&request, &wiring).unwrap();
    assert!(bench.store.kept_trees().unwrap().is_empty());
    bench.build(CHANGES);
    assert_eq!(bench.store.kept_trees().unwrap().len(), 1);
    bench.seen.0.lock().unwrap().clear();
    build(&request, &wiring).unwrap();
    assert_eq!(bench.unpacked(), "Done");
}

#[test]
fn pruning_removes_trees_before_layers() {
    let (bench, _origin) = bench();
    bench.build(CHANGES);
    let blobs: u64 = bench.store.blobs().unwrap().iter().map(|held| held.size).sum();
    let limits = crate::PruneLimits { size: Some(blobs), ..crate::PruneLimits::default() };
    let pruned = crate::prune(&bench.store, &limits).unwrap();
    assert_eq!((pruned.trees, pruned.blobs), (1, 0));
    assert!(bench.store.kept_trees().unwrap().is_empty());
}
