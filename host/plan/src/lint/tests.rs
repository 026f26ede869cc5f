//! Each rule: a file it speaks about, and one it is silent about.

use std::collections::BTreeMap;

use wbuild_dockerfile::{IgnoreFile, parse};
use wbuild_oci::{ImageConfig, Platform};

use crate::{EpochRule, Images, Request, RunNetwork, Stages, check, outline, plan, sources, targets};

fn request() -> Request {
    Request {
        build_args: BTreeMap::new(),
        target: None,
        platform: Platform::new("linux", "amd64"),
        build_platform: Platform::new("linux", "amd64"),
        contexts: BTreeMap::new(),
        labels: BTreeMap::new(),
        epoch: EpochRule::FromBase,
        network: RunNetwork::Default,
        ignore: IgnoreFile::default(),
        stages: Stages::All,
    }
}

fn images(text: &str, request: &Request) -> Images {
    let config = r#"{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]},
        "rootfs":{"type":"layers","diff_ids":[]}}"#;
    let file = parse(text.as_bytes()).unwrap();
    let mut images = Images::new();
    while let Ok(wanted) = sources(&file, request, &images) {
        if wanted.is_empty() {
            break;
        }
        for wanted in wanted {
            images.insert(wanted.image, ImageConfig::parse(config.as_bytes()).unwrap());
        }
    }
    images
}

/// `line Rule: detail`, one for each finding.
fn lint(text: &str, request: &Request) -> Vec<String> {
    let file = parse(text.as_bytes()).unwrap();
    let (findings, _) = check(&file, request, &images(text, request)).unwrap();
    findings.iter().map(|f| format!("{} {}: {}", f.span.start.line, f.rule.name, f.detail)).collect()
}

fn found(text: &str) -> Vec<String> {
    lint(text, &request())
}

#[test]
fn stage_names_are_lowercase_unique_and_not_reserved() {
    assert_eq!(found("FROM scratch AS Bad"), ["1 StageNameCasing: Stage name 'Bad' should be lowercase"]);
    assert_eq!(
        found("FROM scratch AS b\nFROM scratch AS b"),
        ["2 DuplicateStageName: Duplicate stage name \"b\", stage names should be unique"]
    );
    assert_eq!(
        found("FROM scratch AS context"),
        ["1 ReservedStageName: Stage name should not use the same name as reserved stage \"context\""]
    );
    assert!(found("FROM scratch AS b1\nFROM scratch AS b2").is_empty());
}

#[test]
fn keywords_are_cased_alike() {
    assert_eq!(found("FROM scratch as a"), ["1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"]);
    assert!(found("from scratch as a").is_empty());
    assert_eq!(
        found("from scratch\nCOPY a /b\ncopy a /c"),
        [
            "2 ConsistentInstructionCasing: Command 'COPY' should match the case of the command majority (lowercase)"
        ]
    );
    assert!(found("FROM scratch\nCOPY a /b").is_empty());
}

#[test]
fn a_blank_line_in_a_continuation_is_found_at_the_end_of_its_instruction() {
    assert_eq!(
        found("FROM scratch\nENV a=1 \\\n\n  b=2\nENV c=3"),
        ["4 NoEmptyContinuation: Empty continuation line"]
    );
    assert!(found("FROM scratch\nENV a=1 \\\n# comment\n  b=2").is_empty());
}

#[test]
fn commands_are_exec_forms_unless_a_shell_is_meant() {
    assert_eq!(found("FROM scratch\nCMD run me").len(), 1);
    assert_eq!(
        found("FROM scratch\nENTRYPOINT run"),
        ["2 JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior \
          related to OS signals"]
    );
    assert!(found("FROM scratch AS b\nSHELL [\"s\"]\nFROM b\nENTRYPOINT run").is_empty());
}

#[test]
fn only_the_last_command_counts_and_the_others_are_found() {
    let lines = |text: &str| -> Vec<String> { found(text).iter().map(|f| f[..32].to_owned()).collect() };
    assert_eq!(
        lines("FROM scratch\nCMD [\"a\"]\nENV x=1\nCMD [\"b\"]\nHEALTHCHECK NONE\nHEALTHCHECK CMD [\"c\"]"),
        ["2 MultipleInstructionsDisallowed", "5 MultipleInstructionsDisallowed"]
    );
    assert!(found("FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]").is_empty());
}

