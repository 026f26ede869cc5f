//! `--mount`: every key with its default, and what is refused with its words.

use std::collections::BTreeMap;

use wbuild_dockerfile::{DockerfileError, parse};
use wbuild_oci::Platform;

use super::ram_in_bytes;
use crate::{
    Action, BindMount, CacheMount, CacheStart, ContextKind, CopyFrom, EpochRule, FileAttributes, Images,
    MountAccess, MountFrom, Plan, Presence, Request, Run, RunMountKind, RunNetwork, SecretMount, Sharing,
    SshMount, StageId, TmpfsMount, plan,
};

fn build(text: &str) -> Result<Plan, DockerfileError> {
    let request = Request {
        build_args: BTreeMap::new(),
        target: None,
        platform: Platform::new("linux", "amd64"),
        build_platform: Platform::new("linux", "amd64"),
        contexts: BTreeMap::from([("files".to_owned(), ContextKind::Directory)]),
        labels: BTreeMap::new(),
        epoch: EpochRule::FromBase,
        network: RunNetwork::Default,
        ignore: wbuild_dockerfile::IgnoreFile::default(),
        stages: crate::Stages::Needed,
    };
    plan(&parse(text.as_bytes())?, &request, &Images::new())
}

fn last_run(plan: &Plan) -> &Run {
    let step = plan.stages.last().and_then(|stage| stage.steps.last()).unwrap();
    let Action::Run(run) = &step.action else { panic!("{step:?}") };
    run
}

/// The mount of one flag in a stage with a working directory, a variable and a stage before it.
fn mount(flag: &str) -> RunMountKind {
    let text =
        format!("FROM scratch AS base\nFROM scratch\nWORKDIR /w\nENV V=val\nRUN --mount={flag} command");
    let plan = build(&text).unwrap_or_else(|error| panic!("{flag}: {error}"));
    last_run(&plan).mounts[0].kind.clone()
}

fn refused(flag: &str) -> String {
    let error = build(&format!("FROM scratch\nRUN --mount={flag} command")).unwrap_err();
    let start = error.span().unwrap().start;
    assert_eq!((start.line, start.column), (2, 5), "{flag}");
    format!("{error} ({})", error.hint().unwrap_or_default())
}

const NONE: FileAttributes = FileAttributes { uid: None, gid: None, mode: None };

#[test]
fn a_bind_reads_the_context_unless_it_says_otherwise() {
    let bind = |target: &str, from, source: &str, access| {
        RunMountKind::Bind(BindMount { target: target.into(), from, source: source.into(), access })
    };
    let context = || MountFrom::Files(CopyFrom::Context);
    let ro = MountAccess::ReadOnly;
    assert_eq!(mount("target=/c"), bind("/c", context(), "/", ro));
    assert_eq!(mount("type=bind,dst=c/../$V,src=a/./b"), bind("/w/val", context(), "/a/b", ro));
    assert_eq!(mount("target=/c,source=../../x"), bind("/c", context(), "/x", ro));
    assert_eq!(mount("target=/c,rw"), bind("/c", context(), "/", MountAccess::ReadWrite));
    assert_eq!(mount("target=/c,ro=false"), bind("/c", context(), "/", MountAccess::ReadWrite));
    assert_eq!(mount("target=/c,rw=0"), bind("/c", context(), "/", ro));
    let stage = MountFrom::Files(CopyFrom::Stage(StageId(0)));
    assert_eq!(mount("from=base,destination=/c"), bind("/c", stage, "/", ro));
    let named = MountFrom::Files(CopyFrom::Named("files".into()));
    assert_eq!(mount("from=files,target=/c"), bind("/c", named, "/", ro));
    assert_eq!(mount("from=scratch,target=/c"), bind("/c", MountFrom::Scratch, "/", ro));
    // Without a target it is the working directory.
    assert_eq!(mount("type=bind"), bind("/w", context(), "/", ro));
}

#[test]
fn a_stage_that_is_mounted_is_needed() {
    let plan =
        build("FROM scratch AS a\nFROM scratch AS unused\nFROM scratch\nRUN --mount=from=a,target=/x y");
    let plan = plan.unwrap();
    assert_eq!(plan.stages.len(), 2);
    assert_eq!(plan.stages[1].needs, [StageId(0)]);
}

#[test]
fn a_cache_is_named_after_its_target() {
    let start = CacheStart { from: MountFrom::Scratch, source: "/".into(), attributes: NONE };
    let cache = CacheMount {
        target: "/w/c".into(),
        id: "c".into(),
        sharing: Sharing::Shared,
        access: MountAccess::ReadWrite,
        start: start.clone(),
    };
    assert_eq!(mount("type=cache,target=c"), RunMountKind::Cache(cache.clone()));
    let start = CacheStart {
        from: MountFrom::Files(CopyFrom::Stage(StageId(0))),
        source: "/s".into(),
        attributes: FileAttributes { uid: Some(1), gid: Some(2), mode: Some(0o1751) },
    };
    let full = CacheMount {
        id: "n-val".into(),
        sharing: Sharing::Locked,
        access: MountAccess::ReadOnly,
        start,
        ..cache
    };
    assert_eq!(
        mount("type=CACHE,target=c,id=n-$V,sharing=locked,ro,from=base,source=s,uid=1,gid=2,mode=1751"),
        RunMountKind::Cache(full)
    );
}

