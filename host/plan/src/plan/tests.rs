//! Whole plans: snapshots of steps, history and configuration, and what is refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use wbuild_dockerfile::{DockerfileError, parse};
use wbuild_oci::{ImageConfig, Platform};

use crate::{
    Action, Base, ContextKind, Copy, CopyFrom, CopySource, DestShape, EpochRule, ImageRequest, Images,
    LayerKind, Plan, Request, plan, sources,
};

fn request() -> Request {
    Request {
        build_args: BTreeMap::new(),
        target: None,
        platform: Platform::new("linux", "amd64"),
        build_platform: Platform::new("linux", "amd64"),
        contexts: BTreeMap::new(),
        labels: BTreeMap::new(),
        epoch: EpochRule::FromBase,
        network: crate::RunNetwork::Default,
        ignore: wbuild_dockerfile::IgnoreFile::default(),
        stages: crate::Stages::Needed,
    }
}

fn with_args(args: &[(&str, &str)]) -> Request {
    let build_args = args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Request { build_args, ..request() }
}

// Every image is this one, but those whose name holds `onbuild`.
fn image(request: &ImageRequest) -> ImageConfig {
    let triggers = if request.name.contains("onbuild") {
        r#","OnBuild":["COPY --from=docker.io/library/tools /t /t","RUN make $ARG","ENV FROM_TRIGGER=1"]"#
    } else {
        ""
    };
    let text = format!(
        r#"{{"architecture":"amd64","os":"linux","created":"2020-01-01T00:00:00Z","author":"base",
        "config":{{"Env":["PATH=/bin","BASE=1"],"Cmd":["base-cmd"],"Entrypoint":["base-entry"],"WorkingDir":"/base",
        "User":"nobody"{triggers}}},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
    );
    ImageConfig::parse(text.as_bytes()).unwrap()
}

fn build(text: &str, request: &Request) -> Result<Plan, DockerfileError> {
    let file = parse(text.as_bytes())?;
    let mut images = Images::new();
    loop {
        let wanted = sources(&file, request, &images)?;
        if wanted.is_empty() {
            return plan(&file, request, &images);
        }
        for wanted in wanted {
            let config = image(&wanted.image);
            assert!(images.insert(wanted.image, config).is_none(), "asked twice");
        }
    }
}

fn show(text: &str, request: &Request) -> String {
    let plan = match build(text, request) {
        Ok(plan) => plan,
        Err(e) => {
            let line = e.span().map(|s| format!("{}:{}: ", s.start.line, s.start.column)).unwrap_or_default();
            return format!("{line}{e} ({})", e.hint().unwrap_or_default());
        }
    };
    let mut out = String::new();
    for stage in &plan.stages {
        let base = match &stage.base {
            Base::Scratch => "scratch".to_owned(),
            Base::Image(image) => format!("{:?} {} {}", image.origin, image.name, image.platform),
            Base::Stage(id) => format!("stage {}", id.0),
        };
        let needs: Vec<usize> = stage.needs.iter().map(|id| id.0).collect();
        _ = writeln!(
            out,
            "stage {} {} from {base} needs {needs:?} epoch {:?}",
            stage.id.0, stage.name, stage.epoch
        );
        if let Some(title) = &stage.title {
            _ = writeln!(out, "  {title}");
        }
        for step in &stage.steps {
            _ = writeln!(out, "  line {}: {}", step.span.start.line, step.name);
            if let Some(history) = &step.history {
                let layer = if history.layer == LayerKind::Layer { "+" } else { "-" };
                _ = writeln!(out, "    {layer} {}", history.created_by.escape_debug());
            }
            show_action(&mut out, &step.action);
        }
        _ = writeln!(out, "  config {}", serde_json::to_string(&stage.config).unwrap());
        _ = writeln!(out, "  author {:?}", stage.author);
    }
    for warning in &plan.warnings {
        _ = writeln!(out, "warning: {}", warning.message);
    }
    out.trim_end().to_owned()
}

