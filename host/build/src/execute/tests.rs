//! Whole builds over real trees and a real store, with an engine that only writes down what it was asked to run.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wbuild_dockerfile::IgnoreFile;
use wbuild_layer::{Attributes, Change, ChangeSet, Entry, EntryKind, Limits, RootPath, Timestamp};
use wbuild_monitor::{
    Cancel, Engine, EngineError, Exit, JournalCheck, MountSource, MtimeRule, OutputSink, StepResult,
    StepSpec, Stream,
};
use wbuild_oci::{Descriptor, ImageConfig, Manifest, Platform, Reference};
use wbuild_store::{BoxFuture, Image, Pushed, Remote, RemoteError, Store};

use super::*;
use crate::progress::{Event, Outcome, Progress};
use crate::request::ContextDir;
use crate::request::{EpochRule, Output};

/// Answers every step with an empty directory named after it, or with the exit code that its last argument names.
#[derive(Default)]
struct Script {
    ran: Mutex<Vec<StepSpec>>,
    files: Mutex<Vec<BTreeMap<String, String>>>,
}

impl Engine for Script {
    fn run(
        &self,
        spec: &StepSpec,
        output: &dyn OutputSink,
        cancel: &Cancel,
    ) -> Result<StepResult, EngineError> {
        let line = String::from_utf8_lossy(spec.process.argv.last().unwrap()).into_owned();
        output.write(Stream::Stdout, format!("running {line}\n").as_bytes());
        assert!(
            spec.tree.join("fs").is_dir() && spec.tree.join("records").exists(),
            "the tree was not left for the step"
        );
        assert_eq!(spec.scratch.read_dir().unwrap().count(), 0);
        let content = |source: &MountSource| match source {
            MountSource::Host(path) if path.is_file() => std::fs::read_to_string(path).unwrap(),
            _ => String::new(),
        };
        let mounted = spec.mounts.iter().map(|mount| (mount.target.to_string(), content(&mount.source)));
        self.files.lock().unwrap().push(mounted.collect());
        self.ran.lock().unwrap().push(spec.clone());
        if line == "meet" {
            let began = std::time::Instant::now();
            while self.ran.lock().unwrap().len() < 2 {
                assert!(began.elapsed().as_secs() < 60, "the other stage never came");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        if line == "wait" {
            while !cancel.is_cancelled() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            return Err(EngineError::Cancelled);
        }
        if line == "foreign" {
            let source = std::io::Error::from_raw_os_error(wbuild_monitor::Errno::NOEXEC.raw_os_error());
            return Err(EngineError::Start { program: line, source });
        }
        if line == "interrupt" {
            cancel.cancel();
            return Err(EngineError::Cancelled);
        }
        let exit = line.strip_prefix("exit ").map_or(0, |code| code.parse().unwrap());
        let made = Entry {
            kind: EntryKind::Directory,
            attributes: Attributes { mode: 0o755, ..Attributes::default() },
        };
        let name = line.replace([' ', '/'], "_");
        let changes: ChangeSet = [(RootPath::new(name).unwrap(), Change::Upsert(made))].into_iter().collect();
        Ok(StepResult {
            exit: Exit::Code(exit),
            changes,
            notes: vec!["a note".to_owned()],
            record: Default::default(),
            image: Vec::new(),
        })
    }
}

/// A registry that has the image of another store under every name, or nothing.
#[derive(Default)]
struct Registry(Option<(Store, Image)>);

impl Remote for Registry {
    fn resolve<'a>(
        &'a self,
        _: &'a Store,
        reference: &'a Reference,
        _: &'a Platform,
    ) -> BoxFuture<'a, Result<Image, RemoteError>> {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let refused = RemoteError::new(wbuild_store::ErrorClass::Refused, reference, missing);
        let found = self.0.as_ref().map(|(_, image)| image.clone());
        Box::pin(async move { found.ok_or(refused) })
    }