#[test]
fn variables_are_declared_before_their_use() {
    assert_eq!(
        found("FROM alpine\nARG DIR_ASSETS=a\nCOPY $DIR_ASSET ."),
        ["3 UndefinedVar: Usage of undefined variable '$DIR_ASSET' (did you mean $DIR_ASSETS?)"]
    );
    assert_eq!(
        found("FROM alpine\nENV PATH=$PAHT:/x"),
        ["2 UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?)"]
    );
    assert!(found("FROM alpine\nARG foo\nCOPY a$foo .\nRUN echo $bar").is_empty());
}

#[test]
fn from_names_declared_arguments_with_usable_defaults() {
    assert_eq!(
        found("FROM --platform=$BULIDPLATFORM scratch"),
        ["1 UndefinedArgInFrom: FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)"]
    );
    assert_eq!(
        found("ARG TAG\nFROM busybox:$TAG"),
        [
            "2 InvalidDefaultArgInFrom: Default value for ARG busybox:$TAG results in empty or invalid base image name"
        ]
    );
    assert!(found("ARG DEBUG\nFROM scra${DEBUG:-tch}").is_empty());
}

#[test]
fn platforms_are_neither_constant_nor_the_default() {
    assert_eq!(
        found("FROM --platform=${TARGETPLATFORM} scratch"),
        [
            "1 RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as \
          this is the default behavior"
        ]
    );
    assert_eq!(
        found("FROM --platform=linux/amd64 scratch"),
        [
            "1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\""
        ]
    );
    assert!(found("FROM --platform=linux/amd64 scratch AS amd64").is_empty());
    assert!(found("FROM --platform=$BUILDPLATFORM alpine AS x").is_empty());
    let arm = Request { platform: Platform::new("linux", "arm64"), ..request() };
    assert_eq!(
        lint("FROM alpine", &arm),
        ["1 InvalidBaseImagePlatform: Base image docker.io/library/alpine:latest was pulled with platform \
          \"linux/amd64\", expected \"linux/arm64\" for current build"]
    );
}

#[test]
fn old_forms_and_relative_directories_are_found() {
    assert_eq!(
        found("FROM scratch\nENV a b\nLABEL k v"),
        [
            "2 LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
            "3 LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format"
        ]
    );
    assert_eq!(
        found("FROM scratch\nMAINTAINER me"),
        ["2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label"]
    );
    assert_eq!(
        found("FROM scratch AS a\nWORKDIR app\nWORKDIR src\nFROM a\nWORKDIR x"),
        [
            "2 WorkdirRelativePath: Relative workdir \"app\" can have unexpected results if the base image changes"
        ]
    );
}

#[test]
fn secrets_have_no_place_in_variables() {
    assert_eq!(
        found("FROM scratch\nARG GITHUB_TOKEN\nENV api_key=1 public_key=2 TOKEN_FILE=3 monkey=4"),
        [
            "2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"GITHUB_TOKEN\")",
            "3 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"api_key\")"
        ]
    );
}

#[test]
fn ports_are_plain() {
    let names = |text: &str| -> Vec<String> {
        found(text).iter().map(|f| f.split(':').next().unwrap().to_owned()).collect()
    };
    assert_eq!(
        names("FROM scratch\nEXPOSE 80/TCP 127.0.0.1:90:91"),
        ["2 ExposeInvalidFormat", "2 ExposeProtoCasing"]
    );
    assert!(found("FROM scratch\nEXPOSE 80/tcp 90-91").is_empty());
}

#[test]
fn what_dockerignore_hides_is_not_there_to_copy() {
    let ignoring = |text: &str| Request { ignore: IgnoreFile::parse(text.as_bytes()).unwrap(), ..request() };
    let text = "FROM scratch AS a\nCOPY dir/x /\nADD other /\nCOPY . /\nFROM a\nCOPY --from=a dir/x /";
    assert_eq!(
        lint(text, &ignoring("dir\n")),
        ["2 CopyIgnoredFile: Attempting to Copy file \"dir/x\" that is excluded by .dockerignore"]
    );
    assert_eq!(lint(text, &ignoring("*\n")).len(), 3, "nothing is left of the context");
    assert!(lint(text, &ignoring("dir\n!dir/x\n")).is_empty());
}

