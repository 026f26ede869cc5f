//! Every field decides; nothing else does.

use proptest::prelude::*;
use wbuild_dockerfile::Position;
use wbuild_plan::{CopyFrom, RunMount, RunMountKind, StageId, TmpfsMount};

use super::*;

fn common(platform: &Platform) -> Common<'_> {
    Common {
        parent: Digest::of(b"parent"),
        platform,
        mtimes: MtimeRule::NoLaterThan(Timestamp { seconds: 5, nanoseconds: 0 }),
        packing: "gzip",
    }
}

fn a_run() -> Run {
    let strings = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect();
    Run {
        argv: strings(&["/bin/sh", "-c", "make"]),
        env: strings(&["PATH=/bin", "V=1"]),
        cwd: "/w".into(),
        user: "app".into(),
        files: vec![RunFile { name: "EOF".into(), content: "#!/bin/sh".into() }],
        mounts: Vec::new(),
        network: RunNetwork::Default,
    }
}

fn a_copy() -> Copy {
    Copy {
        kind: CopyKind::Copy,
        from: CopyFrom::Context,
        sources: vec![
            CopySource::Path { pattern: "/a".into(), written: "a".into(), include: None },
            CopySource::Inline { name: "f".into(), content: "x".into() },
        ],
        dest: CopyDest { path: "/d".into(), shape: DestShape::AsIs },
        chown: None,
        chmod: None,
        exclude: Vec::new(),
        link: Link::Tree,
    }
}

const GIVEN: Given<'static> =
    Given { hostname: "host", hosts: &[], limits: &[], shm_size: None, policy: "default" };

fn key_of_run(run: &Run) -> Digest {
    super::run(&common(&Platform::default()), run, &[], &GIVEN, &|_| false).digest
}

fn key_of_copy(copy: &Copy) -> Digest {
    super::copy(&common(&Platform::default()), copy, Origin::Content(Digest::of(b"files"))).digest
}

/// No two of these are the same.
fn all_differ(keys: &[Digest]) {
    for (i, one) in keys.iter().enumerate() {
        for (j, other) in keys.iter().enumerate().skip(i + 1) {
            assert_ne!(one, other, "{i} and {j}");
        }
    }
}

fn tmpfs(target: &str) -> RunMount {
    let at = Position { line: 1, column: 1 };
    RunMount {
        span: wbuild_plan::Span { start: at, end: at },
        kind: RunMountKind::Tmpfs(TmpfsMount {
            target: target.into(),
            size: None,
            access: wbuild_plan::MountAccess::ReadWrite,
        }),
    }
}

#[test]
fn every_field_of_a_run_decides() {
    let changes: [&dyn Fn(&mut Run); 14] = [
        &|_| {},
        &|run| run.argv[2] = "make all".into(),
        &|run| run.argv.push(String::new()),
        &|run| run.argv = vec!["/bin/sh".into(), "-cmake".into()],
        &|run| run.env[1] = "V=2".into(),
        &|run| run.env.swap(0, 1),
        &|run| run.env.push("W=".into()),
        &|run| run.cwd = "/".into(),
        &|run| run.user = String::new(),
        &|run| run.files[0].content.push('x'),
        &|run| run.files[0].name.push('x'),
        &|run| run.files.clear(),
        &|run| run.mounts = vec![tmpfs("/t")],
        &|run| run.network = RunNetwork::None,
    ];
    let keys = changes.map(|change| {
        let mut run = a_run();
        change(&mut run);
        key_of_run(&run)
    });
    all_differ(&keys);
}

#[test]
fn every_field_that_steps_share_decides() {
    let (one, other) = ("linux/arm/v7".parse().unwrap(), "linux/arm/v6".parse().unwrap());
    let time = |seconds| Timestamp { seconds, nanoseconds: 0 };
    let commons = [
        common(&one),
        common(&other),
        Common { parent: Digest::of(b"other"), ..common(&one) },
        Common { mtimes: MtimeRule::NoLaterThan(time(6)), ..common(&one) },
        Common { mtimes: MtimeRule::SetTo(time(5)), ..common(&one) },
        Common { mtimes: MtimeRule::Keep, ..common(&one) },
        Common { packing: "zstd", ..common(&one) },
    ];
    let workdir = Workdir { path: "/w".into(), owner: String::new() };
    let runs = commons.iter().map(|common| super::run(common, &a_run(), &[], &GIVEN, &|_| false));
    let copies = commons.iter().map(|common| super::copy(common, &a_copy(), Origin::Content(common.parent)));
    let workdirs = commons.iter().map(|common| super::workdir(common, &workdir));
    all_differ(&runs.chain(copies).chain(workdirs).map(|key| key.digest).collect::<Vec<_>>());
}