    fn document<'a>(
        &'a self,
        _: &'a Store,
        _: &'a Reference,
    ) -> BoxFuture<'a, Result<Descriptor, RemoteError>> {
        unreachable!("no document is asked for by itself")
    }

    fn fetch<'a>(
        &'a self,
        store: &'a Store,
        _: &'a Reference,
        blobs: &'a [Descriptor],
        _: &'a dyn wbuild_store::Progress,
    ) -> BoxFuture<'a, Result<(), RemoteError>> {
        let (origin, _) = self.0.as_ref().expect("nothing was resolved");
        for blob in blobs {
            let mut content = origin.blob(&blob.digest).unwrap();
            store.ingest_from(&mut content, wbuild_store::Expected::of(blob)).unwrap();
        }
        Box::pin(async { Ok(()) })
    }

    fn download<'a>(
        &'a self,
        _: &'a Store,
        _: &'a str,
        _: Option<wbuild_oci::Digest>,
        _: &'a dyn wbuild_store::Progress,
    ) -> BoxFuture<'a, Result<wbuild_store::Downloaded, RemoteError>> {
        unreachable!("no URL is asked for")
    }

    fn git_find<'a>(
        &'a self,
        _: &'a wbuild_oci::GitSource,
    ) -> BoxFuture<'a, Result<wbuild_store::GitFound, RemoteError>> {
        unreachable!("no git repository is asked for")
    }

    fn git_checkout<'a>(
        &'a self,
        _: &'a Store,
        _: &'a wbuild_oci::GitSource,
        _: &'a wbuild_store::GitFound,
        _: Arc<wbuild_store::Admit>,
    ) -> BoxFuture<'a, Result<wbuild_oci::Digest, RemoteError>> {
        unreachable!("no git repository is asked for")
    }

    fn push<'a>(
        &'a self,
        _: &'a Store,
        _: &'a Descriptor,
        _: &'a [Reference],
        _: &'a dyn wbuild_store::Progress,
    ) -> BoxFuture<'a, Result<Vec<Pushed>, RemoteError>> {
        unreachable!("nothing is pushed")
    }
}

#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl Progress for Seen {
    fn event(&self, event: Event<'_>) {
        let line = match event {
            Event::Started { name, .. } => format!("start {name}"),
            Event::Output { bytes, .. } => format!("out {}", String::from_utf8_lossy(bytes).trim_end()),
            Event::Note { text, .. } => format!("note {text}"),
            Event::Finished { outcome, .. } => format!("{outcome:?}"),
            Event::Warning { message, .. } => format!("warn {message}"),
        };
        self.0.lock().unwrap().push(line);
    }
}

struct Bench {
    dir: tempfile::TempDir,
    engine: Arc<Script>,
    registry: Arc<Registry>,
    seen: Arc<Seen>,
    store: Store,
    epoch: EpochRule,
    target: Option<&'static str>,
    no_cache: NoCache,
}