fn show_action(out: &mut String, action: &Action) {
    match action {
        Action::Config => {}
        Action::Workdir(dir) => _ = writeln!(out, "    mkdir {} owner {:?}", dir.path, dir.owner),
        Action::Run(run) => {
            _ = writeln!(
                out,
                "    argv {:?}\n    env {:?}\n    in {} as {:?}",
                run.argv, run.env, run.cwd, run.user
            );
            for file in &run.files {
                _ = writeln!(out, "    file {} {:?}", file.name, file.content);
            }
        }
        Action::Copy(Copy { kind, from, sources, dest, chown, chmod, exclude, link }) => {
            let from = match from {
                CopyFrom::Context => "context".to_owned(),
                CopyFrom::Named(name) => format!("context {name}"),
                CopyFrom::Stage(id) => format!("stage {}", id.0),
                CopyFrom::Image(image) => format!("{:?} {}", image.origin, image.name),
            };
            let slash = if dest.shape == DestShape::Directory { "/" } else { "" };
            _ = writeln!(out, "    {kind:?} from {from} to {}{slash} {chown:?} {chmod:?}", dest.path);
            if !exclude.is_empty() || *link == crate::Link::Layer {
                _ = writeln!(out, "      {link:?}, without {exclude:?}");
            }
            for source in sources {
                match source {
                    CopySource::Path { pattern, written, include: None } => {
                        _ = writeln!(out, "      {pattern} ({written})");
                    }
                    CopySource::Path { pattern, written, include: Some(include) } => {
                        let crate::Include { pattern: beneath, presence } = include;
                        _ = writeln!(
                            out,
                            "      {pattern} with the parents of {beneath}, {presence:?} ({written})"
                        );
                    }
                    CopySource::Url(url) => _ = writeln!(out, "      {url:?}"),
                    CopySource::Git(git) => _ = writeln!(out, "      {git:?}"),
                    CopySource::Inline { name, content } => _ = writeln!(out, "      <<{name} {content:?}"),
                }
            }
        }
    }
}

#[test]
fn one_stage_with_every_instruction() {
    let request = with_args(&[("GIVEN", "g"), ("http_proxy", "http://p"), ("UNKNOWN", "1")]);
    insta::assert_snapshot!(show(include_str!("tests/one.Dockerfile"), &request));
}

#[test]
fn stages_that_are_not_needed_are_not_there() {
    let text = "FROM a AS base\nARG V=1\nENV E=$V\nFROM b AS unused\nRUN --mount=type=ssh x\nFROM base AS mid\nRUN echo $V\n\
        FROM scratch\nCOPY --from=mid /x /y\nCOPY --from=0 /x /z\nCOPY --from=tool:1 /x /t\nCOPY --from=Base . .";
    insta::assert_snapshot!(show(text, &request()));
}

#[test]
fn a_target_is_a_name_or_a_number() {
    let text = "FROM a AS one\nENV X=1\nFROM one AS two\nFROM two";
    let target = |t: &str| build(text, &Request { target: Some(t.to_owned()), ..request() });
    assert_eq!(target("ONE").unwrap().stages.len(), 1);
    assert_eq!(target("1").unwrap().stages.len(), 2);
    let error = target("twoo").unwrap_err();
    assert_eq!(
        (error.to_string(), error.hint()),
        ("target stage \"twoo\" could not be found".to_owned(), Some("did you mean two?".to_owned()))
    );
}

#[test]
fn triggers_of_a_base_run_first_and_can_need_more_images() {
    let text = "FROM onbuild AS app\nARG ARG=1\nONBUILD RUN later\nRUN own\nFROM app\nENV X=1";
    insta::assert_snapshot!(show(text, &request()));
}

#[test]
fn a_wrong_trigger_is_reported_at_the_line_that_fires_it() {
    let text = "FROM a AS base\nONBUILD COPY x\n\nFROM base\n";
    assert_eq!(
        show(text, &request()),
        "4:1: COPY needs a source and a destination (expected COPY SOURCE.. DESTINATION)"
    );
}

#[test]
fn arguments_are_seen_where_they_are_declared() {
    let text = "ARG TAG=1\nARG BASE=img:$TAG\nFROM ${BASE} AS x\nENV A=[$TAG]\nARG TAG\nENV B=[$TAG]\nARG C=${TAG}c D\n\
        ENV E=[$C][$D][$TARGETARCH]\nARG TARGETARCH\nENV F=[$TARGETARCH]\nARG E=arg-wins\nENV G=$E";
    let env = |args: &[(&str, &str)]| {
        let plan = build(text, &with_args(args)).unwrap();
        let Base::Image(image) = &plan.stages[0].base else { panic!("no image") };
        format!("{} {}", image.name, plan.stages[0].config.env[2..].join(" "))
    };
    assert_eq!(env(&[]), "docker.io/library/img:1 A=[] B=[1] E=[1c][][] F=[amd64] G=arg-wins");
    assert_eq!(
        env(&[("TAG", "2"), ("D", "d"), ("TARGETARCH", "arm")]),
        "docker.io/library/img:2 A=[] B=[2] E=[2c][d][] F=[arm] G=arg-wins"
    );
}