#[test]
fn the_host_name_and_what_mounts_bring_decide() {
    let platform = Platform::default();
    let mut run = a_run();
    run.mounts = vec![tmpfs("/t")];
    let key = |mounted: &[Option<Origin>], hostname| {
        let given = Given { hostname, ..GIVEN };
        super::run(&common(&platform), &run, mounted, &given, &|_| false).digest
    };
    let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
    all_differ(&[
        key(&[None], "a"),
        key(&[None], "b"),
        key(&[Some(Origin::Content(one))], "a"),
        key(&[Some(Origin::Content(other))], "a"),
        key(&[Some(Origin::Tree(one))], "a"),
    ]);
}

#[test]
fn everything_of_the_command_line_decides() {
    use wbuild_monitor::LimitedResource::{Core, Nofile};
    let limit = |resource, soft, hard| Limit { resource, soft, hard };
    let hosts = [("a".to_owned(), "192.0.2.1".to_owned()), ("b".to_owned(), "192.0.2.1".to_owned())];
    let limits = [
        [limit(Nofile, Some(1), Some(2))],
        [limit(Nofile, Some(1), None)],
        [limit(Nofile, Some(2), Some(2))],
        [limit(Core, Some(1), Some(2))],
    ];
    let mut all = vec![
        GIVEN,
        Given { hosts: &hosts[..1], ..GIVEN },
        Given { hosts: &hosts[1..], ..GIVEN },
        Given { hosts: &hosts, ..GIVEN },
        Given { policy: "another", ..GIVEN },
        Given { shm_size: Some(1), ..GIVEN },
        Given { shm_size: Some(2), ..GIVEN },
    ];
    all.extend(limits.iter().map(|limits| Given { limits, ..GIVEN }));
    let platform = Platform::default();
    let key = |given: &Given<'_>| super::run(&common(&platform), &a_run(), &[], given, &|_| false).digest;
    all_differ(&all.iter().map(key).collect::<Vec<_>>());
}

#[test]
fn every_field_of_a_copy_decides() {
    let changes: [&dyn Fn(&mut Copy); 12] = [
        &|_| {},
        &|copy| copy.kind = CopyKind::Add,
        &|copy| copy.sources.swap(0, 1),
        &|copy| copy.sources.truncate(1),
        &|copy| copy.dest.path = "/e".into(),
        &|copy| copy.dest.shape = DestShape::Directory,
        &|copy| copy.chown = Some("1:1".into()),
        &|copy| copy.chown = Some(String::new()),
        &|copy| copy.chmod = Some(Chmod::Octal(0o755)),
        &|copy| copy.chmod = Some(Chmod::Symbolic(Vec::new())),
        &|copy| copy.exclude = vec!["*.md".into()],
        &|copy| copy.link = Link::Layer,
    ];
    let keys = changes.map(|change| {
        let mut copy = a_copy();
        change(&mut copy);
        key_of_copy(&copy)
    });
    all_differ(&keys);
    let origins = [
        Origin::Content(Digest::of(b"1")),
        Origin::Content(Digest::of(b"2")),
        Origin::Tree(Digest::of(b"1")),
    ];
    let key = |origin| super::copy(&common(&Platform::default()), &a_copy(), origin).digest;
    all_differ(&origins.map(key));
}

#[test]
fn symbolic_modes_decide() {
    let clause = |who, op, perm| Chmod::Symbolic(vec![Clause { who, op, perm }]);
    let bits = |bits, execute| Perm::Bits { bits, execute };
    let modes = [
        clause(7, Op::Add, bits(1, ConditionalExecute::No)),
        clause(7, Op::Set, bits(1, ConditionalExecute::No)),
        clause(7, Op::Remove, bits(1, ConditionalExecute::No)),
        clause(7, Op::Add, bits(1, ConditionalExecute::Yes)),
        clause(7, Op::Add, bits(2, ConditionalExecute::No)),
        clause(7, Op::Add, Perm::CopyOf(1)),
        clause(6, Op::Add, bits(1, ConditionalExecute::No)),
    ];
    all_differ(&modes.map(|chmod| key_of_copy(&Copy { chmod: Some(chmod), ..a_copy() })));
}