fn open(path: &std::path::Path) -> Dir {
    std::fs::create_dir_all(path).unwrap();
    Dir::open_ambient_dir(path, ambient_authority()).unwrap()
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&open(&dir.path().join("store"))).unwrap();
        Self {
            dir,
            engine: Arc::default(),
            registry: Arc::default(),
            seen: Arc::default(),
            store,
            epoch: EpochRule::Fixed(10_000),
            target: None,
            no_cache: NoCache::Nowhere,
        }
    }

    fn request(&self, dockerfile: &str, outputs: Vec<Output>) -> (BuildRequest, Wiring) {
        let request = BuildRequest {
            dockerfile: dockerfile.as_bytes().to_vec(),
            dockerfile_name: "Dockerfile".to_owned(),
            build_args: BTreeMap::new(),
            target: self.target.map(str::to_owned),
            platform: None,
            build_platform: Platform::host(),
            labels: BTreeMap::new(),
            epoch: self.epoch,
            context: ContextDir {
                dir: open(&self.dir.path().join("context")),
                ignore: IgnoreFile::default(),
            },
            contexts: BTreeMap::new(),
            tags: vec!["example/app:1".parse().unwrap()],
            outputs,
            packing: wbuild_layer::Compression::Gzip.into(),
            hostname: "here".to_owned(),
            resolv_conf: b"nameserver 192.0.2.1\n".to_vec(),
            journal_check: JournalCheck::FullWalk,
            no_cache: self.no_cache.clone(),
            cache_rules: Default::default(),
            materials: Vec::new(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            policy: Arc::default(),
            auditing: Default::default(),
            attest: Default::default(),
            annotations: BTreeMap::new(),
            secrets: BTreeMap::new(),
            agents: BTreeMap::new(),
            network: wbuild_plan::RunNetwork::Default,
            extra_hosts: Vec::new(),
            limits: Vec::new(),
            shm_size: None,
        };
        let wiring = Wiring {
            store: self.store.clone(),
            store_path: self.dir.path().join("store"),
            remote: self.registry.clone(),
            trees: crate::TreeSharing::BetweenBuilds,
            engine: self.engine.clone(),
            progress: self.seen.clone(),
            cancel: Cancel::default(),
        };
        (request, wiring)
    }

    fn build_with(&self, dockerfile: &str, outputs: Vec<Output>) -> Result<Built, BuildError> {
        let (request, wiring) = self.request(dockerfile, outputs);
        build(&request, &wiring)
    }

    fn build(&self, dockerfile: &str) -> Built {
        self.build_with(dockerfile, Vec::new()).unwrap()
    }

    fn manifest(&self, built: &Built) -> Manifest {
        Manifest::parse(&self.store.read(&built.manifest.digest, 1 << 20).unwrap()).unwrap()
    }

    fn config(&self, built: &Built) -> ImageConfig {
        ImageConfig::parse(&self.store.read(&built.config, 1 << 20).unwrap()).unwrap()
    }

    /// The paths of each layer, lowest first, with their times.
    fn layers(&self, built: &Built) -> Vec<Vec<(String, i64)>> {
        let layer = |layer: &Descriptor| {
            let expected = wbuild_layer::Expected { digest: layer.digest, size: layer.size, diff_id: None };
            let blob = self.store.blob(&layer.digest).unwrap().into_std();
            let mut reader = wbuild_layer::LayerReader::new(blob, expected, Limits::default());
            let mut paths = Vec::new();
            while let Some(entry) = reader.next_entry().unwrap() {
                if let wbuild_layer::LayerEntry::Present { path, entry } = entry {
                    paths.push((path.to_string(), entry.attributes.mtime.seconds));
                }
            }
            reader.finish().unwrap();
            paths
        };
        self.manifest(built).layers.iter().map(layer).collect()
    }

    fn nothing_is_left(&self) {
        for room in ["trees", "ingest"] {
            let left: Vec<_> = std::fs::read_dir(self.dir.path().join("store").join(room)).unwrap().collect();
            assert!(left.is_empty(), "{room}: {left:?}");
        }
    }
}

#[test]
fn steps_of_one_stage_share_a_tree_and_each_makes_a_layer() {
    let bench = Bench::new();
    let built = bench.build("FROM scratch\nCOPY <<EOF /a\nx\nEOF\nRUN one\nENV A=1\nRUN two\nWORKDIR /w\n");
    let ran = bench.engine.ran.lock().unwrap();
    assert_eq!(ran[0].tree, ran[1].tree);
    assert_ne!(ran[0].scratch, ran[1].scratch);
    let layers = bench.layers(&built);
    let at = |path: &str, time| vec![(path.to_owned(), time)];
    assert_eq!(layers, [at("/a", 9001), at("/one", 0), at("/two", 0), at("/w", 9004)]);
    let time = |seconds| MtimeRule::NoLaterThan(Timestamp { seconds, nanoseconds: 0 });
    assert_eq!((ran[0].mtimes, ran[1].mtimes), (time(9002), time(9003)));
    let config = bench.config(&built);
    let empty: Vec<bool> = config.history.iter().map(|entry| entry.empty_layer).collect();
    assert_eq!(empty, [false, false, true, false, false]);
    assert_eq!(config.rootfs.diff_ids.len(), 4);
    assert!(config.history.iter().all(|entry| entry.created.unwrap().unix() == 10_000));
    bench.nothing_is_left();
}

#[test]
fn steps_see_the_epoch_and_images_do_not() {
    let bench = Bench::new();
    let built = bench.build("FROM scratch\nARG SECRET=s\nENV A=1\nRUN one\n");
    let ran = bench.engine.ran.lock().unwrap();
    let env: Vec<String> =
        ran[0].process.env.iter().map(|entry| String::from_utf8_lossy(entry).into_owned()).collect();
    for entry in ["A=1", "SECRET=s", "SOURCE_DATE_EPOCH=10000", "HOME=/"] {
        assert!(env.iter().any(|there| there == entry), "{entry} is missing in {env:?}");
    }
    let config = bench.config(&built);
    assert!(
        config.config.env.iter().all(|entry| entry.starts_with("PATH=") || entry == "A=1"),
        "{:?}",
        config.config.env
    );
}