#[test]
fn tmpfs_secret_and_ssh_have_their_defaults() {
    let tmpfs = |size, access| RunMountKind::Tmpfs(TmpfsMount { target: "/t".into(), size, access });
    assert_eq!(mount("type=tmpfs,target=/t"), tmpfs(None, MountAccess::ReadWrite));
    assert_eq!(mount("type=tmpfs,target=/t,size=1.5k"), tmpfs(Some(1536), MountAccess::ReadWrite));
    let secret = SecretMount {
        id: "a/b".into(),
        target: Some("/run/secrets/b".into()),
        env: None,
        presence: Presence::Optional,
        attributes: NONE,
    };
    assert_eq!(mount("type=secret,id=a/b"), RunMountKind::Secret(secret.clone()));
    assert_eq!(mount("type=secret,source=a/b"), RunMountKind::Secret(secret.clone()));
    let by_target = SecretMount { id: "s".into(), target: Some("/w/d/s".into()), ..secret.clone() };
    assert_eq!(mount("type=secret,target=d/s"), RunMountKind::Secret(by_target.clone()));
    let in_env = SecretMount { target: None, env: Some("E".into()), presence: Presence::Required, ..secret };
    assert_eq!(mount("type=secret,id=a/b,env=E,required"), RunMountKind::Secret(in_env.clone()));
    let both = SecretMount { target: Some("/x".into()), presence: Presence::Optional, ..in_env };
    assert_eq!(mount("type=secret,id=a/b,env=E,target=/x,required=f"), RunMountKind::Secret(both));
    let ssh = SshMount {
        id: "default".into(),
        target: "/run/buildkit/ssh_agent.0".into(),
        presence: Presence::Optional,
        attributes: NONE,
    };
    assert_eq!(mount("type=ssh"), RunMountKind::Ssh(ssh));
}

#[test]
fn what_a_type_does_not_know_is_refused() {
    let shown: Vec<String> = [
        "type=tmp",
        "type=$V",
        "targte=/x",
        "target",
        "target=/",
        "target=/x/..",
        "type=cache",
        "target=/x,size=1",
        "type=tmpfs,target=/x,size=much",
        "type=tmpfs,target=/x,from=scratch",
        "target=/x,mode=755",
        "target=/x,uid=1",
        "target=/x,id=1",
        "type=cache,target=/x,mode=9",
        "type=cache,target=/x,uid=-1",
        "type=cache,target=/x,sharing=mine",
        "type=cache,target=/x,source=/y",
        "type=cache,target=/x,required",
        "type=secret",
        "type=secret,id=a,source=b",
        "type=secret,id=a,rw",
        "type=secret,id=a,required=maybe",
        "type=secret,id=a,sharing=shared",
        "type=ssh,source=x",
    ]
    .iter()
    .map(|flag| format!("{flag}\n    {}", refused(flag)))
    .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn a_stage_cannot_be_named_by_a_variable() {
    let error = build("FROM scratch AS t\nFROM scratch\nENV v=t\nRUN --mount=from=$v,type=cache,target=/x y");
    assert_eq!(error.unwrap_err().to_string(), "variables are not expanded in --from");
}

#[test]
fn only_what_brings_files_has_content_in_a_key() {
    let with = |kind| crate::RunMount { span: build("FROM scratch").unwrap().stages[0].span, kind };
    let bind = with(mount("from=base,source=/s,target=/c"));
    assert_eq!(bind.content(), Some((&CopyFrom::Stage(StageId(0)), "/s")));
    assert_eq!(with(mount("type=cache,target=/c")).content(), None);
    assert_eq!(with(mount("type=secret,id=a")).content(), None);
    let keys = ["a", "b"].map(|id| with(mount(&format!("type=secret,id={id}"))).key_fields());
    assert_ne!(keys[0], keys[1]);
    let keys = ["ro", "rw"].map(|access| with(mount(&format!("target=/c,{access}"))).key_fields());
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn sizes_are_those_of_dockers_command_line() {
    let read = ["32", "32b", "32k", "32kb", "32KiB", "1.5m", "2g", "0.5g", ".5k"].map(ram_in_bytes);
    let expected = [32, 32, 32 << 10, 32 << 10, 32 << 10, 3 << 19, 2 << 30, 1 << 29, 512];
    assert_eq!(read, expected.map(Some));
    for wrong in ["", "k", "-1", "1x", "1.2.3m", "99999999999999999999", "16777216p", "1 2"] {
        assert_eq!(ram_in_bytes(wrong), None, "{wrong}");
    }
}

#[test]
fn a_network_of_none_is_kept_and_of_a_host_refused() {
    let network = |flag: &str| build(&format!("FROM scratch\nRUN {flag} x")).map(|p| last_run(&p).network);
    assert_eq!(network("--network=none").unwrap(), RunNetwork::None);
    assert_eq!(network("--network=default").unwrap(), RunNetwork::Default);
    assert!(network("--network=host").unwrap_err().hint().unwrap().contains("--network=default"));
}