#[test]
fn what_is_no_input_does_not_decide() {
    let platform = Platform::default();
    let proxied = |value: &str| {
        let mut run = a_run();
        run.env.push(format!("HTTP_PROXY={value}"));
        super::run(&common(&platform), &run, &[], &GIVEN, &|name| name == "HTTP_PROXY").digest
    };
    assert_eq!(proxied("http://one"), proxied("http://two"));
    assert_eq!(proxied("http://one"), key_of_run(&a_run()));
    let from = |from| key_of_copy(&Copy { from, ..a_copy() });
    assert_eq!(from(CopyFrom::Context), from(CopyFrom::Stage(StageId(3))));
    let mut written = a_copy();
    written.sources[0] = CopySource::Path { pattern: "/a".into(), written: "./a".into(), include: None };
    assert_eq!(key_of_copy(&written), key_of_copy(&a_copy()));
}

/// A key that changes without anyone meaning it forgets every cache in the field.
#[test]
fn keys_stay_what_they_are() {
    let text = key_of_run(&a_run()).hex() + &key_of_copy(&a_copy()).hex();
    assert_eq!(Digest::of(text.as_bytes()).hex()[..16], *GOLDEN);
}

const GOLDEN: &str = "4eb776b04db711e3";

fn words() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[ab=\\x00/ ]{0,3}", 0..4)
}

prop_compose! {
    fn runs()(
        argv in words(),
        env in words(),
        cwd in "[ab/]{0,3}",
        user in "[ab:]{0,3}",
        files in proptest::collection::vec(("[ab]{0,2}", "[ab\\x00]{0,3}"), 0..3),
        network in prop_oneof![Just(RunNetwork::Default), Just(RunNetwork::None)],
    ) -> Run {
        let files = files.into_iter().map(|(name, content)| RunFile { name, content }).collect();
        Run { argv, env, cwd, user, files, mounts: Vec::new(), network }
    }
}

prop_compose! {
    fn copies()(
        sources in proptest::collection::vec((any::<bool>(), "[ab/]{0,3}", "[ab\\x00]{0,3}"), 0..3),
        path in "[ab/]{0,3}",
        chown in proptest::option::of("[ab:]{0,3}"),
        mode in proptest::option::of(0_u32..8),
        exclude in words(),
        directory in any::<bool>(),
        add in any::<bool>(),
    ) -> Copy {
        let source = |(inline, name, content): (bool, String, String)| match inline {
            true => CopySource::Inline { name, content },
            // What was written is for messages only, so it is the same here where the pattern is.
            false => CopySource::Path { written: name.clone(), pattern: name, include: None },
        };
        Copy {
            kind: if add { CopyKind::Add } else { CopyKind::Copy },
            from: CopyFrom::Context,
            sources: sources.into_iter().map(source).collect(),
            dest: CopyDest { path, shape: if directory { DestShape::Directory } else { DestShape::AsIs } },
            chown,
            chmod: mode.map(Chmod::Octal),
            exclude,
            link: Link::Tree,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn runs_share_a_key_only_where_they_are_the_same(one in runs(), other in runs()) {
        prop_assert_eq!(one == other, key_of_run(&one) == key_of_run(&other));
    }

    /// Pairs that differ in one field, where generated ones hardly ever are that close.
    #[test]
    fn one_field_of_a_run_is_enough(one in runs(), other in runs(), field in 0..6) {
        let mut mixed = one.clone();
        match field {
            0 => mixed.argv = other.argv,
            1 => mixed.env = other.env,
            2 => mixed.cwd = other.cwd,
            3 => mixed.user = other.user,
            4 => mixed.files = other.files,
            _ => mixed.network = other.network,
        }
        prop_assert_eq!(one == mixed, key_of_run(&one) == key_of_run(&mixed));
    }

    /// Content that moves from one field, or one part of it, to its neighbour.
    #[test]
    fn parts_do_not_flow_into_each_other(run in runs(), at in 0..4_usize) {
        let mut moved = run.clone();
        if let Some(word) = moved.argv.get(at).cloned() {
            moved.argv.remove(at);
            moved.env.insert(0, word);
            prop_assert_ne!(key_of_run(&run), key_of_run(&moved));
        }
        let mut joined = run.clone();
        if joined.argv.len() > at + 1 {
            let next = joined.argv.remove(at + 1);
            joined.argv[at].push_str(&next);
            prop_assert_ne!(key_of_run(&run), key_of_run(&joined));
        }
    }

    #[test]
    fn one_field_of_a_copy_is_enough(one in copies(), other in copies(), field in 0..6) {
        let mut mixed = one.clone();
        match field {
            0 => mixed.sources = other.sources,
            1 => mixed.dest = other.dest,
            2 => mixed.chown = other.chown,
            3 => mixed.chmod = other.chmod,
            4 => mixed.exclude = other.exclude,
            _ => mixed.kind = other.kind,
        }
        prop_assert_eq!(one == mixed, key_of_copy(&one) == key_of_copy(&mixed));
    }
}