#[test]
fn a_step_gets_its_files_in_its_scratch_directory() {
    let bench = Bench::new();
    bench.build("FROM scratch\nRUN <<EOF\n#!/bin/x\nhello\nEOF\n");
    let files = &bench.engine.files.lock().unwrap()[0];
    assert_eq!(files["/etc/resolv.conf"], "nameserver 192.0.2.1\n");
    assert!(files["/etc/hosts"].contains("127.0.0.1\tlocalhost here\n"));
    assert_eq!(files["/etc/hostname"], "here\n");
    assert!(
        files.contains_key(&format!("{}", RootPath::new(wbuild_plan::Run::FILES_DIR).unwrap())),
        "{files:?}"
    );
}

#[test]
fn the_same_build_gives_the_same_digests() {
    let dockerfile =
        "FROM scratch AS a\nCOPY <<EOF /a\nx\nEOF\nRUN one\nFROM a\nRUN two\nCOPY --from=a /a /b\n";
    let digests = || {
        let bench = Bench::new();
        let built = bench.build(dockerfile);
        (built.manifest.digest, built.config)
    };
    assert_eq!(digests(), digests());
}

#[test]
fn steps_added_later_change_no_earlier_layer() {
    let bench = Bench::new();
    let first = bench.build("FROM scratch\nCOPY <<EOF /a\nx\nEOF\n");
    let more = bench.build("FROM scratch\nCOPY <<EOF /a\nx\nEOF\nRUN one\nCOPY <<EOF /b\ny\nEOF\n");
    assert_eq!(bench.manifest(&first).layers[0], bench.manifest(&more).layers[0]);
}

#[test]
fn a_stage_from_a_stage_continues_its_layers_and_counts() {
    let bench = Bench::new();
    let built = bench.build(
        "FROM scratch AS a\nRUN one\nFROM a AS b\nRUN two\nFROM a\nCOPY --from=b / /all/\nRUN three\n",
    );
    let ran = bench.engine.ran.lock().unwrap();
    assert_eq!(ran.len(), 3);
    assert_ne!(ran[1].tree, ran[2].tree, "two stages cannot write to one tree");
    assert_eq!(ran[2].mtimes, MtimeRule::NoLaterThan(Timestamp { seconds: 9003, nanoseconds: 0 }));
    assert_eq!(bench.layers(&built).len(), 3);
    bench.nothing_is_left();
}

#[test]
fn a_stage_that_only_configures_makes_no_tree() {
    let bench = Bench::new();
    let built = bench.build("FROM scratch AS base\nENV A=1\nFROM base\nCMD [\"x\"]\nLABEL a=b\n");
    // As BuildKit: an image without files has a layer without entries.
    assert_eq!(bench.layers(&built), [Vec::new()]);
    assert!(!bench.seen.0.lock().unwrap().iter().any(|line| line.contains("unpack")));
}

#[test]
fn stages_the_target_does_not_need_do_not_run() {
    let mut bench = Bench::new();
    bench.target = Some("b");
    bench.build("FROM scratch AS a\nRUN one\nFROM scratch AS b\nRUN two\nFROM a\nRUN three\n");
    let ran = bench.engine.ran.lock().unwrap();
    assert_eq!(
        ran.iter().map(|spec| spec.process.argv.last().unwrap().as_slice()).collect::<Vec<_>>(),
        [b"two"]
    );
}

#[test]
fn a_failed_step_ends_the_build_with_its_code_and_output() {
    let bench = Bench::new();
    let failed = bench.build_with("FROM scratch\nRUN one\nRUN exit 7\nRUN two\n", Vec::new()).unwrap_err();
    let BuildError::Step { exit: Exit::Code(7), span, tail, .. } = failed else { panic!("{failed}") };
    assert_eq!((span.start.line, tail.as_slice()), (3, &["running exit 7".to_owned()][..]));
    assert_eq!(bench.engine.ran.lock().unwrap().len(), 2);
    assert!(bench.seen.0.lock().unwrap().contains(&format!("{:?}", Outcome::Failed)));
    bench.nothing_is_left();
}