#[test]
fn an_inherited_command_goes_when_the_entry_point_is_set() {
    let cmd = |text: &str| build(text, &request()).unwrap().stages[0].config.cmd.join(" ");
    assert_eq!(cmd("FROM a\nENV X=1"), "base-cmd");
    assert_eq!(cmd("FROM a\nENTRYPOINT [\"e\"]"), "");
    assert_eq!(cmd("FROM a\nCMD [\"c\"]\nENTRYPOINT [\"e\"]"), "c");
}

#[test]
fn the_epoch_comes_from_the_base_unless_it_is_given() {
    let epochs = |text: &str, request: &Request| -> Vec<Option<i64>> {
        build(text, request).unwrap().stages.iter().map(|s| s.epoch).collect()
    };
    let text = "FROM a AS x\nFROM scratch AS y\nFROM x\nCOPY --from=y / /";
    assert_eq!(epochs(text, &request()), [Some(1_577_836_800), Some(0), Some(1_577_836_800)]);
    let fixed = Request { epoch: EpochRule::Fixed(5), ..request() };
    assert_eq!(epochs(text, &fixed), [Some(5); 3]);
    assert_eq!(epochs(text, &with_args(&[("SOURCE_DATE_EPOCH", "7")])), [Some(7); 3]);
    assert_eq!(epochs(text, &Request { epoch: EpochRule::Off, ..request() }), [None; 3]);
    assert_eq!(epochs("ARG SOURCE_DATE_EPOCH=9\nFROM a", &fixed), [Some(9)]);
    assert_eq!(
        show(text, &with_args(&[("SOURCE_DATE_EPOCH", "context")])),
        "invalid SOURCE_DATE_EPOCH: context (expected seconds since 1970)"
    );
}

#[test]
fn steps_see_the_epoch_and_the_configuration_does_not() {
    let env = |request: &Request| {
        let plan = build("FROM scratch\nRUN x", request).unwrap();
        let Action::Run(run) = &plan.stages[0].steps[0].action else { panic!("not a RUN") };
        assert!(plan.stages[0].config.env.iter().all(|e| !e.starts_with("SOURCE")));
        run.env[1..].join(" ")
    };
    assert_eq!(env(&request()), "SOURCE_DATE_EPOCH=0");
    assert_eq!(env(&Request { epoch: EpochRule::Off, ..request() }), "");
}

#[test]
fn named_contexts_stand_for_stages_images_and_sources() {
    let contexts =
        [("base", ContextKind::Image), ("files", ContextKind::Directory), ("alpine", ContextKind::Image)];
    let contexts = contexts.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect();
    let request = Request { contexts, ..request() };
    let text = "FROM broken:$ AS base\nFROM alpine:latest\nCOPY --from=base a b\nCOPY --from=files a b\n\
        COPY --from=docker.io/library/alpine a b";
    insta::assert_snapshot!(show(text, &request));
    insta::assert_snapshot!("a_directory_as_base", show("FROM files AS x\nENV a=1\nFROM x", &request));
}

