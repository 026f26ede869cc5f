//! Caches that builds on different machines share: what comes from them, what does not, and what happens when they fail.

use wbuild_store::LayoutSource;

use super::*;
use crate::cache::{CacheDest, CacheExport, CacheMode, CacheSource, ExportErrors};

const DOCKERFILE: &str = "FROM scratch AS a\nRUN one\nFROM scratch AS b\nCOPY <<EOF /f\nx\nEOF\nRUN other\nFROM a\nCOPY --from=b /f /o\nRUN two\n";

impl Bench {
    fn export_to(&self, path: &std::path::Path, mode: CacheMode) {
        let to = CacheDest::Local { dir: open(path), path: path.to_owned() };
        self.build_sharing(Vec::new(), vec![CacheExport { to, mode, errors: ExportErrors::Fail }]).unwrap();
    }

    fn import_from(&self, path: &std::path::Path) -> Built {
        let layout = LayoutSource::directory(open(path)).unwrap();
        let from = CacheSource::Local { layout, path: path.to_owned() };
        self.build_sharing(vec![from], Vec::new()).unwrap()
    }

    fn build_sharing(&self, from: Vec<CacheSource>, to: Vec<CacheExport>) -> Result<Built, BuildError> {
        let (mut request, wiring) = self.request(DOCKERFILE, Vec::new());
        request.cache_from = from;
        request.cache_to = to;
        build(&request, &wiring)
    }

    fn ran_steps(&self) -> usize {
        self.engine.ran.lock().unwrap().len()
    }

    fn blobs(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("store/blobs/sha256")).unwrap().count()
    }
}

#[test]
fn a_build_with_an_empty_store_finds_all_in_a_full_cache() {
    let (one, other) = (Bench::new(), Bench::new());
    let cache = one.dir.path().join("cache");
    one.export_to(&cache, CacheMode::Max);
    let first = one.build(DOCKERFILE);
    let second = other.import_from(&cache);
    assert_eq!(other.ran_steps(), 0);
    assert_eq!(first.manifest, second.manifest);
    // The layers of the image, the cache's manifest and list, the image's manifest and config: not the layer of stage b.
    assert_eq!(other.blobs(), 3 + 2 + 2);
    assert_eq!(other.layers(&second).len(), 3);
    other.nothing_is_left();
    // What was taken over is known without the cache, too, but for the layer that never came.
    other.build(DOCKERFILE);
    assert_eq!(other.ran_steps(), 1);
}

#[test]
fn a_small_cache_has_the_steps_of_the_image() {
    let (one, other) = (Bench::new(), Bench::new());
    let cache = one.dir.path().join("cache");
    one.export_to(&cache, CacheMode::Min);
    let built = other.import_from(&cache);
    assert_eq!(other.ran_steps(), 1, "stage b, whose layer is not in the image");
    assert_eq!(built.manifest, one.build(DOCKERFILE).manifest);
}

#[test]
fn a_cache_that_lost_a_layer_does_not_fail_the_build() {
    let (one, other) = (Bench::new(), Bench::new());
    let cache = one.dir.path().join("cache");
    one.export_to(&cache, CacheMode::Max);
    let built = one.build(DOCKERFILE);
    for layer in one.manifest(&built).layers {
        std::fs::remove_file(cache.join("blobs/sha256").join(layer.digest.hex())).unwrap();
    }
    assert_eq!(other.import_from(&cache).manifest, built.manifest);
    assert_eq!(other.ran_steps(), 3);
    assert!(other.seen.0.lock().unwrap().iter().any(|line| line.contains("without --cache-from")));
    other.nothing_is_left();
}

#[test]
fn what_is_no_cache_is_told_and_does_not_matter() {
    let bench = Bench::new();
    let image = bench.dir.path().join("image");
    bench.build_with(DOCKERFILE, vec![Output::Layout { dir: open(&image), path: image.clone() }]).unwrap();
    let other = Bench::new();
    other.import_from(&image);
    assert_eq!(other.ran_steps(), 3);
    assert!(other.seen.0.lock().unwrap().iter().any(|line| line.contains("no cache of wbuild")));
}

#[test]
fn a_failed_export_fails_the_build_unless_it_is_to_be_ignored() {
    let bench = Bench::new();
    // A file stands where the blobs would go.
    let cache = bench.dir.path().join("cache");
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(cache.join("blobs"), "").unwrap();
    let export = |errors| {
        let to = CacheDest::Local { dir: open(&cache), path: cache.clone() };
        bench.build_sharing(Vec::new(), vec![CacheExport { to, mode: CacheMode::Max, errors }])
    };
    export(ExportErrors::Fail).unwrap_err();
    export(ExportErrors::Ignore).unwrap();
    assert!(bench.seen.0.lock().unwrap().iter().any(|line| line.contains("the cache was not exported")));
}