#[test]
fn descriptions_are_checked_only_where_it_is_asked_for() {
    let text = "# a base\nFROM scratch AS base\n# base stage\nARG FOO\n# FOO is\nARG FOO";
    assert!(found(text).is_empty());
    assert_eq!(
        found(&format!("# check=experimental=InvalidDefinitionDescription\n{text}")),
        [
            "3 InvalidDefinitionDescription: Comment for FROM should follow the format: `# base <description>`",
            "5 InvalidDefinitionDescription: Comment for ARG should follow the format: `# FOO <description>`"
        ]
    );
}

#[test]
fn rules_are_skipped_in_the_head_above_an_instruction_and_by_an_argument() {
    let text = "FROM scratch\nENV a b\nMAINTAINER me";
    assert_eq!(found(text).len(), 2);
    assert_eq!(found(&format!("# check=skip=LegacyKeyValueFormat\n{text}")).len(), 1);
    assert!(found(&format!("# check=skip=all\n{text}")).is_empty());
    assert_eq!(found("FROM scratch\n# check=skip=LegacyKeyValueFormat\nENV a b\nENV c d").len(), 1);
    let args = [("BUILDKIT_DOCKERFILE_CHECK", "skip=all")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert!(lint(text, &Request { build_args: args.into(), ..request() }).is_empty());
}

#[test]
fn findings_are_errors_where_the_file_says_so() {
    let planned = |text: &str| {
        let request = Request { stages: Stages::Needed, ..request() };
        plan(&parse(text.as_bytes()).unwrap(), &request, &images(text, &request))
    };
    let error = planned("# check=error=true\nFROM scratch\nMAINTAINER me\nENV a b").unwrap_err();
    assert_eq!(
        (error.span().unwrap().start.line, error.to_string()),
        (1, "lint violation found for rules: LegacyKeyValueFormat, MaintainerDeprecated".to_owned())
    );
    assert!(planned("# check=error=true;skip=MaintainerDeprecated\nFROM scratch\nMAINTAINER me").is_ok());
    assert_eq!(planned("FROM scratch\nMAINTAINER me").unwrap().findings.len(), 1);
}

#[test]
fn what_stands_before_an_error_is_found() {
    let text = "FROM scratch AS Bad\nSTOPSIGNAL nothing";
    let file = parse(text.as_bytes()).unwrap();
    let (findings, error) = check(&file, &request(), &Images::new()).unwrap();
    assert_eq!(findings[0].rule.name, "StageNameCasing");
    assert_eq!(error.unwrap().span().unwrap().start.line, 2);
}

#[test]
fn every_rule_has_its_own_page() {
    let pages: std::collections::BTreeSet<String> = crate::RULES.iter().map(|rule| rule.url()).collect();
    assert_eq!(pages.len(), 22);
    assert!(pages.contains("https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"));
}

#[test]
fn an_outline_has_the_arguments_and_mounts_of_the_target() {
    let text = "# BASE which image\nARG BASE=alpine\nARG UNUSED=1\n# app the program\nFROM $BASE AS app\n# V its version\n\
        ARG V=1 W\nARG X=\"a b\"\nRUN --mount=type=secret,id=s --mount=type=ssh true\nFROM app AS later\nARG Y=2";
    let request = Request { target: Some("app".to_owned()), stages: Stages::Needed, ..request() };
    let got = outline(&parse(text.as_bytes()).unwrap(), &request, &images(text, &request)).unwrap();
    let args: Vec<_> =
        got.args.iter().map(|a| (a.name.as_str(), a.value.as_deref(), a.description.as_deref())).collect();
    assert_eq!(
        args,
        [
            ("BASE", Some("alpine"), Some("which image")),
            ("V", Some("1"), Some("its version")),
            ("W", None, None),
            ("X", Some("a b"), None)
        ]
    );
    assert_eq!((got.name.as_deref(), got.description.as_deref()), (Some("app"), Some("the program")));
    assert_eq!((got.secrets[0].id.as_str(), got.ssh[0].id.as_str()), ("s", "default"));
}

#[test]
fn targets_are_the_stages() {
    let file = parse(b"# a first\nFROM scratch AS a\nFROM --platform=$BUILDPLATFORM a").unwrap();
    let shown: Vec<String> = targets(&file)
        .iter()
        .map(|t| format!("{:?} {:?} {:?} {} {:?}", t.name, t.description, t.default, t.base, t.platform))
        .collect();
    assert_eq!(
        shown,
        ["Some(\"a\") Some(\"first\") No scratch None", "None None Yes a Some(\"$BUILDPLATFORM\")"]
    );
}