#[test]
fn what_is_wrong_or_not_built_is_refused_with_its_place() {
    let texts = [
        "FROM $nothing",
        "FROM UPPER",
        "FROM --platform=x/y/z/w a",
        "FROM a\nCOPY --from=1 a b",
        "FROM a AS self\nCOPY --from=self a b",
        "ARG x=y\nFROM a\nCOPY --from=$x a b",
        "FROM a\nCOPY --from=scratch a b",
        "FROM a\nRUN --network=host y",
        "FROM a\nRUN --network=some y",
        "FROM a\nRUN --security=insecure y",
        "FROM a\nRUN --device=vendor.com/gpu y",
        "FROM a\nCOPY --link --chown=app a b",
        "FROM a\nCOPY --exclude=[ a b",
        "FROM a\nCOPY --parents --exclude=! a b",
        "FROM a\nCOPY a \\\n https://example.com/x b",
        "FROM a\nADD http://example.com/x b",
        "FROM a\nADD https://user:secret@example.com/x b",
        "FROM a\nADD --checksum=sha512:ab https://example.com/x b",
        "FROM a\nADD --checksum=sha256:ab https://example.com/x y b/",
        "FROM a\nADD git@example.com:x/y.git b",
        "FROM a\nADD --checksum=sha256:ab x b",
        "FROM a\nADD --checksum=sha256:ab https://example.com/x b",
        "FROM a\nCOPY --chmod=999 a b",
        "FROM a\nCOPY a[ b",
        "FROM a\nENV a=${b",
        "FROM a\nENV a=1 b=\"${c:?c is needed}\"",
        "FROM a\nENV $x=1",
        "FROM a\nEXPOSE 80/foo",
        "FROM a\nSTOPSIGNAL SIGNOTHING",
        "FROM a\nVOLUME $x",
        "FROM a\nCOPY <<a/b /x\na/b\n",
        "# check=error=true\nFROM a as b\nWORKDIR c",
        "# check=nothing=1\nFROM a",
    ];
    let shown: Vec<String> = texts.iter().map(|t| format!("{t:?}\n    {}", show(t, &request()))).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn copy_flags_are_part_of_the_step() {
    let text = "FROM scratch\nCOPY --link --exclude=*.o --exclude=!a.o a b/\nCOPY --parents a/./b/*/c ./d /x/\n\
        ADD --link --chmod=go-w --exclude=x a b";
    insta::assert_snapshot!(show(text, &request()));
}

#[test]
fn urls_are_sources_of_add() {
    let sum = "a".repeat(64);
    let text = format!(
        "FROM scratch\nARG V=1\nADD https://example.com/dir/tool-$V.tgz?x=y /opt/\n\
         ADD --checksum=sha256:{sum} --unpack http://127.0.0.1:8000/a%20b.tar local /\nADD https://example.com /x"
    );
    let plan = show(&text.replace(" local", ""), &request());
    insta::assert_snapshot!(plan);
}

#[test]
fn labels_of_the_command_line_come_last() {
    let labels = BTreeMap::from([("a".to_owned(), "cli".to_owned())]);
    let plan = build("FROM a AS x\nLABEL a=x\nFROM x", &Request { labels, ..request() }).unwrap();
    assert_eq!(plan.stages[0].config.labels["a"], "x");
    assert_eq!(plan.stages[1].config.labels["a"], "cli");
}

#[test]
fn a_foreign_frontend_is_named_in_a_warning() {
    let shown = show("# syntax=example.com/frontend:1\nFROM scratch", &request());
    assert!(shown.ends_with(
        "warning: the frontend example.com/frontend:1 is not pulled: wbuild reads this file itself"
    ));
    assert!(!show("# syntax=docker/dockerfile:1.7-labs\nFROM scratch", &request()).contains("warning"));
}

#[test]
fn a_plan_cannot_grow_without_bound() {
    let mut doubling = "FROM scratch\nENV a=0123456789abcdef\n".to_owned();
    doubling.push_str(&"ENV a=$a$a\n".repeat(40));
    assert!(show(&doubling, &request()).contains("is longer than 1048576 bytes"));
    // Each RUN carries the whole environment.
    let mut wide = "FROM scratch\n".to_owned();
    (0..2_000).for_each(|i| _ = writeln!(wide, "ENV v{i}={}", "x".repeat(500)));
    wide.push_str(&"RUN x\n".repeat(1_000));
    assert!(show(&wide, &request()).contains("needs more than"));
    // Each stage copies its base.
    let mut deep = wide.split("RUN").next().unwrap().replace("FROM scratch", "FROM scratch AS s0");
    (1..2_000).for_each(|i| _ = writeln!(deep, "FROM s{} AS s{i}", i - 1));
    assert!(show(&deep, &request()).contains("needs more than"));
}

#[test]
fn windows_images_have_its_separators_and_no_path_of_ours() {
    let request = Request { platform: "windows(10.0.20348.1006)/amd64".parse().unwrap(), ..request() };
    let plan = build(
        "FROM scratch\nARG TARGETPLATFORM\nWORKDIR app\nWORKDIR x\nLABEL p=$TARGETPLATFORM\n",
        &request,
    );
    let config = &plan.unwrap().stages[0].config;
    assert_eq!(config.working_dir, "\\app\\x");
    assert_eq!(config.labels["p"], "windows(10.0.20348.1006)/amd64");
    assert!(config.env.is_empty());
}