#[test]
fn an_interrupted_build_leaves_nothing() {
    let bench = Bench::new();
    let failed = bench.build_with("FROM scratch\nRUN interrupt\nRUN two\n", Vec::new()).unwrap_err();
    assert!(matches!(failed, BuildError::Cancelled), "{failed}");
    assert!(bench.seen.0.lock().unwrap().contains(&format!("{:?}", Outcome::Cancelled)));
    bench.nothing_is_left();
}

#[test]
fn a_missing_source_is_told_with_its_line() {
    let bench = Bench::new();
    let failed = bench.build_with("FROM scratch\n\nCOPY nowhere /\n", Vec::new()).unwrap_err();
    let BuildError::Files { span, source, .. } = failed else { panic!("{failed}") };
    assert_eq!(span.start.line, 3);
    assert!(source.to_string().contains("\"nowhere\" is not in the build context"), "{source}");
    bench.nothing_is_left();
}

#[test]
fn a_program_of_another_machine_is_told_as_that() {
    let bench = Bench::new();
    let run = |platform: &str, program: &str| {
        let text = format!("FROM --platform={platform} scratch\nRUN {program}\n");
        bench.build_with(&text, Vec::new())
    };
    let failed = run("linux/s390x", "foreign").unwrap_err();
    assert!(matches!(failed, BuildError::Platform { .. }), "{failed}");
    let host = wbuild_oci::Platform::host().to_string();
    let failed = run(&host, "foreign").unwrap_err();
    assert!(matches!(failed, BuildError::Engine { .. }), "{failed}");
    // A WASI program is of every machine.
    run("linux/s390x", "one").unwrap();
}

#[test]
fn an_image_nobody_has_names_its_line() {
    let bench = Bench::new();
    let failed = bench.build_with("FROM scratch\nCOPY --from=example/none:1 / /\n", Vec::new()).unwrap_err();
    let BuildError::Pull { name, span, .. } = failed else { panic!("{failed}") };
    assert_eq!((name.as_str(), span.start.line), ("docker.io/example/none:1", 2));
}

#[test]
fn without_an_epoch_times_stay() {
    let mut bench = Bench::new();
    bench.epoch = EpochRule::Off;
    bench.build("FROM scratch\nRUN one\n");
    let ran = bench.engine.ran.lock().unwrap();
    assert_eq!(ran[0].mtimes, MtimeRule::Keep);
    assert!(!ran[0].process.env.iter().any(|entry| entry.starts_with(b"SOURCE_DATE_EPOCH")));
}

#[test]
fn an_archive_appears_whole_under_its_name() {
    let bench = Bench::new();
    let out = bench.dir.path().join("out");
    let output = || Output::Archive {
        form: crate::request::Archive::Oci,
        dir: open(&out),
        name: "image.tar".into(),
        path: "image.tar".into(),
    };
    bench.build_with("FROM scratch\nRUN one\n", vec![output()]).unwrap();
    let names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["image.tar"]);
    let mut first = Vec::new();
    std::fs::File::open(out.join("image.tar")).unwrap().read_to_end(&mut first).unwrap();
    bench.build_with("FROM scratch\nRUN one\n", vec![output()]).unwrap();
    assert_eq!(first, std::fs::read(out.join("image.tar")).unwrap());
}

#[test]
fn the_layers_of_a_base_come_when_a_later_stage_needs_them() {
    let origin = Bench::new();
    let built = origin.build("FROM scratch\nCOPY <<EOF /base\nx\nEOF\n");
    let image = Image {
        descriptor: built.manifest.clone(),
        manifest: origin.manifest(&built),
        config: origin.config(&built),
    };
    for dockerfile in [
        "FROM example/base AS base\nENV A=1\nFROM base\nRUN one\n",
        "FROM example/base AS base\nENV A=1\nFROM scratch\nCOPY --from=base /base /base\n",
        "FROM scratch\nCOPY --from=example/base /base /base\n",
        "FROM example/base\nENV A=1\n",
    ] {
        let mut bench = Bench::new();
        bench.registry = Arc::new(Registry(Some((origin.store.clone(), image.clone()))));
        let built = bench.build(dockerfile);
        assert!(bench.layers(&built)[0].iter().any(|(path, _)| path == "/base"), "{dockerfile}");
    }
}

mod caching;
mod kept;
mod sharing;
